"""As many points and seeds as fit into a given time, and what they can find."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from dualadam.compare.continued import recorded_spec
from dualadam.compare.estimate import Estimate, estimate
from dualadam.compare.plan import make_plan
from dualadam.compare.power import detectable_in_spreads
from dualadam.compare.spec import TUNING_SEED, Spec
from dualadam.compare.wording import with_unit
from dualadam.errors import InvalidValueError
from dualadam.harness.executors import Width
from dualadam.tasks import HERE, Source

USED = 0.95  # of the time; the rest is for starting workers and for the report
MOST_POINTS = 32
LEAST = 2  # points, unless every arm is fixed, and seeds


class Budget(NamedTuple):
    """A study that fits into a time."""

    spec: Spec
    seconds: float  # how long it will take

    def sentences(self) -> str:
        """Return the points, the seeds, the time, and which difference they can find."""
        spec = self.spec
        size = detectable_in_spreads(spec.seeds)
        found = (
            f"{_counts(spec)}: about {duration(self.seconds)}. With 80 % power, "
            f"{spec.seeds} seeds find a difference of {size:.2f} standard deviations of the paired "
            "differences."
        )
        margin = spec.primary.margin
        if margin is None:
            return found
        metric = spec.judged_by.metric
        wanted = with_unit(f"{margin:g}", metric)
        return (
            f"{found} A difference as large as the margin, {wanted}, is found where that standard "
            f"deviation is at most {margin / size:.2g}."
        )


def fit_to_hours(spec: Spec, cost: Estimate, hours: float) -> Budget:
    """Return the study with the most seeds that fit, with four points for every five seeds.

    At 10 seeds these are 8 points. There are at most 32 points, and the rest of the time goes into
    seeds. The spec's own ``points`` and ``seeds`` are replaced; arms without a range stay so.

    Args:
        spec: the study.
        cost: of its runs, from ``estimate``.
        hours: above 0.

    Raises:
        InvalidValueError: the time is too short for the smallest study, or not a time.
    """
    if not 0 < hours < float("inf"):
        raise InvalidValueError(f"hours must be above 0, got {hours}.")
    best: Budget | None = None
    for seeds in range(LEAST, TUNING_SEED - spec.first_seed + 1):
        points = min(MOST_POINTS, max(LEAST, 4 * seeds // 5)) if spec.points else 0
        seconds = cost.seconds_of(points * spec.tuning_seeds, seeds)
        if seconds is None:
            raise InvalidValueError(
                "hours must be left out: the number of steps is not known. Set steps in the spec."
            )
        found = Budget(
            spec.model_copy(update={"points": points, "seeds": seeds, "extended": []}),
            seconds,
        )
        if seconds > USED * 3600 * hours:
            if best is None:
                raise InvalidValueError(
                    f"hours must be at least {_rounded_up(seconds / USED / 3600):g} for this "
                    f"study, got {hours:g}: its smallest plan, {_counts(found.spec)}, takes about "
                    f"{duration(seconds)}."
                )
            return best
        best = found
    assert best is not None
    return best


def plan_for_hours(
    spec: Spec,
    folder: Path,
    hours: float,
    executors: AbstractContextManager[tuple[Executor, Width]],
    *,
    device: str = "cpu",
    data: str | None = None,
    source: Source = HERE,
) -> tuple[Spec, str]:
    """Time the runs of a study, and return the study that fits, with a sentence about it.

    A folder that has runs already keeps its points and seeds, and nothing is timed.

    Raises:
        InvalidValueError: the time is too short.
        FailedRunsError: a run that was timed failed.
    """
    if (recorded := recorded_spec(folder)) is not None:
        kept = {"points": recorded.points, "seeds": recorded.seeds}
        spec = spec.model_copy(update=kept)
        return spec, f"{folder} goes on with {_counts(spec)}."
    with executors as (executor, width):
        cost = estimate(
            make_plan(spec), executor, width(), device=device, source=source, data=data, whole=True
        )
    budget = fit_to_hours(spec, cost, hours)
    return budget.spec, budget.sentences()


def _counts(spec: Spec) -> str:
    num_arms = sum(len(block.arm) for block in spec.block)
    points = f"{spec.points} points and " if spec.points else ""
    return f"{points}{spec.seeds} seeds for each of {num_arms} arms"


def _rounded_up(hours: float) -> float:
    """Return hours with two significant digits, not less."""
    return float(f"{hours * 1.05:.2g}")


def duration(seconds: float) -> str:
    """Return a time as text.

    Example:
        >>> duration(90), duration(600), duration(9000)
        ('90 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
