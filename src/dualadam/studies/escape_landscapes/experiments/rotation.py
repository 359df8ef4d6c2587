"""A Hessian that is not aligned with the optimizer's coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq

from dualadam.diffusion import ConstantNoise, Rule, SpectrumWell
from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_landscapes import drawing
from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.experiment import LIMITS, Experiment, Results, in_order
from dualadam.studies.escape_landscapes.experiments.settings import BARRIER, LR, RULES
from dualadam.studies.escape_landscapes.point import Point
from dualadam.studies.escape_landscapes.row import Z95, Row, limit
from dualadam.studies.escape_landscapes.slope import fit_slope

SPREADS = (1, 2, 4, 8)  # coordinates over which the escape direction is spread
TRANSVERSE = 1.0  # curvature of every other direction, and B = 1
EXPONENTS = [float(e) for e in np.geomspace(3, 5, 3)]  # at every effort


@dataclass(frozen=True)
class Series:
    """The points of one slope."""

    rule: Rule
    spread: int
    points: tuple[Point, ...]


class Rotation(Experiment):
    """Slopes against the curvature along an escape direction spread over 1 to 8 coordinates.

    The optimizer sees C_ii = (H + (k - 1) lambda) / (k B) in every coordinate, instead of H / B.
    """

    name = "rotation"
    table = LIMITS
    claim = "a Hessian that is not axis-aligned"

    def __init__(self, effort: Effort) -> None:
        self.series = [
            Series(rule, k, tuple(_point(rule, k, i, e) for i, e in enumerate(EXPONENTS)))
            for rule in RULES
            for k in SPREADS
        ]
        self.points = tuple(point for series in self.series for point in series.points)

    def rows(self, results: Results) -> list[Row]:
        """Return a row for each rule and each spread beyond one coordinate."""
        return [self._row(series, results) for series in self.series if series.spread > 1]

    def _row(self, series: Series, results: Results) -> Row:
        slope = fit_slope(in_order(series.points, results))
        rule, k = series.rule, series.spread
        claimed = -rule.local_exponent(1.0)
        share = 1 / k  # of the escape direction in C_ii at H = lambda
        averaged = -1 - (rule.local_exponent(1.0) - 1) * share
        fails = abs(slope.simulated - claimed) > 5 * slope.error
        return limit(
            f"escape direction spread over {k} coordinates, {rule.name} against H: slope",
            Verdict.FAILS if fails else Verdict.HELD,
            theory=claimed,
            exact=slope.exact,
            simulated=slope.simulated,
            error=slope.error,
            note=f"p follows the mean variance of the coordinates; {averaged:.2f} with its share "
            f"1/{k} of the escape direction",
        )

    def figure(self, results: Results) -> Figure:
        """Return the slopes against the number of coordinates."""
        figure, axes = drawing.one_panel()
        for rule in RULES:
            of_rule = [series for series in self.series if series.rule == rule]
            slopes = [fit_slope(in_order(series.points, results)) for series in of_rule]
            colour, spreads = drawing.RULE_COLOURS[rule], [series.spread for series in of_rule]
            axes.plot(spreads, [slope.exact for slope in slopes], "-", lw=1.2, color=colour)
            axes.errorbar(
                spreads,
                [slope.simulated for slope in slopes],
                [Z95 * slope.error for slope in slopes],
                fmt="o",
                ms=5,
                color=colour,
                label=rule.name,
            )
        drawing.log_ticks(axes, SPREADS)
        drawing.finish(
            axes,
            "coordinates over which the escape direction is spread",
            "slope of the exponent against H",
            "Points: shipped optimizers. Lines: exact quadrature.",
        )
        return figure


def _point(rule: Rule, k: int, i: int, exponent: float) -> Point:
    def excess(log_h: float) -> float:
        return float(np.log(_exponent(rule, k, float(np.exp(log_h))) / exponent))

    h = float(np.exp(brentq(excess, -4.0, 4.0, xtol=1e-13)))
    spectrum = (h, *(TRANSVERSE for _ in range(k - 1)))
    return Point(
        f"rotation/{rule.name}/{k}/{i}",
        h,
        SpectrumWell(spectrum, BARRIER),
        ConstantNoise(spectrum),
        rule,
        LR,
        is_spread=True,
    )


def _exponent(rule: Rule, k: int, h: float) -> float:
    """Return barrier / T along the escape direction, with the preconditioner that it has."""
    seen = (h + (k - 1) * TRANSVERSE) / k
    return 2 * BARRIER / (LR * float(rule.preconditioner(seen)) * h)
