"""A claim: the value by theory, the measured value with its interval, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dualadam.harness.verdict import Verdict

Floats = NDArray[np.float64]
NUM_BOOTSTRAPS = 300
RATIO_BAND = (0.8, 1.25)  # a ratio within it counts as 1


class Table(StrEnum):
    """The tables of the report, in their order."""

    NOISE = "is C = H / B?"
    EXPONENT_AGAINST_CURVATURE = "slope of the exponent against H"
    TIME_AGAINST_CURVATURE = "slope of ln tau against ln H"
    DIFFERENCE = "difference of exponents' slopes"
    EXPONENT_AGAINST_LR = "slope of the exponent against lr"


class Estimate(NamedTuple):
    """A measured value and its 95 % interval; NaN where too few minima had escapes."""

    value: float
    low: float
    high: float


NO_ESTIMATE = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Claim:
    """One line of a table.

    Attributes:
        table: where it stands.
        label: what is claimed about which optimizers or data.
        theory: the value by theory.
        value, low, high: the measured value and its 95 % interval.
        verdict: HELD, NOT_HELD or NOT_DECIDED.
        note: what a reader must know beside it.
    """

    table: Table
    label: str
    theory: float
    value: float
    low: float
    high: float
    verdict: Verdict
    note: str

    @classmethod
    def of_slope(
        cls, table: Table, label: str, theory: float, estimate: Estimate, note: str
    ) -> Claim:
        """Return the claim that a slope has theory's value."""
        return cls(table, label, theory, *estimate, decide_slope(theory, estimate), note)

    @classmethod
    def of_ratio(cls, table: Table, label: str, estimate: Estimate, note: str) -> Claim:
        """Return the claim that a ratio is 1."""
        return cls(table, label, 1.0, *estimate, decide_ratio(estimate), note)

    @property
    def shown_value(self) -> str:
        """The value as text; a dash where it does not exist."""
        return f"{self.value:.2f}" if math.isfinite(self.value) else "-"

    @property
    def shown_interval(self) -> str:
        """The interval as text, or why there is none."""
        exists = math.isfinite(self.value)
        return f"[{self.low:.2f}, {self.high:.2f}]" if exists else "too few minima"

    def to_json(self) -> dict[str, Any]:
        """Return the claim as strict JSON can hold it, with null for a missing number."""
        return {
            k: None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in vars(self).items()
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Claim:
        """Return the claim of an entry of claims.json."""
        numbers = {
            k: math.nan if content[k] is None else content[k] for k in ("value", "low", "high")
        }
        table, verdict = Table(content["table"]), Verdict(content["verdict"])
        return cls(**{**content, **numbers, "table": table, "verdict": verdict})


def subject(optimizer: str, temperature: float, minus: str | None = None) -> str:
    """Return the label of a claim about an optimizer, or the difference of two."""
    difference = f" - {minus}" if minus else ""
    return f"{optimizer}{difference}, T = {temperature:g}"


def decide_slope(theory: float, estimate: Estimate) -> Verdict:
    """Decide a claim about a slope.

    HELD if the interval contains theory's value and not 0, NOT_HELD if it does not contain theory's
    value, NOT_DECIDED if it contains both or does not exist.

    Example:
        >>> intervals = (-1.4, -0.5), (-0.6, 0.2), (-2.0, 0.3)
        >>> [str(decide_slope(-1.0, Estimate(-0.9, *interval))) for interval in intervals]
        ['held', 'not held', 'not decided']
    """
    if not math.isfinite(estimate.low):
        return Verdict.NOT_DECIDED
    if not estimate.low <= theory <= estimate.high:
        return Verdict.NOT_HELD
    return Verdict.NOT_DECIDED if estimate.low <= 0 <= estimate.high else Verdict.HELD


def decide_ratio(estimate: Estimate) -> Verdict:
    """Decide the claim that a ratio is 1, by whether its interval lies within RATIO_BAND.

    Example:
        >>> intervals = (0.9, 1.1), (0.5, 0.7), (0.7, 0.9)
        >>> [str(decide_ratio(Estimate(0.8, *interval))) for interval in intervals]
        ['held', 'not held', 'not decided']
    """
    if estimate.low >= RATIO_BAND[0] and estimate.high <= RATIO_BAND[1]:
        return Verdict.HELD
    if estimate.high < RATIO_BAND[0] or estimate.low > RATIO_BAND[1]:
        return Verdict.NOT_HELD
    return Verdict.NOT_DECIDED


def bootstrap(statistic: Callable[[Floats], float], num_minima: int, seed: int) -> Estimate:
    """Return a statistic with its 95 % percentile interval over resampled minima.

    Args:
        statistic: of the minima's weights, shape (num_minima,): how often each counts. NaN where it
            does not exist.
        num_minima: how many there are.
        seed: of the resamples.

    Returns:
        The estimate, or NO_ESTIMATE where the statistic or half of its resamples do not exist.
    """
    rng = np.random.default_rng(seed)
    value = statistic(np.ones(num_minima))
    uniform = np.ones(num_minima) / num_minima
    resampled = [
        statistic(rng.multinomial(num_minima, uniform).astype(float)) for _ in range(NUM_BOOTSTRAPS)
    ]
    finite = [x for x in resampled if math.isfinite(x)]
    if not math.isfinite(value) or len(finite) < NUM_BOOTSTRAPS // 2:
        return NO_ESTIMATE
    low, high = np.quantile(finite, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def weighted_slope(x: Floats, y: Floats, weights: Floats) -> float:
    """Return the slope of y on x by weighted least squares over the finite y.

    NaN with fewer than four minima.
    """
    used = np.isfinite(y) & (weights > 0)
    if used.sum() < 4:
        return math.nan
    w, x, y = weights[used] / weights[used].sum(), x[used], y[used]
    x = x - w @ x
    return float((w * x) @ y / ((w * x) @ x))
