"""The figure of the score that a smaller budget of tuning reaches."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator

from dualadam.compare.drawn import Drawn
from dualadam.compare.figures.plot import Look, Plot, metric_label, one_panel
from dualadam.compare.tuning_budget import budget_curve


def budget(study: Drawn) -> Plot | None:
    """Draw the expected best validation score of every arm after 1, 2, ... tuned points."""
    rows = [row for row in study.arms if len(row.tuning) > 1]
    if not rows:
        return None
    sign = study.spec.judged_by.metric.sign
    figure, ax = one_panel(3.6)
    look, shown = Look.of(study), []
    for row in rows:
        curve = budget_curve(row.tuning, sign)
        ks = [point.k for point in curve]
        colour = look.colours[row.arm]
        ends = [point.low for point in curve], [point.high for point in curve]
        ax.fill_between(ks, *ends, color=colour, alpha=0.1, lw=0)
        expected = [point.expected for point in curve]
        ax.plot(ks, expected, lw=1.6, **look.line(row.block, row.arm))
        shown += expected[len(expected) // 4 :]  # the first points may be far worse
    margin = 0.15 * float(np.ptp(shown)) + 1e-9
    ax.set_ylim(min(shown) - margin, max(shown) + margin)
    ax.set_xlabel("tuned points")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel(f"best validation\n{metric_label(study)}")
    look.legend(figure, rows)
    caption = "Budget of tuning: best validation score that k of the tuned points reach, the mean "
    caption += "over all choices of k points; the band is the central 80 % of the choices."
    return Plot("budget", caption, figure)
