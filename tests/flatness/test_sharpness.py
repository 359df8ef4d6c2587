"""SAM sharpness by several steps, and over batches, beside the exact maximum of a quadratic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flatness_cases import CASES, quadratic, random_symmetric
from scipy.optimize import brentq

from dualadam.flatness import MeanLoss, m_sam_sharpness, sam_sharpness


def exact_maximum(hessian, gradient, rho):
    """Return the maximum of g.u + u.Hu / 2 over the sphere of radius rho, by its secular equation.

    At the maximum (mu I - H) u = g with mu above the largest eigenvalue.
    """
    values, vectors = np.linalg.eigh(hessian)
    along = vectors.T @ gradient

    def excess(mu):
        return np.linalg.norm(along / (mu - values)) - rho

    top = values[-1]
    mu = brentq(excess, top + 1e-9, top + np.linalg.norm(gradient) / rho + 1, xtol=1e-14)
    u = vectors @ (along / (mu - values))
    return gradient @ u + u @ hessian @ u / 2


def convex(n, seed):
    a = random_symmetric(n, seed)
    return a @ a / n


MATRICES = {
    "convex": convex(12, 3),
    "eigenvalues of both signs": random_symmetric(12, 4),
    "mostly concave": random_symmetric(12, 5) - 3 * torch.eye(12, dtype=torch.float64),
}
W = torch.linspace(-1, 2, 12, dtype=torch.float64)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES.keys())
def test_many_steps_reach_the_exact_maximum_on_the_sphere_and_one_step_does_not(matrix, adaptive):
    scale = W.abs().numpy() if adaptive else np.ones(12)
    gradient = scale * (matrix @ W).numpy()
    hessian = scale[:, None] * matrix.numpy() * scale
    exact = exact_maximum(hessian, gradient, rho := 1.5)
    loss = quadratic(matrix, W)
    one, many = (sam_sharpness(loss, rho, adaptive=adaptive, num_steps=k) for k in (1, 400))
    assert many == pytest.approx(exact, rel=1e-6)
    assert one < exact - 1e-3 * abs(exact)


def test_the_sharpness_rises_with_every_further_step_and_stays_below_the_maximum():
    loss, _, _ = CASES["mlp"].make()
    found = [sam_sharpness(loss, 0.5, num_steps=k) for k in (1, 2, 4, 8, 16)]
    assert found == sorted(found)
    assert found[-1] > 1.02 * found[0]


def test_the_weights_are_the_same_bits_after_many_steps():
    loss, model, _ = CASES["mlp"].make()
    before = [p.clone() for p in model.parameters()]
    sam_sharpness(loss, 0.5, num_steps=5)
    m_sam_sharpness(loss, 0.5, num_steps=2)
    assert all(map(torch.equal, before, model.parameters()))


@pytest.mark.parametrize("adaptive", [False, True])
def test_m_sharpness_is_the_mean_over_batches_weighted_by_their_examples(adaptive):
    loss, model, _ = CASES["mlp"].make()
    alone = [MeanLoss(model, loss.loss_fn, [batch]) for batch in loss.batches]
    first, second = (sam_sharpness(part, 0.1, adaptive=adaptive, num_steps=3) for part in alone)
    assert m_sam_sharpness(loss, 0.1, adaptive=adaptive, num_steps=3) == pytest.approx(
        (7 * first + 3 * second) / 10, rel=1e-12
    )
    # a step for each batch climbs higher than one step for all of them
    assert m_sam_sharpness(loss, 0.1) > sam_sharpness(loss, 0.1)


def test_m_sharpness_of_a_converted_copy_is_that_of_the_converted_model():
    loss, model, _ = CASES["mlp"].make()
    batches = [{"x": batch["x"].float(), "y": batch["y"]} for batch in loss.batches]
    wide = [{"x": batch["x"].double(), "y": batch["y"]} for batch in batches]
    converted = MeanLoss(model.float(), loss.loss_fn, batches, dtype=torch.float64)
    value = m_sam_sharpness(converted, 0.1)
    assert value == m_sam_sharpness(MeanLoss(model.double(), loss.loss_fn, wide), 0.1)
