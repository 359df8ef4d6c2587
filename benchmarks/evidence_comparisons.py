"""The rows of docs/evidence.md that come from recorded comparisons of optimizers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from evidence_rows import Row, minus, over, ratio_of, shown, shown_p, shown_ratio

from dualadam.compare import stats
from dualadam.compare.execution import read_records
from dualadam.compare.spec_file import load_study_spec
from dualadam.compare.summary import BOOTSTRAP_SEED, ArmSummary, Summary, summarise
from dualadam.harness.verdict import Verdict

RIVALS = ("Adam", "AdamW", "NAdam", "RAdam")
FLATNESS_RIVALS = ("Adam", "AdamW", "Adam+warmup", "AdamW+warmup")
FLATNESS_MEASURES = {
    "top_eigenvalue": "largest eigenvalue",
    "adaptive_sharpness": "adaptive SAM sharpness",
}
DECIDED = (Verdict.BETTER, Verdict.WORSE)
# what a comparison says about the claim that DualAdam is better
CLAIM_VERDICT = {
    Verdict.BETTER: Verdict.HELD,
    Verdict.WORSE: Verdict.NOT_HELD,
    Verdict.EQUIVALENT: Verdict.EQUIVALENT,
    Verdict.NOT_DECIDED: Verdict.NOT_DECIDED,
}
NEAR_BEST = 1.0  # percentage points below an arm's best that still count as near it


def load(folder: Path) -> Summary:
    """Return the summary of a recorded comparison."""
    return summarise(
        load_study_spec(folder),
        read_records(folder),
    )


def difference(first: ArmSummary, second: ArmSummary) -> stats.Difference:
    """Return first - second on the test split, paired over the judged seeds."""
    return stats.paired_difference(
        first.scores, second.scores, np.random.default_rng(BOOTSTRAP_SEED)
    )


def rivals(study: str, summary: Summary) -> Iterator[Row]:
    """Claims 1 and 2: DualAdam against every plain optimizer of its block, Holm-adjusted."""
    pairs = [
        (dual, other)
        for dual in summary.arms
        if dual.optimizer == "DualAdam"
        for other in summary.arms
        if other.block == dual.block and other.optimizer in RIVALS
    ]
    differences = [difference(*pair) for pair in pairs]
    for (dual, other), d, p in zip(
        pairs, differences, stats.holm([d.p for d in differences]), strict=True
    ):
        verdict = stats.verdict(d, summary.spec.primary.margin)
        if verdict in DECIDED and p >= 1 - stats.LEVEL:
            verdict = Verdict.NOT_DECIDED
        comparison = f"{minus('DualAdam', other.arm)}, {dual.block}"
        yield Row(
            1 if other.optimizer == "Adam" else 2,
            study,
            comparison,
            f"{shown(d)}; Holm p {shown_p(p)}",
            CLAIM_VERDICT[verdict],
            drawn=d,
            margin=summary.margin,
        )


def nadam(study: str, summary: Summary) -> Iterator[Row]:
    """Claim 2, for reference: NAdam against the control, as the study's own report judges it."""
    for row in summary.arms:
        if row.optimizer == "NAdam" and (d := row.difference):
            comparison = f"{minus(row.arm, summary.control[row.block])}, {row.block}, for reference"
            result = f"{shown(d)}{with_choice(row)}; Holm p {shown_p(d.p_holm)}"
            yield Row(2, study, comparison, result, row.verdict, drawn=d, margin=summary.margin)


def controls(study: str, summary: Summary) -> Iterator[Row]:
    """Claim 3, by its own interval, and claim 6: InvAdam - control, and its diverged points."""
    arms = {(row.block, row.arm): row for row in summary.arms}
    for row in summary.arms:
        reference = arms[row.block, summary.control[row.block]]
        if row.optimizer == "DualAdam":
            d = difference(row, reference)
            primary = ", primary" if row is summary.primary else ""
            margin = f"; margin {summary.spec.primary.margin:g}"
            yield Row(
                3,
                study,
                f"{minus('DualAdam', reference.arm)}, {row.block}{primary}",
                shown(d) + with_choice(row) + margin,
                CLAIM_VERDICT[stats.verdict(d, summary.spec.primary.margin)],
                drawn=d,
                margin=summary.margin,
            )
        if row.optimizer == "InvAdam":
            d = difference(row, reference)
            points = (
                f"; {row.diverged_points} of {row.num_points} points "
                f"and {row.diverged} of {d.n} judged runs diverged"
            )
            verdict = {Verdict.WORSE: Verdict.HELD, Verdict.BETTER: Verdict.NOT_HELD}.get(
                stats.verdict(d, summary.spec.primary.margin), Verdict.NOT_DECIDED
            )
            yield Row(
                6,
                study,
                f"{minus('InvAdam', reference.arm)}, {row.block}",
                shown(d) + with_choice(row) + points,
                verdict,
                drawn=d,
                margin=summary.margin,
            )


def with_choice(row: ArmSummary) -> str:
    """Return the interval with the choice of settings, which does not decide the first studies."""
    if row.difference is None or row.difference.with_choice is None:
        return ""
    low, high = row.difference.with_choice
    return f"; with the choice of settings [{low:+.2f}, {high:+.2f}]"


