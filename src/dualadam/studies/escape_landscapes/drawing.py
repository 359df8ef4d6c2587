"""What the figures have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from dualadam.diffusion import ADAM, INVADAM, SGD
from dualadam.harness.figures import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, VERMILION, GREY = COLOURS[0], COLOURS[1], COLOURS[6]
RULE_COLOURS = {SGD: GREY, ADAM: BLUE, INVADAM: VERMILION}
ONE_PANEL, THREE_PANELS = (5.5, 4.0), (10.5, 3.8)  # inches
SMALL = 8  # points


def one_panel() -> tuple[Figure, Axes]:
    """Return a figure with one panel."""
    figure = Figure(figsize=ONE_PANEL)
    return figure, figure.subplots()


def finish(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Label a panel, and add its legend."""
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=SMALL, title_fontsize=SMALL)


def log_ticks(axes: Axes, ticks: Sequence[float]) -> None:
    """Give the horizontal axis a logarithmic scale with these ticks alone."""
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
