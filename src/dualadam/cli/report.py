"""`dualadam report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="The output folder of a finished comparison.")],
) -> None:
    """Draw the report of a comparison again, from disk alone."""
    from dualadam.cli.console import stdout
    from dualadam.cli.tables import print_summary
    from dualadam.compare.report import write_report

    print_summary(write_report(folder), stdout())
    stdout().print(f"\nReport: {folder / 'report.html'}")
