"""`dualadam speed`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dualadam.errors import InvalidValueError


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
    from dualadam.cli.console import check_figure_type, print_whole, stdout
    from dualadam.cli.speed_tables import Lines, time_table, warnings
    from dualadam.harness.store import check_output_file, write_whole
    from dualadam.optim import fused_status
    from dualadam.studies import speed as study

    if figure is not None:
        check_figure_type("--figure", figure)
    for file in (out, figure):
        if file is not None:
            check_output_file(file)
    console = stdout()
    if record is not None:
        found = study.SpeedRecord.from_json(_read(record))
    else:
        found = study.measure_speed(
            quick=quick, device=device, compiled=compiled, progress=Lines(console)
        )
        console.print(str(fused_status(device=device)))
    print_whole(console, time_table(found))
    for path, ratio in found.subnormals.items():
        found_ratio = (
            f"a step on subnormal moments takes {ratio.median:.2f} times as long as one on normal "
            "moments."
            if ratio.is_steady
            else "the times on subnormal and normal moments are too unsteady to compare."
        )
        console.print(f"{path.label}: {found_ratio}")
    for warning in warnings(found):
        console.print(warning)
    if out is not None:
        write_whole(out, json.dumps(found.to_json(), indent=1) + "\n")
        console.print(f"Record: {out}")
    if figure is not None:
        study.draw_ratios(found, figure)
        console.print(f"Figure: {figure}")


def _read(path: Path) -> Any:
    from dualadam.harness.store import reading

    with reading(path):
        content = path.read_bytes()
    try:
        return json.loads(content)
    except ValueError as error:
        raise InvalidValueError(
            f"--record must be a file that `dualadam speed --out` wrote, but {path} is not JSON."
        ) from error
