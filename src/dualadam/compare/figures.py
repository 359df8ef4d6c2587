"""The figures of a report: each a pure function from the summary to a matplotlib figure."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dualadam.compare.summary import ArmSummary, Summary

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#7F7F7F",
    "#8C510A",
)  # Okabe and Ito's, then two more
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "dualadam",  # the same records draw the same bytes
    "svg.fonttype": "path",
    "text.parse_math": False,  # a dollar sign in the name of an arm is a dollar sign
}
WIDTH = 5.6  # inches: letters stay readable where a phone shows the figure 360 pixels wide


@dataclass(frozen=True)
class Plot:
    """A drawn figure with its caption."""

    name: str
    caption: str
    figure: Figure

    def svg(self) -> str:
        """Return the figure as an <svg> element for an HTML page."""
        buffer = io.StringIO()
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(
                buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
            )  # none, and no addresses
        text = buffer.getvalue()
        svg = text[text.index("<svg") :]
        # ids of the pictures in one page must differ
        for mark in ('id="', 'href="#', "url(#"):
            svg = svg.replace(mark, f"{mark}{self.name}-")
        return svg.replace(
            "<svg ", f'<svg role="img" aria-label="{self.caption.split(":")[0]}" ', 1
        )

    def png(self) -> bytes:
        """Return the figure as a PNG file."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=160)
        return buffer.getvalue()


def draw(summary: Summary) -> list[Plot]:
    """Draw every figure that the records allow."""
    drawn = []
    with matplotlib.rc_context(STYLE):
        for function in FIGURES:
            if plot := function(summary):
                drawn.append(plot)
    return drawn


def colours(summary: Summary) -> dict[str, str]:
    """Give each arm one colour in all figures, DualAdam's name or not."""
    names = list(dict.fromkeys(a.arm for a in summary.arms))
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height))
    return figure, figure.subplots()


def _marks(summary: Summary) -> dict[str, tuple[str, str]]:
    """Give each block a kind of line and a marker: an arm has one colour in all of them."""
    kinds = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))
    return {block.name: kinds[i % len(kinds)] for i, block in enumerate(summary.spec.block)}


def _legend(figure: Figure, summary: Summary, rows: Sequence[ArmSummary]) -> None:
    """Name the colours of the arms and, where there are several, the lines and markers of the blocks, above the axes."""
    colour, marks = colours(summary), _marks(summary)
    handles = [
        Line2D([], [], color=colour[arm], lw=2, label=arm)
        for arm in dict.fromkeys(row.arm for row in rows)
    ]
    if len(summary.spec.block) > 1:
        blocks = dict.fromkeys(row.block for row in rows)
        handles += [
            Line2D(
                [], [], color="black", ls=marks[block][0], marker=marks[block][1], ms=5, label=block
            )
            for block in blocks
        ]
    figure.legend(handles=handles, loc="outside upper center", fontsize=9, ncols=2, frameon=False)


def _metric(summary: Summary) -> str:
    name, metric = summary.spec.judged_by
    return f"{name} ({metric.unit})" if metric.unit else name


def seeds(summary: Summary) -> Plot:
    """Every seed as a point, with mean and interval."""
    figure, ax = _axes(0.9 + 0.46 * len(summary.arms))
    colour = colours(summary)
    lows = []
    for y, row in enumerate(reversed(summary.arms)):
        kept = [s for s, r in zip(row.scores, row.judged, strict=True) if not r.diverged]
        offsets = np.linspace(-0.16, 0.16, len(kept)) if len(kept) > 1 else np.zeros(len(kept))
        ax.scatter(kept, y + offsets, s=20, color=colour[row.arm], alpha=0.55, linewidths=0)
        if not row.diverged:
            ax.errorbar(
                row.interval.mean,
                y,
                xerr=[
                    [row.interval.mean - row.interval.low],
                    [row.interval.high - row.interval.mean],
                ],
                fmt="D",
                ms=5,
                color="black",
                capsize=3,
                lw=1.2,
            )
        lows += kept
    ax.set_yticks(range(len(summary.arms)), [summary.label(r) for r in reversed(summary.arms)])
    ax.set_ylim(-0.6, len(summary.arms) - 0.4)
    ax.set_xlabel(f"test {_metric(summary)}")
    ax.grid(axis="y", visible=False)
    lost = sum(r.diverged for r in summary.arms)
    note = f" Diverged runs are not drawn ({lost}); the table counts them." if lost else ""
    return Plot(
        "seeds",
        f"Every seed: test {summary.spec.judged_by[0]} of each judged run, with mean and 95 % interval.{note}",
        figure,
    )


