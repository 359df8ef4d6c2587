"""A second moment that remembers longer than a crossing takes, with noise that varies."""

from __future__ import annotations

from matplotlib.figure import Figure

from dualadam.diffusion import ADAM, INVADAM, Rule
from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_landscapes import drawing
from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.experiment import LIMITS, Experiment, Results
from dualadam.studies.escape_landscapes.experiments.settings import (
    HALVED_NOISE,
    HALVED_NOISE_LR,
    WELL,
)
from dualadam.studies.escape_landscapes.measurement import Measurement
from dualadam.studies.escape_landscapes.point import Point
from dualadam.studies.escape_landscapes.row import Row, limit

BETA2 = 0.999


class SlowSecondMoment(Experiment):
    """The preconditioner stays near its value at the minimum instead of following the noise."""

    name = "slow_second_moment"
    table = LIMITS
    claim = "a second moment that remembers longer than a crossing takes"

    def __init__(self, effort: Effort) -> None:
        self.by_rule = {rule: _point(rule) for rule in (ADAM, INVADAM)}
        self.points = tuple(self.by_rule.values())

    def rows(self, results: Results) -> list[Row]:
        """Return a row for Adam and one for InvAdam."""
        return [_row(rule, results[point.key]) for rule, point in self.by_rule.items()]

    def figure(self, results: Results) -> Figure:
        """Return the simulated times between the two quadratures."""
        figure, axes = drawing.one_panel()
        at = range(len(self.points))
        measured = [results[point.key] for point in self.points]
        for label, values, marker, colour in (
            ("p follows the noise (theory)", [m.exact for m in measured], "_", drawing.GREY),
            ("p as at the minimum", [m.exact_frozen for m in measured], "x", drawing.BLUE),
            (
                f"simulated, beta2 = {BETA2:g}",
                [m.simulated for m in measured],
                "o",
                drawing.VERMILION,
            ),
        ):
            size = 12 if marker == "_" else 7
            axes.plot(
                at, values, marker, linestyle="none", ms=size, mew=2, color=colour, label=label
            )
        axes.set_xticks(at, [rule.name for rule in self.by_rule])
        axes.set_xlim(-0.6, len(at) - 0.4)
        drawing.finish(
            axes,
            "",
            "ln escape time (steps)",
            "Noise half as large at the saddle: beta2 outlasts the crossing",
        )
        return figure


def _point(rule: Rule) -> Point:
    betas = (0.0, BETA2)
    return Point(f"memory/{rule.name}", BETA2, WELL, HALVED_NOISE, rule, HALVED_NOISE_LR, betas)


def _row(rule: Rule, m: Measurement) -> Row:
    following, frozen = m.exact - m.simulated, m.exact_frozen - m.simulated
    fails = abs(following) > 3 * abs(frozen)
    return limit(
        f"beta2 = .999 outlasts a crossing, {rule.name}: ln tau",
        Verdict.FAILS if fails else Verdict.FAILURE_NOT_SEEN,
        theory=m.theory,
        exact=m.exact,
        simulated=m.simulated,
        error=m.error,
        note=f"exact with p following the noise {following:+.2f} from simulation, "
        f"with p as at the minimum {frozen:+.2f}",
    )
