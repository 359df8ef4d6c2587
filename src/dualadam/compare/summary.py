"""What a study's records say: one row an arm, its comparisons, the verdict. Pure: the same records give the same summary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from dualadam.compare import stats
from dualadam.compare.optimizers import OPTIMIZERS
from dualadam.compare.power import detectable_difference
from dualadam.compare.run import Record
from dualadam.compare.spec import Arm, Block, Spec
from dualadam.tasks import FineTuning

BOOTSTRAP_SEED = 20260307


@dataclass(frozen=True)
class TunedPoint:
    """One tuned point of an arm, on the validation split."""

    setting: dict[str, Any]
    score: float  # mean over the tuning seeds
    diverged: bool  # in any of them


@dataclass(frozen=True)
class CommonRate:
    """What the primary arms reached on the validation split at a learning rate both were tuned at."""

    lr: float
    first: float
    against: float
    difference: float  # sign-flipped so that positive is better


@dataclass(frozen=True)
class ArmSummary:
    """One arm: what was tuned, how it scored on the test split, and how it stands to the control of its block."""

    block: str
    arm: str
    optimizer: str
    setting: dict[str, Any]
    scores: list[float]  # one a seed, diverged ones as the task's worst
    interval: stats.Interval
    diverged: int  # of the judged runs
    diverged_points: int  # of the tuned points
    num_points: int
    tuning: list[TunedPoint]
    judged: list[Record]
    signature: str
    seconds_per_step: float  # median over the judged runs
    state_bytes: int
    peak_bytes: int | None  # largest over the judged runs
    flatness: dict[
        str, stats.Interval
    ]  # by measure, over the judged runs that finished; empty where it was not measured
    decoupled_decay: bool | None  # None: only the class knows
    difference: stats.Difference | None = (
        None  # to the control of the block; None for the control itself
    )
    verdict: str = "control"


@dataclass(frozen=True)
class Summary:
    """A study, ready to be drawn."""

    spec: Spec
    arms: list[ArmSummary]
    control: dict[str, str]  # block -> its control
    detectable: (
        float  # smallest difference of the primary comparison that this study finds with 80 % power
    )
    examples: stats.Interval | None  # the primary difference, over test examples instead of seeds
    common: list[
        CommonRate
    ]  # {"lr", "first", "against", "difference"} of the primary arms, on the validation split
    environment: dict[str, Any]
    others: list[dict[str, Any]] = field(
        default_factory=list
    )  # further environments that runs were made in

    @property
    def primary(self) -> ArmSummary:
        """The row of the primary comparison's first arm."""
        return next(
            a
            for a in self.arms
            if (a.block, a.arm) == (self.spec.primary_block.name, self.spec.primary.arm)
        )

    def label(self, row: ArmSummary) -> str:
        """The arm's name, with its block's where there are several."""
        return f"{row.arm} ({row.block})" if len(self.spec.block) > 1 else row.arm

    @property
    def power(self) -> str:
        """What the primary comparison could have found, as a sentence."""
        if self.detectable == 0:
            return "Both arms had the same score in every seed: there is no spread, and no power to speak of."
        return f"With this spread, the study finds a true difference of {self.detectable:.2f} with 80 % power."

    @property
    def sentence(self) -> str:
        """The verdict as a sentence."""
        spec, row = self.spec, self.primary
        unit, d = _unit(spec.judged_by[1].unit), row.difference
        assert d is not None
        arm, against = spec.primary.arm, spec.primary.against
        numbers = f"{d.mean:+.2f}{unit} [{d.low:+.2f}, {d.high:+.2f}], {d.n} paired seeds"
        numbers += ", positive is better" if spec.judged_by[1].sign < 0 else ""
        zero = " The interval contains 0." if d.low <= 0 <= d.high else ""
        if spec.demonstration:
            return f"A {'smoke test' if spec.smoke else 'demonstration'}, no verdict. {arm} less {against}: {numbers}.{zero}"
        return {
            "better": f"{arm} is better than {against}: {numbers}.",
            "worse": f"{arm} is worse than {against}: {numbers}.",
            "equivalent": f"{arm} and {against} are equivalent within {spec.primary.margin:g}{unit}: {numbers}.{zero}",
            "not decided": f"Not decided between {arm} and {against}: {numbers}.{zero}",
        }[row.verdict]


