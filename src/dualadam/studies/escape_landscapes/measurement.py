"""A measured point: the schema of ``points.jsonl``, and how a point is measured."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dualadam.diffusion import (
    DivergedError,
    EscapeWarning,
    escape_time_on,
    mean_first_passage_time,
    simulate,
)
from dualadam.studies.escape_landscapes.point import Point, Size

NOT_ALWAYS_FINITE = ("exact", "exact_frozen", "simulated", "error")


@dataclass(frozen=True)
class Measurement:
    """All that is known about a point: one line of ``points.jsonl``.

    Times are ln tau, tau in steps. A number that does not exist is NaN here and null in JSON; an
    infinite one is "inf" in JSON.

    Attributes:
        key, x, lr, betas: of the point.
        theory: Kramers' formula with its factor for momentum. This and what follows are taken at
            the point's theory_place.
        exponent: the barrier in units of the temperature, the exponent of Kramers' formula.
        broken: the assumptions of the formula that do not hold, one sentence each.
        overdamped: Kramers' formula without momentum.
        paper: Kramers' formula without momentum, with the papers' prefactor.
        exact: by quadrature, without momentum; inf where no walker gets through, NaN in several
            dimensions.
        exact_frozen: likewise, with the preconditioner as at the minimum.
        simulated: by the shipped optimizer; NaN where walkers diverged or none escaped.
        error: standard error of simulated.
        num_escapes: observed escapes; None where walkers diverged.
        diverged: what the simulation said when walkers diverged, else None.
        num_walkers, num_steps, seed: of the simulation.
        seconds: of the whole measurement.
    """

    key: str
    x: float
    lr: float
    betas: tuple[float, float]
    theory: float
    exponent: float
    broken: tuple[str, ...]
    overdamped: float
    paper: float
    exact: float
    exact_frozen: float
    simulated: float
    error: float
    num_escapes: int | None
    diverged: str | None
    num_walkers: int
    num_steps: int
    seed: int
    seconds: float

    @property
    def size(self) -> Size:
        """Size of the simulation."""
        return Size(self.num_walkers, self.num_steps)

    @property
    def is_seen(self) -> bool:
        """Whether the simulation gave an escape time."""
        return not math.isnan(self.simulated)

    @property
    def exact_with_momentum(self) -> float:
        """The exact ln tau with Kramers' factor for momentum."""
        return self.exact + self.theory - self.overdamped

    @property
    def exact_exponent(self) -> float:
        """The exact ln tau minus Kramers' overdamped prefactor."""
        return self.exact - (self.overdamped - self.exponent)

    @property
    def simulated_exponent(self) -> float:
        """The simulated ln tau minus Kramers' prefactor with momentum; its error is ``error``."""
        return self.simulated - (self.theory - self.exponent)

    def to_json(self) -> dict[str, Any]:
        """Return the line of ``points.jsonl``."""
        return {name: to_json_number(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Measurement:
        """Return the measurement of a line.

        Raises:
            KeyError, TypeError: the line lacks a field, or has another one.
        """
        numbers = {name: from_json_number(line[name]) for name in NOT_ALWAYS_FINITE}
        lists = {"betas": tuple(line["betas"]), "broken": tuple(line["broken"])}
        return cls(**{**line, **numbers, **lists})


def to_json_number(value: Any) -> Any:
    """Return None for NaN and "inf" for infinity, which JSON does not have, else the value."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return value


def from_json_number(value: float | str | None) -> float:
    """Return the inverse of ``to_json_number``."""
    return math.nan if value is None else float(value)


def measure(point: Point, size: Size) -> Measurement:
    """Return a point's escape time by closed form, by quadrature and by simulation."""
    started = time.perf_counter()
    where = point.theory_place
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EscapeWarning)  # the measurement keeps them in `broken`
        theory = escape_time_on(*where, betas=point.betas)
        overdamped = escape_time_on(*where)
        paper = escape_time_on(*where, prefactor="paper")
    exact = exact_frozen = math.nan
    if where[0].dim == 1:
        exact = mean_first_passage_time(*where)
        exact_frozen = mean_first_passage_time(*where, frozen=True)
    simulated = error = math.nan
    num_escapes, diverged = None, None
    try:
        passages = simulate(
            point.landscape,
            point.noise,
            point.rule,
            point.lr,
            num_walkers=size.num_walkers,
            num_steps=size.num_steps,
            seed=point.seed,
            betas=point.betas,
            rotation=point.rotation,
        )
    except DivergedError as divergence:  # a result, not a missing row
        diverged = str(divergence)
    else:
        num_escapes = passages.num_escapes
        if num_escapes:
            simulated, error = passages.log_time, passages.log_time_error
    return Measurement(
        key=point.key,
        x=point.x,
        lr=point.lr,
        betas=point.betas,
        theory=theory.log_time,
        exponent=theory.exponent,
        broken=theory.broken,
        overdamped=overdamped.log_time,
        paper=paper.log_time,
        exact=exact,
        exact_frozen=exact_frozen,
        simulated=simulated,
        error=error,
        num_escapes=num_escapes,
        diverged=diverged,
        num_walkers=size.num_walkers,
        num_steps=size.num_steps,
        seed=point.seed,
        seconds=round(time.perf_counter() - started, 2),
    )
