"""`dualadam new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The spec to write, such as my.toml.")
    ],
) -> None:
    """Write a commented spec to start from."""
    from dualadam.cli.console import stdout
    from dualadam.compare.new_spec import write_new_spec

    write_new_spec(file)
    stdout().print(
        f"{file} is a spec that runs; `dualadam compare {file} --dry-run` prints its plan."
    )
