"""`dualadam escape-networks`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dualadam.cli.console import StudyFolder, stdout


def escape_networks(
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Fewer minima and shorter runs: minutes instead of up to an hour."
        ),
    ] = False,
    out: StudyFolder = Path("runs/escape-networks"),
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes of one thread each.")
    ] = 2,
) -> None:
    """Measure escape times from minima of a small network.

    The network is trained on digits. Its gradient noise is compared with Hessian / batch size.
    """
    from dualadam.harness.progress import ConsoleProgress
    from dualadam.studies import escape_networks as study

    console = stdout()
    settings = study.QUICK if quick else study.FULL
    with ConsoleProgress(console, unit="pieces") as progress:
        rows = study.run_study(out, settings, workers=workers, progress=progress)
    claims = study.write_report(out, rows, settings)
    for table in dict.fromkeys(claim.table for claim in claims):
        console.print(f"\n{table}")
        for claim in claims:
            if claim.table == table:
                console.print(
                    f"  {claim.label}: {claim.shown_value} {claim.shown_interval}, "
                    f"theory {claim.theory:.2f}: {claim.verdict}",
                    soft_wrap=True,
                )
    first, *others = study.REPORT_FILES
    console.print(f"\nTables: {out / first} (and {', '.join(others)})", soft_wrap=True)
