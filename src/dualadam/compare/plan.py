"""The plan of a study: all that is decided before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from dualadam.compare.control import reference_lr
from dualadam.compare.points import ArmKey, draw_points
from dualadam.compare.run import Record, Run
from dualadam.compare.spec import TUNING_SEED, Spec
from dualadam.compare.spec_tables import Arm, Block

Trials = dict[int, list[tuple[float, float]]]  # trial -> (score, -loss) of each tuning seed


@dataclass(frozen=True)
class Plan:
    """The points of every arm, and the runs that follow from them."""

    spec: Spec
    settings: dict[ArmKey, list[dict[str, Any]]]  # the points of each arm

    @property
    def tuning_runs(self) -> list[Run]:
        """Every arm at every point; empty where the arms are fixed."""
        spec = self.spec
        if not spec.points:
            return []
        seeds = range(TUNING_SEED, TUNING_SEED + spec.tuning_seeds)
        return [
            self.run("tune", block, arm, trial, seed)
            for trial in range(spec.num_points)
            for seed in seeds
            for block in spec.block
            for arm in block.arm
        ]

    @property
    def num_tuning_runs(self) -> int:
        """The number of tuning runs."""
        return self.spec.num_points * self.spec.tuning_seeds * len(self.settings)

    @property
    def num_runs(self) -> int:
        """The number of tuning and judged runs."""
        return self.num_tuning_runs + self.spec.seeds * len(self.settings)

    def run(
        self, phase: Literal["tune", "judge"], block: Block, arm: Arm, trial: int, seed: int
    ) -> Run:
        """Return one run of an arm at one of its points."""
        spec = self.spec
        return Run(
            phase=phase,
            block=block.name,
            arm=arm.name,
            trial=trial,
            seed=seed,
            task=spec.task,
            metric=spec.judged_by.name,
            model=spec.model,
            optimizer=arm.optimizer,
            settings=self.settings[block.name, arm.name][trial],
            weight_decay=block.weight_decay,
            epochs=spec.epochs,
            steps=spec.steps,
            batch_size=spec.batch_size,
            schedule=arm.schedule or spec.schedule,
            final_fraction=spec.final_fraction,
            precision=spec.precision,
            augment=spec.augment,
            subset=spec.subset,
            loss_scale=arm.loss_scale,
            flatness=spec.flatness and phase == "judge",
            accumulate=spec.accumulate,
            evaluations=spec.evaluations,
            evaluate_at_most=spec.evaluate_at_most,
            language=spec.fine_tuning,
            warmup=arm.warmup,
            own_loop=spec.own_loop,
            reference_lr=reference_lr(spec, block),
            shadow=spec.shadow and phase == "judge",
            fused=spec.fused and spec.train is None,
        )

    def winners(self, records: Iterable[Record]) -> dict[ArmKey, int]:
        """Return each arm's point with the best mean validation score over the tuning seeds.

        Ties go to the lower loss, then to the earlier point. A diverged run counts with the
        metric's worst value and an infinite loss.
        """
        if not self.spec.points:
            return dict.fromkeys(self.settings, 0)
        results = tuning_trials(records, self.spec.judged_by.metric.sign)
        return {key: best_trial(trials) for key, trials in results.items()}

    def judged_runs(self, winners: dict[ArmKey, int]) -> list[Run]:
        """Return every arm at its best point, on the paired seeds."""
        return [
            self.run("judge", block, arm, winners[block.name, arm.name], seed)
            for seed in self.spec.judged_seeds
            for block in self.spec.block
            for arm in block.arm
        ]


def tuning_trials(records: Iterable[Record], sign: float) -> dict[ArmKey, Trials]:
    """Return the validation scores of every arm's points, by tuning seed, greater is better."""
    results: dict[ArmKey, Trials] = {}
    tuned = [record for record in records if record.run.phase == "tune"]
    for record in sorted(tuned, key=lambda record: record.run.seed):
        run, validation = record.run, record.validation
        loss = math.inf if validation.loss is None else validation.loss
        trials = results.setdefault((run.block, run.arm), {})
        trials.setdefault(run.trial, []).append((sign * validation.score, -loss))
    return results


def best_trial(trials: Trials) -> int:
    """Return the trial with the greatest mean score, then mean of -loss, then the first."""

    def rank(trial: int) -> tuple[float, float, int]:
        scores, minus_losses = zip(*trials[trial], strict=True)
        count = len(scores)
        return sum(scores) / count, sum(minus_losses) / count, -trial

    return max(trials, key=rank)


def make_plan(spec: Spec) -> Plan:
    """Draw every point of every arm, before any run. See ``points.py``."""
    return Plan(spec, draw_points(spec))
