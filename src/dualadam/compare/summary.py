"""From records to a summary: the scores of every arm, its difference from the control, verdicts.

Pure: the same records give the same summary, in whatever order they finished.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dualadam.compare import stats
from dualadam.compare.arm_summary import ArmSummary, summarise_arm
from dualadam.compare.choice import MIN_TUNING_SEEDS, add_choice, choice_spread
from dualadam.compare.control import control_of
from dualadam.compare.drawn import label
from dualadam.compare.margin import margin_of
from dualadam.compare.plan import ArmKey, Trials, tuning_trials
from dualadam.compare.power import detectable_difference
from dualadam.compare.run import Record
from dualadam.compare.spec import Spec
from dualadam.harness.verdict import Verdict

BOOTSTRAP_SEED = 20260307
MIN_SEEDS = 10  # of a verdict; with 5, a sign-flip test of a pair cannot go below p = 0.0625


@dataclass(frozen=True)
class CommonRate:
    """Validation scores of the primary arms at a learning rate that both were tuned at."""

    lr: float
    first: float
    against: float
    difference: float  # sign-flipped so that positive is better


@dataclass(frozen=True)
class Summary:
    """A finished study.

    Attributes:
        control: block -> its control.
        detectable: the smallest primary difference that this study detects with 80 % power.
        examples: the primary difference over the test examples instead of the seeds; None where
            the metric does not count examples.
        common: the primary arms at common learning rates.
        environments: all environments that runs were made in.
        margin: of equivalence of the primary comparison.
    """

    spec: Spec
    arms: list[ArmSummary]
    control: dict[str, str]
    detectable: float
    examples: stats.Interval | None
    common: list[CommonRate]
    environments: list[dict[str, Any]]
    margin: float

    @property
    def primary(self) -> ArmSummary:
        """The first arm of the primary comparison."""
        key = (self.spec.primary_block.name, self.spec.primary.arm)
        return next(row for row in self.arms if row.key == key)

    @property
    def is_demonstration(self) -> bool:
        """Whether the study is too small for a verdict, by its spec or by its seeds."""
        return self.spec.demonstration or self.spec.seeds < MIN_SEEDS

    @property
    def verdict(self) -> Verdict:
        """The verdict of the study; what the interval says is ``primary.verdict``."""
        return self.verdict_of(self.primary)

    def verdict_of(self, row: ArmSummary) -> Verdict:
        """Return what the study says of an arm: its verdict, or that it gives none."""
        if row.verdict in (Verdict.CONTROL, Verdict.NO_VERDICT) or not self.is_demonstration:
            return row.verdict
        return Verdict.DEMONSTRATION

    @property
    def decimals(self) -> int:
        """Digits after the point of a score: two, or as many as the intervals need.

        A score that is no percentage may be small; the half-width of the primary difference then
        keeps two digits.
        """
        difference = self.primary.difference
        if self.spec.judged_by.metric.unit == "%" or difference is None:
            return 2
        half_width = (difference.high - difference.low) / 2
        if not half_width > 0:
            return 4
        return min(8, max(2, 1 - math.floor(math.log10(half_width))))

    def label(self, row: ArmSummary) -> str:
        """Return the arm's name, with its block's where there are several blocks."""
        return label(self, row)


def summarise(spec: Spec, records: Iterable[Record]) -> Summary:
    """Return the summary of a finished study.

    The primary comparison is decided by its interval alone. The p values of all other comparisons
    are Holm-adjusted together.

    Raises:
        InvalidValueError: an arm lacks judged runs; the study is not finished.
    """
    records = sorted(records, key=lambda record: record.key)  # sums in a fixed order
    trials = tuning_trials(records, spec.judged_by.metric.sign)
    control = {block.name: control_of(spec, block) for block in spec.block}
    margin = margin_of(spec, records)
    rows: list[ArmSummary] = []
    for block in spec.block:
        arms = {arm.name: summarise_arm(spec, block, arm, records) for arm in block.arm}
        reference = arms[control[block.name]]
        rows += [_compare(spec, row, reference, margin, trials) for row in arms.values()]
    by_key = {row.key: row for row in rows}
    block_name = spec.primary_block.name
    first, against = (by_key[block_name, name] for name in (spec.primary.arm, spec.primary.against))
    metric = spec.judged_by.metric
    return Summary(
        spec=spec,
        arms=_adjust(rows, primary=first),
        control=control,
        detectable=detectable_difference(np.subtract(first.scores, against.scores)),
        examples=_over_examples(first, against) if metric.of_examples else None,
        common=_at_common_rates(first, against, metric.sign),
        environments=list({str(r.environment): r.environment for r in records}.values()),
        margin=margin,
    )


def _compare(
    spec: Spec,
    row: ArmSummary,
    reference: ArmSummary,
    margin: float,
    trials: dict[ArmKey, Trials],
) -> ArmSummary:
    if row is reference:
        return row
    rng, sign = np.random.default_rng(BOOTSTRAP_SEED), spec.judged_by.metric.sign
    difference = stats.paired_difference(row.scores, reference.scores, rng, sign=sign)
    if spec.points and spec.tuning_seeds >= MIN_TUNING_SEEDS:
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        spread = choice_spread(trials[row.key], trials[reference.key], rng)
        difference = add_choice(difference, spread, decides=spec.interval == "with choice")
    nothing_differs = row.judged_alike(reference) or len({*row.scores, *reference.scores}) == 1
    no_noise = nothing_differs or _seed_is_without_effect(row, reference)
    decided = Verdict.NO_VERDICT if no_noise else stats.verdict(difference, margin)
    return replace(row, difference=difference, verdict=decided)


def _seed_is_without_effect(row: ArmSummary, reference: ArmSummary) -> bool:
    """Whether each arm has one score in all seeds: an interval over them has no width."""
    if row.diverged or reference.diverged:  # the same worst score is a real outcome
        return False
    return len({*row.scores}) == len({*reference.scores}) == 1


def _adjust(rows: list[ArmSummary], primary: ArmSummary) -> list[ArmSummary]:
    """Adjust the p values of all but the primary comparison, and with them their verdicts."""
    secondary = [row for row in rows if row.difference and row is not primary]
    p_values = stats.holm([row.difference.p for row in secondary if row.difference])
    adjusted = dict(zip((row.key for row in secondary), p_values, strict=True))

    def with_p(row: ArmSummary) -> ArmSummary:
        if row.difference is None or row.key not in adjusted:
            return row
        p = adjusted[row.key]
        kept = (Verdict.EQUIVALENT, Verdict.NO_VERDICT)
        is_decided = p < 1 - stats.LEVEL or row.verdict in kept
        verdict = row.verdict if is_decided else Verdict.NOT_DECIDED
        return replace(row, difference=replace(row.difference, p_holm=p), verdict=verdict)

    return [with_p(row) for row in rows]


def _over_examples(first: ArmSummary, against: ArmSummary) -> stats.Interval | None:
    """Return the primary difference over the test examples, where every run has them."""
    if any(record.correct is None for row in (first, against) for record in row.judged):
        return None
    ours, theirs = ([_right(record) for record in row.judged] for row in (first, against))
    return stats.example_bootstrap(ours, theirs, np.random.default_rng(BOOTSTRAP_SEED))


def _right(record: Record) -> np.ndarray:
    packed = np.frombuffer(bytes.fromhex(record.correct or ""), np.uint8)
    return np.unpackbits(packed, count=record.num_test)


def _at_common_rates(first: ArmSummary, against: ArmSummary, sign: float) -> list[CommonRate]:
    ours, theirs = (
        [(point.setting["lr"], point.score) for point in row.tuning if "lr" in point.setting]
        for row in (first, against)
    )
    at_rate = dict(theirs)
    return [
        CommonRate(lr, score, at_rate[lr], sign * (score - at_rate[lr]))
        for lr, score in sorted(ours)
        if lr in at_rate
    ]