def _unit(unit: str) -> str:
    return " points" if unit == "%" else f" {unit}".rstrip()


def control_of(spec: Spec, block: Block) -> str:
    """Return the arm that a block's arms are compared with: primary.against, else a warm-up control, else the first arm."""
    if block is spec.primary_block:
        return spec.primary.against
    known = [(arm.name, OPTIMIZERS.get(arm.optimizer)) for arm in block.arm]
    return next((name for name, entry in known if entry and entry.warmup), block.arm[0].name)


def summarise(spec: Spec, records: Iterable[Record]) -> Summary:
    """Return the summary of a finished study.

    The primary comparison stands alone; the p values of all others are adjusted together after Holm.

    Raises:
        ValueError: an arm lacks judged runs: the study is not finished.
    """
    records = sorted(
        records, key=lambda r: r.key
    )  # finished in whatever order, they give the same sums to the last bit
    rows: list[ArmSummary] = []
    control = {}
    for block in spec.block:
        control[block.name] = control_of(spec, block)
        arms = {arm.name: _arm(spec, block, arm, records) for arm in block.arm}
        reference = arms[control[block.name]]
        rows += [
            row if row is reference else _compare(spec, row, reference) for row in arms.values()
        ]
    primary_key = (spec.primary_block.name, spec.primary.arm)
    secondary = [
        (row, row.difference)
        for row in rows
        if row.difference and (row.block, row.arm) != primary_key
    ]
    for (row, d), p in zip(secondary, stats.holm([d.p for _, d in secondary]), strict=True):
        decided = (
            row.verdict if p < 1 - stats.LEVEL or row.verdict == "equivalent" else "not decided"
        )
        rows[rows.index(row)] = replace(row, difference=replace(d, p_holm=p), verdict=decided)
    environments = list({str(r.environment): r.environment for r in records}.values())
    first = next(r for r in rows if (r.block, r.arm) == primary_key)
    against = next(r for r in rows if (r.block, r.arm) == (primary_key[0], spec.primary.against))
    detectable = detectable_difference(np.subtract(first.scores, against.scores))
    examples = _examples(first, against) if spec.judged_by[1].of_examples else None
    common = _common(first, against, spec.judged_by[1].sign)
    return Summary(
        spec, rows, control, detectable, examples, common, environments[0], environments[1:]
    )


def _arm(spec: Spec, block: Block, arm: Arm, records: list[Record]) -> ArmSummary:
    own = [r for r in records if (r.run.block, r.run.arm) == (block.name, arm.name)]
    judged = sorted((r for r in own if r.run.phase == "judge"), key=lambda r: r.run.seed)
    if len(judged) != spec.seeds:
        raise ValueError(
            f"{arm.name!r} has {len(judged)} judged runs of {spec.seeds}; start the study again to finish it."
        )
    points: dict[int, list[Record]] = {}
    for record in own:
        if record.run.phase == "tune":
            points.setdefault(record.run.trial, []).append(record)
    tuning = [
        TunedPoint(
            setting=group[0].run.settings,
            score=float(np.mean([r.validation.score for r in group])),
            diverged=any(r.diverged for r in group),
        )
        for _, group in sorted(points.items())
    ]
    first = judged[0]
    scores = [r.test.score for r in judged if r.test]
    return ArmSummary(
        block=block.name,
        arm=arm.name,
        optimizer=arm.optimizer,
        setting=first.run.settings,
        scores=scores,
        interval=stats.mean_interval(scores),
        diverged=sum(r.diverged for r in judged),
        diverged_points=sum(t.diverged for t in tuning),
        num_points=len(tuning),
        tuning=tuning,
        judged=judged,
        signature=signature(judged),
        seconds_per_step=float(np.median([r.seconds_per_step for r in judged])),
        state_bytes=first.state_bytes,
        peak_bytes=max((r.peak_bytes for r in judged if r.peak_bytes), default=None),
        flatness=_flatness(judged),
        decoupled_decay=entry.decoupled if (entry := OPTIMIZERS.get(arm.optimizer)) else None,
    )


