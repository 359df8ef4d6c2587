"""What `dualadam escape-networks` leaves behind: claims.json with its environment, tables.md, and figures; all from rows.jsonl."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from dualadam.compare.figures import COLOURS, STYLE
from dualadam.harness.environment import study_environment
from dualadam.harness.store import write_whole
from dualadam.studies.escape_networks.analysis import (
    RATIO_BAND,
    Claim,
    Lives,
    claims,
    facts,
    fit,
    lives,
    minima_of,
    regressions_of,
)
from dualadam.studies.escape_networks.study import FULL, QUICK, RULES, Row, Settings, run

COLOUR = dict(zip((rule.name for rule in RULES), (COLOURS[6], COLOURS[0], COLOURS[1]), strict=True))

AXIS = (
    2.0,
    14.5,
)  # ln tau: from what the first look sees to 12.2, 40 walkers' time at risk, and room for the legend


def command(out: Path, quick: bool, workers: int) -> None:
    """Run the study, or go on with it, and report."""
    console = Console(markup=False, highlight=False, soft_wrap=True)
    settings = QUICK if quick else FULL
    made = write_report(out, run(out, settings, workers, console), settings)
    for table in dict.fromkeys(c.table for c in made):
        mine = [c for c in made if c.table == table]
        console.print(f"\n{table}")
        for c in mine:
            console.print(f"  {c.label}: {' '.join(c.shown)}, theory {c.theory:.2f}: {c.verdict}")
    console.print(
        f"\nTables: {out / 'tables.md'} (and claims.json, escapes.png, slopes.png, noise.png)"
    )


def write_report(out: Path, rows: dict[str, Row], settings: Settings) -> list[Claim]:
    """Write claims.json, tables.md and the figures to a folder, and return the claims."""
    made, known = claims(rows, settings), facts(rows, settings)
    record = {
        "environment": study_environment(),
        "settings": asdict(settings),
        "facts": known,
        "claims": [c.as_json() for c in made],
    }
    write_whole(out / "claims.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    write_whole(out / "tables.md", markdown(made, known))
    groups = lives(rows, settings)
    with matplotlib.rc_context(STYLE):
        for name, figure in (
            ("escapes", _escapes(groups)),
            ("slopes", _slopes(made)),
            ("noise", _noise(rows)),
        ):
            figure.savefig(out / f"{name}.png", dpi=110)
    return made


def markdown(made: list[Claim], known: dict[str, Any]) -> str:
    """Return the tables, one section each, and the facts."""
    text = ["# Escape from the minima of a network: theory and measurement", ""]
    for table in dict.fromkeys(c.table for c in made):
        text += [
            f"## {table[0].upper()}{table[1:]}",
            "",
            "| | theory | measured | 95 % interval | verdict | |",
            "|---|---|---|---|---|---|",
        ]
        text += [
            f"| {c.label} | {c.theory:.2f} | {' | '.join(c.shown)} | **{c.verdict}** | {c.note} |"
            for c in made
            if c.table == table
        ]
        text.append("")
    text += [
        "## Facts",
        "",
        *(f"* {key.replace('_', ' ')}: {_shown(value)}" for key, value in known.items()),
    ]
    return "\n".join(text) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_shown(v)}" for k, v in value.items())
    if isinstance(value, list):
        return " to ".join(map(_shown, value))
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}"


def _escapes(groups: list[Lives]) -> Figure:
    """Every minimum's ln tau against H, with the fitted exponent law."""
    figure = Figure(figsize=(10.5, 3.9))
    for axes, rule in zip(figure.subplots(1, len(RULES), sharey=True), RULES, strict=True):
        for g in (g for g in groups if g.optimizer == rule.name):
            filled = g.target == groups[0].target
            seen, colour = np.isfinite(g.log_times), COLOUR[rule.name]
            s, log_level, _ = fit(g, np.ones(len(seen)), exponent=True)
            face = colour if filled else "white"
            axes.plot(
                g.curvature[seen],
                g.log_times[seen],
                "o",
                ms=4,
                color=colour,
                mfc=face,
                label=f"T = {g.target:g}, slope {s:.1f}",
            )
            at_risk = np.log(np.where(np.isfinite(g.left), g.left, g.home).sum(1))
            axes.plot(g.curvature[~seen], at_risk[~seen], "^", ms=6, color=colour, mfc=face)
            law = g.log_prefactor + np.exp(log_level) * (g.curvature / np.median(g.curvature)) ** s
            axes.plot(g.curvature, np.clip(law, *AXIS), "-" if filled else "--", lw=1, color=colour)
        axes.set(
            xscale="log",
            xlabel="largest eigenvalue H",
            title=f"{rule.name} (theory {-rule.local_exponent(1.0):g})",
            ylim=AXIS,
        )
        axes.set_xticks(ticks := [0.35, 0.4, 0.5, 0.6, 0.7], [f"{t:g}" for t in ticks])
        axes.minorticks_off()
        axes.legend(fontsize=8, loc="upper left")
        if rule is RULES[0]:
            axes.set_ylabel("ln escape time (steps)")
    figure.suptitle(
        "Dots: one minimum each. Triangles: no walker left, the time at risk. Lines: fitted exponent law.",
        fontsize=10,
    )
    return figure


