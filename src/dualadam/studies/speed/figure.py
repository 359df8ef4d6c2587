"""The figure of a measurement: ratios to torch's fused AdamW."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualadam.harness.figures import COLOURS, STYLE
from dualadam.harness.store import make_folder, writing
from dualadam.studies.speed.record import SpeedRecord

COLOUR = {"DualAdam": COLOURS[0], "AdamW": COLOURS[6]}


def draw_ratios(record: SpeedRecord, target: Path) -> None:
    """Draw the ratios with their quartiles, one panel a list.

    Args:
        record: what to draw.
        target: a file whose name ends in .png or .svg; its folder is made if missing.

    Raises:
        InvalidValueError, UnreachableError: the file cannot be written.
    """
    names = list(dict.fromkeys(timing.list_name for timing in record.timings))
    environment = record.environment
    with rc_context(STYLE):
        num_rows = -(-len(names) // 2)
        figure = Figure(figsize=(7.2, 2.6 * num_rows))
        panels = figure.subplots(num_rows, 2, squeeze=False).flat
        for name, axes in zip(names, panels, strict=False):
            _draw_list(axes, record, name)
        for axes in panels:  # the last one, where the number of lists is odd
            axes.set_axis_off()
        figure.supxlabel(
            "time of a step / torch AdamW fused (median and quartiles of interleaved rounds)",
            fontsize=10,
        )
        load = environment["load_average"]
        figure.suptitle(
            f"{environment['processor']}, {environment['threads']} threads, "
            f"torch {environment['torch']}"
            + ("" if load is None else f", load average {load:.1f} before"),
            fontsize=10,
        )
        make_folder(target.parent)
        metadata = {"Software": None} if target.suffix == ".png" else None
        with writing(target):
            figure.savefig(target, dpi=150, metadata=metadata)


def _draw_list(axes: Axes, record: SpeedRecord, name: str) -> None:
    timings = [timing for timing in reversed(record.timings) if timing.list_name == name]
    for y, timing in enumerate(timings):
        low, median, high = timing.ratio
        axes.barh(y, median, color=COLOUR[timing.path.optimizer], height=0.7)
        errors = [[median - low], [high - median]]
        axes.errorbar(median, y, xerr=errors, color="black", capsize=2, linewidth=1)
        shown = f"{median:.2f}" if record.is_steady(timing) else "unsteady"
        axes.text(high, y, f"  {shown}", va="center", fontsize=9)
    axes.set_yticks(range(len(timings)), [timing.path.label for timing in timings], fontsize=9)
    axes.axvline(1, color="black", linewidth=0.8, linestyle="--")
    axes.set_xlim(0, max(timing.ratio.high for timing in timings) * 1.35)
    millions = timings[0].num_parameters / 1e6
    axes.set_title(f"{name} ({millions:.3g} M)", fontsize=9, loc="right")
    axes.grid(axis="y", visible=False)
