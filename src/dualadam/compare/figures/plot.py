"""A drawn figure with its caption, and what the figures of a report share."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dualadam.compare.arm_summary import TunedArm
from dualadam.compare.drawn import Drawn
from dualadam.harness.figures import COLOURS, STYLE

WIDTH = 5.6  # inches: text stays readable where a phone shows the figure 360 pixels wide


@dataclass(frozen=True)
class Plot:
    """A drawn figure.

    Attributes:
        name: of the file, without its suffix.
        caption: a title, a colon, and a description.
    """

    name: str
    caption: str
    figure: Figure

    @property
    def title(self) -> str:
        """The caption up to its colon."""
        return self.caption.partition(":")[0]

    def svg(self) -> str:
        """Return the figure as an <svg> element for an HTML page."""
        buffer = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(buffer, format="svg", metadata=no_metadata)
        text = buffer.getvalue()
        svg = text[text.index("<svg") :]
        for mark in ('id="', 'href="#', "url(#"):  # ids must differ within a page
            svg = svg.replace(mark, f"{mark}{self.name}-")
        return svg.replace("<svg ", f'<svg role="img" aria-label="{self.title}" ', 1)

    def png(self) -> bytes:
        """Return the figure as a PNG file."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=160)
        return buffer.getvalue()


class Mark(NamedTuple):
    """How the arms of a block are drawn."""

    line: str
    marker: str


MARKS = (Mark("-", "o"), Mark("--", "s"), Mark(":", "^"), Mark("-.", "D"))
SHAPES = "osD^vP<X"  # of the arms, so that lines that lie on each other are told apart


@dataclass(frozen=True)
class Look:
    """The colour and shape of each arm, and the line of each block, in all figures alike."""

    colours: dict[str, str]
    shapes: dict[str, str]
    marks: dict[str, Mark]

    @classmethod
    def of(cls, summary: Drawn) -> Look:
        """Return the look of a study. An arm has the same colour in every block."""
        names = list(dict.fromkeys(row.arm for row in summary.arms))
        return cls(
            {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)},
            {name: SHAPES[i % len(SHAPES)] for i, name in enumerate(names)},
            {block.name: MARKS[i % len(MARKS)] for i, block in enumerate(summary.spec.block)},
        )

    def line(self, block: str, arm: str) -> dict[str, Any]:
        """Return the style of a line with a marker at every point."""
        return {
            "color": self.colours[arm],
            "ls": self.marks[block].line,
            "marker": self.shapes[arm],
            "ms": 4.5,
            "mew": 0.6,
            "mec": "white",
        }

    def legend(self, figure: Figure, rows: Sequence[TunedArm], points: bool = False) -> None:
        """Explain, above the axes, what tells arms apart, and blocks where there are several.

        Args:
            figure: the figure.
            rows: what it shows.
            points: whether markers stand for blocks, because there are no lines.
        """
        handles = [
            Line2D(
                *([], []),
                color=self.colours[arm],
                lw=2,
                marker="" if points else self.shapes[arm],
                label=arm,
            )
            for arm in dict.fromkeys(row.arm for row in rows)
        ]
        if len(self.marks) > 1:
            for block in dict.fromkeys(row.block for row in rows):
                line, marker = self.marks[block]
                style: dict[str, Any] = {"marker": marker, "ms": 5} if points else {}
                handles.append(Line2D([], [], label=block, color="black", ls=line, **style))
        figure.legend(
            handles=handles, loc="outside upper center", fontsize=9, ncols=2, frameon=False
        )


def one_panel(height: float) -> tuple[Figure, Axes]:
    """Return a figure of the report's width with one pair of axes."""
    figure = Figure(figsize=(WIDTH, height))
    return figure, figure.subplots()


def two_panels(height: float) -> tuple[Figure, Axes, Axes]:
    """Return a figure with two panels, one above the other, that share their x axis."""
    figure = Figure(figsize=(WIDTH, height))
    above, below = figure.subplots(2, 1, sharex=True)
    return figure, above, below


def name_rows(ax: Axes, labels: Sequence[str]) -> None:
    """Write labels beside rows 0, 1, ... of an axis of names."""
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(-0.6, len(labels) - 0.4)
    ax.grid(axis="y", visible=False)


def metric_label(summary: Drawn) -> str:
    """Return the metric with its unit."""
    name, metric = summary.spec.judged_by
    return f"{name} ({metric.unit})" if metric.unit else name


def plain_labels(axis: Axis, digits: str, ratio: float) -> None:
    """Label a logarithmic axis in plain numbers where its ends differ by at most this ratio.

    Matplotlib's labels are mathematical text, which overlaps on short axes.

    Args:
        axis: the axis.
        digits: first digits of the labels between the powers of ten.
        ratio: of the ends of the axis.
    """
    low, high = axis.get_view_interval()
    if high <= ratio * low:
        axis.set_major_formatter(lambda x, _: f"{x:g}")
        axis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:e}"[0] in digits else "")
