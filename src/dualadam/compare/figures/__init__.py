"""The figures of a report: each is a function from the summary to a plot, or to None."""

from __future__ import annotations

import matplotlib

from dualadam.compare.drawn import Drawn
from dualadam.compare.figures.budget import budget
from dualadam.compare.figures.flatness import flatness
from dualadam.compare.figures.plot import Plot
from dualadam.compare.figures.scores import differences, learning_rates, seeds
from dualadam.compare.figures.shadow import draw_shadows, shadow
from dualadam.compare.figures.training import curves, hand_over
from dualadam.compare.summary import Summary
from dualadam.harness.figures import STYLE

__all__ = ["Plot", "draw", "draw_shadows", "draw_tuning"]

FIGURES = (seeds, differences, curves, learning_rates, budget, hand_over, shadow, flatness)


def draw(summary: Summary) -> list[Plot]:
    """Draw every figure that the records allow."""
    with matplotlib.rc_context(STYLE):
        return [plot for figure in FIGURES if (plot := figure(summary))]


def draw_tuning(study: Drawn) -> list[Plot]:
    """Draw the figures that the tuning runs allow, of a study that need not be finished."""
    with matplotlib.rc_context(STYLE):
        return [plot for figure in (learning_rates, budget) if (plot := figure(study))]
