"""The figure of a training as Adam with a schedule, and of what no schedule explains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from dualadam.compare.figures.plot import SHAPES, Look, Plot, two_panels
from dualadam.compare.shadow_result import Column, ShadowResult
from dualadam.compare.shadow_table import arm_shadow
from dualadam.compare.summary import Summary
from dualadam.harness.figures import COLOURS, STYLE

CAPTION = (
    "Adam with a schedule: above, the learning rate at which Adam comes closest to each update, in "
    "the parameter group with the largest updates; below, the share of the squared update, over "
    "all groups, that no learning rate explains. In a gap Adam comes closest at a rate below 0."
)


def shadow(summary: Summary) -> Plot | None:
    """Draw the equivalent schedule and the unexplained share of every arm, means of the seeds."""
    found = [(row, arm_shadow(row)) for row in summary.arms]
    drawn = [(row, result) for row, result in found if result is not None]
    if not drawn:
        return None
    look = Look.of(summary)
    figure = _panels([(look.line(row.block, row.arm), result) for row, result in drawn])
    look.legend(figure, [row for row, _ in drawn])
    return Plot("shadow", f"{CAPTION} Means over the seeds.", figure)


def draw_shadows(results: Mapping[str, ShadowResult]) -> Plot:
    """Draw what shadows found in trainings of your own, by the names of the legend."""
    with matplotlib.rc_context(STYLE):
        styles: list[dict[str, Any]] = [
            {
                "color": COLOURS[i % len(COLOURS)],
                "marker": SHAPES[i % len(SHAPES)],
                "ms": 4.5,
                "label": name,
            }
            for i, name in enumerate(results)
        ]
        figure = _panels(list(zip(styles, results.values(), strict=True)))
        figure.legend(loc="outside upper center", fontsize=9, ncols=2, frameon=False)
    return Plot("shadow", CAPTION, figure)


def _panels(lines: list[tuple[dict[str, Any], ShadowResult]]) -> Figure:
    figure, above, below = two_panels(5.2)
    for number, (style, found) in enumerate(lines):
        spaced = {**style, "lw": 1.4, "markevery": (number / len(lines) / 8, 1 / 8)}
        if len(found.steps) < 3:  # matplotlib spaces markers along a line of some length
            spaced["markevery"] = None
        schedule = _values(found.schedule[found.main_group])
        above.plot(found.steps, np.where(schedule > 0, schedule, np.nan), **spaced)
        below.plot(
            found.steps, _values(found.total_unexplained), **{**spaced, "label": "_nolegend_"}
        )
    above.set_yscale("log")
    above.set_ylabel("equivalent\nlearning rate")
    below.set_ylim(-0.03, 1.03)
    below.set_ylabel("unexplained share\nof the squared update")
    below.set_xscale("log")
    below.set_xlabel("step")
    return figure


def _values(column: Column) -> np.ndarray:
    return np.array([np.nan if x is None else x for x in column], float)
