"""What a study's folder keeps of a task of the user's own, so that its report needs no code."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from dualadam.compare.spec import Spec
from dualadam.errors import InvalidValueError, MissingFileError
from dualadam.harness.store import write_whole
from dualadam.tasks import TASKS, FineTuning, LoadOptions, Metric, Task, TaskEntry

TASK_FILE = "task.json"


@dataclass(frozen=True, kw_only=True)
class RecordedTask(TaskEntry):
    """A task of a finished study: known, but not to be trained."""

    def check(self, data: str | None, language: FineTuning | None) -> tuple[str, ...]:
        """Check nothing."""
        return ()

    def load(self, options: LoadOptions) -> Task:
        """Refuse: the function that makes the task is not at hand.

        Raises:
            InvalidValueError: always.
        """
        raise InvalidValueError(f"{self.name} can be loaded only where its spec is run.")

    def synthetic(self, batch_size: int, options: LoadOptions) -> Task | None:
        """Return None: the shapes are only in the data."""
        return None


def record_task(folder: Path, spec: Spec) -> None:
    """Write what a report needs of a task that is not built in."""
    if spec.task in TASKS or spec.train is not None:
        return
    entry = spec.entry
    content = {
        "summary": entry.summary,
        "num_train": entry.num_train,
        "metrics": {name: asdict(metric) for name, metric in entry.metrics.items()},
    }
    write_whole(folder / TASK_FILE, json.dumps(content, indent=1) + "\n")


def with_recorded_task(folder: Path, spec: Spec) -> Spec:
    """Return the spec of a study with the task that its folder describes.

    Raises:
        MissingFileError: the description of a task of the user's own is not in the folder.
    """
    file = folder / TASK_FILE
    if spec.task in TASKS or spec.train is not None or ":" not in spec.task:
        return spec
    if not file.exists():
        raise MissingFileError(
            f"{file} must describe the task {spec.task!r}, and is missing: take the whole folder "
            "of the study."
        )
    content = json.loads(file.read_text(encoding="utf-8"))
    return spec.with_task(
        RecordedTask(
            name=spec.task,
            summary=content["summary"],
            models=("",),
            num_train=content["num_train"],
            metrics={name: Metric(**fields) for name, fields in content["metrics"].items()},
        )
    )
