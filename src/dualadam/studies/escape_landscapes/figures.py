"""The figures of `dualadam escape`, drawn from the record alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from dualadam.studies.escape_landscapes.plan import FLIP_V, MIXING_WEIGHTS, RULES, STEPPERS, STEPS
from dualadam.studies.escape_landscapes.tables import (
    TOLERANCE,
    Z95,
    Results,
    Row,
    exponents,
    series,
    with_momentum,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "SGD": "#4d4d4d",
    "Adam": "#0072b2",
    "InvAdam": "#d55e00",
}  # told apart by colour-blind readers too


def draw(results: Results, rows: list[Row], out: Path) -> None:
    """Write slopes.png, mixture.png, order_flip.png and failures.png."""
    for name, make in (
        ("slopes", _slopes),
        ("mixture", _mixture),
        ("order_flip", _order_flip),
        ("failures", _failures),
    ):
        figure = make(results, rows)
        figure.savefig(out / f"{name}.png", dpi=130)


def _labelled(figure: Figure, axes: Axes, x: str, y: str, title: str) -> None:
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25, which="both")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _slopes(results: Results, rows: list[Row]) -> Figure:
    figure = Figure(figsize=(10.5, 3.8), layout="constrained")
    names = {"H": "curvature H", "B": "batch size B", "lr": "learning rate"}
    for axes, (key, name) in zip(figure.subplots(1, 3, sharey=True), names.items(), strict=True):
        for rule in RULES:
            points = series(results, f"slope/{rule.name}/{key}")
            x = [p["x"] for p in points]
            theory, exact, seen, error = np.array([exponents(p) for p in points]).T
            colour = COLOURS[rule.name]
            fitted = next(r for r in rows if r.label == f"{rule.name} against {name}")
            axes.plot(x, theory, ":", color=colour, lw=1)
            axes.plot(x, exact, "-", color=colour, lw=1.2)
            axes.errorbar(
                x,
                seen,
                Z95 * error,
                fmt="o",
                ms=4,
                color=colour,
                label=f"{rule.name}: slope {fitted.simulated:.2f} ({fitted.theory:g})",
            )
        axes.set(xscale="log", yscale="log")
        axes.set_xticks(
            ticks := [0.5, 1, 2] if key != "lr" else [0.03, 0.04, 0.06], [f"{t:g}" for t in ticks]
        )
        axes.set_yticks([3, 4, 5, 6, 8], ["3", "4", "5", "6", "8"])
        axes.minorticks_off()
        axes.legend(fontsize=8, title="simulated (theory)", title_fontsize=8)
        _labelled(figure, axes, name, "exponent of the escape time" if key == "H" else "", "")
    figure.suptitle(
        "Points: shipped optimizers. Lines: exact quadrature. Dotted: closed form.", fontsize=10
    )
    return figure


def _mixture(results: Results, rows: list[Row]) -> Figure:
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    mine = {row.label: row for row in rows if row.table == "mixture"}
    at = range(len(MIXING_WEIGHTS))
    shown = [mine[f"alpha = {a:g}"] for a in MIXING_WEIGHTS]
    theory, exact, seen, error = np.array(
        [(r.theory, r.exact, r.simulated, r.error) for r in shown], float
    ).T
    axes.plot(
        at, theory, ":", color="#4d4d4d", marker="_", ms=14, label="local exponent at v = 0.02"
    )
    axes.plot(at, exact, "-", color="#0072b2", lw=1.2, marker="_", ms=14, label="exact quadrature")
    axes.errorbar(
        at, seen, Z95 * error, fmt="o", color="#d55e00", ms=5, label="DualAdam held at alpha"
    )
    axes.set_xticks(at, [f"{a:g}" for a in MIXING_WEIGHTS])
    axes.legend(fontsize=8)
    _labelled(
        figure,
        axes,
        "mixing weight alpha",
        "slope of the exponent against H",
        "From Adam (-1/2) to InvAdam (-3/2)",
    )
    return figure


def _order_flip(results: Results, rows: list[Row]) -> Figure:
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    for rule in RULES:
        points = [results[f"flip/{rule.name}/{v:g}"] for v in FLIP_V]
        axes.plot(FLIP_V, [with_momentum(p) for p in points], "-", color=COLOURS[rule.name], lw=1.2)
        errors = [Z95 * p["error"] for p in points]
        axes.errorbar(
            FLIP_V,
            [p["simulated"] for p in points],
            errors,
            fmt="o",
            ms=5,
            color=COLOURS[rule.name],
            label=rule.name,
        )
    axes.set_xscale("log")
    axes.set_xticks(FLIP_V, [f"{v:g}" for v in FLIP_V])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    _labelled(
        figure,
        axes,
        "second moment v at the minimum",
        "ln escape time (steps)",
        "At equal learning rate the order flips at v = 1",
    )
    return figure


def _failures(results: Results, rows: list[Row]) -> Figure:
    figure = Figure(figsize=(10.5, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, rule, beta1 in STEPPERS:
        points = [
            p for p in (results[f"step/{name}/{s:g}"] for s in STEPS) if p["simulated"] is not None
        ]
        _, exact, seen, error = np.array([exponents(p) for p in points]).T
        left.errorbar(
            [p["x"] for p in points],
            seen / exact,
            Z95 * error / exact,
            fmt="o-" if beta1 else "s--",
            ms=4,
            color=COLOURS[rule.name],
            label=name,
        )
    left.axhspan(1 - TOLERANCE, 1 + TOLERANCE, color="#4d4d4d", alpha=0.12, lw=0)
    left.set_xscale("log")
    left.set_xticks(STEPS, [f"{s:g}" for s in STEPS])
    left.minorticks_off()
    left.legend(fontsize=8)
    _labelled(
        figure,
        left,
        "step size lr p H",
        "simulated / exact exponent",
        "Large steps: the exponent leaves the theory (band: 4 %)",
    )
    bars = [("Adam", "memory/Adam"), ("InvAdam", "memory/InvAdam")]
    for i, (_, key) in enumerate(bars):
        r = results[key]
        for value, marker, colour, label in (
            (r["exact"], "_", "#4d4d4d", "p follows the noise (theory)"),
            (r["exact_frozen"], "x", "#0072b2", "p as at the minimum"),
            (r["simulated"], "o", "#d55e00", "simulated, beta2 = .999"),
        ):
            right.plot(
                i,
                value,
                marker,
                ms=12 if marker == "_" else 7,
                mew=2,
                color=colour,
                label=label if i == 0 else None,
            )
    right.set_xticks(range(len(bars)), [name for name, _ in bars])
    right.set_xlim(-0.6, len(bars) - 0.4)
    right.legend(fontsize=8)
    _labelled(
        figure,
        right,
        "",
        "ln escape time (steps)",
        "Noise half as large at the saddle: beta2 outlasts the crossing",
    )
    return figure
