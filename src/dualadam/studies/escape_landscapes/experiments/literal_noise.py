"""Noise C = |H(x)| / B along the whole path, which is zero at the inflection."""

from __future__ import annotations

import math

from dualadam.diffusion import DoubleWell, HessianNoise, Rule
from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.experiment import LIMITS, Experiment, Results
from dualadam.studies.escape_landscapes.experiments.settings import LR, RULES
from dualadam.studies.escape_landscapes.measurement import Measurement
from dualadam.studies.escape_landscapes.point import Point
from dualadam.studies.escape_landscapes.row import Row, limit

FLOORS = (1e-2, 1e-3, 1e-4, 0.0)  # added to C
LOW_WELL = DoubleWell(1.0, 0.02)
BATCH_SIZE = 1.0
LONGEST = 20_000


class LiteralNoise(Experiment):
    """The equation has no finite escape time for SGD and InvAdam; finite steps escape all the same.

    The floor shows how the exact time grows without bound.
    """

    name = "literal_noise"
    table = LIMITS
    claim = "noise equal to Hessian / batch size along the whole path"

    def __init__(self, effort: Effort) -> None:
        self.by_rule = {rule: {floor: _point(rule, floor) for floor in FLOORS} for rule in RULES}
        self.points = tuple(p for by_floor in self.by_rule.values() for p in by_floor.values())

    def rows(self, results: Results) -> list[Row]:
        """Return a row for each rule and floor."""
        rows = []
        for rule, by_floor in self.by_rule.items():
            measured = {floor: results[point.key] for floor, point in by_floor.items()}
            blocked = math.isinf(measured[0.0].exact)
            rows += [_row(rule, floor, m, blocked) for floor, m in measured.items()]
        return rows


def _point(rule: Rule, floor: float) -> Point:
    noise = HessianNoise(LOW_WELL, BATCH_SIZE, floor)
    return Point(
        f"literal/{rule.name}/{floor:g}", floor, LOW_WELL, noise, rule, LR, (0.0, 0.9), LONGEST
    )


def _row(rule: Rule, floor: float, m: Measurement, blocked: bool) -> Row:
    if not blocked:
        note = "finite at any floor"
    elif floor:
        note = "grows without bound as the floor falls"
    else:
        note = "no walker of the equation gets through"
    if m.diverged:
        note += f"; {m.diverged}"
    else:
        note += f"; {m.num_escapes} escapes in {m.size.walker_steps:.2g} walker-steps"
    if blocked and not floor and m.num_escapes:
        note += "; finite steps jump over the inflection"
    return limit(
        f"C = abs(H(x))/B along the path, floor {floor:g}, {rule.name}: ln tau",
        Verdict.FAILS if blocked else Verdict.HELD,
        theory=m.theory,
        exact=m.exact,
        simulated=m.simulated,
        error=m.error,
        note=note,
    )
