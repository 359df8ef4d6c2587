"""Noise C = H^2 / B instead of H / B: the slopes are other ones."""

from __future__ import annotations

import numpy as np

from dualadam.diffusion import ConstantNoise, DoubleWell, Rule
from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.experiment import LIMITS, Experiment, Results, in_order
from dualadam.studies.escape_landscapes.experiments.settings import (
    BARRIER,
    LR,
    RULES,
    curvature_for,
)
from dualadam.studies.escape_landscapes.point import Point
from dualadam.studies.escape_landscapes.row import Row, limit
from dualadam.studies.escape_landscapes.slope import fit_slope

GAMMA = 2  # of C ~ H^gamma; 1 in the theory
EXPONENTS = [float(e) for e in np.geomspace(3, 5.5, 3)]  # at every effort


class NoiseLaw(Experiment):
    """C = H / B is an assumption; with C ~ H^gamma the slopes are gamma times as steep."""

    name = "noise_law"
    table = LIMITS
    claim = "noise proportional to H^2 instead of H"

    def __init__(self, effort: Effort) -> None:
        self.by_rule = {
            rule: tuple(_point(rule, i, e) for i, e in enumerate(EXPONENTS)) for rule in RULES
        }
        self.points = tuple(point for points in self.by_rule.values() for point in points)

    def rows(self, results: Results) -> list[Row]:
        """Return a row for each rule."""
        return [self._row(rule, results) for rule in RULES]

    def _row(self, rule: Rule, results: Results) -> Row:
        slope = fit_slope(in_order(self.by_rule[rule], results))
        claimed = -rule.local_exponent(1.0)
        fails = abs(slope.simulated - claimed) > 5 * slope.error
        return limit(
            f"C ~ H^2 instead of H, {rule.name} against H: slope",
            Verdict.FAILS if fails else Verdict.FAILURE_NOT_SEEN,
            theory=claimed,
            exact=slope.exact,
            simulated=slope.simulated,
            error=slope.error,
            note="C = H/B is an input; with C ~ H^gamma the slope is gamma times as steep "
            f"({GAMMA * claimed:g} here; networks: gamma 1 to 2)",
        )


def _point(rule: Rule, i: int, exponent: float) -> Point:
    k = curvature_for(exponent, GAMMA * rule.local_exponent(1.0))
    return Point(
        f"gamma/{rule.name}/{i}", k, DoubleWell(k, BARRIER), ConstantNoise(k**GAMMA), rule, LR
    )
