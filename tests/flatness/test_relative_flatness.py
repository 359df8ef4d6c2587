"""Relative flatness equals the sum of the dense Hessian's blocks, and does not see scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flatness_cases import CASES, dense_hessian, loss_of
from torch import nn

from dualadam.errors import InvalidValueError
from dualadam.flatness import MeanLoss, relative_flatness, trace


def from_blocks(loss, dense):
    """Return sum over layers, s, s' of <w_s, w_s'> tr H_ss', block by block."""
    total, offset = 0.0, 0
    for p in loss.params:
        if p.ndim >= 2:
            w = p.detach().reshape(len(p), -1)
            rows, columns = w.shape
            block = dense[offset : offset + p.numel(), offset : offset + p.numel()]
            block = block.reshape(rows, columns, rows, columns)
            traces = torch.einsum("atbt->ab", block)
            total += (w @ w.T * traces).sum().item()
        offset += p.numel()
    return total


@pytest.mark.parametrize("case", ["mlp", "conv, batchnorm, dropout"])
def test_relative_flatness_is_the_sum_over_the_blocks_of_the_dense_hessian(case):
    loss, model, data = CASES[case].make()
    exact = from_blocks(loss, dense_hessian(loss, model, data))
    found = relative_flatness(loss, rtol=0, max_samples=300)
    assert abs(found.value - exact) < 3 * found.standard_error
    assert found.standard_error < 0.2 * abs(exact)


def relu_network(scale, row_scale=1.0):
    """Return a network whose function of x does not depend on the scales."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double()
        x = torch.randn(12, 4, dtype=torch.float64)
    factors = scale * torch.tensor([row_scale, 1, 1, 1, 1], dtype=torch.float64)
    with torch.no_grad():
        model[0].weight.mul_(factors[:, None]), model[0].bias.mul_(factors)
        model[2].weight.div_(factors)
    return model, x


def measured(model, x, params=None):
    loss_fn = lambda model, batch: (model(batch) - 3).square().mean()  # noqa: E731
    loss = MeanLoss(model, loss_fn, [x], params=params)
    return relative_flatness(loss, rtol=0, max_samples=20), trace(loss, rtol=0, max_samples=20)


def test_relative_flatness_does_not_change_when_layers_are_rescaled_and_the_trace_does():
    (relative, plain), (rescaled, plain_rescaled) = (
        measured(*relu_network(scale)) for scale in (1.0, 8.0)
    )
    # the same signs in both: equal up to rounding, sample by sample
    assert rescaled.value == pytest.approx(relative.value, rel=1e-9)
    assert plain_rescaled.value > 5 * plain.value


def test_a_layer_is_blind_to_the_scale_of_its_outputs_and_not_to_that_of_its_inputs():
    plain, rescaled = relu_network(1.0), relu_network(1.0, row_scale=8.0)
    first = [measured(*network, params=["0.weight"])[0].value for network in (plain, rescaled)]
    second = [measured(*network, params=["2.weight"])[0].value for network in (plain, rescaled)]
    assert first[1] == pytest.approx(first[0], rel=1e-9)
    assert second[1] > 1.5 * second[0]


def test_a_model_without_a_matrix_is_refused():
    with pytest.raises(InvalidValueError, match="weight matrix, got bias"):
        relative_flatness(loss_of(params=["bias"]))


def test_the_standard_error_is_that_of_the_samples():
    loss, _, _ = CASES["mlp"].make()
    found = [
        relative_flatness(
            loss, rtol=0, max_samples=20, generator=torch.Generator().manual_seed(seed)
        )
        for seed in range(30)
    ]
    spread = np.std([e.value for e in found], ddof=1)
    # 30 values: their spread is itself known to 13 %
    assert np.mean([e.standard_error for e in found]) == pytest.approx(spread, rel=0.4)