def _flatness(judged: list[Record]) -> dict[str, stats.Interval]:
    measured = [asdict(r.flatness) for r in judged if r.flatness]
    values = {
        name: [m[name] for m in measured if m[name] is not None]
        for name in (measured[0] if measured else ())
    }
    return {name: stats.mean_interval(v) for name, v in values.items() if len(v) > 1}


def _examples(first: ArmSummary, against: ArmSummary) -> stats.Interval | None:
    """Return the primary difference with its interval over the test examples, where there are such."""
    if any(r.correct is None for row in (first, against) for r in row.judged):
        return None
    first_right, against_right = ([_bits(r) for r in row.judged] for row in (first, against))
    return stats.example_bootstrap(
        first_right, against_right, np.random.default_rng(BOOTSTRAP_SEED)
    )


def _bits(record: Record) -> np.ndarray:
    return np.unpackbits(
        np.frombuffer(bytes.fromhex(record.correct or ""), np.uint8), count=record.num_test
    )


def _common(first: ArmSummary, against: ArmSummary, sign: float) -> list[CommonRate]:
    """Return what both arms reached on the validation split at every learning rate that both were tuned at; positive is better."""
    ours, theirs = (
        [(t.setting["lr"], t.score) for t in row.tuning if "lr" in t.setting]
        for row in (first, against)
    )
    at_rate = dict(theirs)
    return [
        CommonRate(lr, score, at_rate[lr], sign * (score - at_rate[lr]))
        for lr, score in sorted(ours)
        if lr in at_rate
    ]


def _compare(spec: Spec, row: ArmSummary, reference: ArmSummary) -> ArmSummary:
    difference = stats.paired_difference(
        row.scores,
        reference.scores,
        np.random.default_rng(BOOTSTRAP_SEED),
        sign=spec.judged_by[1].sign,
    )
    return replace(
        row, difference=difference, verdict=stats.verdict(difference, spec.primary.margin)
    )


def signature(judged: list[Record]) -> str:
    """Return what a score was measured with, as one string: task, arm, settings, seeds, versions.

    Example: ``task:digits|model:small-cnn|optimizer:Adam|lr:0.003|...|seeds:0-4|torch:2.13.0+cpu|dualadam:0.1.0``.
    """
    run, env = judged[0].run, judged[0].environment
    seeds = [r.run.seed for r in judged]
    length = f"epochs:{run.epochs}" if run.epochs else f"steps:{run.steps}"
    parts = [f"task:{run.task}", f"model:{run.model}", f"optimizer:{run.optimizer}"]
    parts += [f"{k}:{v}" for k, v in sorted(run.settings.items())]
    parts += [
        f"weight_decay:{run.weight_decay:g}",
        length,
        f"batch:{run.batch_size}",
        f"schedule:{run.schedule}",
    ]
    parts += [
        f"{name}:{value}"
        for name in ("subset", "augment", "evaluate_at_most")
        if (value := getattr(run, name))
    ]
    parts += [f"accumulate:{run.accumulate}"] if run.accumulate > 1 else []
    if run.language:
        usual = asdict(FineTuning(run.model))
        parts += [
            f"{name}:{value}"
            for name, value in asdict(run.language).items()
            if name in ("parameters", "max_length") or value != usual[name]
        ]
    parts += [f"loss_scale:{run.loss_scale:g}"] if run.loss_scale != 1 else []
    parts += [
        f"precision:{run.precision}",
        f"seeds:{min(seeds)}-{max(seeds)}",
        f"device:{env['device']}",
        f"threads:{env['threads']}",
    ]
    return "|".join([*parts, f"torch:{env['torch']}", f"dualadam:{env['dualadam']}"])
