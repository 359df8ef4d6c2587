"""`dualadam escape`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dualadam.cli.console import StudyFolder


def escape(
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Fewer points: two minutes on two cores instead of up to thirty."
        ),
    ] = False,
    out: StudyFolder = Path("runs/escape"),
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes of one thread each; 0: one per core.")
    ] = 0,
) -> None:
    """Measure escape times on model landscapes.

    They are compared with the theory and with exact quadrature; the failures are shown too.
    """
    from dualadam.cli.console import stdout
    from dualadam.harness.progress import ConsoleProgress
    from dualadam.harness.verdict import Verdict
    from dualadam.studies import escape_landscapes

    console = stdout()
    effort = escape_landscapes.QUICK if quick else escape_landscapes.FULL
    with ConsoleProgress(console, unit="points") as progress:
        report = escape_landscapes.run(out, effort, workers or None, progress)
    for table in report.tables:
        counts = ", ".join(f"{number} {verdict}" for verdict, number in table.counts.items())
        console.print(f"{table.title}: {counts}")
        for row in table.rows:
            if row.verdict in (Verdict.NOT_HELD, Verdict.NOT_DECIDED):
                console.print(f"  {row.verdict}: {row.label}: {row.note}")
    console.print(report.conclusion)
    console.print(f"Tables: {out / 'tables.md'}, with record.json and the figures beside it.")
