"""The papers' prefactor, where the noise at the saddle is half of that at the minimum."""

from __future__ import annotations

import math
import warnings

from dualadam.diffusion import (
    ADAM,
    INVADAM,
    SGD,
    DoubleWell,
    EscapeWarning,
    PathNoise,
    Rule,
    escape_time_on,
    log_barrier,
    mean_first_passage_time,
)
from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.experiment import LIMITS, Experiment, Results
from dualadam.studies.escape_landscapes.experiments.settings import (
    HALVED_NOISE,
    HALVED_NOISE_LR,
    LR,
    RULES,
    WELL,
)
from dualadam.studies.escape_landscapes.measurement import Measurement
from dualadam.studies.escape_landscapes.point import Point
from dualadam.studies.escape_landscapes.row import TOLERANCE, Row, limit

# A barrier of a hundred temperatures leaves no finite-barrier correction.
HIGH_WELL = DoubleWell(1.0, 2.0)
HIGH_NOISE = PathNoise(HIGH_WELL, at_minimum=1.0, at_saddle=0.5)
DIFFUSION_RATIO = {SGD: 2.0, ADAM: 1.0, INVADAM: 4.0}  # D_a / D_b


class PapersPrefactor(Experiment):
    """The prefactor by quadrature, and the escape time of SGD by simulation."""

    name = "papers_prefactor"
    table = LIMITS
    claim = "the papers' prefactor where noise differs between minimum and saddle"

    def __init__(self, effort: Effort) -> None:
        self.sgd = Point("prefactor/SGD", 0.0, WELL, HALVED_NOISE, SGD, HALVED_NOISE_LR, (0.0, 0.0))
        self.points = (self.sgd,)

    def rows(self, results: Results) -> list[Row]:
        """Return the prefactor of each rule, and the escape time of SGD."""
        return [*(_prefactor_row(rule) for rule in RULES), _time_row(results[self.sgd.key])]


def _prefactor_row(rule: Rule) -> Row:
    where = HIGH_WELL, HIGH_NOISE, rule, LR
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EscapeWarning)
        paper = escape_time_on(*where, prefactor="paper").log_prefactor
    exact = mean_first_passage_time(*where) - log_barrier(*where)
    expected = math.log(DIFFUSION_RATIO[rule])
    return Row(
        f"papers' ln prefactor, {rule.name}, noise at b half of a's",
        Verdict.FAILS if abs(paper - exact) > 0.1 else Verdict.HELD,
        theory=paper,
        exact=exact,
        note=f"papers' - exact {paper - exact:+.3f}, expected {expected:.3f}: no factor D_b / D_a",
    )


def _time_row(m: Measurement) -> Row:
    paper, exact = m.paper - m.simulated, m.exact - m.simulated
    fails = paper > 10 * m.error and abs(exact) < TOLERANCE * m.exponent
    return limit(
        "papers' ln tau, SGD without momentum, same noise",
        Verdict.FAILS if fails else Verdict.FAILURE_NOT_SEEN,
        theory=m.paper,
        exact=m.exact,
        simulated=m.simulated,
        error=m.error,
        note=f"papers' formula {paper:+.2f} from simulation, Ito quadrature {exact:+.2f}",
    )
