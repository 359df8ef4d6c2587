"""Kramers' formula against the exponents and prefactors of the theory's table."""

import math

import numpy as np
import pytest

from dualadam.diffusion import (
    ADAM,
    INVADAM,
    SGD,
    ConstantNoise,
    DoubleWell,
    EscapeWarning,
    escape_time,
    escape_time_on,
)

RULES = [SGD, ADAM, INVADAM]
# The theory's table: the power of B / H in the exponent, and the power of the determinant factor.
EXPONENT = {SGD: 1.0, ADAM: 0.5, INVADAM: 1.5}
DETERMINANT = {SGD: 0.0, ADAM: 0.25, INVADAM: -0.25}
HALF_THE_NOISE = {
    "hessian_at_minimum": 1.0,
    "hessian_at_saddle": -0.5,
    "noise_at_minimum": 1.0,
    "noise_at_saddle": 0.5,
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_exponent_is_two_barriers_over_lr_times_a_power_of_batch_size_over_curvature(rule):
    for k, batch_size, lr in (
        (1.0, 4.0, 0.01),
        (2.5, 4.0, 0.01),
        (1.0, 16.0, 0.01),
        (1.0, 4.0, 0.003),
    ):
        value = escape_time_on(DoubleWell(k, 0.3), ConstantNoise(k / batch_size), rule, lr)
        expected = 2 * 0.3 / lr * (batch_size / k) ** EXPONENT[rule]
        assert value.exponent == pytest.approx(expected, rel=1e-12)
        assert not value.broken


@pytest.mark.filterwarnings("ignore:A preconditioner that follows the noise")
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_papers_determinant_factor_has_its_power(rule):
    lr, batch_size = 1e-3, 8.0
    h_a, h_b = np.array([1.0, 2.0, 3.0]), np.array([-0.5, 5.0, 4.0])
    value = escape_time(
        rule,
        lr,
        barrier=0.1,
        hessian_at_minimum=h_a,
        hessian_at_saddle=h_b,
        noise_at_minimum=h_a / batch_size,
        noise_at_saddle=abs(h_b) / batch_size,
        betas=(0.0, 0.9999),
        prefactor="paper",
    )
    down = lr * rule.preconditioner(0.5 / batch_size) * 0.5
    determinants = math.log(np.prod(abs(h_b)) / np.prod(h_a))
    expected = math.log(2 * math.pi / down) + DETERMINANT[rule] * determinants
    assert value.log_prefactor == pytest.approx(expected, rel=1e-9)
    follows = not any("follows the noise" in sentence for sentence in value.broken)
    assert follows == (rule == SGD)


@pytest.mark.parametrize(("rule", "ratio"), [(SGD, 2), (ADAM, 1), (INVADAM, 4)])
def test_the_papers_prefactor_lacks_the_ratio_of_diffusions_at_saddle_and_minimum(rule, ratio):
    paper, ito = (
        escape_time(
            rule, 0.01, barrier=1.0, betas=(0.0, 0.0), prefactor=prefactor, **HALF_THE_NOISE
        )
        for prefactor in ("paper", "ito")
    )
    assert paper.log_time - ito.log_time == pytest.approx(math.log(ratio), abs=1e-12)


def test_momentum_changes_the_prefactor_as_kramers_says_and_not_the_exponent():
    plain, averaged = (
        escape_time_on(DoubleWell(), ConstantNoise(1.0), SGD, 0.04, betas=(beta1, 0.0))
        for beta1 in (0.0, 0.9)
    )
    assert averaged.exponent == plain.exponent
    # pi [sqrt(1 + 4 lr p |H_b| / (1 - b1)) + 1] over 2 pi
    ratio = (math.sqrt(1 + 4 * 0.04 * 0.5 / 0.1) + 1) / 2
    assert averaged.time / plain.time == pytest.approx(ratio, rel=1e-12)


def test_at_equal_lr_invadam_is_slower_than_adam_below_a_second_moment_of_one_and_faster_above():
    for v in (0.1, 0.5, 1.0, 2.0, 10.0):
        inverse, adam = (
            escape_time_on(DoubleWell(1.0, v), ConstantNoise(v), rule, 0.01).exponent
            for rule in (INVADAM, ADAM)
        )
        assert inverse / adam == pytest.approx(1 / v, rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"barrier": 0.05}, "Small noise: the barrier is only 2.5 temperatures"),
        ({"barrier": 10.0, "lr": 0.6}, "Small steps: lr p H is 0.6"),
        ({"barrier": 50.0, "lr": 2.5}, "unstable, at or above 2"),
        ({"noise_at_saddle": 0.5, "betas": (0.0, 0.999)}, "beta2 remembers longer"),
        ({"noise_at_saddle": 0.5, "betas": (0.9, 0.0)}, "Overdamped motion"),
    ],
)
def test_a_value_outside_the_theory_says_which_assumption_broke(changes, words):
    settings = {"lr": 0.04, "barrier": 0.1, **HALF_THE_NOISE, "noise_at_saddle": 1.0, **changes}
    with pytest.warns(EscapeWarning, match=words):
        value = escape_time(ADAM, **settings)
    assert any(words in sentence for sentence in value.broken)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.0}, "lr must be positive"),
        ({"path_weight": 1.0}, r"path_weight must be in \(0, 1\), got 1\.0\."),
        ({"betas": (1.0, 0.0)}, r"betas must each be in \[0, 1\)"),
        ({"prefactor": "ours"}, "prefactor must be 'ito' or 'paper', got 'ours'"),
    ],
)
def test_an_argument_out_of_range_is_refused_by_name(changes, message):
    settings = {"rule": SGD, "lr": 0.01, **changes}
    with pytest.raises(ValueError, match=message):
        escape_time_on(DoubleWell(), ConstantNoise(1.0), **settings)
