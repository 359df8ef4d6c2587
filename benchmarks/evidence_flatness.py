"""The rows of docs/evidence.md about flatness in the studies of decision 41."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from evidence_comparisons import FLATNESS_MEASURES, flatness, load, log_ratios
from evidence_rows import FLATTER, HIGHER, LOWER, SHARPER, Row, over, ratio_of

from dualadam.compare import stats
from dualadam.compare.arm_summary import ArmSummary
from dualadam.harness.verdict import Verdict

FLATNESS_MARGIN = 1.1  # a factor


def flat_at_equal_lr(claim: int) -> Callable[[str, Path], Iterator[Row]]:
    """Return rows of the ratio of each measure of flatness, every arm over the control."""

    def rows(title: str, folder: Path) -> Iterator[Row]:
        summary = load(folder)
        arms = {row.key: row for row in summary.arms}
        for row in summary.arms:
            control = arms[row.block, summary.control[row.block]]
            for measure, name in FLATNESS_MEASURES.items() if row is not control else ():
                logs = list(log_ratios(row, control, measure))
                if len(logs) >= stats.MIN_FOR_INTERVAL:
                    found = ratio_of(stats.mean_interval(logs))
                    yield flatness_of(
                        row, claim, title, f"{name}, {over(row.arm, control.arm)}", found
                    )

    return rows


def flat_at_equal_loss(measure: str) -> Callable[[str, Path], Iterator[Row]]:
    """Return rows of the ratio of a measure at equal training loss, where log10 is the score."""

    def rows(title: str, folder: Path) -> Iterator[Row]:
        summary = load(folder)
        for row in summary.arms:
            if d := row.difference:
                # lower is better, so the study's difference has the other sign
                logs = stats.Interval(-d.mean, -d.high, -d.low, d.n)
                name = f"{measure}, {over(row.arm, summary.control[row.block])}"
                lost = f"; {row.diverged} runs missed the loss" if row.diverged else ""
                found = flatness_of(row, 4, title, name, ratio_of(logs, base=10.0))
                yield replace(found, result=found.result + lost)

    return rows


def flatness_of(
    row: ArmSummary, claim: int, title: str, comparison: str, ratio: stats.Interval
) -> Row:
    """Return the row of an arm's ratio to its control in one measure, which decides nothing."""
    found = flatness(claim, title, comparison, ratio, FLATNESS_MARGIN)
    names = {Verdict.HELD: LOWER, Verdict.NOT_HELD: HIGHER}
    verdict = names.get(Verdict(found.verdict), found.verdict)
    return replace(found, verdict=verdict, decides=False)


def with_both_measures(rows: list[Row]) -> list[Row]:
    """Add a row behind each pair of measures of one training: decision 41 wants both to agree.

    An arm is flatter where both are lower, sharper where both are higher, equivalent where both
    are; else it is not decided. The paper claims that DualAdam is flatter.
    """
    first, second = FLATNESS_MEASURES.values()
    pending: dict[tuple[str, str], Row] = {}
    result = []
    for row in rows:
        result.append(row)
        measure, _, pair = row.comparison.partition(", ")
        if row.decides or measure not in (first, second):
            continue
        training = row.study.removesuffix(", eigenvalue").removesuffix(", sharpness")
        if measure == first:
            pending[training, pair] = row
            continue
        if (of_first := pending.pop((training, pair), None)) is None:
            continue  # the study of the other measure is not finished
        verdicts = [str(of_first.verdict), str(row.verdict)]
        both = verdicts[0] if verdicts[0] == verdicts[1] else Verdict.NOT_DECIDED
        names = (
            {LOWER: Verdict.HELD, HIGHER: Verdict.NOT_HELD}
            if pair.startswith("DualAdam ")
            else {LOWER: FLATTER, HIGHER: SHARPER}
        )
        text = f"eigenvalue {verdicts[0]}, adaptive sharpness {verdicts[1]}"
        name, verdict = f"both measures, {pair}", names.get(both, both)
        seeds = min((r.drawn.n for r in (of_first, row) if r.drawn), default=None)
        result.append(Row(row.claim, training, name, text, verdict, seeds=seeds))
    return result
