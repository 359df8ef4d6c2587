"""How long a study will take, from timed steps."""

from __future__ import annotations

import functools
from concurrent.futures import Executor
from dataclasses import dataclass

from dualadam.compare.plan import Plan
from dualadam.compare.train import time_step
from dualadam.tasks import HERE, Source


@dataclass(frozen=True)
class ArmTime:
    """What one arm costs."""

    block: str
    arm: str
    seconds_per_step: float
    num_runs: int


@dataclass(frozen=True)
class Estimate:
    """What a study costs, without its evaluations."""

    arms: list[ArmTime]
    num_runs: int
    steps_per_run: int | None  # None where the size of the data is not known
    width: int  # runs at the same time

    @property
    def seconds(self) -> float | None:
        """The duration of the study; None where the number of steps is not known."""
        if self.steps_per_run is None:
            return None
        steps = sum(a.seconds_per_step * a.num_runs for a in self.arms) * self.steps_per_run
        return steps / self.width


def estimate(
    plan: Plan, executor: Executor, width: int, *, device: str = "cpu", source: Source = HERE
) -> Estimate:
    """Time one step of every arm, as many arms at once as runs will be.

    The batches are synthetic where the task's shapes are known, so that no data is needed.

    Args:
        plan: the study.
        executor: any ``concurrent.futures`` executor.
        width: the number of runs at the same time.
        device: where the models live.
        source: where the name of a task of the user's own leads.
    """
    first = dict.fromkeys(plan.settings, 0)
    runs = list({(run.block, run.arm): run for run in plan.judged_runs(first)}.values())
    seconds = executor.map(functools.partial(time_step, device=device, source=source), runs)
    per_arm = plan.num_runs // len(runs)
    arms = [ArmTime(r.block, r.arm, s, per_arm) for r, s in zip(runs, seconds, strict=True)]
    return Estimate(arms, plan.num_runs, plan.spec.total_steps, width)
