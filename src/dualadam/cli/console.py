"""The consoles that commands print to, and the options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

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


def stdout() -> Console:
    """Return a console for results. Off a terminal, lines fold at 120 columns, not at 80."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)  # a name such as "[/b]" is printed unchanged
    return console if console.is_terminal else Console(width=120, markup=False, highlight=False)


def stderr() -> Console:
    """Return a console for warnings."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
