"""What a shadow found: an optimizer's training as Adam with a schedule, and what is left over."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dualadam.errors import InvalidValueError
from dualadam.harness.store import reading, write_whole

Column = tuple[float | None, ...]  # one number per recorded step


class ShadowPoint(NamedTuple):
    """One parameter group at one recorded step."""

    step: int
    group: int
    equivalent_lr: float | None
    unexplained: float | None
    update_norm: float | None


class ShadowAdam(NamedTuple):
    """The Adam that a parameter group was compared with."""

    betas: tuple[float, float]
    eps: float


@dataclass(frozen=True)
class ShadowResult:
    r"""The equivalent schedule of an optimizer, and the share that no schedule explains.

    For the update d (parameters before minus after, without decoupled decay) and Adam's direction u
    of a parameter group,

    .. math:: s_t = \frac{\langle d, u\rangle}{\lVert u\rVert^2}, \qquad
              \frac{\lVert d - s_t u\rVert^2}{\lVert d\rVert^2} = 1 - \cos^2(d, u)

    Attributes:
        steps: the recorded steps, t = 1, 2, ...
        schedule: s_t by group, then by recorded step, in the unit of a learning rate; None where
            Adam's direction is 0 or not finite.
        unexplained: the share, in [0, 1], in the same layout; None where the update is 0.
        update_norm: the 2-norm of d, in the same layout and in the unit of the parameters.
        adam: the Adam of each group.
    """

    steps: tuple[int, ...]
    schedule: tuple[Column, ...]
    unexplained: tuple[Column, ...]
    update_norm: tuple[Column, ...]
    adam: tuple[ShadowAdam, ...]

    @property
    def main_group(self) -> int:
        """The group with the largest updates over all recorded steps."""
        return int(np.argmax(np.nansum(_array(self.update_norm) ** 2, axis=1)))

    @property
    def total_unexplained(self) -> Column:
        """The share over all groups, each with its own schedule, by recorded step."""
        squares, shares = _array(self.update_norm) ** 2, _array(self.unexplained)
        left, whole = np.nansum(squares * shares, axis=0), np.nansum(squares, axis=0)
        return tuple(
            float(a / b) if b > 0 and math.isfinite(b) else None
            for a, b in zip(left, whole, strict=True)
        )

    @property
    def mean_unexplained(self) -> float | None:
        """The mean of the total share over the steps of training; None where there is none.

        Between two recorded steps the share is taken as linear.
        """
        both = zip(self.steps, self.total_unexplained, strict=True)
        pairs = [(t, x) for t, x in both if x is not None]
        if len(pairs) < 2:
            return pairs[0][1] if pairs else None
        steps, shares = np.array(pairs, float).T
        middle = (shares[1:] + shares[:-1]) / 2
        return float((middle * np.diff(steps)).sum() / (steps[-1] - steps[0]))

    def at(self, step: int, group: int) -> float:
        """Return s_t of a group at any step: linear between recorded steps, constant beyond them.

        Raises:
            InvalidValueError: the group has no recorded schedule.
        """
        known = [
            (t, s) for t, s in zip(self.steps, self.schedule[group], strict=True) if s is not None
        ]
        if not known:
            raise InvalidValueError(f"schedule must have a number for group {group}, got none.")
        steps, values = zip(*known, strict=True)
        return float(np.interp(step, steps, values))

    def to_rows(self) -> list[ShadowPoint]:
        """Return one row per recorded step and group, in the order of the steps."""
        return [
            ShadowPoint(
                step,
                group,
                self.schedule[group][i],
                self.unexplained[group][i],
                self.update_norm[group][i],
            )
            for i, step in enumerate(self.steps)
            for group in range(len(self.schedule))
        ]

    def write(self, file: str | Path) -> None:
        """Write the result to a JSON file, which ``ReplayedSchedule`` reads.

        Raises:
            UnreachableError: the file cannot be written.
        """
        write_whole(Path(file), json.dumps(asdict(self), allow_nan=False))

    @classmethod
    def read(cls, file: str | Path) -> ShadowResult:
        """Return the result of a file that ``write`` made.

        Raises:
            UnreachableError: the file cannot be read.
            InvalidValueError: it holds something else.
        """
        with reading(Path(file)):
            text = Path(file).read_text(encoding="utf-8")
        try:
            return cls.from_json(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidValueError(
                f"{file} must be a file that ShadowResult.write made, but it cannot be read: "
                f"{type(error).__name__}: {error}."
            ) from error

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ShadowResult:
        """Return the result of a JSON object."""
        columns = {
            name: tuple(tuple(column) for column in content[name])
            for name in ("schedule", "unexplained", "update_norm")
        }
        adam = tuple(ShadowAdam(tuple(betas), eps) for betas, eps in content["adam"])
        return cls(steps=tuple(content["steps"]), adam=adam, **columns)

    @classmethod
    def mean(cls, results: Iterable[ShadowResult]) -> ShadowResult:
        """Return the mean over runs that were recorded at the same steps.

        Raises:
            InvalidValueError: there is no run, or the runs differ in their steps or their Adam.
        """
        runs = list(results)
        if not runs or len({(run.steps, run.adam) for run in runs}) != 1:
            raise InvalidValueError(
                "results must be runs with the same recorded steps and parameter groups, got "
                f"{len(runs)} runs with {len({(run.steps, run.adam) for run in runs})} layouts."
            )

        def over_runs(name: str) -> tuple[Column, ...]:
            values = np.stack([_array(getattr(run, name)) for run in runs])
            known = np.isfinite(values).sum(axis=0)
            sums = np.nansum(values, axis=0)
            return tuple(
                tuple(float(s / n) if n else None for s, n in zip(*rows, strict=True))
                for rows in zip(sums, known, strict=True)
            )

        names = ("schedule", "unexplained", "update_norm")
        columns = {name: over_runs(name) for name in names}
        return cls(steps=runs[0].steps, adam=runs[0].adam, **columns)


def _array(columns: Sequence[Column]) -> np.ndarray:
    """Return columns as an array (num_groups, num_points), NaN for None."""
    return np.array([[np.nan if x is None else x for x in column] for column in columns], float)
