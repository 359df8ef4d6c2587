"""The order of the optimizers at equal learning rate, which flips at a second moment of 1."""

from __future__ import annotations

from matplotlib.figure import Figure

from dualadam.diffusion import ADAM, INVADAM, ConstantNoise, DoubleWell
from dualadam.studies.escape_landscapes import drawing
from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.experiment import Experiment, Results
from dualadam.studies.escape_landscapes.experiments.settings import BARRIER, RULES
from dualadam.studies.escape_landscapes.measurement import Measurement
from dualadam.studies.escape_landscapes.point import Point
from dualadam.studies.escape_landscapes.row import TOLERANCE, Z95, Row, prediction
from dualadam.studies.escape_landscapes.times import log_ratio

SECOND_MOMENTS = (0.5, 1.0, 2.0)
EQUAL_LR = 0.05


class OrderFlip(Experiment):
    """Escape times of SGD, Adam and InvAdam at one lr, below, at and above v = 1."""

    name = "order_flip"
    table = "order flip"
    claim = "InvAdam slower than Adam below a second moment of 1 and faster above, at equal lr"

    def __init__(self, effort: Effort) -> None:
        self.at = {
            v: {
                rule: Point(
                    f"flip/{rule.name}/{v:g}",
                    v,
                    DoubleWell(1.0, BARRIER * v),
                    ConstantNoise(v),
                    rule,
                    EQUAL_LR,
                )
                for rule in RULES
            }
            for v in SECOND_MOMENTS
        }
        self.points = tuple(self.at[v][rule] for rule in RULES for v in SECOND_MOMENTS)

    def rows(self, results: Results) -> list[Row]:
        """Return, for each second moment, the time of each rule and InvAdam's over Adam's."""
        rows = []
        for v, points in self.at.items():
            rows += [
                _time_row(f"v = {v:g}, {rule.name}: ln tau", results[point.key])
                for rule, point in points.items()
            ]
            rows.append(_ratio_row(v, results[points[INVADAM].key], results[points[ADAM].key]))
        return rows

    def figure(self, results: Results) -> Figure:
        """Return the escape times against the second moment."""
        figure, axes = drawing.one_panel()
        for rule in RULES:
            measured = [results[self.at[v][rule].key] for v in SECOND_MOMENTS]
            exact = [m.exact_with_momentum for m in measured]
            axes.plot(SECOND_MOMENTS, exact, "-", color=drawing.RULE_COLOURS[rule], lw=1.2)
            axes.errorbar(
                SECOND_MOMENTS,
                [m.simulated for m in measured],
                [Z95 * m.error for m in measured],
                fmt="o",
                ms=5,
                color=drawing.RULE_COLOURS[rule],
                label=rule.name,
            )
        drawing.log_ticks(axes, SECOND_MOMENTS)
        drawing.finish(
            axes,
            "second moment v at the minimum",
            "ln escape time (steps)",
            "At equal learning rate the order flips at v = 1",
        )
        return figure


def _time_row(label: str, m: Measurement) -> Row:
    deviation = (m.simulated - m.exact_with_momentum) / m.exponent
    return prediction(
        label,
        abs(deviation) <= TOLERANCE,
        theory=m.theory,
        exact=m.exact_with_momentum,
        simulated=m.simulated,
        error=m.error,
        note=f"{100 * deviation:+.1f} % of the exponent from exact",
    )


def _ratio_row(v: float, inverse: Measurement, adam: Measurement) -> Row:
    ratio, small = log_ratio(inverse, adam), TOLERANCE * adam.exponent
    if v == 1:
        held, expected = abs(ratio.value) <= small, "as fast as Adam"
    elif v < 1:
        held, expected = ratio.value > small, "slower"
    else:
        held, expected = ratio.value < -small, "faster"
    return prediction(
        f"v = {v:g}, ln(tau InvAdam / tau Adam)",
        held,
        theory=inverse.theory - adam.theory,
        exact=inverse.exact - adam.exact,
        simulated=ratio.value,
        error=ratio.error,
        note=f"expected: InvAdam {expected}",
    )
