"""What is known of a training function of the user's own, as of a task."""

from __future__ import annotations

from dataclasses import dataclass

from dualadam.errors import InvalidValueError
from dualadam.tasks import FineTuning, LoadOptions, Metric, Task, TaskEntry


@dataclass(frozen=True, kw_only=True)
class LoopEntry(TaskEntry):
    """A training function or command.

    Args:
        fingerprint: of the user's code, which a later start is held against.
    """

    fingerprint: str | None = None

    @classmethod
    def of(
        cls, name: str, metric_name: str, metric: Metric, fingerprint: str | None = None
    ) -> LoopEntry:
        """Return the entry of a function's reference, or of "command"."""
        return cls(
            name=name,
            summary=f"Your own training, {name}",
            models=("",),
            num_train=None,
            metrics={metric_name: metric},
            fingerprint=fingerprint,
        )

    def check(self, data: str | None, language: FineTuning | None) -> tuple[str, ...]:
        """Check nothing: the function reads its data itself."""
        return ()

    def load(self, options: LoadOptions) -> Task:
        """Refuse: there is no task apart from the function.

        Raises:
            InvalidValueError: always.
        """
        raise InvalidValueError(f"{self.name} trains by itself; it has no task to load.")

    def synthetic(self, batch_size: int, options: LoadOptions) -> Task | None:
        """Return None."""
        return None
