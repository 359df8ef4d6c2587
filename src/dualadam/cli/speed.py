"""`dualadam speed`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dualadam.cli.console import stdout
from dualadam.errors import InvalidValueError
from dualadam.harness.progress import Progress

if TYPE_CHECKING:
    from dualadam.studies.speed import PathTiming, SpeedRecord


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
    from dualadam.harness.store import make_folder, write_whole
    from dualadam.optim import fused_status
    from dualadam.studies import speed as study

    console = stdout()
    if record is not None:
        found = study.SpeedRecord.from_json(_read(record))
    else:
        found = study.measure_speed(
            quick=quick, device=device, compiled=compiled, progress=_Lines(console)
        )
        console.print(str(fused_status(device=device)))
    console.print(_table(found))
    for path, ratio in found.subnormals.items():
        found_ratio = (
            f"a step on subnormal moments takes {ratio.median:.2f} times as long as one on normal "
            "moments."
            if ratio.is_steady
            else "the times on subnormal and normal moments are too unsteady to compare."
        )
        console.print(f"{path.label}: {found_ratio}")
    for warning in _warnings(found):
        console.print(warning)
    if out is not None:
        make_folder(out.parent)
        write_whole(out, json.dumps(found.to_json(), indent=1) + "\n")
        console.print(f"Record: {out}")
    if figure is not None:
        study.draw_ratios(found, figure)
        console.print(f"Figure: {figure}")


class _Lines(Progress):
    """A line for each list. A bar that moves would disturb the timing."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def running(self, labels: Sequence[str]) -> None:
        """Print what is timed now."""
        self.console.print(f"timing: {', '.join(labels)}")


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


def _table(record: SpeedRecord) -> Table:
    limits = ", ".join(f"{name} {limit.median:.1f}" for name, limit in record.limits.items())
    table = Table(title=f"Time of a step; memory limit in GB/s: {limits}")
    for column in ("list", "path", "ms", "/ AdamW fused", "25 .. 75 %", "GB/s", "of limit"):
        justify: Any = "left" if column in ("list", "path") else "right"
        table.add_column(column, justify=justify, no_wrap=True)
    last = None
    for timing in record.timings:
        is_new_list = timing.list_name != last
        if is_new_list and last is not None:
            table.add_section()
        table.add_row(
            timing.list_name if is_new_list else "",
            timing.path.label,
            f"{timing.seconds.median * 1e3:.2f}",
            _ratio(record, timing),
            f"{timing.ratio.low:.2f} .. {timing.ratio.high:.2f}",
            f"{timing.gigabytes_per_second:.1f}",
            f"{timing.share_of_limit:.0%}",
        )
        last = timing.list_name
    return table


def _ratio(record: SpeedRecord, timing: PathTiming) -> str:
    if not record.is_steady(timing):
        return "unsteady"
    return f"{timing.ratio.median:.2f}{'?' if record.is_busy else ''}"


def _warnings(record: SpeedRecord) -> Iterator[str]:
    if record.is_busy:
        load, cores = record.environment["load_average"], record.environment["cores"]
        yield (
            f"The machine was busy: the load average was {load:.1f} on {cores} cores before the "
            "start. Ratios with a question mark may be far off; measure again on an idle machine."
        )
    if record.unsteady:
        yield (
            f"{len(record.unsteady)} of {len(record.timings)} ratios are unsteady: the repeats of "
            "the step, or of torch's fused AdamW on the same list, are few or differ too much. "
            "Other work on the machine causes this; measure again when it is idle."
        )
