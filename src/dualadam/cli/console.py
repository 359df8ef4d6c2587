"""The consoles that commands print to, and the options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

from dualadam.errors import InvalidValueError

DataOption = Annotated[
    str | None,
    typer.Option("--data", envvar="DUALADAM_DATA", help="The folder with the data sets."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")]
StudyFolder = Annotated[
    Path,
    typer.Option(
        "--out", help="The output folder; a second start continues what the folder holds."
    ),
]
FIGURE_TYPES = (".png", ".svg", ".pdf")


def stdout() -> Console:
    """Return a console for results. Off a terminal, lines fold at 120 columns, not at 80."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)  # a name such as "[/b]" is printed unchanged
    return console if console.is_terminal else Console(width=120, markup=False, highlight=False)


def print_whole(console: Console, table: Table) -> None:
    """Print a table that has cells which should not fold: off a terminal as wide as it is."""
    from rich.console import Console

    if not console.is_terminal:
        width = console.measure(table, options=console.options.update(max_width=1000)).maximum
        console = Console(file=console.file, width=width, markup=False, highlight=False)
    console.print(table)


def check_figure_type(option: str, file: Path) -> None:
    """Check that a figure can be drawn to a file of this name.

    Raises:
        InvalidValueError: its ending is not known.
    """
    if file.suffix not in FIGURE_TYPES:
        raise InvalidValueError(f"{option} must end in {', '.join(FIGURE_TYPES)}, got {file}.")


def stderr() -> Console:
    """Return a console for warnings."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
