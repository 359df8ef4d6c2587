"""The summary of one arm: its tuned points, its test scores, its flatness and its cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dualadam.compare import stats
from dualadam.compare.optimizers import OPTIMIZERS
from dualadam.compare.run import Record
from dualadam.compare.signature import signature
from dualadam.compare.spec import Spec
from dualadam.compare.spec_tables import Arm, Block
from dualadam.errors import InvalidValueError
from dualadam.harness.verdict import Verdict


@dataclass(frozen=True)
class TunedPoint:
    """One tuned point of an arm, scored on the validation split."""

    setting: dict[str, Any]
    score: float  # mean over the tuning seeds
    diverged: bool  # in any of them


@dataclass(frozen=True)
class TunedArm:
    """One arm, and the runs that there are of it.

    Attributes:
        tuning: the points of which every tuning run is finished.
        judged: the records of the judged runs, by seed.
    """

    block: str
    arm: str
    optimizer: str
    tuning: list[TunedPoint]
    judged: list[Record]

    @property
    def key(self) -> tuple[str, str]:
        """The names of the block and of the arm."""
        return self.block, self.arm

    def judged_alike(self, other: TunedArm) -> bool:
        """Whether every judged run has the scores, losses and curve of the other arm's."""
        return [_outcome(record) for record in self.judged] == [
            _outcome(record) for record in other.judged
        ]


@dataclass(frozen=True)
class ArmSummary(TunedArm):
    """One arm of a finished study: its test scores, and its difference from the control.

    Attributes:
        scores: one per seed; a diverged run has the metric's worst value.
        diverged: number of judged runs that diverged.
        diverged_points: number of tuned points that diverged.
        seconds_per_step: median over the judged runs.
        peak_bytes: largest over the judged runs; None where unknown.
        flatness: by measure, over the judged runs that finished.
        decoupled_decay: whether the weight decay is decoupled; None where unknown.
        difference: from the control of the block; None for the control itself.
    """

    setting: dict[str, Any]
    scores: list[float]
    interval: stats.Interval
    diverged: int
    diverged_points: int
    num_points: int
    signature: str
    seconds_per_step: float
    state_bytes: int
    peak_bytes: int | None
    flatness: dict[str, stats.Interval]
    decoupled_decay: bool | None
    difference: stats.Difference | None = None
    verdict: Verdict = Verdict.CONTROL


def summarise_arm(spec: Spec, block: Block, arm: Arm, records: Iterable[Record]) -> ArmSummary:
    """Return the summary of one arm, not yet compared with its control.

    Raises:
        InvalidValueError: the arm lacks judged runs; the study is not finished.
    """
    own = [r for r in records if (r.run.block, r.run.arm) == (block.name, arm.name)]
    judged = sorted((r for r in own if r.run.phase == "judge"), key=lambda r: r.run.seed)
    if len(judged) != spec.seeds:
        raise InvalidValueError(
            f"{arm.name!r} has {len(judged)} judged runs of {spec.seeds}; "
            "start the study again to finish it."
        )
    tuning = tuned_points([r for r in own if r.run.phase == "tune"], spec.tuning_seeds)
    scores = [record.test.score for record in judged if record.test]
    entry = OPTIMIZERS.get(arm.optimizer)
    return ArmSummary(
        block=block.name,
        arm=arm.name,
        optimizer=arm.optimizer,
        setting=judged[0].run.settings,
        scores=scores,
        interval=stats.mean_interval(scores),
        diverged=sum(record.diverged for record in judged),
        diverged_points=sum(point.diverged for point in tuning),
        num_points=len(tuning),
        tuning=tuning,
        judged=judged,
        signature=signature(judged),
        seconds_per_step=float(np.median([record.seconds_per_step for record in judged])),
        state_bytes=judged[0].state_bytes,
        peak_bytes=max((r.peak_bytes for r in judged if r.peak_bytes), default=None),
        flatness=_flatness(judged),
        decoupled_decay=entry.decoupled if entry else None,
    )


def _outcome(record: Record) -> tuple[Any, ...]:
    return record.run.seed, record.validation, record.test, record.curve


def tuned_points(records: list[Record], num_seeds: int) -> list[TunedPoint]:
    """Return the points of an arm's tuning runs, without those that lack a run."""
    groups: dict[int, list[Record]] = {}
    for record in records:
        groups.setdefault(record.run.trial, []).append(record)
    return [
        TunedPoint(
            setting=group[0].run.settings,
            score=float(np.mean([record.validation.score for record in group])),
            diverged=any(record.diverged for record in group),
        )
        for _, group in sorted(groups.items())
        if len(group) == num_seeds
    ]


def _flatness(judged: list[Record]) -> dict[str, stats.Interval]:
    values: dict[str, list[float]] = {}
    for record in judged:
        for name, value in asdict(record.flatness).items() if record.flatness else ():
            values.setdefault(name, []).extend([] if value is None else [value])
    return {name: stats.mean_interval(v) for name, v in values.items() if len(v) > 1}
