"""A forest plot per claim: every difference of its rows with its 95 % interval."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from evidence_rows import BEHIND, FLATTER, HIGHER, LOWER, SHARPER, Row, is_demonstration
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from dualadam.compare.summary import MIN_SEEDS
from dualadam.harness.figures import COLOURS, STYLE
from dualadam.harness.verdict import Verdict

BLUE, RED, GREEN, *_, GREY, _ = COLOURS
WIDTH, ROW_HEIGHT, PANEL_HEIGHT = 9.0, 0.36, 0.9  # inches
VERDICT_COLOURS = {
    Verdict.HELD: GREEN,
    Verdict.BETTER: GREEN,
    FLATTER: GREEN,
    LOWER: GREEN,
    Verdict.NOT_HELD: RED,
    Verdict.WORSE: RED,
    SHARPER: RED,
    BEHIND: RED,
    HIGHER: RED,
    Verdict.EQUIVALENT: BLUE,
}  # of any other verdict: grey
HOLLOW = f"n below {MIN_SEEDS}: a demonstration"
AXES = {  # unit of a row: label of its axis, and where nothing differs
    "points": ("difference in percentage points (positive: the first arm is better)", 0.0),
    "nats": ("difference in nats (positive: the first arm is better)", 0.0),
    "ratio": ("ratio (below 1: the first arm is flatter)", 1.0),
}


def forest(rows: list[Row]) -> Figure | None:
    """Draw the rows that have an interval, a panel per unit; None where there is none."""
    drawn = [row for row in rows if row.drawn]
    if not drawn:
        return None
    units = list(dict.fromkeys(row.unit for row in drawn))
    panels = [[row for row in drawn if row.unit == unit] for unit in units]
    heights = [PANEL_HEIGHT + ROW_HEIGHT * len(panel) for panel in panels]
    with matplotlib.rc_context(STYLE | {"font.size": 8.5}):
        figure = Figure(figsize=(WIDTH, sum(heights) + 0.4))
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for ax, unit, panel in zip(axes, units, panels, strict=True):
            _draw_panel(ax, unit, panel)
        marks = [
            Line2D([], [], color=colour_of(verdict), marker="o", ms=5, lw=1.6, label=verdict)
            for verdict in dict.fromkeys(str(row.verdict) for row in drawn)
        ]
        if any(map(is_demonstration, drawn)):
            marks.append(
                Line2D([], [], color=GREY, marker="o", mfc="white", ms=5, lw=0, label=HOLLOW)
            )
        figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False)
    return figure


def colour_of(verdict: str) -> str:
    """Return the colour of a verdict."""
    return VERDICT_COLOURS.get(verdict, GREY)


def _draw_panel(ax: Axes, unit: str, rows: list[Row]) -> None:
    label, nothing = AXES.get(unit, (unit, None))
    for y, row in enumerate(reversed(rows)):
        found = row.drawn
        assert found is not None
        if row.margin:
            low, high = (
                (1 / row.margin, row.margin) if unit == "ratio" else (-row.margin, row.margin)
            )
            ax.fill_betweenx([y - 0.4, y + 0.4], low, high, color="black", alpha=0.06, lw=0)
        ends, colour = [[found.mean - found.low], [found.high - found.mean]], colour_of(row.verdict)
        ax.errorbar(
            found.mean,
            y,
            xerr=ends,
            fmt="o",
            ms=4,
            mfc="white" if is_demonstration(row) else colour,
            color=colour,
            capsize=2,
            lw=1.6,
        )
    if nothing is not None:
        ax.axvline(nothing, color="black", lw=0.8)
    if nothing == 0.0:  # an interval many times as wide as the others goes on outside
        reach = 1.5 * max(abs(row.drawn.mean) for row in rows if row.drawn)
        reach += max(row.margin or 0 for row in rows)
        low, high = ax.get_xlim()
        ax.set_xlim(max(low, -reach), min(high, reach))
    if unit == "ratio":
        ax.set_xscale("log")
        low, high = ax.get_xlim()
        is_narrow = high < 4 * low  # there a logarithmic axis would have one or two numbers
        ax.xaxis.set_major_locator(
            MaxNLocator(8, steps=[1, 2, 5, 10])
            if is_narrow
            else LogLocator(subs=(1, 1.5, 2, 3, 5, 7))
        )
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.set_yticks(range(len(rows)), [f"{r.study}\n{r.comparison}" for r in reversed(rows)])
    ax.tick_params(axis="y", labelsize=7)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlabel(label)


def write_figures(rows: list[Row], folder: Path) -> dict[int, Path]:
    """Write the figure of every claim that has one, and return the files by claim."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for claim in sorted({row.claim for row in rows}):
        if figure := forest([row for row in rows if row.claim == claim]):
            files[claim] = folder / f"claim-{claim}.png"
            figure.savefig(files[claim], dpi=130)
    return files
