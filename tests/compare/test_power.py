"""The detectable difference is that of published sample sizes, of simulation and of scipy."""

import re

import numpy as np
import pytest
import scipy.stats

from dualadam.compare.power import detectable_difference
from dualadam.errors import InvalidValueError

# pairs that detect a small, medium and large effect (Cohen 1988) with 80 % power at 5 %, two-sided,
# as G*Power 3.1 gives them
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
    # four standard errors of a share from 20,000
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.012)


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
    d = np.random.default_rng(0).normal(size=5)
    assert detectable_difference(3 * d) == pytest.approx(3 * detectable_difference(d))
    assert detectable_difference([0.5, 0.5, 0.5]) == 0.0


@pytest.mark.parametrize("power", [1.0, 0.05])
def test_a_power_that_no_test_has_is_refused(power):
    with pytest.raises(InvalidValueError, match=re.escape("power must be in (0.05, 1), got")):
        detectable_difference([1.0, 2.0], power=power)
