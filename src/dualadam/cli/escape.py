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
    from dualadam.studies.escape_landscapes.plan import FULL, QUICK
    from dualadam.studies.escape_landscapes.report import escape_tables, summary

    print(summary(escape_tables(out, QUICK if quick else FULL, num_workers=workers or None), out))
