"""A study that is not finished: what there is of it, and what is still to come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dualadam.compare.arm_summary import TunedArm, TunedPoint, tuned_points
from dualadam.compare.plan import ArmKey, make_plan
from dualadam.compare.run import Record
from dualadam.compare.spec import Spec


@dataclass(frozen=True)
class UnfinishedArm(TunedArm):
    """One arm: how many of its runs there are.

    ``judged`` is empty: nobody sees test scores before all of them are there.
    """

    num_tuned: int  # tuning runs on disk
    num_judged: int

    def best(self, sign: float) -> TunedPoint | None:
        """Return the best point so far."""
        return max(self.tuning, key=lambda point: sign * point.score, default=None)


@dataclass(frozen=True)
class Unfinished:
    """A study whose judged runs are not complete.

    Attributes:
        num_runs: of the finished study.
        num_done: runs on disk.
        per_arm: tuning and judged runs of every arm when the study is finished.
    """

    spec: Spec
    arms: list[UnfinishedArm]
    num_runs: int
    num_done: int
    per_arm: tuple[int, int]

    def missing(self, phase: str) -> dict[ArmKey, int]:
        """Return how many runs of a phase each arm lacks; arms that lack none are left out."""
        tuning, judged = self.per_arm
        lacks = {
            row.key: tuning - row.num_tuned if phase == "tune" else judged - row.num_judged
            for row in self.arms
        }
        return {key: count for key, count in lacks.items() if count > 0}


def survey(spec: Spec, records: Iterable[Record]) -> Unfinished | None:
    """Return what there is of a study; None where every judged run is there."""
    by_key = {record.key: record for record in sorted(records, key=lambda record: record.key)}
    plan = make_plan(spec)
    per_arm = plan.num_tuning_runs // len(plan.settings), spec.seeds
    arms = []
    for block in spec.block:
        for arm in block.arm:
            key = block.name, arm.name
            own = [r for r in by_key.values() if (r.run.block, r.run.arm) == key]
            tuned = [record for record in own if record.run.phase == "tune"]
            arms.append(
                UnfinishedArm(
                    *key,
                    arm.optimizer,
                    tuned_points(tuned, spec.tuning_seeds),
                    judged=[],
                    num_tuned=len(tuned),
                    num_judged=len(own) - len(tuned),
                )
            )
    if all(row.num_judged >= spec.seeds for row in arms):
        return None
    num_done = sum(row.num_tuned + row.num_judged for row in arms)
    return Unfinished(spec, arms, plan.num_runs, num_done, per_arm)
