"""How small a difference a study can detect."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from dualadam.compare.stats import LEVEL, QUANTILES, checked_scores
from dualadam.errors import InvalidValueError


def detectable_difference(differences: ArrayLike, power: float = 0.8) -> float:
    """Return the smallest true difference that a paired t test at 5 % detects with this power.

    Solves P(|T| > t_crit) = power for delta. T has the noncentral t distribution with n - 1 degrees
    of freedom and noncentrality delta sqrt(n) / s; s is the spread of the given differences.

    Args:
        differences: (n,), paired differences.
        power: in (0.05, 1).

    Returns:
        The difference in the unit of the scores; 0 where all differences are the same.

    Raises:
        InvalidValueError: fewer than two differences, one that is not finite, or a power that is
            out of range.

    Example:
        >>> x = stats.norm.ppf((np.arange(34) + 0.5) / 34)
        >>> # 34 pairs detect half a standard deviation with 80 % power: Cohen (1988)
        >>> round(detectable_difference(x / x.std(ddof=1)), 2)
        0.5
    """
    if not 1 - LEVEL < power < 1:
        raise InvalidValueError(f"power must be in (0.05, 1), got {power}.")
    d = checked_scores(differences)
    n, s = len(d), float(d.std(ddof=1))
    return 0.0 if s == 0 else detectable_in_spreads(n, power) * s


def detectable_in_spreads(n: int, power: float = 0.8) -> float:
    """Return the smallest difference that n pairs detect, in standard deviations of the pairs.

    Args:
        n: number of pairs, at least 2.
        power: as for ``detectable_difference``.

    Example:
        >>> round(detectable_in_spreads(34), 2), round(detectable_in_spreads(10), 2)
        (0.5, 1.0)
    """
    critical = stats.t.ppf(QUANTILES[1], n - 1)
    # scipy's noncentral t fails at one and two degrees of freedom. T is normal, given its
    # denominator: the power is a mean over the quantiles of the denominator's distribution.
    quantiles = (np.arange(20_000) + 0.5) / 20_000
    bound = critical * np.sqrt(stats.chi2.ppf(quantiles, n - 1) / (n - 1))

    def excess_power(noncentrality: float) -> float:
        tails = special.ndtr(noncentrality - bound) + special.ndtr(-noncentrality - bound)
        return float(tails.mean()) - power

    upper = 1.0
    while excess_power(upper) < 0:
        upper *= 2
    return float(optimize.brentq(excess_power, 0.0, upper)) / math.sqrt(n)
