"""Intervals, tests and decisions are the textbooks' and scipy's."""

import math
import re

import numpy as np
import pytest
import scipy.stats

from dualadam.compare.stats import (
    Interval,
    detectable_difference,
    holm,
    mean_interval,
    paired_difference,
    verdict,
)

# Student (1908), additional hours of sleep of ten patients under two drugs: the paired t test's first published example.
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def draws(n, seed=0):
    return np.random.default_rng(seed).normal(80, 2, size=n)


def test_t_interval_of_students_sleep_data_is_the_published_one():
    interval = mean_interval(np.subtract(SLEEP_2, SLEEP_1))
    assert (
        round(interval.mean, 2),
        round(interval.low, 4),
        round(interval.high, 4),
        interval.n,
    ) == (1.58, 0.7001, 2.4599, 10)


def test_paired_t_test_of_students_sleep_data_is_the_published_one():
    difference = paired_difference(SLEEP_2, SLEEP_1, np.random.default_rng(0))
    assert round(difference.p, 6) == 0.002833  # t = 4.0621 with 9 degrees of freedom
    assert difference.probability_of_improvement == pytest.approx(
        0.95
    )  # nine of ten slept longer, one the same


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_interval_and_p_value_equal_scipys(n):
    a, b = draws(n), draws(n, 1)
    ours, theirs = paired_difference(a, b, np.random.default_rng(0)), scipy.stats.ttest_rel(a, b)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high, ours.p) == pytest.approx(
        (low, high, theirs.pvalue), rel=1e-12
    )  # the same formula in float64


def test_bootstrap_interval_is_scipys_percentile_interval_up_to_its_sampling_noise():
    a, b = draws(12), draws(12, 1)
    ours = paired_difference(a, b, np.random.default_rng(0)).bootstrap
    theirs = scipy.stats.bootstrap(
        (a - b,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    )
    # the standard error of a 2.5 % quantile from 10,000 draws is about 0.03 of their standard deviation; two of them, four sigma
    assert ours == pytest.approx(
        tuple(theirs.confidence_interval), abs=0.16 * theirs.standard_error
    )


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


# p values -> Holm's: the k-th smallest of m times (m - k + 1), made monotone, by hand; R's p.adjust(p, "holm") prints the same
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


# pairs that find a small, medium and large effect of Cohen (1988) with 80 % power at 5 %, two-sided, as G*Power 3.1 has them
NEEDED = [(0.2, 199), (0.5, 34), (0.8, 15)]


@pytest.mark.parametrize(("effect", "pairs"), NEEDED)
def test_published_sample_sizes_detect_their_effect_and_one_pair_less_does_not(effect, pairs):
    def detectable(n):
        x = np.linspace(-1, 1, n)
        return detectable_difference(x / x.std(ddof=1))

    assert detectable(pairs) <= effect < detectable(pairs - 1)


@pytest.mark.parametrize("n", [2, 5, 20])
def test_simulated_studies_find_the_detectable_difference_with_the_promised_power(n):
    rng = np.random.default_rng(5)
    spread = np.linspace(-1, 1, n)
    true = detectable_difference(spread / spread.std(ddof=1))
    p = scipy.stats.ttest_1samp(rng.normal(true, 1, size=(20_000, n)), 0, axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(
        0.8, abs=0.012
    )  # four standard errors of a share from 20,000


@pytest.mark.parametrize("n", [3, 4, 8, 40])
def test_power_at_the_detectable_difference_is_that_of_scipys_noncentral_t(n):
    spread = np.linspace(-1, 1, n)
    noncentrality = detectable_difference(spread / spread.std(ddof=1)) * n**0.5
    critical = scipy.stats.t.ppf(0.975, n - 1)
    power = scipy.stats.nct.sf(critical, n - 1, noncentrality) + scipy.stats.nct.cdf(
        -critical, n - 1, noncentrality
    )
    assert power == pytest.approx(0.8, abs=1e-5)  # the accuracy of the quadrature


def test_detectable_difference_scales_with_the_spread_and_is_zero_without():
    d = draws(5)
    assert detectable_difference(3 * d) == pytest.approx(3 * detectable_difference(d))
    assert detectable_difference([0.5, 0.5, 0.5]) == 0.0


BAD = [
    (
        lambda: mean_interval([1.0]),
        "scores must be a list of at least 2 numbers, one a seed, got shape (1,).",
    ),
    (
        lambda: mean_interval([[1.0, 2.0]]),
        "scores must be a list of at least 2 numbers, one a seed, got shape (1, 2).",
    ),
    (
        lambda: mean_interval([1.0, math.nan]),
        "scores must be finite, got nan; a diverged run counts as the task's worst score.",
    ),
    (
        lambda: paired_difference([1.0, 2.0], [1.0, 2.0, 3.0], np.random.default_rng(0)),
        "first and second must have one score of each seed, got 2 and 3.",
    ),
    (lambda: detectable_difference([1.0, 2.0], power=1.0), "power must be in (0.05, 1), got 1.0."),
    (
        lambda: detectable_difference([1.0, 2.0], power=0.05),
        "power must be in (0.05, 1), got 0.05.",
    ),
]


@pytest.mark.parametrize(("call", "sentence"), BAD)
def test_what_cannot_be_computed_is_refused(call, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        call()
