"""How much faster each optimizer leaves a sharp minimum than a flat one."""

from __future__ import annotations

from dataclasses import dataclass

from dualadam.diffusion import ConstantNoise, DoubleWell, Rule
from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.experiment import Experiment, Results
from dualadam.studies.escape_landscapes.experiments.settings import BARRIER, RULES
from dualadam.studies.escape_landscapes.point import Point
from dualadam.studies.escape_landscapes.row import TOLERANCE, Row, prediction
from dualadam.studies.escape_landscapes.times import log_ratio

SHARP_CURVATURE, FLAT_CURVATURE = 1.6, 1.0
SHARP_EXPONENT = 3.0  # of every rule, by its lr


@dataclass(frozen=True)
class Pair:
    """A sharp and a flat minimum, at one lr."""

    rule: Rule
    sharp: Point
    flat: Point


class Selectivity(Experiment):
    """The ratio of two escape times, at lrs that match the exponents at the sharp minimum."""

    name = "selectivity"
    table = "selectivity"
    claim = "the preference for leaving sharp minima over flat ones, strongest for InvAdam"

    def __init__(self, effort: Effort) -> None:
        self.pairs = [
            Pair(rule, _point(rule, "sharp", SHARP_CURVATURE), _point(rule, "flat", FLAT_CURVATURE))
            for rule in RULES
        ]
        self.points = tuple(p for pair in self.pairs for p in (pair.sharp, pair.flat))

    def rows(self, results: Results) -> list[Row]:
        """Return a row for each rule."""
        return [self._row(pair, results) for pair in self.pairs]

    def _row(self, pair: Pair, results: Results) -> Row:
        flat, sharp = results[pair.flat.key], results[pair.sharp.key]
        exact = flat.exact_with_momentum - sharp.exact_with_momentum
        ratio, allowed = log_ratio(flat, sharp), TOLERANCE * flat.exponent
        return prediction(
            f"{pair.rule.name}, ln(tau flat / tau sharp)",
            abs(ratio.value - exact) <= allowed,
            theory=flat.overdamped - sharp.overdamped,
            exact=exact,
            simulated=ratio.value,
            error=ratio.error,
            note=f"{ratio.value - exact:+.2f} from exact, allowed {allowed:.2f} "
            "(4 % of the flat exponent); theory without momentum",
        )


def _point(rule: Rule, name: str, k: float) -> Point:
    lr = 2 * BARRIER / (SHARP_EXPONENT * SHARP_CURVATURE ** rule.local_exponent(1.0))
    return Point(
        f"selectivity/{rule.name}/{name}", k, DoubleWell(k, BARRIER), ConstantNoise(k), rule, lr
    )