def flatter(study: str, summary: Summary) -> Iterator[Row]:
    """Claim 4: paired ratios of the measures of flatness, over the seeds that have both.

    Decision 12 needs the ratios to all rivals of a block below 1; one of them alone holds nothing.
    """
    for dual in (row for row in summary.arms if row.optimizer == "DualAdam" and row.flatness):
        rows = list(ratios(study, dual, summary))
        verdicts = {row.verdict for row in rows}
        for row in rows:
            if row.verdict == Verdict.HELD and verdicts != {Verdict.HELD}:
                sharper = Verdict.NOT_HELD in verdicts
                verdict = Verdict.NOT_HELD if sharper else Verdict.NOT_DECIDED
                row = replace(row, result=f"{row.result}; below 1 alone", verdict=verdict)
            yield row


def ratios(study: str, dual: ArmSummary, summary: Summary) -> Iterator[Row]:
    """Yield a row per rival and measure, each judged by its own interval."""
    for other in summary.arms:
        if other.block != dual.block or other.optimizer not in FLATNESS_RIVALS:
            continue
        for measure, name in FLATNESS_MEASURES.items():
            logs = list(log_ratios(dual, other, measure))
            if len(logs) < 2:
                continue
            rates = f"lr {dual.setting['lr']:.2g} / {other.setting['lr']:.2g}"
            comparison = f"{name}, {over(dual.arm, other.arm)}, {dual.block}, {rates}"
            yield flatness(4, study, comparison, ratio_of(stats.mean_interval(logs)))


def flatness(
    claim: int, study: str, comparison: str, ratio: stats.Interval, margin: float | None = None
) -> Row:
    """Return the row of a ratio of curvatures: held where the first arm is flatter.

    Args:
        margin: a factor above 1; an interval within it is equivalent.
    """
    verdict = Verdict.NOT_DECIDED
    if margin and 1 / margin <= ratio.low and ratio.high <= margin:
        verdict = Verdict.EQUIVALENT
    elif ratio.high < 1 or ratio.low > 1:
        verdict = Verdict.HELD if ratio.high < 1 else Verdict.NOT_HELD
    text = shown_ratio(ratio)
    return Row(claim, study, comparison, text, verdict, drawn=ratio, unit="ratio", margin=margin)


def log_ratios(first: ArmSummary, second: ArmSummary, measure: str) -> Iterator[float]:
    """Return ln(first / second) of every seed in which both have the measure."""
    for a, b in zip(first.judged, second.judged, strict=True):
        values = [getattr(r.flatness, measure, None) for r in (a, b)]
        if all(v is not None and v > 0 for v in values):
            yield float(np.log(values[0] / values[1]))


def regime(study: str, summary: Summary) -> Iterator[Row]:
    """Claim 8: the factor from which on a hand-over differs from its control, then every factor.

    All but the primary comparison are Holm-adjusted.
    """
    arms = {(row.block, row.arm): row for row in summary.arms}
    rows = [row for row in summary.arms if row.optimizer == "DualAdam"]

    def factor(row: ArmSummary) -> float:
        return float(row.judged[0].run.loss_scale)

    for block in dict.fromkeys(row.block for row in rows):
        mine = sorted((row for row in rows if row.block == block), key=factor)
        different = [
            row
            for row in mine
            if row.difference and not row.difference.low <= 0 <= row.difference.high
        ]
        adjusted = [row for row in different if row.verdict in DECIDED]
        first, sure = (
            f"{factor(found[0]):g}" if found else "none" for found in (different, adjusted)
        )
        result = (
            f"smallest factor whose interval excludes 0: {first}; "
            f"not by the rule, Holm-adjusted and beyond the margin: {sure}"
        )
        verdict = Verdict.HELD if different else Verdict.NOT_DECIDED
        name = f"the inverse part begins to matter, {block}"
        yield Row(8, study, name, result, verdict, seeds=summary.spec.seeds)
    for row in rows:
        d = row.difference
        assert d is not None
        holm = "; primary" if row is summary.primary else f"; Holm p {shown_p(d.p_holm)}"
        diverged = (
            f"; {row.diverged_points} of {row.num_points} points diverged"
            if row.diverged_points
            else ""
        )
        control = arms[row.block, summary.control[row.block]]
        yield Row(
            8,
            study,
            f"{minus(row.arm, control.arm)}, {row.block}",
            shown(d) + holm + diverged,
            row.verdict,
            drawn=d,
            margin=summary.margin,
        )


def sensitivity(summary: Summary) -> Iterator[str]:
    """Yield, per arm, the learning rates within a point of its best on the validation split."""
    for row in summary.arms:
        scores = [t.score for t in row.tuning]
        lrs = [t.setting["lr"] for t in row.tuning if t.score >= max(scores) - NEAR_BEST]
        near, rates = f"{len(lrs)} of {len(scores)}", f"{min(lrs):.2g} ... {max(lrs):.2g}"
        yield f"| {summary.label(row)} | {near} | {rates} | {row.diverged_points} |"
