"""`dualadam escape-networks`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dualadam.cli.console import StudyFolder


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
    from dualadam.studies.escape_networks import report

    report.command(out, quick, workers)
