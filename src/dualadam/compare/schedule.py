"""Learning-rate schedules over the whole length of a run."""

from __future__ import annotations

import math

from torch.optim import Optimizer

from dualadam.errors import InvalidValueError


def schedule_factor(kind: str, step: int, total: int, final_fraction: float) -> float:
    r"""Return s(t), by which the learning rate is multiplied at step t.

    constant: s(t) = 1.
    linear: s(t) = 1 - (1 - f) (t - 1) / total.
    cosine: s(t) = f + (1 - f) (1 + cos(pi (t - 1) / total)) / 2.

    Args:
        kind: "constant", "linear" or "cosine".
        step: t = 1 ... total.
        total: number of steps.
        final_fraction: f in [0, 1], approached at the end.

    Raises:
        InvalidValueError: the kind is unknown.

    Example:
        >>> [round(schedule_factor("cosine", t, 4, 0.0), 3) for t in (1, 3, 4)]
        [1.0, 0.5, 0.146]
    """
    done = (step - 1) / total
    if kind == "constant":
        return 1.0
    if kind == "linear":
        return 1.0 - (1.0 - final_fraction) * done
    if kind == "cosine":
        return final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + math.cos(math.pi * done))
    raise InvalidValueError(f"schedule must be constant, linear or cosine, got {kind!r}.")


class LearningRateSchedule:
    """Sets the learning rate of every parameter group before each step.

    Args:
        optimizer: its learning rates at this moment are multiplied.
        kind, total, final_fraction: as for ``schedule_factor``.
    """

    def __init__(self, optimizer: Optimizer, kind: str, total: int, final_fraction: float) -> None:
        self.optimizer, self.kind = optimizer, kind
        self.total, self.final_fraction = total, final_fraction
        self.initial = [group["lr"] for group in optimizer.param_groups]

    def set(self, step: int) -> None:
        """Prepare step t = 1, 2, ..."""
        factor = schedule_factor(self.kind, step, self.total, self.final_fraction)
        for group, lr in zip(self.optimizer.param_groups, self.initial, strict=True):
            group["lr"] = lr * factor
