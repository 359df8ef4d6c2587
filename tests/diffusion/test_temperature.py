"""The effective temperature at the edge of stability, and the threshold of quasi-equilibrium."""

import pytest

from dualadam.diffusion import (
    ADAM,
    INVADAM,
    SGD,
    effective_temperature,
    largest_stable_lr,
    quasi_equilibrium_threshold,
)


@pytest.mark.parametrize("rule", [SGD, ADAM, INVADAM], ids=lambda rule: rule.name)
def test_at_the_edge_of_stability_no_preconditioner_is_hotter_than_one_over_batch_size(rule):
    hessian, batch_size = 3.0, 50.0
    for beta1, bound in ((0.0, 1.0), (0.9, 19.0)):
        lr = largest_stable_lr(rule, hessian, hessian / batch_size, beta1)
        temperature = effective_temperature(rule, lr, hessian / batch_size)
        assert temperature == pytest.approx(bound / batch_size, rel=1e-12)


def test_the_released_settings_need_a_second_moment_of_two_hundredths():
    assert quasi_equilibrium_threshold(8e-5, 1e-2, 128) == pytest.approx(0.0208, abs=5e-5)
