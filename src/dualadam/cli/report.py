"""`dualadam report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="The output folder of a comparison.")],
) -> None:
    """Draw the report of a comparison again, from disk alone; an unfinished one as far as it is."""
    from dualadam.cli.console import stdout
    from dualadam.cli.tables import print_summary
    from dualadam.compare.unfinished import Unfinished
    from dualadam.compare.unfinished_report import draw_report, unfinished_sentence

    study = draw_report(folder)
    if isinstance(study, Unfinished):
        stdout().print(unfinished_sentence(study))
    else:
        print_summary(study, stdout())
    stdout().print(f"\nReport: {folder / 'report.html'}")
