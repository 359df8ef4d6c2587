"""Scores in, intervals and decisions out. Every difference is paired over seeds; randomness is passed in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

Floats = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval over n seeds."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Difference(Interval):
    """A paired difference; positive is better for the first arm."""

    p: float  # two-sided t test, not adjusted
    p_holm: float  # adjusted over the secondary comparisons of the study; nan for the primary one
    bootstrap: tuple[float, float]  # 95 % percentile interval beside the t interval
    probability_of_improvement: (
        float  # share of seeds in which the first arm is better, ties counting half, [0, 1]
    )


def mean_interval(scores: ArrayLike) -> Interval:
    r"""Return the mean with its t interval, :math:`\bar x \pm t_{n-1, 0.975}\, s / \sqrt n`.

    Args:
        scores: (n,) one a seed, n at least 2.

    Raises:
        ValueError: fewer than two scores, or one that is not finite.

    Example:
        >>> print(mean_interval([1.0, 2.0, 3.0]))  # t = 4.303, s = 1
        2.00 [-0.48, 4.48]
    """
    x = _checked(scores)
    half = (
        float(stats.t.ppf(0.5 + LEVEL / 2, len(x) - 1)) * float(x.std(ddof=1)) / math.sqrt(len(x))
    )
    mean = float(x.mean())
    return Interval(mean, mean - half, mean + half, len(x))


def paired_difference(
    first: ArrayLike, second: ArrayLike, rng: np.random.Generator, *, sign: float = 1.0
) -> Difference:
    """Return first - second over paired seeds: t interval, t test, percentile bootstrap over the seeds, probability of improvement.

    Args:
        first, second: (n,) scores of the same seeds in the same order.
        rng: draws the bootstrap samples.
        sign: -1 where a lower score is better.

    Raises:
        ValueError: as for ``mean_interval``, or different lengths.
    """
    a, b = _checked(first), _checked(second)
    if len(a) != len(b):
        raise ValueError(
            f"first and second must have one score of each seed, got {len(a)} and {len(b)}."
        )
    d = sign * (a - b)
    interval = mean_interval(d)
    spread = float(d.std(ddof=1)) > 1e-12 * max(
        np.abs(a).max(), np.abs(b).max()
    )  # below it, rounding is all there is
    p = float(stats.ttest_1samp(d, 0.0).pvalue) if spread else 1.0 if interval.mean == 0 else 0.0
    means = d[rng.integers(len(d), size=(10_000, len(d)))].mean(1)
    low, high = np.quantile(means, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    better = float((d > 0).mean() + 0.5 * (d == 0).mean())
    return Difference(
        interval.mean,
        interval.low,
        interval.high,
        interval.n,
        p,
        math.nan,
        (float(low), float(high)),
        better,
    )


def example_bootstrap(first: ArrayLike, second: ArrayLike, rng: np.random.Generator) -> Interval:
    """Return the difference in accuracy with a percentile bootstrap over the test examples, for the seeds that were run.

    It answers another question than the interval over seeds: would the same trained models differ on other examples from the same source?

    Args:
        first, second: bool (num_seeds, num_examples), which examples each run had right; the same examples in the same order.
        rng: draws 10,000 samples of the examples.

    Returns:
        Mean and 95 % interval in percentage points; n is the number of examples.

    Raises:
        ValueError: the shapes differ.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(
            f"first and second must have the same shape (num_seeds, num_examples), got {a.shape} and {b.shape}."
        )
    d = 100.0 * (a - b).mean(0)
    values, counts = np.unique(
        d, return_counts=True
    )  # few distinct values: a multinomial draw of their counts is the same bootstrap
    means = rng.multinomial(len(d), counts / len(d), size=10_000) @ values / len(d)
    low, high = np.quantile(means, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Interval(float(d.mean()), float(low), float(high), len(d))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjustment: the k-th smallest of m times (m - k + 1), made monotone, at most 1.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]

    References:
        S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979) 65-70.
    """
    order = np.argsort(p_values)
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return adjusted


def verdict(difference: Interval, margin: float) -> str:
    """Decide a comparison by where its 95 % interval lies: "better", "worse", "equivalent" or "not decided".

    Equivalent: the interval lies within +-margin, whether or not it excludes 0. Otherwise better or worse, where it excludes 0, or not
    decided.

    Example:
        >>> verdict(Interval(0.8, 0.2, 1.4, 5), margin=0.5), verdict(Interval(0.1, -0.2, 0.4, 5), margin=0.5)
        ('better', 'equivalent')
    """
    if -margin < difference.low and difference.high < margin:
        return "equivalent"
    if difference.low > 0:
        return "better"
    if difference.high < 0:
        return "worse"
    return "not decided"


def detectable_difference(differences: ArrayLike, power: float = 0.8) -> float:
    """Return the smallest true difference that a paired t test at 5 % finds with this power, given the spread of the differences seen.

    Solves P(|T| > t_crit; noncentrality delta sqrt(n) / s) = power for delta, T noncentral t with n - 1 degrees of freedom.

    Args:
        differences: (n,) paired differences. power: in (0.05, 1).

    Raises:
        ValueError: as for ``mean_interval``, or power out of range.

    Returns:
        The difference in the unit of the scores; 0 where all differences are the same.

    Example:
        >>> x = stats.norm.ppf((np.arange(34) + 0.5) / 34)  # 34 pairs find half a standard deviation with 80 %: Cohen (1988)
        >>> round(detectable_difference(x / x.std(ddof=1)), 2)
        0.5
    """
    if not 1 - LEVEL < power < 1:
        raise ValueError(f"power must be in (0.05, 1), got {power}.")
    d = _checked(differences)
    n, s = len(d), float(d.std(ddof=1))
    if s == 0:
        return 0.0
    critical = stats.t.ppf(0.5 + LEVEL / 2, n - 1)
    # scipy's noncentral t fails at one or two degrees of freedom, so the power is integrated over the quantiles of the standard deviation
    quantiles = (np.arange(20_000) + 0.5) / 20_000
    bound = critical * np.sqrt(stats.chi2.ppf(quantiles, n - 1) / (n - 1))

    def shortfall(noncentrality: float) -> float:
        return (
            float(
                (special.ndtr(noncentrality - bound) + special.ndtr(-noncentrality - bound)).mean()
            )
            - power
        )

    upper = 1.0
    while shortfall(upper) < 0:
        upper *= 2
    return float(optimize.brentq(shortfall, 0.0, upper)) * s / math.sqrt(n)


def _checked(scores: ArrayLike) -> Floats:
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(
            f"scores must be a list of at least 2 numbers, one a seed, got shape {x.shape}."
        )
    if not np.isfinite(x).all():
        raise ValueError(
            f"scores must be finite, got {x[~np.isfinite(x)][0]}; a diverged run counts as the task's worst score."
        )
    return x
