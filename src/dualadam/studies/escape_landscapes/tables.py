"""The tables of a study as Markdown."""

from __future__ import annotations

from dualadam.studies.escape_landscapes.report import EscapeReport, Table
from dualadam.studies.escape_landscapes.row import Row
from dualadam.studies.escape_landscapes.speed import NUM_WALKERS, Speed

HEADER = (
    "| | theory | exact | simulated | 95 % interval | verdict | note |",
    "|---|---|---|---|---|---|---|",
)


def markdown(report: EscapeReport) -> str:
    """Return the conclusion, a section for each table, and the speed."""
    lines = [
        "# Escape times: theory, exact quadrature, simulation of the shipped optimizers",
        "",
        *report.sentences,
        "",
    ]
    for table in report.tables:
        lines += _section(table)
    return "\n".join([*lines, *_speed(report.speed)]) + "\n"


def _section(table: Table) -> list[str]:
    counts = ", ".join(f"{n} {verdict}" for verdict, n in table.counts.items())
    title = f"## {table.title[0].upper()}{table.title[1:]}"
    return [title, "", f"{counts}.", "", *HEADER, *map(_line, table.rows), ""]


def _line(row: Row) -> str:
    interval = "" if row.interval is None else "[{:.3f}, {:.3f}]".format(*row.interval)
    values = (row.theory, row.exact, row.simulated)
    cells = (row.label, *map(_cell, values), interval, f"**{row.verdict}**", row.note)
    return "| " + " | ".join(cells) + " |"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _speed(speed: Speed) -> list[str]:
    return [
        "## Speed",
        "",
        "Million walker-steps per second of processor time, with "
        f"{NUM_WALKERS:,} walkers in one dimension on one thread.",
        "",
        "| | million / s |",
        "|---|---|",
        *(f"| {name} | {value / 1e6:.1f} |" for name, value in speed.items()),
    ]
