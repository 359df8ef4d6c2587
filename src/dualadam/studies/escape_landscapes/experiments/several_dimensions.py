"""The cost of a pass that is narrower than the minimum in other directions."""

from __future__ import annotations

from dataclasses import dataclass

from dualadam.diffusion import ConstantNoise, Rule, SpectrumWell
from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.experiment import Experiment, Results
from dualadam.studies.escape_landscapes.experiments.settings import BARRIER, LR, RULES
from dualadam.studies.escape_landscapes.point import Point
from dualadam.studies.escape_landscapes.row import TOLERANCE, Row, prediction
from dualadam.studies.escape_landscapes.times import log_ratio

SPECTRUM = (1.0, 1.0, 1.5)  # at the minimum, the escape direction first


@dataclass(frozen=True)
class Pair:
    """A pass twice as stiff as the minimum, and one as stiff as the minimum."""

    rule: Rule
    narrow: Point
    straight: Point


class SeveralDimensions(Experiment):
    """Three dimensions; the pass is twice as stiff in two of them."""

    name = "several_dimensions"
    table = "several dimensions"
    claim = "the cost of a pass that narrows in two further directions"

    def __init__(self, effort: Effort) -> None:
        self.pairs = [Pair(rule, _point(rule, 2.0), _point(rule, 1.0)) for rule in RULES]
        self.points = tuple(p for pair in self.pairs for p in (pair.straight, pair.narrow))

    def rows(self, results: Results) -> list[Row]:
        """Return a row for each rule."""
        return [self._row(pair, results) for pair in self.pairs]

    def _row(self, pair: Pair, results: Results) -> Row:
        narrow, straight = results[pair.narrow.key], results[pair.straight.key]
        theory = narrow.theory - straight.theory
        ratio, allowed = log_ratio(narrow, straight), TOLERANCE * narrow.exponent
        return prediction(
            f"{pair.rule.name}, ln(tau narrow / tau straight)",
            abs(ratio.value - theory) <= allowed,
            theory=theory,
            exact=None,
            simulated=ratio.value,
            error=ratio.error,
            note="a pass twice as stiff in 2 directions, ln 2 expected; "
            f"{ratio.value - theory:+.2f}, allowed {allowed:.2f}",
        )


def _point(rule: Rule, narrowing: float) -> Point:
    return Point(
        f"dimensions/{rule.name}/{narrowing:g}",
        narrowing,
        SpectrumWell(SPECTRUM, BARRIER, narrowing=narrowing),
        ConstantNoise(1.0),
        rule,
        LR,
    )
