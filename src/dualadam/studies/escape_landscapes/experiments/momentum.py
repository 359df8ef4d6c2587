"""Momentum, where the noise varies along the path."""

from __future__ import annotations

from dualadam.diffusion import SGD
from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.experiment import LIMITS, Experiment, Results
from dualadam.studies.escape_landscapes.experiments.settings import (
    HALVED_NOISE,
    HALVED_NOISE_LR,
    WELL,
)
from dualadam.studies.escape_landscapes.point import Point
from dualadam.studies.escape_landscapes.row import Row, limit

BETA1 = 0.9


class Momentum(Experiment):
    """SGD with momentum is faster than the overdamped value with Kramers' momentum factor."""

    name = "momentum"
    table = LIMITS
    claim = "momentum with noise that varies along the path"

    def __init__(self, effort: Effort) -> None:
        betas = (BETA1, 0.0)
        self.sgd = Point("momentum/SGD", BETA1, WELL, HALVED_NOISE, SGD, HALVED_NOISE_LR, betas)
        self.points = (self.sgd,)

    def rows(self, results: Results) -> list[Row]:
        """Return the row of SGD."""
        m = results[self.sgd.key]
        exact = m.exact_with_momentum
        fails = exact - m.simulated > 3 * m.error
        return [
            limit(
                "momentum .9 and noise that varies, SGD: ln tau",
                Verdict.FAILS if fails else Verdict.FAILURE_NOT_SEEN,
                theory=m.theory,
                exact=exact,
                simulated=m.simulated,
                error=m.error,
                note=f"simulation {m.simulated - m.theory:+.2f} from the closed form, "
                f"{m.simulated - exact:+.2f} from quadrature times the momentum factor",
            )
        ]
