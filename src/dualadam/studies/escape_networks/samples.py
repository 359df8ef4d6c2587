"""The escape times of one optimizer at one temperature, minimum by minimum, and fits to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from dualadam.studies.escape_networks.claims import Floats
from dualadam.studies.escape_networks.escapes import EscapeRow
from dualadam.studies.escape_networks.minima import MinimumRow
from dualadam.studies.escape_networks.settings import BETAS, RULES, Settings

# of a minimum whose own exponent is used
MIN_ESCAPES, MIN_EXPONENT = 2, 0.5


@dataclass(frozen=True)
class EscapeSample:
    """All walkers of one optimizer at one temperature.

    Attributes:
        optimizer, temperature, lr: of the walkers.
        curvature: H, shape (num_minima,).
        log_prefactor: logarithm of Kramers' prefactor, shape (num_minima,).
        last_home: step of each walker's last check at home, shape (num_minima, num_walkers).
        first_elsewhere: step of its first check elsewhere, same shape; inf if censored.
    """

    optimizer: str
    temperature: float
    lr: float
    curvature: Floats
    log_prefactor: Floats
    last_home: Floats
    first_elsewhere: Floats

    @property
    def num_escapes(self) -> NDArray[np.int64]:
        """Escapes from every minimum, shape (num_minima,)."""
        return np.isfinite(self.first_elsewhere).sum(1)

    @property
    def log_curvature(self) -> Floats:
        """ln H relative to the median minimum, shape (num_minima,)."""
        return np.log(self.curvature / np.median(self.curvature))

    @property
    def log_times(self) -> Floats:
        """Ln tau of every minimum from exponential escape times; inf where no walker escaped."""
        pairs = zip(self.last_home, self.first_elsewhere, strict=True)
        return np.array([_log_time(home, elsewhere) for home, elsewhere in pairs])

    @property
    def log_exponents(self) -> Floats:
        """Ln E of every minimum, E = ln tau - ln prefactor.

        NaN with fewer than MIN_ESCAPES escapes or an E of at most MIN_EXPONENT.
        """
        exponents = self.log_times - self.log_prefactor
        usable = (self.num_escapes >= MIN_ESCAPES) & (exponents > MIN_EXPONENT)
        return np.log(np.where(usable, exponents, np.nan))


def escape_samples(
    minima: Sequence[MinimumRow], escapes: Sequence[EscapeRow], settings: Settings
) -> list[EscapeSample]:
    """Collect the walkers by temperature and optimizer, in the order of the minima."""
    by_place = {(row.number, row.optimizer, row.temperature): row for row in escapes}
    curvature = np.array([minimum.curvature for minimum in minima])
    samples = []
    for temperature in settings.temperatures:
        for rule in RULES:
            rows = [by_place[minimum.number, rule.name, temperature] for minimum in minima]
            lr = rows[0].lr
            rate = np.array([lr * m.preconditioner[rule.name] * m.curvature for m in minima])
            elsewhere = np.array([row.first_elsewhere for row in rows], float)  # None becomes nan
            elsewhere[np.isnan(elsewhere)] = np.inf
            samples.append(
                EscapeSample(
                    optimizer=rule.name,
                    temperature=temperature,
                    lr=lr,
                    curvature=curvature,
                    log_prefactor=_log_prefactor(rate),
                    last_home=np.array([row.last_home for row in rows], float),
                    first_elsewhere=elsewhere,
                )
            )
    return samples


def _log_prefactor(rate: Floats) -> Floats:
    """Return ln of Kramers' prefactor with momentum, |H_b| = H_a = H and rate = lr p H."""
    return np.log(np.pi * (np.sqrt(1 + 4 * rate / (1 - BETAS[0])) + 1) / rate)


class WeibullFit(NamedTuple):
    """A regression of Weibull escape times on ln H.

    Attributes:
        slope: against ln H.
        level: ln tau or ln E at the median H.
        log_shape: logarithm of the Weibull shape.
    """

    slope: float
    level: float
    log_shape: float


def fit_exponents(
    sample: EscapeSample, weights: Floats, start: WeibullFit | None = None
) -> WeibullFit:
    """Fit ln tau = ln prefactor + E (H / H0)^slope by maximum likelihood; the level is ln E.

    Args:
        sample: the walkers.
        weights: shape (num_minima,), how often each minimum counts.
        start: a fit of other weights to start from.
    """
    x = sample.log_curvature

    def log_times(slope: float, level: float) -> Floats:
        return sample.log_prefactor + np.exp(np.minimum(level + slope * x, 5))

    return _fit(sample, weights, log_times, math.log(2.0), start)


def fit_times(sample: EscapeSample, weights: Floats, start: WeibullFit | None = None) -> WeibullFit:
    """Fit ln tau = level + slope ln(H / H0) by maximum likelihood; arguments as fit_exponents."""
    x = sample.log_curvature

    def log_times(slope: float, level: float) -> Floats:
        return level + slope * x

    return _fit(sample, weights, log_times, 7.0, start)


def _fit(
    sample: EscapeSample,
    weights: Floats,
    log_times: Callable[[float, float], Floats],
    first_level: float,
    start: WeibullFit | None,
) -> WeibullFit:
    def loss(parameters: Floats) -> float:
        fit = WeibullFit(*parameters)
        locations = log_times(fit.slope, fit.level)[:, None]
        terms = _log_likelihood(
            sample.last_home,
            sample.first_elsewhere,
            np.broadcast_to(locations, sample.last_home.shape),
            math.exp(min(fit.log_shape, 3)),
        )
        mean = float(weights @ terms.sum(1)) / float(weights.sum())
        return -mean + 1e-6 * fit.slope * fit.slope

    starts = [WeibullFit(slope, first_level, -0.3) for slope in (0.0, -1.5, 1.5)]
    if start is not None:
        starts = [start]
    found = (minimize(loss, np.array(s), method="BFGS", options={"gtol": 1e-4}) for s in starts)
    return WeibullFit(*min(found, key=lambda result: result.fun).x)


def _log_time(last_home: Floats, first_elsewhere: Floats) -> float:
    if not np.isfinite(first_elsewhere).any():
        return math.inf

    def loss(log_time: float) -> float:
        locations = np.full(len(last_home), log_time)
        return -_log_likelihood(last_home, first_elsewhere, locations, 1.0).sum()

    return float(minimize_scalar(loss, bounds=(0.0, 20.0), method="bounded").x)


def _log_likelihood(
    last_home: Floats, first_elsewhere: Floats, location: Floats, shape: float
) -> Floats:
    """Return ln [S(last_home) - S(first_elsewhere)], S(t) = exp(-(t / e^location)^shape)."""
    with np.errstate(divide="ignore", over="ignore", under="ignore"):

        def hazard(times: Floats) -> Floats:
            return np.exp(np.minimum(shape * (np.log(times) - location), 600))

        a = np.where(last_home > 0, hazard(last_home), 0.0)
        b = np.where(np.isfinite(first_elsewhere), hazard(first_elsewhere), np.inf)
        return -a + np.log(np.maximum(-np.expm1(a - b), 1e-300))
