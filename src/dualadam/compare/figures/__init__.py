"""The figures of a report: each is a function from the summary to a plot, or to None."""

from __future__ import annotations

import matplotlib

from dualadam.compare.figures.flatness import flatness
from dualadam.compare.figures.plot import Plot
from dualadam.compare.figures.scores import differences, learning_rates, seeds
from dualadam.compare.figures.training import curves, hand_over
from dualadam.compare.summary import Summary
from dualadam.harness.figures import STYLE

__all__ = ["Plot", "draw"]

FIGURES = (seeds, differences, curves, learning_rates, hand_over, flatness)


def draw(summary: Summary) -> list[Plot]:
    """Draw every figure that the records allow."""
    with matplotlib.rc_context(STYLE):
        return [plot for figure in FIGURES if (plot := figure(summary))]
