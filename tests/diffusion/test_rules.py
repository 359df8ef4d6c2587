"""Preconditioners and their local exponents."""

import math

import pytest

from dualadam.diffusion import Rule, mixture


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.98, 1.0])
def test_the_local_exponent_of_a_mixture_is_its_logarithmic_derivative(alpha):
    rule, v, h = mixture(alpha), 0.02, 1e-5
    below, above = (
        math.log(rule.preconditioner(x) * x) for x in (v * math.exp(-h), v * math.exp(h))
    )
    assert rule.local_exponent(v) == pytest.approx((above - below) / (2 * h), rel=1e-8)


def test_a_mixture_crosses_over_where_its_two_parts_are_equal():
    halfway = 1.0  # between 1/2 and 3/2
    assert mixture(0.98).local_exponent(0.02 / 0.98) == pytest.approx(halfway, rel=1e-12)


def test_a_mixing_weight_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"mixing_weight must be in \[0, 1\] or None, got 1\.5\."):
        Rule("x", 1.5)
