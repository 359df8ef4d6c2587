"""A row of docs/evidence.md, and how intervals and differences are written in it."""

from __future__ import annotations

from dataclasses import dataclass

from dualadam.compare import stats


@dataclass(frozen=True)
class Row:
    """One line of the page; the verdict is one of ``Verdict``, or "not run"."""

    claim: int
    study: str
    comparison: str
    result: str
    verdict: str


def shown(interval: stats.Interval, unit: str = " points", digits: int = 2) -> str:
    """Return an interval as the page shows it; one that contains 0 says so."""
    # + 0.0 turns -0.0 into 0.0
    mean, low, high = (round(x, digits) + 0.0 for x in (interval.mean, interval.low, interval.high))
    zero = "; contains 0" if interval.low <= 0 <= interval.high else ""
    return (
        f"{mean:+.{digits}f}{unit} [{low:+.{digits}f}, {high:+.{digits}f}], n = {interval.n}{zero}"
    )


def minus(first: str, second: str) -> str:
    """Return the name of the difference of two arms."""
    return f"{bracketed(first)} - {bracketed(second)}"


def over(first: str, second: str) -> str:
    """Return the name of the ratio of two arms."""
    return f"{bracketed(first)} / {bracketed(second)}"


def bracketed(name: str) -> str:
    """Return a name in brackets if it has several words."""
    return f"({name})" if " " in name else name
