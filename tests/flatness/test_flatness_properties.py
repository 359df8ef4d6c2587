"""Properties of the measures that hold for every vector and every scale."""

from __future__ import annotations

import pytest
import torch
from flatness_cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dualadam.flatness import MeanLoss, hvp, sam_sharpness, top_eigenvalues

LOSS = CASES["conv, batchnorm, dropout"].make()[0]
seeds = st.integers(0, 2**31)


def vector(seed):
    return torch.randn(
        LOSS.num_params, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


@settings(max_examples=25, deadline=None)
@given(seeds, seeds, st.floats(-10, 10))
def test_the_product_is_symmetric_and_linear(seed_u, seed_v, c):
    u, v = vector(seed_u), vector(seed_v)
    hu, hv = hvp(LOSS, u), hvp(LOSS, v)
    # float64 over 10 examples
    assert torch.dot(u, hv).item() == pytest.approx(torch.dot(v, hu).item(), abs=1e-11)
    assert torch.allclose(hvp(LOSS, u + c * v), hu + c * hv, rtol=0, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_the_product_is_the_directional_derivative_of_the_gradient(seed):
    v = vector(seed)
    step = 1e-5 * v / v.norm()
    with LOSS.moved_by(step):
        ahead = LOSS.gradient()
    with LOSS.moved_by(-step):
        behind = LOSS.gradient()
    numeric = (ahead - behind) / 2e-5 * v.norm()
    # errors of the central difference: h^2 = 1e-10 and 1e-16 / h
    assert torch.allclose(hvp(LOSS, v), numeric, rtol=0, atol=1e-6 * v.norm().item())


def relu_network(scale, seed):
    """Return a loss that is the same function of x for every scale."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double()
        x = torch.randn(12, 4, dtype=torch.float64)
    with torch.no_grad():
        model[0].weight.mul_(scale), model[0].bias.mul_(scale), model[2].weight.div_(scale)
    return MeanLoss(model, lambda model, batch: (model(batch) - 3).square().mean(), [x])


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 5.0), seeds)
def test_adaptive_sharpness_does_not_change_when_a_relu_network_is_rescaled(scale, seed):
    original, rescaled = relu_network(1.0, seed), relu_network(scale, seed)
    assert rescaled.value() == pytest.approx(original.value(), rel=1e-12)
    assert sam_sharpness(rescaled, 0.1, adaptive=True) == pytest.approx(
        sam_sharpness(original, 0.1, adaptive=True), rel=1e-8
    )


def test_plain_sharpness_and_curvature_grow_when_a_relu_network_is_rescaled():
    original, rescaled = relu_network(1.0, 0), relu_network(8.0, 0)
    assert sam_sharpness(rescaled, 0.1) > 2 * sam_sharpness(original, 0.1)
    assert top_eigenvalues(rescaled, 1).values[0] > 10 * top_eigenvalues(original, 1).values[0]