def _slopes(made: list[Claim]) -> Figure:
    """Every slope of the exponent with its interval, beside theory's."""
    shown = [
        c
        for c in made
        if c.table
        in (
            "slope of the exponent against H",
            "difference of exponents' slopes",
            "slope of the exponent against lr",
        )
    ]
    figure = Figure(figsize=(7.5, 0.34 * len(shown) + 1.2))
    axes = figure.subplots()
    for i, c in enumerate(reversed(shown)):
        colour = COLOUR.get(c.label.split(",")[0], COLOURS[2])
        axes.plot([c.low, c.high], [i, i], "-", color=colour, lw=2)
        axes.plot(c.value, i, "o", color=colour, ms=5)
        axes.plot(c.theory, i, "|", color="black", ms=13, mew=2)
    ends = {
        "slope of the exponent against H": "against H",
        "slope of the exponent against lr": "against lr",
    }
    axes.set_yticks(
        range(len(shown)), [f"{c.label} {ends.get(c.table, '')}" for c in reversed(shown)]
    )
    axes.set(xlabel="slope of the exponent (black: theory)")
    axes.axvline(0, color="grey", lw=0.8)
    return figure


def _noise(rows: dict[str, Row]) -> Figure:
    """B c / H along the top eigenvectors of the network's minima, and in regressions."""
    figure = Figure(figsize=(10.5, 3.6))
    left, right = figure.subplots(1, 2)
    minima = minima_of(rows)
    for m in minima:
        left.plot(range(1, 11), m["BC_over_H"], ".", color=COLOURS[0], alpha=0.5)
    left.set(
        xlabel="eigenvector, the sharpest first",
        ylabel="B c / H",
        title=f"Network, {len(minima)} minima",
        ylim=(0, 1.3),
    )
    regressions = regressions_of(rows)
    for i, r in enumerate(reversed(regressions)):
        right.plot(r["intervals"]["top_ratio"], [i, i], "-", color=COLOURS[1], lw=2)
        right.plot(r["top_ratio"], i, "o", color=COLOURS[1])
    right.set_yticks(
        range(len(regressions)), [r["name"] for r in reversed(regressions)], fontsize=8
    )
    right.set(xlabel="B c / H, median over ten eigenvectors", title="Regressions", xlim=(0, 1.3))
    _band(left.axhspan, left.axhline)
    _band(right.axvspan, right.axvline)
    return figure


def _band(span: Any, line: Any) -> None:
    span(*RATIO_BAND, color="grey", alpha=0.12, lw=0)
    line(1.0, color="black", lw=0.8)
