"""Gradient covariance against the Hessian."""

from __future__ import annotations

import numpy as np
import pytest

from dualadam.studies.escape_networks import regressions
from dualadam.studies.escape_networks.diagonals import compare_diagonals
from dualadam.studies.escape_networks.regressions import REGRESSIONS


def test_diagonals_that_follow_a_power_law_give_its_exponent():
    h = np.geomspace(0.1, 10, 50)
    found = compare_diagonals(3 * h**1.5, h)
    assert found.gamma == pytest.approx(1.5)
    assert found.r == pytest.approx(1.0)
    assert found.left_out == 0


def test_equal_diagonals_have_no_slope_and_negative_elements_are_left_out():
    assert compare_diagonals(np.array([1.0, 2.0]), np.ones(2)).gamma is None
    assert compare_diagonals(np.array([1.0, 3.0, 2.0]), np.array([1.0, 2.0, -1.0])).left_out == 1


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(regressions, "NUM_BOOTSTRAPS", 3)


@pytest.mark.usefixtures("few_resamples")
def test_the_noise_is_the_hessian_where_the_model_is_right():
    right = next(regression for regression in REGRESSIONS if regression.draws_labels).run()
    # 8,985 drawn labels: its interval is 0.97 to 1.03
    assert right.top_ratio == pytest.approx(1.0, abs=0.05)


@pytest.mark.usefixtures("few_resamples")
def test_the_noise_of_least_squares_is_another_multiple_of_the_hessian():
    squares = next(regression for regression in REGRESSIONS if regression.least_squares).run()
    assert squares.top_ratio < 0.1  # the variance of the residuals, in the labels' unit squared
    assert set(squares.intervals) == {"ratio", "top_ratio"}  # all H_ii are almost equal
