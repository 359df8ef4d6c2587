"""How a fixed mixture passes from Adam's slope to InvAdam's."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from dualadam.diffusion import ConstantNoise, DoubleWell, Rule, mixture
from dualadam.studies.escape_landscapes import drawing
from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.experiment import Experiment, Results, in_order
from dualadam.studies.escape_landscapes.experiments.settings import BARRIER, LR, curvature_for
from dualadam.studies.escape_landscapes.point import Point
from dualadam.studies.escape_landscapes.row import Z95, Row
from dualadam.studies.escape_landscapes.slope import fit_slope, slope_row

MIXING_WEIGHTS = (0.0, 0.5, 0.9, 0.98, 0.998, 1.0)
SECOND_MOMENT = 0.02  # at the centre of every slope; alpha = 0.98 crosses over there


@dataclass(frozen=True)
class Series:
    """The points of one mixture, against curvature."""

    mixing_weight: float
    points: tuple[Point, ...]

    @property
    def theory(self) -> float:
        """The local exponent at the centre."""
        return -mixture(self.mixing_weight).local_exponent(SECOND_MOMENT)


class Mixture(Experiment):
    """DualAdam held at six mixing weights, against curvature.

    Theory is the local exponent at the centre; exact and simulated are slopes over the range of H.
    """

    name = "mixture"
    table = "mixture"
    claim = "the slope of a fixed mixture, from Adam's to InvAdam's"

    def __init__(self, effort: Effort) -> None:
        self.series = [
            Series(alpha, tuple(_point(alpha, i, e) for i, e in enumerate(effort.exponents)))
            for alpha in MIXING_WEIGHTS
        ]
        self.points = tuple(point for series in self.series for point in series.points)

    def rows(self, results: Results) -> list[Row]:
        """Return a row for each mixing weight."""
        return [
            slope_row(
                f"alpha = {series.mixing_weight:g}",
                series.theory,
                in_order(series.points, results),
            )
            for series in self.series
        ]

    def figure(self, results: Results) -> Figure:
        """Return the slopes against the mixing weight."""
        figure, axes = drawing.one_panel()
        at = range(len(self.series))
        slopes = [fit_slope(in_order(series.points, results)) for series in self.series]
        theory = [series.theory for series in self.series]
        axes.plot(
            at,
            theory,
            ":",
            color=drawing.GREY,
            marker="_",
            ms=14,
            label=f"local exponent at v = {SECOND_MOMENT:g}",
        )
        axes.plot(
            at,
            [slope.exact for slope in slopes],
            "-",
            color=drawing.BLUE,
            lw=1.2,
            marker="_",
            ms=14,
            label="exact quadrature",
        )
        axes.errorbar(
            at,
            [slope.simulated for slope in slopes],
            [Z95 * slope.error for slope in slopes],
            fmt="o",
            color=drawing.VERMILION,
            ms=5,
            label="DualAdam held at alpha",
        )
        axes.set_xticks(at, [f"{series.mixing_weight:g}" for series in self.series])
        drawing.finish(
            axes,
            "mixing weight alpha",
            "slope of the exponent against H",
            "From Adam (-1/2) to InvAdam (-3/2)",
        )
        return figure


def _point(alpha: float, i: int, exponent: float) -> Point:
    rule: Rule = mixture(alpha)
    k = curvature_for(exponent, rule.local_exponent(SECOND_MOMENT))
    return Point(
        f"mixture/{alpha:g}/H/{i}",
        k,
        DoubleWell(k, BARRIER * SECOND_MOMENT),
        ConstantNoise(k * SECOND_MOMENT),
        rule,
        LR / rule.preconditioner(SECOND_MOMENT),  # the same lr p H for all mixing weights
    )
