"""What a study found, as values: rows, verdicts and a conclusion in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_landscapes.experiment import LIMITS, Experiment
from dualadam.studies.escape_landscapes.row import Row
from dualadam.studies.escape_landscapes.speed import Speed


@dataclass(frozen=True)
class Finding:
    """The rows of one experiment."""

    experiment: Experiment
    rows: tuple[Row, ...]

    @property
    def is_limit(self) -> bool:
        """Whether the experiment is outside the theory's assumptions."""
        return self.experiment.table == LIMITS

    def count(self, verdict: Verdict) -> int:
        """Return the number of rows with a verdict."""
        return sum(row.verdict == verdict for row in self.rows)


@dataclass(frozen=True)
class Table:
    """The rows of the experiments that share a table."""

    title: str
    rows: tuple[Row, ...]

    @property
    def counts(self) -> Counter[Verdict]:
        """Number of rows of each verdict."""
        return Counter(row.verdict for row in self.rows)


@dataclass(frozen=True)
class EscapeReport:
    """What a study found.

    Attributes:
        folder: holds points.jsonl, record.json, tables.md and the figures.
        findings: the rows of every experiment.
        speed: of the simulation.
    """

    folder: Path
    findings: tuple[Finding, ...]
    speed: Speed

    @property
    def rows(self) -> list[Row]:
        """The rows of all experiments."""
        return [row for finding in self.findings for row in finding.rows]

    @property
    def tables(self) -> list[Table]:
        """The rows, grouped by table."""
        titles = dict.fromkeys(finding.experiment.table for finding in self.findings)
        return [
            Table(
                title,
                tuple(r for f in self.findings if f.experiment.table == title for r in f.rows),
            )
            for title in titles
        ]

    @property
    def conclusion(self) -> str:
        """Which predictions held, which did not, and where the theory fails."""
        return " ".join(self.sentences)

    @property
    def sentences(self) -> list[str]:
        """The sentences of the conclusion, one to four."""
        predictions = [f for f in self.findings if not f.is_limit]
        limits = [f for f in self.findings if f.is_limit]
        sentences = []
        if predictions:
            sentences.append(_held(predictions))
            for verdict in (Verdict.NOT_HELD, Verdict.NOT_DECIDED):
                if any(f.count(verdict) for f in predictions):
                    sentences.append(f"{str(verdict).capitalize()}: {_list(predictions, verdict)}.")
        if any(f.count(Verdict.FAILS) for f in limits):
            sentences.append(
                "Outside its assumptions the theory fails in "
                f"{_share(limits, Verdict.FAILS)} rows: {_list(limits, Verdict.FAILS)}."
            )
        return sentences


def _held(predictions: list[Finding]) -> str:
    whole = [f for f in predictions if f.count(Verdict.HELD) == len(f.rows)]
    share = f"The theory's predictions hold in {_share(predictions, Verdict.HELD)} rows"
    return f"{share}: {_list(whole, Verdict.HELD)}." if whole else f"{share}."


def _share(findings: list[Finding], verdict: Verdict) -> str:
    number = sum(f.count(verdict) for f in findings)
    total = sum(len(f.rows) for f in findings)
    return f"all {total}" if number == total else f"{number} of {total}"


def _list(findings: list[Finding], verdict: Verdict) -> str:
    """Return the claims with a verdict, and the share of rows where not all have it."""
    claims = []
    for f in findings:
        partly = f.count(verdict) < len(f.rows)
        share = f" ({_share([f], verdict)} rows)" if partly else ""
        if f.count(verdict):
            claims.append(f.experiment.claim + share)
    return "; ".join(claims)
