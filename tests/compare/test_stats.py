"""Intervals, tests and verdicts equal those of the textbooks and of scipy."""

import math
import re

import numpy as np
import pytest
import scipy.stats

from dualadam.compare.stats import (
    LEVEL,
    Interval,
    holm,
    mean_interval,
    paired_difference,
    verdict,
)
from dualadam.errors import InvalidValueError
from dualadam.harness.verdict import Verdict

# Student (1908): additional hours of sleep of ten patients under two drugs, the first published
# example of the paired t test
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def draws(n, seed=0):
    return np.random.default_rng(seed).normal(80, 2, size=n)


def test_t_interval_of_students_sleep_data_is_the_published_one():
    interval = mean_interval(np.subtract(SLEEP_2, SLEEP_1))
    rounded = (round(interval.mean, 2), round(interval.low, 4), round(interval.high, 4))
    assert (*rounded, interval.n) == (1.58, 0.7001, 2.4599, 10)


def test_paired_t_test_of_students_sleep_data_is_the_published_one():
    difference = paired_difference(SLEEP_2, SLEEP_1, np.random.default_rng(0))
    assert round(difference.p, 6) == 0.002833  # t = 4.0621 with 9 degrees of freedom
    # nine of ten slept longer, one the same
    assert difference.probability_of_improvement == pytest.approx(0.95)


@pytest.mark.parametrize("n", [3, 4, 5, 30])
def test_interval_and_p_value_equal_scipys(n):
    a, b = draws(n), draws(n, 1)
    ours, theirs = paired_difference(a, b, np.random.default_rng(0)), scipy.stats.ttest_rel(a, b)
    low, high = theirs.confidence_interval(0.95)
    # the same formula in float64
    assert (ours.low, ours.high, ours.p) == pytest.approx((low, high, theirs.pvalue), rel=1e-12)


def test_two_scores_have_a_mean_and_a_p_value_but_no_interval():
    a, b = draws(2), draws(2, 1)
    ours, theirs = paired_difference(a, b, np.random.default_rng(0)), scipy.stats.ttest_rel(a, b)
    assert (ours.mean, ours.p) == pytest.approx((np.subtract(a, b).mean(), theirs.pvalue))
    assert np.isnan([ours.low, ours.high, *ours.bootstrap]).all()
    assert verdict(ours, margin=1e9) is verdict(ours, margin=1e-9) is Verdict.NOT_DECIDED
    assert not ours.contains_zero


def test_the_bootstrap_interval_is_the_quantiles_of_resampled_means_bit_for_bit():
    a, b = draws(12), draws(12, 1)
    d, rng = a - b, np.random.default_rng(3)
    means = d[rng.integers(12, size=(10_000, 12))].mean(1)
    ours = paired_difference(a, b, np.random.default_rng(3)).bootstrap
    assert ours == tuple(np.quantile(means, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]))


def test_bootstrap_comes_from_the_generator_alone():
    a, b = draws(30), draws(30, 1)
    np.random.seed(0)
    first = paired_difference(a, b, np.random.default_rng(3))
    np.random.seed(1)
    assert first.bootstrap == paired_difference(a, b, np.random.default_rng(3)).bootstrap
    assert first.bootstrap != paired_difference(a, b, np.random.default_rng(4)).bootstrap


def test_where_lower_is_better_the_difference_changes_sign():
    a, b = draws(6), draws(6, 1)
    up, down = (paired_difference(a, b, np.random.default_rng(0), sign=s) for s in (1.0, -1.0))
    assert (down.mean, down.low, down.high, down.p) == pytest.approx(
        (-up.mean, -up.high, -up.low, up.p)
    )
    assert down.probability_of_improvement == pytest.approx(1 - up.probability_of_improvement)


@pytest.mark.parametrize(
    ("second", "p", "better"),
    [([1.0, 2.0, 4.0], 1.0, 0.5), ([0.0, 1.0, 3.0], 0.0, 1.0), ([2.0, 3.0, 5.0], 0.0, 0.0)],
)
def test_differences_without_spread_have_a_p_value(second, p, better):
    difference = paired_difference([1.0, 2.0, 4.0], second, np.random.default_rng(0))
    assert (difference.p, difference.probability_of_improvement) == (p, better)
    assert difference.low == difference.mean == difference.high


def test_differences_that_are_equal_up_to_rounding_count_as_without_spread():
    difference = paired_difference(
        [1.1, 2.1, 3.1, 97.1], [1.0, 2.0, 3.0, 97.0], np.random.default_rng(0)
    )
    assert difference.p == 0.0
    assert difference.low == pytest.approx(0.1)


# p values -> adjusted: the k-th smallest of m times (m - k + 1), made monotone, by hand;
# R's p.adjust(p, "holm") gives the same
HOLM = [
    ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
    ([0.01, 0.013, 0.014, 0.19], [0.04, 0.04, 0.04, 0.19]),
    ([0.5, 0.001, 0.9], [1.0, 0.003, 1.0]),
    ([0.2], [0.2]),
    ([], []),
]


@pytest.mark.parametrize(("p_values", "adjusted"), HOLM)
def test_holm_is_the_published_adjustment(p_values, adjusted):
    assert holm(p_values) == pytest.approx(adjusted, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_holm_never_lowers_a_p_value_keeps_their_order_and_stays_below_bonferroni(seed):
    p = np.random.default_rng(seed).random(9) ** 3
    adjusted = np.array(holm(p.tolist()))
    assert (p <= adjusted).all()
    assert (adjusted <= np.minimum(1, 9 * p) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


# low, high -> decision at a margin of 0.5
VERDICTS = [
    (0.1, 1.2, "better"),
    (0.6, 1.2, "better"),
    (-1.2, -0.1, "worse"),
    (0.1, 0.4, "equivalent"),  # excludes 0, but too small to matter
    (-0.4, 0.4, "equivalent"),
    (0.0, 0.0, "equivalent"),
    (-0.5, 0.4, "not decided"),  # the margin itself is not within the margin
    (-0.1, 0.5, "not decided"),
    (-0.1, 1.2, "not decided"),
    (-1.2, 1.2, "not decided"),
    (0.0, 1.2, "not decided"),
]


@pytest.mark.parametrize(("low", "high", "decision"), VERDICTS)
def test_verdict_is_where_the_interval_lies(low, high, decision):
    assert verdict(Interval((low + high) / 2, low, high, 5), margin=0.5) == decision


BAD = [
    (
        lambda: mean_interval([1.0]),
        "scores must be a list of at least 2 numbers, one per seed, got shape (1,).",
    ),
    (
        lambda: mean_interval([[1.0, 2.0]]),
        "scores must be a list of at least 2 numbers, one per seed, got shape (1, 2).",
    ),
    (
        lambda: mean_interval([1.0, math.nan]),
        "scores must be finite, got nan; a diverged run counts with the worst score of its task.",
    ),
    (
        lambda: paired_difference([1.0, 2.0], [1.0, 2.0, 3.0], np.random.default_rng(0)),
        "first and second must have one score per seed, got 2 and 3.",
    ),
]


@pytest.mark.parametrize(("call", "sentence"), BAD)
def test_what_cannot_be_computed_is_refused(call, sentence):
    with pytest.raises(InvalidValueError, match=f"^{re.escape(sentence)}$"):
        call()
