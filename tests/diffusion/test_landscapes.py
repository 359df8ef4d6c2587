"""Landscapes against finite differences, and torch against NumPy."""

import numpy as np
import pytest
import torch

from dualadam.diffusion import AsymmetricWells, DoubleWell, SpectrumWell, StyblinskiTang

UNSTRETCHED = [
    DoubleWell(2.0, 0.3),
    StyblinskiTang(num_dims=2),
    StyblinskiTang(num_dims=3, from_deep=True),
    SpectrumWell((1.0, 2.0, 3.0), 0.2, narrowing=2.5),
    AsymmetricWells(start_curvature=4.0, target_curvature=1.0),
    AsymmetricWells(start_curvature=1.0, target_curvature=9.0, height=0.4),
]
LANDSCAPES = [*UNSTRETCHED, *(landscape.stretched(1.7) for landscape in UNSTRETCHED)]


def differences(function, x, step=1e-5):
    unit = np.eye(x.shape[-1])
    return np.stack(
        [(function(x + step * e) - function(x - step * e)) / (2 * step) for e in unit], -1
    )


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=repr)
def test_gradient_and_hessian_are_the_derivatives_of_the_loss(landscape):
    x = np.random.default_rng(0).normal(size=(20, landscape.dim))
    scale = abs(landscape.curvature(x)).max()
    # central differences: rounding is 1e-16 / 1e-5, truncation a third derivative times 1e-10
    slope = differences(landscape.loss, x)
    np.testing.assert_allclose(landscape.gradient(x), slope, atol=1e-7 * scale)
    hessian = np.diagonal(differences(landscape.gradient, x), axis1=1, axis2=2)
    np.testing.assert_allclose(landscape.curvature(x), hessian, atol=1e-4 * scale)


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=repr)
def test_torch_and_numpy_give_the_same_landscape(landscape):
    x = np.random.default_rng(1).normal(size=(20, landscape.dim))
    t = torch.tensor(x)
    for method in (landscape.loss, landscape.gradient, landscape.curvature):
        np.testing.assert_allclose(method(t).numpy(), method(x), rtol=1e-12, atol=1e-12)
    grad = torch.ones_like(t)
    landscape.add_gradient_(grad, t)
    np.testing.assert_allclose(grad.numpy(), 1 + landscape.gradient(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=repr)
def test_minima_and_saddle_are_critical_points_with_a_diagonal_hessian(landscape):
    for point in (landscape.minimum, landscape.saddle, landscape.target):
        scale = abs(landscape.curvature(point)).max()
        np.testing.assert_allclose(landscape.gradient(point), 0, atol=1e-12 * scale)
        hessian = differences(landscape.gradient, point)
        np.testing.assert_allclose(hessian, np.diag(np.diagonal(hessian)), atol=1e-6 * scale)
    assert (landscape.hessian_at_minimum > 0).all()
    assert (landscape.curvature(landscape.target) > 0).all()
    assert landscape.hessian_at_saddle[0] < 0
    assert (landscape.hessian_at_saddle[1:] > 0).all()
    assert landscape.barrier > 0


@pytest.mark.parametrize("landscape", UNSTRETCHED, ids=repr)
def test_stretching_multiplies_every_curvature_and_keeps_the_barrier(landscape):
    sharp = landscape.stretched(3.0)
    minimum, saddle = landscape.hessian_at_minimum, landscape.hessian_at_saddle
    np.testing.assert_allclose(sharp.hessian_at_minimum, 3 * minimum, rtol=1e-12)
    np.testing.assert_allclose(sharp.hessian_at_saddle, 3 * saddle, rtol=1e-12)
    assert sharp.barrier == pytest.approx(landscape.barrier, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DoubleWell(k=0.0), r"k must be positive and finite, got 0\.0\."),
        (lambda: DoubleWell().stretched(-1.0), r"stretch must be positive and finite, got -1\.0\."),
        (lambda: StyblinskiTang(num_dims=0), r"num_dims must be at least 1, got 0\."),
        (lambda: SpectrumWell((1.0, -2.0)), r"spectrum\[1\] must be positive"),
        (lambda: SpectrumWell(narrowing=0.5), r"narrowing must be at least 1, got 0\.5\."),
    ],
)
def test_an_argument_out_of_range_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
