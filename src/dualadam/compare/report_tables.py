"""The tables of a report, as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from dualadam.compare.arm_summary import ArmSummary
from dualadam.compare.drawn import Drawn, label
from dualadam.compare.run import AppliedDecay
from dualadam.compare.spec_tables import Block
from dualadam.compare.stats import Difference, Interval
from dualadam.compare.summary import Summary
from dualadam.compare.tuning_budget import BudgetPoint, budget_curve, shown_budgets

FLATNESS = {
    "top_eigenvalue": "Top eigenvalue",
    "sam_sharpness": "SAM sharpness",
    "adaptive_sharpness": "Adaptive sharpness",
}


@dataclass(frozen=True)
class Table:
    """Rows of text under their columns; the first column names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    highlighted: int | None = None  # index of a row


@dataclass(frozen=True)
class ScoreRow:
    """The scores of one arm, as text."""

    arm: str
    setting: str
    mean: str
    interval: str
    n: str
    difference: str
    better_in: str
    verdict: str
    diverged: str


SCORE_COLUMNS = ScoreRow(
    arm="Arm",
    setting="Tuned setting",
    mean="Mean",
    interval="95 % interval",
    n="n",
    difference="Difference from control",
    better_in="Better in",
    verdict="Verdict",
    diverged="Diverged",
)


def score_rows(summary: Summary, block: Block) -> list[ScoreRow]:
    """Return the scores of a block."""
    return [_score_row(summary, row) for row in summary.arms if row.block == block.name]


def _score_row(summary: Summary, row: ArmSummary) -> ScoreRow:
    k = summary.decimals
    d, diverged = row.difference, f"{row.diverged} of {row.interval.n}"
    if row.diverged_points:
        diverged += f"; {row.diverged_points} of {row.num_points} points"
    return ScoreRow(
        arm=row.arm,
        setting=settings_text(row.setting),
        mean=f"{row.interval.mean:.{k}f}",
        interval=row.interval.ends(f".{k}f") or "needs 3 seeds",
        n=str(row.interval.n),
        difference=_difference(d, k) if d else "control",
        better_in=_better_in(summary, row) if d else "-",
        verdict=_verdict(summary, row),
        diverged=diverged,
    )


def _difference(d: Difference, k: int) -> str:
    """Return a difference with the interval that decides, and the other one where there is one."""
    text = f"{d.mean:+.{k}f} {d.ends(f'+.{k}f')}".rstrip()
    if d.with_choice is None or math.isnan(d.low):
        return text
    decides = (d.low, d.high) == d.with_choice
    low, high = d.judged if decides else d.with_choice
    what = "seeds alone" if decides else "with the choice of settings"
    return f"{text}; {what} [{low:+.{k}f}, {high:+.{k}f}]"


