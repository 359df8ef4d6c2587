"""What `dualadam speed` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from dualadam.harness.progress import Progress
from dualadam.studies.speed import PathTiming, SpeedRecord


class Lines(Progress):
    """A line for each list. A bar that moves would disturb the timing."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def running(self, labels: Sequence[str]) -> None:
        """Print what is timed now."""
        self.console.print(f"timing: {', '.join(labels)}")


def time_table(record: SpeedRecord) -> Table:
    """Return the table of all timings."""
    limits = ", ".join(f"{name} {limit.median:.1f}" for name, limit in record.limits.items())
    table = Table(title=f"Time of a step; memory limit in GB/s: {limits}")
    for column in ("list", "path", "ms", "/ AdamW fused", "25 .. 75 %", "GB/s", "of limit"):
        justify: Any = "left" if column in ("list", "path") else "right"
        table.add_column(column, justify=justify, overflow="fold")
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
            "> 100%" if timing.is_beyond_limit else f"{timing.share_of_limit:.0%}",
        )
        last = timing.list_name
    return table


def _ratio(record: SpeedRecord, timing: PathTiming) -> str:
    if not record.is_steady(timing):
        return "unsteady"
    return f"{timing.ratio.median:.2f}{'?' if record.is_busy else ''}"


def warnings(record: SpeedRecord) -> Iterator[str]:
    """Yield a sentence for each reason to distrust the times."""
    if record.is_busy:
        load, cores = record.environment["load_average"], record.environment["cores"]
        yield (
            f"The machine was busy: the load average was {load:.1f} on {cores} cores before the "
            "start. Ratios with a question mark may be far off; measure again on an idle machine."
        )
    if beyond := [timing for timing in record.timings if timing.is_beyond_limit]:
        yield (
            f"{len(beyond)} of {len(record.timings)} shares of the memory's limit are above 100 %, "
            "which no step reaches, and say nothing: the limit was measured while the machine was "
            "busy. Measure again when it is idle."
        )
    if record.unsteady:
        yield (
            f"{len(record.unsteady)} of {len(record.timings)} ratios are unsteady: the repeats of "
            "the step, or of torch's fused AdamW on the same list, are few or differ too much. "
            "Other work on the machine causes this; measure again when it is idle."
        )
