"""Figures of the training: learning curves, and the hand-over from InvAdam to Adam."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dualadam.compare.figures.plot import Look, Plot, metric_label, plain_labels, two_panels
from dualadam.compare.run import CurvePoint
from dualadam.compare.summary import ArmSummary, Summary

Curves = list[tuple[CurvePoint, ...]]  # one per seed


def curves(summary: Summary) -> Plot | None:
    """Draw validation score and training loss over the steps, with mean and range of the seeds."""
    finished = [(row, _finished(row)) for row in summary.arms]
    drawn = [(row, found) for row, found in finished if found]
    if not drawn:
        return None
    figure, above, below = two_panels(5.2)
    look = Look.of(summary)
    scores = []
    for number, (row, found) in enumerate(drawn):
        style = look.line(row.block, row.arm)
        style["markevery"] = (number / len(drawn) / 8, 1 / 8)  # of the length: none on another
        steps, values = _common([{p.step: p.score for p in curve} for curve in found])
        if steps:
            scores.append(values)
            _band(above, steps, values, style)
        steps, losses = _common([{p.step: p.train_loss for p in curve} for curve in found])
        if steps:
            _band(below, steps, losses, style)
    if scores:
        above.set_ylim(*_limits(scores))
    else:
        _say(above, "no validation scores were logged at common steps")
    above.set_ylabel(f"validation\n{metric_label(summary)}")
    below.set_ylabel("training loss")
    _logarithmic(below)
    below.set_xlabel("step")
    look.legend(figure, [row for row, _ in drawn])
    caption = "Learning curves: mean over the seeds; the band is their range."
    return Plot("curves", caption, figure)


def hand_over(summary: Summary) -> Plot | None:
    """Draw the mixing weight, and the ratio of the two parts, over the steps."""
    rows = [row for row in summary.arms if any(record.diagnosis for record in row.judged)]
    if not rows:
        return None
    figure, above, below = two_panels(4.8)
    look = Look.of(summary)
    for row in rows:
        line, colour = look.marks[row.block].line, look.colours[row.arm]
        style: dict[str, Any] = {"color": colour, "ls": line, "lw": 1.4, "alpha": 0.8}
        for record in row.judged:
            points = [point for point in record.diagnosis if point.step]
            weights = np.array([point.mixing_weight for point in points], float)
            above.plot([point.step for point in points], weights, **style)
            ratios = [(point.step, point.ratio) for point in points if point.ratio]
            if ratios:
                style["marker"] = "." if len(ratios) < 3 else None
                below.plot(*zip(*ratios, strict=True), **style)
    below.axhline(1, color="black", lw=0.8, ls="--")
    above.set_ylabel("mixing weight")
    below.set_ylabel("inverse part /\nAdam part (norms)")
    _logarithmic(below)
    below.set_xscale("log")
    plain_labels(below.xaxis, "2346", 10)
    below.set_xlabel("step")
    look.legend(figure, rows)
    caption = (
        "Hand-over: weight of the inverse part, and its norm divided by that of Adam's part. At 1 "
        "both parts are equal; far below 1 DualAdam is a warm-up."
    )
    return Plot("hand-over", caption, figure)


def _common(curves: list[dict[int, float | None]]) -> tuple[list[int], np.ndarray]:
    """Return the steps that have a value in every seed, and the values (num_seeds, num_steps).

    The package's own loop has them at all steps; a loop of the user's own may leave some out.
    """
    steps = [step for step in curves[0] if all(curve.get(step) is not None for curve in curves)]
    return steps, np.array([[curve[step] for step in steps] for curve in curves], float)


def _finished(row: ArmSummary) -> Curves:
    return [record.curve for record in row.judged if record.curve and not record.diverged]


def _band(ax: Axes, steps: list[int], values: np.ndarray, style: dict[str, Any]) -> None:
    """Draw the mean of values (num_seeds, num_steps) and their range."""
    if len(steps) < 3:  # matplotlib spaces markers along a line of some length
        style = {**style, "markevery": None}
    ax.plot(steps, values.mean(0), lw=1.8, **style)
    low, high = values.min(0), values.max(0)
    ax.fill_between(steps, low, high, color=style["color"], alpha=0.12, lw=0)


def _say(ax: Axes, text: str) -> None:
    """Write why a panel is empty."""
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)
    ax.set_yticks([])


def _limits(scores: list[np.ndarray]) -> tuple[float, float]:
    """Return limits for the later scores; the first quarter of a run may lie outside."""
    low = min(values.mean(0)[values.shape[1] // 4 :].min() for values in scores)
    high = max(values.max() for values in scores)
    margin = 0.1 * (high - low) + 1e-9
    return low - margin, high + margin


def _logarithmic(ax: Axes) -> None:
    ax.set_yscale("log")
    plain_labels(ax.yaxis, "2346", 10)
