"""How the exponent scales with curvature, batch size and learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from matplotlib.figure import Figure

from dualadam.diffusion import ConstantNoise, DoubleWell, Rule
from dualadam.studies.escape_landscapes import drawing
from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.experiment import Experiment, Results, in_order
from dualadam.studies.escape_landscapes.experiments.settings import (
    BARRIER,
    CENTRE_EXPONENT,
    LR,
    RULES,
    curvature_for,
)
from dualadam.studies.escape_landscapes.point import Point
from dualadam.studies.escape_landscapes.row import Z95, Row
from dualadam.studies.escape_landscapes.slope import fit_slope, slope_row


class Quantity(StrEnum):
    """What a series varies; the value is its part of the points' keys."""

    CURVATURE = "H"
    BATCH_SIZE = "B"
    LEARNING_RATE = "lr"


LABELS = {
    Quantity.CURVATURE: "curvature H",
    Quantity.BATCH_SIZE: "batch size B",
    Quantity.LEARNING_RATE: "learning rate",
}
TICKS = {
    Quantity.CURVATURE: (0.5, 1, 2),
    Quantity.BATCH_SIZE: (0.5, 1, 2),
    Quantity.LEARNING_RATE: (0.03, 0.04, 0.06),
}


@dataclass(frozen=True)
class Series:
    """The points of one slope."""

    rule: Rule
    quantity: Quantity
    points: tuple[Point, ...]

    @property
    def theory(self) -> float:
        """The slope that the theory predicts."""
        power = self.rule.local_exponent(1.0)
        match self.quantity:
            case Quantity.CURVATURE:
                return -power
            case Quantity.BATCH_SIZE:
                return power
            case Quantity.LEARNING_RATE:
                return -1.0


class Slopes(Experiment):
    """Exponents from 3 upwards, by varying one quantity around k = B = 1 and lr = 0.04."""

    name = "slopes"
    table = "slopes"
    claim = "the scaling of the exponent with curvature, batch size and learning rate"

    def __init__(self, effort: Effort) -> None:
        self.series = [
            Series(
                rule,
                quantity,
                tuple(_point(rule, quantity, i, e) for i, e in enumerate(effort.exponents)),
            )
            for rule in RULES
            for quantity in Quantity
        ]
        self.points = tuple(point for series in self.series for point in series.points)

    def rows(self, results: Results) -> list[Row]:
        """Return a row for each rule and quantity."""
        return [
            slope_row(
                f"{series.rule.name} against {LABELS[series.quantity]}",
                series.theory,
                in_order(series.points, results),
            )
            for series in self.series
        ]

    def figure(self, results: Results) -> Figure:
        """Return the exponents against each quantity."""
        figure = Figure(figsize=drawing.THREE_PANELS)
        panels = figure.subplots(1, len(Quantity), sharey=True)
        for axes, quantity in zip(panels, Quantity, strict=True):
            for series in self.series:
                if series.quantity != quantity:
                    continue
                measured = in_order(series.points, results)
                x, colour = [m.x for m in measured], drawing.RULE_COLOURS[series.rule]
                slope = fit_slope(measured).simulated
                axes.plot(x, [m.exponent for m in measured], ":", color=colour, lw=1)
                axes.plot(x, [m.exact_exponent for m in measured], "-", color=colour, lw=1.2)
                axes.errorbar(
                    x,
                    [m.simulated_exponent for m in measured],
                    [Z95 * m.error for m in measured],
                    fmt="o",
                    ms=4,
                    color=colour,
                    label=f"{series.rule.name}: slope {slope:.2f} ({series.theory:g})",
                )
            axes.set_yscale("log")
            axes.set_yticks([3, 4, 5, 6, 8], ["3", "4", "5", "6", "8"])
            drawing.log_ticks(axes, TICKS[quantity])
            first = quantity == Quantity.CURVATURE
            drawing.finish(axes, LABELS[quantity], "exponent of the escape time" if first else "")
            axes.get_legend().set_title("simulated (theory)")
        figure.suptitle(
            "Points: shipped optimizers. Lines: exact quadrature. Dotted: closed form.", fontsize=10
        )
        return figure


def _point(rule: Rule, quantity: Quantity, i: int, exponent: float) -> Point:
    key = f"slope/{rule.name}/{quantity}/{i}"
    k = curvature_for(exponent, rule.local_exponent(1.0))
    match quantity:
        case Quantity.CURVATURE:
            return Point(key, k, DoubleWell(k, BARRIER), ConstantNoise(k), rule, LR)
        case Quantity.BATCH_SIZE:
            return Point(key, 1 / k, DoubleWell(1.0, BARRIER), ConstantNoise(k), rule, LR)
        case Quantity.LEARNING_RATE:
            lr = LR * CENTRE_EXPONENT / exponent
            return Point(key, lr, DoubleWell(1.0, BARRIER), ConstantNoise(1.0), rule, lr)
