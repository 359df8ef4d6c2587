"""The matrix-free measures equal those of the dense Hessian."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from flatness_cases import CASES, dense_hessian, quadratic, random_symmetric

from dualadam.flatness import (
    MeanLoss,
    hessian_operator,
    hvp,
    sam_sharpness,
    spectral_density,
    top_eigenvalues,
    trace,
)

ROUNDING = 1e-12  # float64, sums of a few hundred terms of size 1


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def loss_and_hessian(request):
    loss, model, data = request.param.make()
    return loss, dense_hessian(loss, model, data)


def test_products_with_the_unit_vectors_are_the_columns_of_the_dense_hessian(loss_and_hessian):
    loss, dense = loss_and_hessian
    columns = hessian_operator(loss) @ np.eye(loss.num_params)
    assert dense.abs().max() > 0.01
    np.testing.assert_allclose(columns, dense.numpy(), rtol=0, atol=ROUNDING)


ENDS = {
    "LA": lambda v: v[-3:],
    "SA": lambda v: v[:3],
    "LM": lambda v: v[np.argsort(np.abs(v))[-3:]],
}


@pytest.mark.parametrize("which", ENDS)
def test_eigenvalues_are_those_of_the_dense_hessian_and_residuals_bound_their_error(
    loss_and_hessian, which
):
    loss, dense = loss_and_hessian
    assert loss.num_params > 20  # else ARPACK is not used
    exact = np.linalg.eigvalsh(dense.numpy())
    top = top_eigenvalues(loss, k=3, which=which, tol=1e-8)
    np.testing.assert_allclose(
        top.values, np.sort(ENDS[which](exact))[::-1], rtol=1e-7, atol=ROUNDING
    )
    assert (np.abs(exact[:, None] - top.values).min(axis=0) <= top.residuals + ROUNDING).all()
    np.testing.assert_allclose(top.vectors.T @ top.vectors, np.eye(3), rtol=0, atol=1e-10)


@pytest.mark.parametrize("n", [1, 3, 20, 21])
def test_every_k_up_to_the_number_of_parameters_is_solved(n):
    matrix = random_symmetric(n, seed=1)
    exact = np.linalg.eigvalsh(matrix.numpy())[::-1]
    for k in {1, n - 1, n} - {0}:
        top = top_eigenvalues(quadratic(matrix), k=k, tol=0)
        np.testing.assert_allclose(top.values, exact[:k], rtol=0, atol=1e-10)
        assert (top.residuals < 1e-10).all()


def test_residuals_are_large_where_the_iteration_stopped_early():
    matrix = torch.diag(torch.linspace(0, 1, 400, dtype=torch.float64))
    rough, fine = (top_eigenvalues(quadratic(matrix), k=1, tol=tol) for tol in (1e-1, 1e-10))
    assert rough.residuals[0] > 1e-4 > 1e-8 > fine.residuals[0]
    assert abs(fine.values[0] - 1.0) < 1e-9


def test_the_trace_of_a_diagonal_hessian_is_exact_from_any_signs():
    estimate = trace(
        quadratic(torch.diag(torch.arange(1.0, 31.0, dtype=torch.float64))), min_samples=3
    )
    assert estimate.value == pytest.approx(465.0, abs=1e-10)
    assert estimate.standard_error < 1e-10
    assert (estimate.num_samples, estimate.converged) == (3, True)


def test_the_trace_is_within_the_standard_error_as_often_as_a_normal_variable():
    matrix = random_symmetric(30, seed=2) + 5 * torch.eye(30, dtype=torch.float64)
    loss, exact = quadratic(matrix), matrix.trace().item()
    estimates = [
        trace(loss, rtol=0, max_samples=20, generator=torch.Generator().manual_seed(seed))
        for seed in range(60)
    ]
    within = sum(abs(e.value - exact) <= 2 * e.standard_error for e in estimates)
    # a normal variable: 57, with a standard deviation of 2; 20 samples have longer tails
    assert within >= 50
    predicted = math.sqrt(2 * (matrix.square().sum() - matrix.diag().square().sum()).item() / 20)
    mean_error = np.mean([e.standard_error for e in estimates])
    assert mean_error == pytest.approx(predicted, rel=0.05)  # 60 x 20 samples: 2 %


def test_the_trace_stops_when_the_standard_error_is_small_enough_and_says_when_it_is_not():
    loss = quadratic(random_symmetric(30, seed=2) + 5 * torch.eye(30, dtype=torch.float64))
    stopped = trace(loss, rtol=0.02, max_samples=1000)
    cut_off = trace(loss, rtol=0.02, max_samples=12)
    assert (stopped.converged, stopped.num_samples < 1000) == (True, True)
    assert stopped.standard_error <= 0.02 * stopped.value
    assert (cut_off.converged, cut_off.num_samples) == (False, 12)
    assert cut_off.standard_error > 0.02 * cut_off.value


def test_a_quadrature_of_m_steps_has_the_first_2m_moments_of_the_hessian(loss_and_hessian):
    loss, dense = loss_and_hessian
    z = (
        2 * torch.randint(0, 2, (loss.num_params,), generator=torch.Generator().manual_seed(0)) - 1
    ).double()
    density = spectral_density(
        loss, num_steps=6, num_samples=1, generator=torch.Generator().manual_seed(0)
    )
    assert len(density.nodes) == 6
    power = z
    for moment in range(12):
        expected = torch.dot(z, power).item() / loss.num_params
        assert density.weights @ density.nodes**moment == pytest.approx(
            expected, rel=1e-9, abs=ROUNDING
        )
        power = dense @ power


def test_the_density_of_a_known_spectrum_is_the_smoothed_histogram_of_its_eigenvalues():
    eigenvalues = torch.cat(
        [torch.linspace(-1, 2, 15, dtype=torch.float64), torch.tensor([8.0], dtype=torch.float64)]
    )
    grid = np.linspace(-3, 10, 500)
    density = spectral_density(
        quadratic(torch.diag(eigenvalues)), num_steps=16, num_samples=2, grid=grid, sigma=0.2
    )
    expected = np.exp(-0.5 * ((grid[:, None] - eigenvalues.numpy()) / 0.2) ** 2).mean(axis=1) / (
        0.2 * math.sqrt(2 * math.pi)
    )
    # the matrix is diagonal: every sign vector contains every eigenvector
    np.testing.assert_allclose(density.density, expected, rtol=0, atol=1e-8)
    assert np.trapezoid(density.density, grid) == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("matrix", [torch.zeros(25, 25), 3 * torch.eye(25), -0.5 * torch.eye(25)])
def test_the_density_of_equal_eigenvalues_is_one_bump_of_mass_1(matrix):
    density = spectral_density(quadratic(matrix), num_samples=1)
    np.testing.assert_allclose(density.nodes, [matrix[0, 0].item()], atol=1e-6)  # float32
    mass = np.trapezoid(density.density, density.grid)
    assert mass == pytest.approx(1.0, abs=1e-5)  # the grid ends at 5 sigma


def test_the_sharpness_of_a_quadratic_is_the_closed_form():
    a, w, rho = random_symmetric(12, seed=3), torch.linspace(-1, 2, 12, dtype=torch.float64), 0.3
    g = a @ w
    for adaptive, step in [(False, g / g.norm()), (True, w.square() * g / (w.abs() * g).norm())]:
        expected = rho * (step @ g) + rho**2 / 2 * (step @ a @ step)
        assert sam_sharpness(quadratic(a, w), rho, adaptive=adaptive) == pytest.approx(
            expected.item(), rel=1e-10
        )


def test_float32_with_the_float64_option_equals_float64():
    loss, model, _ = CASES["mlp"].make()
    batches = [{"x": batch["x"].float(), "y": batch["y"]} for batch in loss.batches]
    converted = MeanLoss(model.float(), loss.loss_fn, batches, dtype=torch.float64)
    exact = MeanLoss(
        model.double(),
        loss.loss_fn,
        [{"x": batch["x"].double(), "y": batch["y"]} for batch in batches],
    )
    v = torch.linspace(-1, 1, loss.num_params, dtype=torch.float64)
    assert converted.dtype == torch.float64
    assert torch.equal(hvp(converted, v), hvp(exact, v))
