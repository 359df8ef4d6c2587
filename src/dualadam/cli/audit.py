"""`dualadam audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dualadam.cli.console import DataOption, DeviceOption


def audit(
    folder: Annotated[Path, typer.Argument(help="The output folder of a finished comparison.")],
    runs: Annotated[
        int, typer.Option("--runs", min=0, help="How many of its runs are made again.")
    ] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Draws these runs.")] = 0,
    own: Annotated[
        Path | None,
        typer.Option("--own", help="Where your own files are, that the spec names. [default: .]"),
    ] = None,
    data: DataOption = None,
    device: DeviceOption = "cpu",
) -> None:
    """Recompute a report from its runs, and make some of the runs again, bit for bit.

    Exit status 1 where something differs. Your own training is executed.
    """
    from dualadam.cli.audit_tables import print_audit
    from dualadam.cli.console import stdout
    from dualadam.compare.audit import audit as audit_folder
    from dualadam.tasks import Source

    source = Source(folder=str((own or Path.cwd()).resolve()))
    found = audit_folder(folder, runs=runs, seed=seed, source=source, data=data, device=device)
    print_audit(found, folder, stdout())
    if not found.agrees:
        raise typer.Exit(1)
