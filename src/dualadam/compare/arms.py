"""The arms of a study from short names: what ``compare`` in Python and the command line share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch.optim import Optimizer

from dualadam.compare.optimizers import OPTIMIZERS, find_entry
from dualadam.errors import InvalidTypeError, InvalidValueError
from dualadam.optim import switch_rate_for

WARMUP = "+warmup"
RateRange = tuple[float, float]
DECADE = 10.0  # either side of a learning rate
FACTOR = 3.0  # either side of a derived switch rate


class Choice(NamedTuple):
    """Where the range of switch_rate comes from: given, or the length of a run."""

    given: RateRange | None
    total_steps: int | None

    def range(self) -> RateRange:
        """Return the range.

        Raises:
            InvalidValueError: neither is known.
        """
        if self.given is not None:
            return self.given
        if not self.total_steps:
            raise InvalidValueError(
                "switch_rate must be given as a range (low, high) where steps is not: "
                "it is derived from the length of a run."
            )
        rate = switch_rate_for(self.total_steps)
        low = rate / FACTOR
        return (low, min(1.0, rate * FACTOR))


def range_around(lr: float | RateRange) -> RateRange:
    """Return the range of a learning rate: as given, or a decade either side.

    Example:
        >>> range_around((1e-4, 1e-2)), [round(x, 6) for x in range_around(1e-3)]
        ((0.0001, 0.01), [0.0001, 0.01])

    Raises:
        InvalidValueError: it is neither a number above 0 nor a range of two.
    """
    if isinstance(lr, int | float) and not isinstance(lr, bool):
        if 0 < lr < math.inf:
            return (lr / DECADE, lr * DECADE)
    elif isinstance(lr, tuple | list) and len(lr) == 2 and 0 < lr[0] < lr[1]:
        return (float(lr[0]), float(lr[1]))
    raise InvalidValueError(
        f"lr must be a number above 0 or a range (low, high) with 0 < low < high, got {lr!r}."
    )


def arm_tables(
    arms: Sequence[str | type[Optimizer] | dict[str, Any]], lr: RateRange, switch_rate: Choice
) -> list[dict[str, Any]]:
    """Return the arms as a spec's tables, each tuned over the learning rate.

    Arms with a switch_rate are tuned over it too. A table keeps the ranges that it has.

    Raises:
        InvalidTypeError: an arm has another type, or its class cannot be imported by a worker.
        InvalidValueError: an optimizer is not known, or switch_rate has no range.
    """
    tables = [_table(arm) for arm in arms]
    for table in tables:
        fixed, tune = table.get("args", {}), dict(table.get("tune", {}))
        if "lr" not in fixed:
            tune.setdefault("lr", list(lr))
        if has_switch_rate(table) and "switch_rate" not in {**fixed, **tune}:
            tune["switch_rate"] = list(switch_rate.range())
        table["tune"] = {name: [float(x) for x in bounds] for name, bounds in tune.items()}
    return tables


def has_switch_rate(table: dict[str, Any]) -> bool:
    """Whether an arm has a switch_rate."""
    return bool(table.get("warmup")) or "switch_rate" in find_entry(table["optimizer"]).arguments()


def _table(arm: str | type[Optimizer] | dict[str, Any]) -> dict[str, Any]:
    if isinstance(arm, dict):
        table = dict(arm)
        if "class" in table:
            table["optimizer"] = table.pop("class")
        if "optimizer" not in table:
            raise InvalidValueError(f"an arm must have the key optimizer, got {arm!r}.")
        return {"name": short_name(table["optimizer"])} | table
    if isinstance(arm, type):
        path = f"{arm.__module__}.{arm.__qualname__}"
        if arm.__module__ == "__main__" or "<locals>" in path:
            raise InvalidTypeError(
                f"{arm.__qualname__} must be importable by the workers: move the class to a file, "
                "such as my_optimizers.py."
            )
        return {"name": arm.__name__, "optimizer": path}
    if not isinstance(arm, str):
        raise InvalidTypeError(
            f"an arm must be a name, an optimizer class or a table, got {arm!r}."
        )
    if arm in OPTIMIZERS or not arm.endswith(WARMUP):
        return {"name": short_name(arm), "optimizer": arm}
    path = arm.removesuffix(WARMUP)
    return {"name": f"{short_name(path)}{WARMUP}", "optimizer": path, "warmup": True}


def short_name(optimizer: str) -> str:
    """Return the last part of an optimizer's path."""
    return optimizer.rpartition(".")[2]


def primary_arms(tables: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Return (arm, against): DualAdam, or the last arm, against the control, or the first arm.

    Raises:
        InvalidValueError: there are not two arms.
    """
    if len(tables) < 2:
        raise InvalidValueError(f"arms must be at least 2, got {len(tables)}.")
    names = [table["name"] for table in tables]
    warmed = [
        table["name"]
        for table in tables
        if table.get("warmup") or table["optimizer"].endswith(WARMUP)
    ]
    arm = "DualAdam" if "DualAdam" in names else names[-1]
    against = next((name for name in (*warmed, *names) if name != arm), names[0])
    return arm, against
