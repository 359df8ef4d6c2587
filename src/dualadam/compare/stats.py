"""Intervals, tests and verdicts from scores. Differences are paired by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from dualadam.errors import InvalidValueError
from dualadam.harness.verdict import Verdict

Floats = NDArray[np.float64]
LEVEL = 0.95
QUANTILES = (0.5 - LEVEL / 2, 0.5 + LEVEL / 2)
NUM_RESAMPLES = 10_000
MIN_FOR_INTERVAL = 3  # with two scores, the factor of the spread is 12.7


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval over n seeds or examples.

    ``low`` and ``high`` are NaN below 3 seeds, of which there is no useful interval.
    """

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.mean:.2f}", self.ends(".2f"))))

    def ends(self, form: str) -> str:
        """Return the interval as text, "[low, high]"; empty where there is none.

        Example:
            >>> Interval(0.8, 0.2, 1.4, 5).ends("+.1f"), mean_interval([0.0, 1.0]).ends(".1f")
            ('[+0.2, +1.4]', '')
        """
        if math.isnan(self.low):
            return ""
        return f"[{format(self.low, form)}, {format(self.high, form)}]"

    @property
    def half_width(self) -> float:
        """The distance from the mean to either end of a t interval."""
        return self.high - self.mean

    @property
    def contains_zero(self) -> bool:
        """Whether the interval contains 0."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Difference(Interval):
    """A paired difference, sign-flipped where needed so that positive is better.

    ``low`` and ``high`` are the ends of the interval that decides.

    Attributes:
        p: two-sided paired t test, not adjusted.
        p_holm: Holm-adjusted over the secondary comparisons of the study; NaN for the primary one.
        bootstrap: 95 % percentile interval over the seeds, beside the t interval.
        probability_of_improvement: the share of seeds in which the first arm is better, [0, 1];
            a tie counts half.
        judged: the 95 % interval over the judged seeds alone.
        choice: standard deviation that the choice of settings adds; None where it is not known.
        with_choice: the 95 % interval over the judged seeds and the choice; None without it.
    """

    p: float
    p_holm: float
    bootstrap: tuple[float, float]
    probability_of_improvement: float
    judged: tuple[float, float]
    choice: float | None = None
    with_choice: tuple[float, float] | None = None


def mean_interval(scores: ArrayLike) -> Interval:
    r"""Return the mean with its t interval, :math:`\bar x \pm t_{n-1, 0.975}\, s / \sqrt n`.

    Args:
        scores: (n,), one per seed, n at least 2; with 2, the interval's ends are NaN.

    Raises:
        InvalidValueError: fewer than two scores, or one that is not finite.

    Example:
        >>> print(mean_interval([1.0, 2.0, 3.0]))  # t = 4.303, s = 1
        2.00 [-0.48, 4.48]
    """
    x = checked_scores(scores)
    # not scipy's confidence_interval(): it rounds differently, and no recorded digit may change
    critical = float(stats.t.ppf(QUANTILES[1], len(x) - 1))
    half = critical * float(x.std(ddof=1)) / math.sqrt(len(x))
    mean = float(x.mean())
    if len(x) < MIN_FOR_INTERVAL:
        return Interval(mean, math.nan, math.nan, len(x))
    return Interval(mean, mean - half, mean + half, len(x))


def paired_difference(
    first: ArrayLike, second: ArrayLike, rng: np.random.Generator, *, sign: float = 1.0
) -> Difference:
    """Return first - second with its t interval, t test, bootstrap and probability of improvement.

    Args:
        first, second: (n,), scores of the same seeds in the same order.
        rng: draws the bootstrap samples.
        sign: -1 where a lower score is better.

    Raises:
        InvalidValueError: as for ``mean_interval``, or the lengths differ.
    """
    a, b = checked_scores(first), checked_scores(second)
    if len(a) != len(b):
        raise InvalidValueError(
            f"first and second must have one score per seed, got {len(a)} and {len(b)}."
        )
    d = sign * (a - b)
    interval = mean_interval(d)
    rounding = 1e-12 * max(np.abs(a).max(), np.abs(b).max())
    if d.std(ddof=1) > rounding:
        p = float(stats.ttest_1samp(d, 0.0).pvalue)
    else:  # the test divides by the spread
        p = 1.0 if interval.mean == 0 else 0.0
    resampled = stats.bootstrap(
        (d,), np.mean, n_resamples=NUM_RESAMPLES, method="percentile", rng=rng
    )
    low, high = np.quantile(resampled.bootstrap_distribution, QUANTILES)
    low, high = (low, high) if len(d) >= MIN_FOR_INTERVAL else (math.nan, math.nan)
    better = float((d > 0).mean() + 0.5 * (d == 0).mean())
    return Difference(
        interval.mean,
        interval.low,
        interval.high,
        interval.n,
        p=p,
        p_holm=math.nan,
        bootstrap=(float(low), float(high)),
        probability_of_improvement=better,
        judged=(interval.low, interval.high),
    )


def example_bootstrap(first: ArrayLike, second: ArrayLike, rng: np.random.Generator) -> Interval:
    """Return the difference in accuracy with its percentile bootstrap over the test examples.

    It answers another question than the interval over seeds: how would the same trained models
    differ on other examples from the same source?

    Args:
        first, second: bool (num_seeds, num_examples), whether each run was right on each example.
        rng: draws the samples of the examples.

    Returns:
        Mean and 95 % interval in percentage points; n is the number of examples.

    Raises:
        InvalidValueError: the shapes differ.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise InvalidValueError(
            "first and second must have the same shape (num_seeds, num_examples), "
            f"got {a.shape} and {b.shape}."
        )
    d = 100.0 * (a - b).mean(0)
    # d has few distinct values: drawing their counts is the same bootstrap with far less memory
    values, counts = np.unique(d, return_counts=True)
    means = rng.multinomial(len(d), counts / len(d), size=NUM_RESAMPLES) @ values / len(d)
    low, high = np.quantile(means, QUANTILES)
    return Interval(float(d.mean()), float(low), float(high), len(d))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values after Holm's step-down adjustment.

    The k-th smallest of m is multiplied by m - k + 1, made monotone, and cut off at 1.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]

    References:
        S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
        Statistics 6 (1979) 65-70.
    """
    order = np.argsort(p_values)
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return adjusted


def verdict(difference: Interval, margin: float) -> Verdict:
    """Decide a comparison by where its 95 % interval lies.

    Equivalent: within (-margin, margin), whether or not the interval contains 0. Otherwise better
    or worse if it excludes 0, and not decided if it contains 0.

    Example:
        >>> str(verdict(Interval(0.8, 0.2, 1.4, 5), margin=0.5))
        'better'
        >>> str(verdict(Interval(0.1, -0.2, 0.4, 5), margin=0.5))
        'equivalent'
    """
    if -margin < difference.low and difference.high < margin:
        return Verdict.EQUIVALENT
    if difference.low > 0:
        return Verdict.BETTER
    return Verdict.WORSE if difference.high < 0 else Verdict.NOT_DECIDED


def checked_scores(scores: ArrayLike) -> Floats:
    """Return scores as an array (n,).

    Raises:
        InvalidValueError: fewer than two scores, or one that is not finite.
    """
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != 1 or len(x) < 2:
        raise InvalidValueError(
            f"scores must be a list of at least 2 numbers, one per seed, got shape {x.shape}."
        )
    if not np.isfinite(x).all():
        raise InvalidValueError(
            f"scores must be finite, got {x[~np.isfinite(x)][0]}; "
            "a diverged run counts with the worst score of its task."
        )
    return x
