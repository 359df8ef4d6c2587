"""How long a study will take, from timed runs."""

from __future__ import annotations

import functools
import time
from concurrent.futures import Executor
from dataclasses import dataclass

from dualadam.compare.decay import lr_of
from dualadam.compare.plan import Plan
from dualadam.compare.run import Run
from dualadam.compare.timing import RunTime, time_run, worker_is_ready
from dualadam.errors import FailedRunsError
from dualadam.harness.isolation import PieceError, call_isolated
from dualadam.tasks import HERE, Source

HANDLED = 5  # calls over which the handling of a run is measured


@dataclass(frozen=True)
class ArmTime:
    """What one arm costs."""

    block: str
    arm: str
    time: RunTime


@dataclass(frozen=True)
class Estimate:
    """What a study costs.

    Attributes:
        arms: a row each.
        tuning_runs, judged_runs: of every arm.
        steps_per_run: None where the size of the data is not known, or the user's own code counts.
        width: runs at the same time.
        evaluations: whether they are counted.
        start_up: seconds until the workers could take a run, once and not in ``seconds``.
    """

    arms: list[ArmTime]
    tuning_runs: int
    judged_runs: int
    steps_per_run: int | None
    width: int
    evaluations: bool
    start_up: float = 0.0

    @property
    def num_runs(self) -> int:
        """The number of runs of the study."""
        return len(self.arms) * (self.tuning_runs + self.judged_runs)

    @property
    def seconds(self) -> float | None:
        """The duration of the study; None where the number of steps is not known."""
        return self.seconds_of(self.tuning_runs, self.judged_runs)

    def seconds_of(self, tuning_runs: int, judged_runs: int) -> float | None:
        """Return the duration with so many runs of every arm."""
        total = 0.0
        for arm in self.arms:
            if arm.time.tuning is None or arm.time.judged is None:
                return None
            total += tuning_runs * arm.time.tuning + judged_runs * arm.time.judged
        return total / self.width


def estimate(
    plan: Plan,
    executor: Executor,
    width: int,
    *,
    device: str = "cpu",
    source: Source = HERE,
    data: str | None = None,
    whole: bool = False,
) -> Estimate:
    """Time a run of every arm, as many arms at once as runs will be. See ``timing.py``.

    Args:
        plan: the study.
        executor: any ``concurrent.futures`` executor.
        width: the number of runs at the same time.
        device: where the models live.
        source: where the name of a task of the user's own leads.
        data: the folder with the data sets, for ``whole``.
        whole: whether to time evaluations too, on the task's own data.

    Raises:
        FailedRunsError: a run that was timed failed.
    """
    spec = plan.spec
    timed = functools.partial(
        call_isolated,
        time_run,
        total_steps=spec.total_steps,
        whole=whole,
        data=data,
        device=device,
        source=source,
        timeout=spec.timeout,
    )
    runs = _calmest_runs(plan)
    started = time.perf_counter()
    for ready in [executor.submit(worker_is_ready) for _ in range(width)]:
        ready.result()
    start_up = time.perf_counter() - started
    try:
        times = list(executor.map(timed, runs))
        if whole:
            handling = _handling_seconds(executor)
            times = [RunTime(t.step, *(x and x + handling for x in t[1:])) for t in times]
    except PieceError as error:
        raise FailedRunsError(f"A run that was timed failed: {error}") from error
    return Estimate(
        [ArmTime(run.block, run.arm, found) for run, found in zip(runs, times, strict=True)],
        tuning_runs=spec.num_points * spec.tuning_seeds,
        judged_runs=spec.seeds,
        steps_per_run=None if spec.train else spec.total_steps,
        width=width,
        evaluations=whole or spec.train is not None,
        start_up=start_up,
    )


def _handling_seconds(executor: Executor) -> float:
    """Return what it costs to send a run to a worker and to receive its record."""
    started = time.perf_counter()
    for _ in range(HANDLED):
        executor.submit(call_isolated, time.perf_counter).result()
    return (time.perf_counter() - started) / HANDLED


def _calmest_runs(plan: Plan) -> list[Run]:
    """Return a run of every arm, at its lowest learning rate: the least likely to diverge."""
    points = {
        key: _lowest([lr_of(point) for point in found]) for key, found in plan.settings.items()
    }
    return list({(run.block, run.arm): run for run in plan.judged_runs(points)}.values())


def _lowest(rates: list[float | None]) -> int:
    known = [rate for rate in rates if rate is not None]
    return rates.index(min(known)) if known else 0
