"""The effective temperature at the edge of stability, and the threshold of quasi-equilibrium."""

import numpy as np
import pytest

from dualadam.diffusion import (
    ADAM,
    INVADAM,
    SGD,
    effective_temperature,
    largest_stable_lr,
    quasi_equilibrium_threshold,
    stationary_variance,
)
from dualadam.errors import InvalidValueError


@pytest.mark.parametrize("rule", [SGD, ADAM, INVADAM], ids=lambda rule: rule.name)
def test_at_the_edge_of_stability_no_preconditioner_is_hotter_than_one_over_batch_size(rule):
    hessian, batch_size = 3.0, 50.0
    for beta1, bound in ((0.0, 1.0), (0.9, 19.0)):
        lr = largest_stable_lr(rule, hessian, hessian / batch_size, beta1)
        temperature = effective_temperature(rule, lr, hessian / batch_size)
        assert temperature == pytest.approx(bound / batch_size, rel=1e-12)


def test_the_released_settings_need_a_second_moment_of_two_hundredths():
    assert quasi_equilibrium_threshold(8e-5, 1e-2, 128) == pytest.approx(0.0208, abs=5e-5)


@pytest.mark.parametrize("beta1", [0.0, 0.9])
@pytest.mark.parametrize("rule", [SGD, ADAM, INVADAM])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_the_stationary_variance_is_that_of_simulated_steps_up_to_the_edge(rule, beta1, share):
    h, c = 2.0, 0.25
    lr = share * largest_stable_lr(rule, h, c, beta1)
    step = lr * rule.preconditioner(c)
    rng = np.random.default_rng(0)
    theta, m = np.zeros(2000), np.zeros(2000)
    squares = []
    for t in range(1200):
        m = beta1 * m + (1 - beta1) * (h * theta + c**0.5 * rng.standard_normal(2000))
        theta = theta - step * m
        if t >= 400:
            squares.append(np.mean(theta**2))
    # 2,000 walkers of 800 steps, correlated over up to 40: 40,000 independent squares, 0.7 %
    expected = stationary_variance(rule, lr, h, c, beta1)
    assert np.mean(squares) == pytest.approx(expected, rel=0.03)
    assert h * expected / effective_temperature(rule, lr, c) == pytest.approx(1 / (1 - share))


def test_the_stationary_variance_is_refused_at_the_edge():
    stable = largest_stable_lr(ADAM, 2.0, 0.25, 0.9)
    with pytest.raises(InvalidValueError, match="the edge of stability"):
        stationary_variance(ADAM, stable, 2.0, 0.25, 0.9)
