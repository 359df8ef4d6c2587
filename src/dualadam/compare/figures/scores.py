"""Figures of the scores: every seed, the paired differences, and the tuned points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dualadam.compare.arm_summary import TunedArm
from dualadam.compare.drawn import Drawn
from dualadam.compare.figures.plot import (
    Look,
    Plot,
    metric_label,
    name_rows,
    one_panel,
    plain_labels,
    two_panels,
)
from dualadam.compare.stats import Interval
from dualadam.compare.summary import Summary

ROW_HEIGHT, MARGINS = 0.46, 0.9  # inches


def seeds(summary: Summary) -> Plot:
    """Draw every seed as a point, with mean and interval."""
    arms, look = list(reversed(summary.arms)), Look.of(summary)
    figure, ax = one_panel(MARGINS + ROW_HEIGHT * len(arms))
    for y, row in enumerate(arms):
        kept = [s for s, r in zip(row.scores, row.judged, strict=True) if not r.diverged]
        offsets = np.linspace(-0.16, 0.16, len(kept)) if len(kept) > 1 else np.zeros(len(kept))
        colour = look.colours[row.arm]
        ax.scatter(kept, y + offsets, s=20, color=colour, alpha=0.55, linewidths=0)
        if not row.diverged:
            mean, error = row.interval.mean, _error(row.interval)
            ax.errorbar(mean, y, xerr=error, fmt="D", ms=5, color="black", capsize=3, lw=1.2)
    name_rows(ax, [summary.label(row) for row in arms])
    ax.set_xlabel(f"test {metric_label(summary)}")
    caption = f"Every seed: test {summary.spec.judged_by.name} of each judged run, with mean and "
    caption += "95 % interval." if summary.spec.seeds > 2 else "no interval: it needs 3 seeds."
    if lost := sum(row.diverged for row in arms):
        caption += f" Diverged runs ({lost}) are not drawn; the table counts them."
    return Plot("seeds", caption, figure)


def _error(interval: Interval) -> list[list[float]] | None:
    """Return the two lengths of an error bar, or None where there is no interval."""
    return None if math.isnan(interval.half_width) else [[interval.half_width]] * 2


def differences(summary: Summary) -> Plot | None:
    """Draw the paired differences from the control, and the margin of equivalence."""
    compared = [(row, row.difference) for row in reversed(summary.arms) if row.difference]
    drawn = [(row, d) for row, d in compared if not row.diverged]
    if not drawn:
        return None
    figure, ax = one_panel(MARGINS + ROW_HEIGHT * len(drawn))
    look, margin = Look.of(summary), summary.margin
    ax.axvspan(-margin, margin, color="black", alpha=0.06, lw=0)
    ax.axvline(0, color="black", lw=0.8)
    for y, (row, d) in enumerate(drawn):
        error, colour = _error(d), look.colours[row.arm]
        ax.errorbar(d.mean, y, xerr=error, fmt="o", ms=6, color=colour, capsize=3, lw=1.8)
    name_rows(ax, [summary.label(row) for row, _ in drawn])
    # on the figure, not on the axes: long names make the axes narrower than this label
    figure.supxlabel("difference from the control (positive is better)", fontsize=11)
    bar = "with 95 % interval" if summary.spec.seeds > 2 else "without an interval"
    caption = f"Difference from the control: paired by seed, {bar}. The band is the "
    caption += f"margin of equivalence, {margin:g}."
    if len(drawn) < len(compared):
        caption += f" Arms with diverged runs ({len(compared) - len(drawn)}) are not drawn."
    return Plot("differences", caption, figure)


def learning_rates(summary: Drawn) -> Plot | None:
    """Draw the validation score of every tuned point against its learning rate."""
    rows = [row for row in summary.arms if any("lr" in point.setting for point in row.tuning)]
    if not rows:
        return None
    zoom = _zoom(summary, rows)
    figure, ax, *below = two_panels(5.6) if zoom else one_panel(3.6)
    look = Look.of(summary)
    for row in rows:
        colour = look.colours[row.arm]
        good = sorted((t.setting["lr"], t.score) for t in row.tuning if not t.diverged)
        for axes in (ax, *below):
            style = look.line(row.block, row.arm)
            axes.plot([lr for lr, _ in good], [score for _, score in good], lw=1.4, **style)
        lost = [t.setting["lr"] for t in row.tuning if t.diverged]
        at_bottom: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False}
        ax.scatter(lost, [0.02] * len(lost), marker="x", color=colour, **at_bottom)
    tried = [point.setting["lr"] for row in rows for point in row.tuning]
    lowest = below[0] if below else ax
    lowest.set_xscale("log")
    lowest.set_xlim(min(tried) / 1.5, max(tried) * 1.5)
    plain_labels(lowest.xaxis, "25", 100)
    lowest.set_xlabel("learning rate")
    ax.set_ylabel(f"validation {metric_label(summary)}")
    look.legend(figure, rows)
    caption = "Sensitivity to the learning rate: validation score of every tuned point. A cross "
    caption += "marks a point that diverged."
    if zoom:
        lowest.set_ylim(*zoom)
        lowest.set_ylabel("the better three\nquarters of the points")
        caption += " Below, the better three quarters of the points, larger."
    return Plot("learning-rates", caption, figure)


def _zoom(summary: Drawn, rows: Sequence[TunedArm]) -> tuple[float, float] | None:
    """Return limits for the better three quarters of the points, where others hide them."""
    scores = [t.score for row in rows for t in row.tuning if not t.diverged]
    if not scores:
        return None
    higher_is_better = summary.spec.judged_by.metric.sign > 0
    low, high = np.quantile(scores, (0.25, 1.0) if higher_is_better else (0.0, 0.75))
    if high == low or max(scores) - min(scores) < 3 * (high - low):
        return None
    margin = 0.08 * (high - low)
    return low - margin, high + margin
