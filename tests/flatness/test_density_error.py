"""The error of the spectral density is stated, and bounded by the number of vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flatness_cases import quadratic, random_symmetric

from dualadam.flatness import spectral_density, trace

# five outliers above a bulk, in a basis without order: 5 vectors often miss the trace by a third
N = 40
VALUES = torch.cat([torch.zeros(N - 5), torch.tensor([1.0, 2.0, 3.0, 5.0, 9.0])]).double()
BASIS = torch.linalg.qr(random_symmetric(N, 9)).Q
MATRIX = BASIS @ torch.diag(VALUES) @ BASIS.T
EXACT = VALUES.sum().item()


def densities(num, num_steps=6, **options):
    return [
        spectral_density(
            quadratic(MATRIX),
            num_steps=num_steps,
            generator=torch.Generator().manual_seed(seed),
            **options,
        )
        for seed in range(num)
    ]


def test_the_trace_of_the_density_is_hutchinsons_estimate_from_the_same_vectors():
    density = spectral_density(quadratic(MATRIX), num_steps=4, num_samples=7)
    same = trace(quadratic(MATRIX), rtol=0, min_samples=7, max_samples=7)
    implied = N * density.weights @ density.nodes
    assert density.trace.value == pytest.approx(same.value, rel=1e-10)
    assert density.trace.value == pytest.approx(implied, rel=1e-10)
    assert (density.trace.num_samples, density.trace.converged) == (7, False)


def test_vectors_are_drawn_until_the_error_of_the_trace_is_below_the_bound_as_it_then_is():
    found = densities(20, num_steps=2, rtol=0.15, max_samples=500)
    assert all(d.trace.converged for d in found)
    assert all(d.trace.standard_error <= 0.15 * d.trace.value * (1 + 1e-9) for d in found)
    errors = np.array([abs(d.trace.value / EXACT - 1) for d in found])
    assert np.sum(errors <= 0.3) >= 18  # normal errors of 0.15: 19 of 20
    few = densities(20, num_steps=2, num_samples=5)
    assert max(abs(d.trace.value / EXACT - 1) for d in few) > max(0.35, errors.max())


def test_the_limit_of_vectors_ends_the_search_and_says_that_the_bound_is_not_met():
    density = spectral_density(quadratic(MATRIX), num_steps=4, rtol=0.001, max_samples=12)
    assert (density.trace.num_samples, density.trace.converged) == (12, False)


def test_a_trace_of_0_meets_the_bound_that_the_magnitudes_set():
    signs = torch.cat([torch.ones(N // 2), -torch.ones(N // 2)]).double()
    loss = quadratic(BASIS @ torch.diag(signs) @ BASIS.T)
    density = spectral_density(loss, num_steps=4, rtol=0.1, max_samples=200)
    assert density.trace.converged
    assert abs(density.trace.value) < 0.3 * N  # three standard errors


def test_the_standard_error_of_the_density_is_its_spread_from_seed_to_seed():
    grid = np.array([0.0, 1.0, 2.0, 3.0, 5.0, 9.0])
    found = densities(40, num_samples=8, grid=grid, sigma=0.5)
    spread = np.std([d.density for d in found], axis=0, ddof=1)
    stated = np.mean([d.standard_error for d in found], axis=0)
    assert spread.min() > 1e-4
    # 40 seeds know the spread to 11 %; 8 samples understate their error by 4 %
    np.testing.assert_allclose(stated, spread, rtol=0.35)


@pytest.mark.parametrize("num_steps", [1, 6])
def test_the_stated_error_of_the_trace_is_the_bound_by_the_frobenius_norm(num_steps):
    found = densities(40, num_steps, num_samples=8)
    frobenius = MATRIX.norm().item()
    stated = np.array([d.trace.standard_error for d in found])
    # the mean square of 8 samples: 40 of them know it to 7 %
    assert np.mean(stated**2) == pytest.approx(2 / 8 * frobenius**2, rel=0.2)
    off_diagonal = MATRIX.square().sum() - MATRIX.diagonal().square().sum()
    true_error = np.sqrt(2 / 8 * off_diagonal.item())
    spread = np.std([d.trace.value for d in found], ddof=1)
    assert spread == pytest.approx(true_error, rel=0.3)  # 40 values: 11 %
    assert true_error < np.sqrt(2 / 8) * frobenius


def test_the_density_of_one_vector_has_no_standard_error_and_its_trace_has_the_bound():
    density = spectral_density(quadratic(MATRIX), num_steps=4, num_samples=1)
    assert np.isnan(density.standard_error).all()
    assert density.trace.standard_error > 0