def differences(summary: Summary) -> Plot | None:
    """The paired differences to the control, against the margin."""
    compared = [r for r in reversed(summary.arms) if r.difference]
    rows = [r for r in compared if not r.diverged]
    if not rows:
        return None
    figure, ax = _axes(0.9 + 0.46 * len(rows))
    colour = colours(summary)
    margin = summary.spec.primary.margin
    ax.axvspan(-margin, margin, color="black", alpha=0.06, lw=0)
    ax.axvline(0, color="black", lw=0.8)
    for y, row in enumerate(rows):
        d = row.difference
        assert d is not None
        ax.errorbar(
            d.mean,
            y,
            xerr=[[d.mean - d.low], [d.high - d.mean]],
            fmt="o",
            ms=6,
            color=colour[row.arm],
            capsize=3,
            lw=1.8,
        )
    ax.set_yticks(range(len(rows)), [summary.label(r) for r in rows])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.grid(axis="y", visible=False)
    control = " / ".join(dict.fromkeys(summary.control.values()))
    figure.supxlabel(
        f"less {control} (positive is better)", fontsize=11
    )  # longer than the axes are wide where arms have long names
    caption = f"Difference to the control: paired over seeds, 95 % interval; the band is the margin of equivalence, {margin:g}."
    if len(rows) < len(compared):
        caption += f" Arms with diverged runs are not drawn ({len(compared) - len(rows)})."
    return Plot("differences", caption, figure)


def _logarithmic(ax: Axes) -> None:
    """Make the axis of values logarithmic, its labels plain where they would run together."""
    ax.set_yscale("log")
    _plain_labels(ax.yaxis, "2346", 10)


def _plain_labels(axis: Axis, digits: str, ratio: float) -> None:
    """Label a logarithmic axis, if its ends have at most this ratio, in plain numbers that begin with 1 or one of the digits.

    matplotlib would set them as mathematical text, which runs together there, and is not set everywhere.
    """
    low, high = axis.get_view_interval()
    if high <= ratio * low:
        axis.set_major_formatter(lambda x, _: f"{x:g}")
        axis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:e}"[0] in digits else "")


