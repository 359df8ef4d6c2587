"""A row of docs/evidence.md, and how intervals and differences are written in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dualadam.compare import stats
from dualadam.compare.summary import MIN_SEEDS

BEHIND = "behind"  # decision 41's word for an InvAdam that is worse
MEASURED = "measured"  # what a row says that compares nothing
FLATTER, SHARPER = "flatter", "sharper"  # verdicts of an arm about which the paper claims nothing
LOWER, HIGHER = "lower", "higher"  # what one measure of flatness says; two of them decide


@dataclass(frozen=True)
class Row:
    """One line of the page.

    Attributes:
        claim: number of the section.
        study: as the page names it.
        comparison: what is compared.
        result: with its interval, as text.
        verdict: one of ``Verdict``, FLATTER, SHARPER, LOWER, HIGHER, BEHIND,
            MEASURED, or "not run".
        drawn: the interval in the figure; None for a row without one.
        unit: of ``drawn``; rows of one unit share a panel.
        margin: of equivalence, in that unit; that of a ratio is a factor above 1.
        decides: whether the verdict is that of a study, and not a part of one.
        seeds: behind a verdict without ``drawn``; None where none are counted.
    """

    claim: int
    study: str
    comparison: str
    result: str
    verdict: str
    drawn: stats.Interval | None = None
    unit: str = "points"
    margin: float | None = None
    decides: bool = True
    seeds: int | None = None


def shown(interval: stats.Interval, unit: str = " points", digits: int = 2) -> str:
    """Return an interval as the page shows it; one that contains 0 says so."""
    zero_is_outside = interval.low > 0 or interval.high < 0
    while zero_is_outside and not (round(interval.low, digits) and round(interval.high, digits)):
        digits += 1  # an end next to 0 shows on which side it is
    # + 0.0 turns -0.0 into 0.0
    mean, low, high = (round(x, digits) + 0.0 for x in (interval.mean, interval.low, interval.high))
    zero = "; contains 0" if interval.low <= 0 <= interval.high else ""
    return (
        f"{mean:+.{digits}f}{unit} [{low:+.{digits}f}, {high:+.{digits}f}], n = {interval.n}{zero}"
    )


def shown_p(p: float) -> str:
    """Return a p value behind its name, such as "= 0.040"."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def is_demonstration(row: Row) -> bool:
    """Return whether the row has too few seeds for a verdict."""
    seeds = row.drawn.n if row.drawn else row.seeds
    return bool(seeds) and seeds < MIN_SEEDS


def shown_verdict(row: Row) -> str:
    """Return the verdict as the page shows it: few seeds are a demonstration."""
    if is_demonstration(row):
        return f"demonstration ({row.verdict})"
    return f"**{row.verdict}**" if row.decides else row.verdict


def ratio_of(logs: stats.Interval, base: float = np.e) -> stats.Interval:
    """Return the interval of a ratio from that of its logarithm."""
    mean, low, high = (float(base**x) for x in (logs.mean, logs.low, logs.high))
    return stats.Interval(mean, low, high, logs.n)


def shown_ratio(ratio: stats.Interval) -> str:
    """Return the interval of a ratio as the page shows it; one that contains 1 says so."""
    contains_one = ratio.low <= 1 <= ratio.high
    one, digits = "; contains 1" if contains_one else "", 2
    while not contains_one and 1 in (round(ratio.low, digits), round(ratio.high, digits)):
        digits += 1  # an end next to 1 shows on which side it is
    mean, low, high = (f"{x:.{digits}f}" for x in (ratio.mean, ratio.low, ratio.high))
    return f"{mean} [{low}, {high}], n = {ratio.n}{one}"


def minus(first: str, second: str) -> str:
    """Return the name of the difference of two arms."""
    return f"{bracketed(first)} - {bracketed(second)}"


def over(first: str, second: str) -> str:
    """Return the name of the ratio of two arms."""
    return f"{bracketed(first)} / {bracketed(second)}"


def bracketed(name: str) -> str:
    """Return a name in brackets if it has several words."""
    return f"({name})" if " " in name else name
