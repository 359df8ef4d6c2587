"""The preconditioned sharpness equals that of the dense matrices, and its threshold is the edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flatness_cases import CASES, dense_hessian, quadratic, random_symmetric

from dualadam import DualAdam, InvAdam
from dualadam.errors import InvalidTypeError, InvalidValueError
from dualadam.flatness import MeanLoss, preconditioned_sharpness, preconditioner, top_eigenvalues

BETAS, EPS, STEPS = (0.9, 0.99), 1e-3, 4
# optimizer, and its mixing weight after STEPS steps
OPTIMIZERS = {
    "Adam": (torch.optim.Adam, {}, 0.0),
    "AdamW": (torch.optim.AdamW, {}, 0.0),
    "InvAdam": (InvAdam, {}, 1.0),
    "DualAdam": (DualAdam, {"switch_rate": 0.1}, 0.6),
}


def trained(model, loss, optimizer_class, options, lr=1e-3):
    """Return the optimizer after STEPS steps, and the squares of the gradients that it saw."""
    optimizer = optimizer_class(model.parameters(), lr=lr, betas=BETAS, eps=EPS, **options)
    squares = []
    for _ in range(STEPS):
        squares.append(loss.gradient().square())
        for p, part in zip(model.parameters(), loss.split(loss.gradient()).values(), strict=True):
            p.grad = part.clone()
        optimizer.step()
    return optimizer, squares


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_value_is_the_largest_eigenvalue_of_the_dense_preconditioned_hessian(name):
    optimizer_class, options, alpha = OPTIMIZERS[name]
    loss, model, data = CASES["mlp"].make()
    optimizer, squares = trained(model, loss, optimizer_class, options)
    v = torch.zeros_like(squares[0])
    for square in squares:
        v = BETAS[1] * v + (1 - BETAS[1]) * square
    r = (v / (1 - BETAS[1] ** STEPS)).sqrt() + EPS
    d = ((1 - alpha) / r + alpha * r) / (1 - BETAS[0] ** STEPS)
    torch.testing.assert_close(preconditioner(loss, optimizer), d, rtol=1e-6, atol=0)
    hessian = dense_hessian(loss, model, data)
    exact = torch.linalg.eigvalsh(d.sqrt()[:, None] * hessian * d.sqrt())[-1].item()
    found = preconditioned_sharpness(loss, optimizer, tol=1e-10)
    assert found.value == pytest.approx(exact, rel=1e-6)
    assert found.residual < 1e-6 * exact
    assert found.threshold == pytest.approx(38 / 1e-3)
    assert found.value != pytest.approx(top_eigenvalues(loss, 1).values[0], rel=0.1)


def largest_after(matrix, d, lr, beta1, num_steps=1500):
    """Return the size of w after steps with a fixed preconditioner and momentum."""
    w, m = np.ones(len(matrix)), np.zeros(len(matrix))
    for _ in range(num_steps):
        m = beta1 * m + (1 - beta1) * (matrix @ w)
        w = w - lr * d * m
    return np.abs(w).max()


@pytest.mark.parametrize("name", ["Adam", "InvAdam", "DualAdam"])
def test_the_step_with_its_preconditioner_held_diverges_above_a_ratio_of_1_and_not_below(name):
    matrix = random_symmetric(6, 3)
    matrix = matrix @ matrix / 6 + 0.2 * torch.eye(6, dtype=torch.float64)
    loss = quadratic(matrix, torch.linspace(-1, 2, 6, dtype=torch.float64))
    optimizer_class, options, _ = OPTIMIZERS[name]
    optimizer, _ = trained(loss.model, loss, optimizer_class, options)
    d = preconditioner(loss, optimizer).numpy()
    lr = 1e-3 / preconditioned_sharpness(loss, optimizer).ratio  # that of a ratio of 1
    optimizer.param_groups[0]["lr"] = lr
    assert preconditioned_sharpness(loss, optimizer).ratio == pytest.approx(1.0)
    assert largest_after(matrix.numpy(), d, 1.02 * lr, BETAS[0]) > 1e6
    assert largest_after(matrix.numpy(), d, 0.98 * lr, BETAS[0]) < 1.0


def test_a_converted_copy_is_measured_with_the_optimizer_of_the_model_itself():
    loss, model, _ = CASES["mlp"].make()
    optimizer, _ = trained(model, loss, InvAdam, {})
    copy = MeanLoss(model, loss.loss_fn, loss.batches, dtype=torch.float64)
    expected = preconditioned_sharpness(loss, optimizer).value
    assert preconditioned_sharpness(copy, optimizer).value == pytest.approx(expected, rel=1e-9)


def test_groups_of_different_lr_are_refused_together_and_measured_alone():
    loss, model, _ = CASES["mlp"].make()
    groups = [
        {"params": [model[0].weight], "lr": 0.1},
        {"params": [model[0].bias, *model[2].parameters()]},
    ]
    optimizer = DualAdam(groups, lr=0.01, switch_rate=0.1)
    model(torch.ones(1, 4).double()).sum().backward()
    optimizer.step()
    with pytest.raises(InvalidValueError, match="lr and beta1 must be the same"):
        preconditioned_sharpness(loss, optimizer)
    alone = MeanLoss(model, loss.loss_fn, loss.batches, params=["0.weight"])
    assert preconditioned_sharpness(alone, optimizer).threshold == pytest.approx(380)


def test_an_optimizer_without_state_or_of_another_kind_is_refused():
    loss, model, _ = CASES["mlp"].make()
    with pytest.raises(InvalidValueError, match=r"taken a step .* got none of '0.weight'"):
        preconditioner(loss, InvAdam(model.parameters()))
    with pytest.raises(InvalidTypeError, match="got NAdam"):
        preconditioner(loss, torch.optim.NAdam(model.parameters()))