def curves(summary: Summary) -> Plot | None:
    """Validation score and training loss over the steps, mean and band over the seeds."""
    figure = Figure(figsize=(WIDTH, 5.2))
    above, below = figure.subplots(2, 1, sharex=True)
    colour, marks = colours(summary), _marks(summary)
    finals, drawn = [], []
    for row in summary.arms:
        finished = [r.curve for r in row.judged if r.curve and not r.diverged]
        if not finished:
            continue
        drawn.append(row)
        steps = [point.step for point in finished[0]]
        for ax, key in ((above, "score"), (below, "train_loss")):
            values = np.array([[getattr(point, key) for point in curve] for curve in finished])
            style = {"color": colour[row.arm], "ls": marks[row.block][0], "lw": 1.8}
            ax.plot(
                steps, values.mean(0), marker="o" if len(steps) == 1 else None, **style
            )  # a line of one point is none
            ax.fill_between(
                steps, values.min(0), values.max(0), color=colour[row.arm], alpha=0.12, lw=0
            )
            if key == "score":
                finals += [values.mean(0)[len(steps) // 4 :].min(), values.max()]
    if not finals:
        return None
    spread = max(finals) - min(finals)
    above.set_ylim(
        min(finals) - 0.1 * spread - 1e-9, max(finals) + 0.1 * spread + 1e-9
    )  # the first quarter may leave the picture
    above.set_ylabel(f"validation\n{_metric(summary)}")
    below.set_ylabel("training loss")
    _logarithmic(below)
    below.set_xlabel("step")
    _legend(figure, summary, drawn)
    return Plot(
        "curves",
        "Learning curves: mean over the seeds; the band reaches from the lowest to the highest seed.",
        figure,
    )


def learning_rates(summary: Summary) -> Plot | None:
    """Validation score of every tuned point against its learning rate."""
    rows = [r for r in summary.arms if any("lr" in t.setting for t in r.tuning)]
    if not rows:
        return None
    figure, ax = _axes(3.6)
    colour, marks = colours(summary), _marks(summary)
    for row in rows:
        good = sorted((t.setting["lr"], t.score) for t in row.tuning if not t.diverged)
        line, marker = marks[row.block]
        style: dict[str, Any] = {
            "ls": line,
            "marker": marker,
            "ms": 4,
            "lw": 1.4,
            "color": colour[row.arm],
        }
        ax.plot([lr for lr, _ in good], [score for _, score in good], **style)
        bad = [t.setting["lr"] for t in row.tuning if t.diverged]
        ax.scatter(
            bad,
            [0.02] * len(bad),
            marker="x",
            color=colour[row.arm],
            transform=ax.get_xaxis_transform(),
            clip_on=False,
        )
    tried = [t.setting["lr"] for row in rows for t in row.tuning]
    ax.set_xscale("log")
    ax.set_xlim(min(tried) / 1.5, max(tried) * 1.5)
    _plain_labels(ax.xaxis, "25", 100)
    ax.set_xlabel("learning rate")
    ax.set_ylabel(f"validation {_metric(summary)}")
    _legend(figure, summary, rows)
    return Plot(
        "learning-rates",
        "How forgiving: validation score of every tuned point against its learning rate; a cross diverged.",
        figure,
    )


def hand_over(summary: Summary) -> Plot | None:
    """Mixing weight and the ratio of the two parts over time."""
    rows = [r for r in summary.arms if any(x.diagnosis for x in r.judged)]
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH, 4.8))
    above, below = figure.subplots(2, 1, sharex=True)
    colour, marks = colours(summary), _marks(summary)
    for row in rows:
        for record in row.judged:
            points = [p for p in record.diagnosis if p.step]
            steps = [p.step for p in points]
            style = {"color": colour[row.arm], "ls": marks[row.block][0], "lw": 1.4, "alpha": 0.8}
            above.plot(steps, [p.mixing_weight for p in points], **style)
            ratios = [(p.step, p.ratio) for p in points if p.ratio]
            if ratios:
                below.plot(*zip(*ratios, strict=True), **style)
    below.axhline(1, color="black", lw=0.8, ls="--")
    above.set_ylabel("mixing weight")
    below.set_ylabel("inverse part /\nAdam part (norms)")
    _logarithmic(below)
    below.set_xscale("log")
    below.set_xlabel("step")
    _legend(figure, summary, rows)
    caption = (
        "The hand-over: weight of the inverse part, and its norm over that of Adam's part. At 1 both are equal; far below it DualAdam is "
        "a warm-up."
    )
    return Plot("hand-over", caption, figure)


def flatness(summary: Summary) -> Plot | None:
    """Score against flatness, a point a judged run."""
    rows = [r for r in summary.arms if "top_eigenvalue" in r.flatness]
    if not rows:
        return None
    figure, ax = _axes(3.6)
    colour, marks = colours(summary), _marks(summary)
    found: list[float] = []
    for row in rows:
        for record in row.judged:
            top = record.flatness.top_eigenvalue if record.flatness else None
            if top is None or record.test is None:
                continue
            marker = marks[row.block][1]
            ax.scatter(
                top, record.test.score, s=24, alpha=0.7, color=colour[row.arm], marker=marker
            )
            found.append(top)
    if min(found) > 0 and max(found) > 10 * min(found):
        ax.set_xscale("log")
    ax.set_xlabel("largest eigenvalue of the Hessian (flat is left)")
    ax.set_ylabel(f"test {_metric(summary)}")
    _legend(figure, summary, rows)
    return Plot(
        "flatness",
        "Score against flatness: a point a judged run; the Hessian of the training loss on the same examples.",
        figure,
    )


FIGURES: tuple[Callable[[Summary], Plot | None], ...] = (
    seeds,
    differences,
    curves,
    learning_rates,
    hand_over,
    flatness,
)
