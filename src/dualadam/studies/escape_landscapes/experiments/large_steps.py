"""Steps lr p H from 0.04 to 1, at a fixed exponent."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from dualadam.diffusion import ADAM, INVADAM, SGD, ConstantNoise, DoubleWell, Rule
from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_landscapes import drawing
from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.experiment import LIMITS, Experiment, Results
from dualadam.studies.escape_landscapes.experiments.settings import CENTRE_EXPONENT
from dualadam.studies.escape_landscapes.measurement import Measurement
from dualadam.studies.escape_landscapes.point import Point
from dualadam.studies.escape_landscapes.row import TOLERANCE, Z95, Row

STEPS = (0.04, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Stepper:
    """An optimizer at one momentum."""

    name: str
    rule: Rule
    beta1: float


STEPPERS = (
    Stepper("SGD", SGD, 0.9),
    Stepper("Adam", ADAM, 0.9),
    Stepper("InvAdam", INVADAM, 0.9),
    Stepper("SGD without momentum", SGD, 0.0),
)


class LargeSteps(Experiment):
    """The exponent leaves the theory as steps grow."""

    name = "large_steps"
    table = LIMITS
    claim = "large steps"

    def __init__(self, effort: Effort) -> None:
        self.by_stepper = {
            stepper: {step: _point(stepper, step) for step in STEPS} for stepper in STEPPERS
        }
        self.points = tuple(p for by_step in self.by_stepper.values() for p in by_step.values())

    def rows(self, results: Results) -> list[Row]:
        """Return a row for each optimizer and step."""
        return [
            _row(f"step lr p H = {step:g}, {stepper.name}: exponent", results[point.key])
            for stepper, by_step in self.by_stepper.items()
            for step, point in by_step.items()
        ]

    def figure(self, results: Results) -> Figure:
        """Return the ratio of the simulated to the exact exponent against the step."""
        figure, axes = drawing.one_panel()
        for stepper, by_step in self.by_stepper.items():
            measured = [m for m in (results[p.key] for p in by_step.values()) if m.is_seen]
            axes.errorbar(
                [m.x for m in measured],
                [m.simulated_exponent / m.exact_exponent for m in measured],
                [Z95 * m.error / m.exact_exponent for m in measured],
                fmt="o-" if stepper.beta1 else "s--",
                ms=4,
                color=drawing.RULE_COLOURS[stepper.rule],
                label=stepper.name,
            )
        axes.axhspan(1 - TOLERANCE, 1 + TOLERANCE, color=drawing.GREY, alpha=0.2, lw=0)
        drawing.log_ticks(axes, STEPS)
        drawing.finish(
            axes,
            "step lr p H",
            "simulated / exact exponent",
            "Large steps leave the theory (band: 4 %)",
        )
        return figure


def _point(stepper: Stepper, step: float) -> Point:
    return Point(
        f"step/{stepper.name}/{step:g}",
        step,
        DoubleWell(1.0, CENTRE_EXPONENT * step / 2),
        ConstantNoise(1.0),
        stepper.rule,
        step,
        (stepper.beta1, 0.999),
    )


def _row(label: str, m: Measurement) -> Row:
    if not m.is_seen:
        note = m.diverged or "no walker escaped"
        return Row(label, Verdict.FAILS, theory=m.exponent, note=note)
    deviation = m.simulated_exponent / m.exact_exponent - 1
    return Row(
        label,
        Verdict.HELD if abs(deviation) <= TOLERANCE else Verdict.FAILS,
        theory=m.exponent,
        exact=m.exact_exponent,
        simulated=m.simulated_exponent,
        error=m.error,
        note=f"exponent {100 * deviation:+.1f} % from exact",
    )
