"""What `dualadam escape` leaves behind: a JSON record with its environment, a markdown table, and figures drawn from the record."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dualadam._version import __version__
from dualadam.studies.escape_landscapes.failures import failures
from dualadam.studies.escape_landscapes.figures import draw
from dualadam.studies.escape_landscapes.measure import measure_all
from dualadam.studies.escape_landscapes.plan import FULL, Effort
from dualadam.studies.escape_landscapes.speed import NUM_WALKERS, measure_speed
from dualadam.studies.escape_landscapes.tables import Row, tables

GOAL = 60e6  # walker-steps per second and core


def escape_tables(out: Path, effort: Effort = FULL, *, num_workers: int | None = None) -> list[Row]:
    """Measure all escape times and write points.jsonl, record.json, tables.md and the figures to a folder.

    A second start continues where the first was interrupted; with everything measured it only draws again.

    Args:
        out: the folder; made if missing.
        effort: FULL, up to thirty minutes on two cores, or QUICK, about two.
        num_workers: processes of one thread each; None for one per core.

    Returns:
        The rows of all tables.

    Raises:
        ValueError: the folder holds a run of the other effort.
    """
    out.mkdir(parents=True, exist_ok=True)
    speed_path = out / "speed.json"
    if not speed_path.exists():  # before the workers start: the core is otherwise idle
        speed_path.write_text(json.dumps(measure_speed()))
    started = time.perf_counter()
    results = measure_all(effort, out / "points.jsonl", num_workers)
    record = {
        "effort": asdict(effort),
        "environment": environment(),
        "seconds_of_this_start": round(time.perf_counter() - started, 1),
        "seconds_of_all_workers": round(sum(r["seconds"] for r in results.values()), 1),
        "speed": json.loads(speed_path.read_text()),
        "rows": [asdict(row) for row in (*tables(results), *failures(results))],
        "points": list(results.values()),
    }
    (out / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    return redraw(out)


def redraw(out: Path) -> list[Row]:
    """Write tables.md and the figures from the record in a folder, and return its rows."""
    record = json.loads((out / "record.json").read_text())
    rows = [Row(**row) for row in record["rows"]]
    (out / "tables.md").write_text(markdown(rows, record["speed"]))
    draw({r["key"]: r for r in record["points"]}, rows, out)
    return rows


def environment() -> dict[str, Any]:
    """Return where the numbers were made: versions and the machine."""
    return {
        "dualadam": __version__,
        **{name: version(name) for name in ("torch", "numpy", "scipy")},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"),
    }


def markdown(rows: list[Row], speed: dict[str, float]) -> str:
    """Return all tables, one section each, the failures too, and the speed."""
    text = ["# Escape times: theory, exact quadrature, simulation of the shipped optimizers", ""]
    for table in dict.fromkeys(row.table for row in rows):
        mine = [row for row in rows if row.table == table]
        count = {
            verdict: sum(row.verdict == verdict for row in mine)
            for verdict in dict.fromkeys(row.verdict for row in mine)
        }
        text += [
            f"## {table[0].upper()}{table[1:]}",
            "",
            ", ".join(f"{n} {verdict}" for verdict, n in count.items()) + ".",
            "",
        ]
        text += [
            "| | theory | exact | simulated | 95 % interval | verdict | |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in mine:
            interval = "" if row.interval is None else "[{:.3f}, {:.3f}]".format(*row.interval)
            cells = (
                row.label,
                _cell(row.theory),
                _cell(row.exact),
                _cell(row.simulated),
                interval,
                f"**{row.verdict}**",
                row.note,
            )
            text.append("| " + " | ".join(cells) + " |")
        text.append("")
    text += [
        "## Speed",
        "",
        f"Million walker-steps per second of processor time at {NUM_WALKERS:,} walkers in one dimension (goal: {GOAL / 1e6:.0f}).",
        "",
    ]
    text += ["| | million / s | goal |", "|---|---|---|"]
    text += [
        f"| {name} | {value / 1e6:.1f} | {'' if 'NumPy' in name else 'met' if value >= GOAL else 'missed'} |"
        for name, value in speed.items()
    ]
    return "\n".join(text) + "\n"


def _cell(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.3f}"


def summary(rows: list[Row], out: Path) -> str:
    """Return what the command prints: the count of verdicts per table, every row that did not hold, and where the rest is."""
    lines = []
    for table in dict.fromkeys(row.table for row in rows):
        verdicts = [row.verdict for row in rows if row.table == table]
        lines.append(
            f"{table}: " + ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        )
        told = ("not held", "not decided")
        lines += [
            f"  {row.verdict}: {row.label}: {row.note}"
            for row in rows
            if row.table == table and row.verdict in told
        ]
    return "\n".join(
        [
            *lines,
            f"Tables: {out / 'tables.md'} (and record.json, slopes.png, mixture.png, order_flip.png, failures.png)",
        ]
    )
