"""`dualadam speed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def speed(
    out: Annotated[Path | None, typer.Option("--out", help="Store the record here (JSON).")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Under a minute, with a smaller large tensor.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Also the fused step inside torch.compile.")
    ] = False,
    record: Annotated[
        Path | None, typer.Option("--record", help="Measure nothing; show this stored record.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw the ratios to this file (.png, .svg).")
    ] = None,
) -> None:
    """Time a step of DualAdam and of torch's AdamW.

    All implementations are timed, and the memory bandwidth that bounds them.
    """
    from dualadam.studies import speed as study

    study.command(out, quick, device, compiled, record, figure)