def _better_in(summary: Summary, row: ArmSummary) -> str:
    """Return in how many seeds an arm is better than its control, and in how many neither is."""
    control = (row.block, summary.control[row.block])
    theirs = next(other.scores for other in summary.arms if other.key == control)
    sign = summary.spec.judged_by.metric.sign
    differences = [sign * (a - b) for a, b in zip(row.scores, theirs, strict=True)]
    better, ties = sum(d > 0 for d in differences), sum(d == 0 for d in differences)
    said = f"{better} of {len(differences)} seeds"
    return said + (f", {ties} tie{'s' if ties > 1 else ''}" if ties else "")


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings as text, numbers with four digits."""
    values = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in settings.items()}
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "defaults"


def _verdict(summary: Summary, row: ArmSummary) -> str:
    """Return the verdict, and the p value where it is one of the adjusted comparisons."""
    if row.difference is None:
        return row.verdict
    word = summary.verdict_of(row)
    if row is summary.primary:
        return f"{word} (primary)"
    p = row.difference.p_holm
    return f"{word} (Holm p {'< 0.001' if p < 0.001 else f'= {p:.3f}'})"


def score_table(summary: Summary, block: Block) -> Table:
    """Return the scores of a block as a table."""
    spec, rows = summary.spec, score_rows(summary, block)
    is_primary = [block is spec.primary_block and row.arm == spec.primary.arm for row in rows]
    highlighted = is_primary.index(True) if any(is_primary) else None
    return Table(astuple(SCORE_COLUMNS), [astuple(row) for row in rows], highlighted)


def decay_table(summary: Summary, block: Block) -> Table | None:
    """Return the weight decay that each arm of a block applied, or None where it has none."""
    rows = [
        (row.arm, *_decay_cells(row.judged[0].decay))
        for row in summary.arms
        if row.block == block.name
    ]
    known = any(row.judged[0].decay for row in summary.arms if row.block == block.name)
    if not block.weight_decay or not known:
        return None
    return Table(("Arm", "weight_decay", "lr x weight_decay, per step"), rows)


def without_decay(summary: Summary, block: Block) -> list[str]:
    """Return the arms of a block whose optimizer has no argument weight_decay."""
    decays = [(row.arm, row.judged[0].decay) for row in summary.arms if row.block == block.name]
    return [arm for arm, decay in decays if decay is not None and decay.weight_decay is None]


def _decay_cells(decay: AppliedDecay | None) -> tuple[str, str]:
    if decay is None:
        return "decided by your own code", ""
    if decay.weight_decay is None:
        return "the class takes none", "0"
    per_step = "part of the gradient (L2)" if decay.per_step is None else f"{decay.per_step:.3g}"
    return f"{decay.weight_decay:.3g}", per_step


def flatness_table(summary: Summary) -> Table | None:
    """Return the flatness of every arm, or None where it was not measured."""
    if not any(row.flatness for row in summary.arms):
        return None
    rows = [
        (summary.label(row), *(_three_digits(row.flatness.get(name)) for name in FLATNESS))
        for row in summary.arms
    ]
    return Table(("Arm", *FLATNESS.values()), rows)


def _three_digits(interval: Interval | None) -> str:
    return f"{interval.mean:.3g} {interval.ends('.3g')}".rstrip() if interval else ""


def common_rate_table(summary: Summary) -> Table | None:
    """Return the primary arms at common learning rates, or None where there are none."""
    if not summary.common:
        return None
    spec, k = summary.spec, summary.decimals
    names, block = (spec.primary.arm, spec.primary.against), spec.primary_block.name
    arms = [next(row for row in summary.arms if row.key == (block, name)) for name in names]
    with_rate = [row for row in arms if any("switch_rate" in t.setting for t in row.tuning)]
    columns = ["Learning rate", *names, "Difference"]
    columns += [f"switch_rate of {row.arm}" for row in with_rate]
    rows = [
        (
            f"{c.lr:.4g}",
            f"{c.first:.{k}f}",
            f"{c.against:.{k}f}",
            f"{c.difference:+.{k}f}",
            *(_switch_rate_at(row, c.lr) for row in with_rate),
        )
        for c in summary.common
    ]
    return Table(columns, rows)


def budget_table(study: Drawn) -> Table | None:
    """Return the expected best validation score of every arm by the number of tuned points."""
    rows = [row for row in study.arms if row.tuning]
    if not rows:
        return None
    sign = study.spec.judged_by.metric.sign
    budgets = shown_budgets(max(len(row.tuning) for row in rows))
    curves = [budget_curve(row.tuning, sign) for row in rows]
    cells = [
        [_budget_cell(curve[k - 1]) if k <= len(curve) else "" for k in budgets] for curve in curves
    ]
    columns = ("Arm", *(f"{k} point{'s' if k > 1 else ''}" for k in budgets))
    return Table(
        columns, [(label(study, row), *line) for row, line in zip(rows, cells, strict=True)]
    )


def _budget_cell(point: BudgetPoint) -> str:
    numbers = (point.expected, point.low, point.high)
    expected, low, high = (f"{x:.4g}" for x in numbers)
    return f"{expected} [{low}, {high}]"


def _switch_rate_at(row: ArmSummary, lr: float) -> str:
    """Return the switch_rate of an arm's point with this learning rate."""
    settings = [point.setting for point in row.tuning if point.setting.get("lr") == lr]
    return f"{settings[-1]['switch_rate']:.4g}" if settings else ""


def cost_table(summary: Summary) -> Table:
    """Return time and memory of every arm, and whether its step is fused where that is known."""
    known = any(row.judged[0].fused is not None for row in summary.arms)
    columns = (
        *("Arm", "Milliseconds per step"),
        *(["Optimizer's step"] if known else []),
        *("Optimizer state (bytes)", "Peak memory (MB)"),
    )
    rows = [
        (
            summary.label(row),
            f"{1000 * row.seconds_per_step:.2f}",
            *(["fused" if row.judged[0].fused else "torch's default"] if known else []),
            f"{row.state_bytes:,}",
            f"{row.peak_bytes / 1e6:.0f}" if row.peak_bytes else "",
        )
        for row in summary.arms
    ]
    return Table(columns, rows)
