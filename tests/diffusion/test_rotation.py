"""An optimizer whose coordinates are not the axes of the Hessian."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from dualadam.diffusion import (
    ADAM,
    INVADAM,
    SGD,
    ConstantNoise,
    DoubleWell,
    EscapeWarning,
    SpectrumWell,
    escape_time,
    escape_time_on,
    mean_first_passage_time,
    rotated_variances,
    simulate,
    spread_over,
)
from dualadam.errors import InvalidValueError

SPECTRUM = (0.5, 1.5, 1.5)
HEIGHT, LR = 0.04, 0.08
WELL, NOISE = SpectrumWell(SPECTRUM, HEIGHT), ConstantNoise(SPECTRUM)
SIZE = {"num_walkers": 1000, "num_steps": 2000, "seed": 0, "betas": (0.0, 0.999)}


@pytest.mark.parametrize("dim", [1, 2, 4, 8])
def test_a_spread_has_the_first_axis_evenly_in_all_coordinates(dim):
    rotation = spread_over(dim)
    np.testing.assert_allclose(rotation[:, 0], dim**-0.5, rtol=1e-12)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(dim), atol=1e-12)


def test_the_variances_are_the_diagonal_of_the_rotated_covariance():
    rotation = spread_over(3)
    dense = rotation @ np.diag(SPECTRUM) @ rotation.T
    found = rotated_variances(NOISE, WELL.minimum, rotation)
    np.testing.assert_allclose(found, dense.diagonal(), rtol=1e-12)


@pytest.mark.parametrize("rule", [ADAM, INVADAM], ids=lambda rule: rule.name)
def test_a_spread_escape_is_that_of_sgd_at_the_mean_preconditioner(rule):
    seen = float(np.mean(SPECTRUM))
    expected = mean_first_passage_time(
        DoubleWell(0.5, HEIGHT), ConstantNoise(0.5), SGD, LR * float(rule.preconditioner(seen))
    )
    aligned = mean_first_passage_time(DoubleWell(0.5, HEIGHT), ConstantNoise(0.5), rule, LR)
    found = simulate(WELL, NOISE, rule, LR, rotation=spread_over(3), **SIZE)
    assert found.num_escapes > 400
    assert found.log_time == pytest.approx(expected, abs=0.2)  # 5 %, steps, the lag of a start
    assert abs(expected - aligned) > 0.5
    straight = simulate(WELL, NOISE, rule, LR, **SIZE)
    assert straight.log_time == pytest.approx(aligned, abs=0.25)


def test_sgd_does_not_see_a_rotation():
    straight = simulate(WELL, NOISE, SGD, LR, **SIZE)
    rotated = simulate(WELL, NOISE, SGD, LR, rotation=spread_over(3), **SIZE)
    # the same noise in the axes of the landscape: equal up to rounding, so nearly all escapes are
    assert rotated.log_time == pytest.approx(straight.log_time, abs=0.02)


def test_the_closed_form_warns_where_the_hessian_is_not_axis_aligned():
    hessians = {"hessian_at_minimum": 1.0, "hessian_at_saddle": -0.5}
    noise = {"noise_at_minimum": 1.0, "noise_at_saddle": 1.0}
    where = {"barrier": 0.1, **hessians, **noise}
    aligned = escape_time(INVADAM, 0.04, **where)
    with pytest.warns(EscapeWarning, match="not axis-aligned"):
        rotated = escape_time(INVADAM, 0.04, **where, axis_aligned=False)
    assert (rotated.log_time, rotated.exponent) == (aligned.log_time, aligned.exponent)
    assert (len(aligned.broken), len(rotated.broken)) == (0, 1)
    with pytest.warns(EscapeWarning, match="not axis-aligned"):
        escape_time_on(DoubleWell(), ConstantNoise(1.0), ADAM, 0.04, axis_aligned=False)


def test_sgd_has_no_preconditioner_and_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        escape_time_on(DoubleWell(), ConstantNoise(1.0), SGD, 0.04, axis_aligned=False)


def test_a_matrix_that_is_no_rotation_and_an_unstable_step_are_refused():
    with pytest.raises(InvalidValueError, match=r"rotation must be an orthogonal"):
        simulate(WELL, NOISE, ADAM, LR, rotation=2 * np.eye(3), **SIZE)
    edge = 2 / (1.5 * float(ADAM.preconditioner(np.mean(SPECTRUM))))
    with pytest.raises(InvalidValueError, match=f"lr must be below {edge:.4g}"):
        simulate(WELL, NOISE, ADAM, 1.01 * edge, rotation=spread_over(3), **SIZE)
    with pytest.raises(InvalidValueError, match="dim must be at least 1"):
        spread_over(0)
