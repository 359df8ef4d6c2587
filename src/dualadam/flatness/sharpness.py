"""Sharpness as sharpness-aware minimization defines it: how much the loss rises one step uphill."""

from __future__ import annotations

import math

import torch

from dualadam.flatness.mean_loss import MeanLoss


def sam_sharpness(loss: MeanLoss, rho: float = 0.05, *, adaptive: bool = False) -> float:
    r"""Return the rise of the loss in the ball of radius rho, its maximum taken to first order.

    .. math:: S = L(w + \epsilon) - L(w) \approx \max_{\lVert T^{-1} \epsilon \rVert_2 \le \rho} L(w + \epsilon) - L(w), \qquad
        \epsilon = \rho\, \frac{T^2 g}{\lVert T g \rVert_2}, \quad g = \nabla L(w)

    with T the identity, or diag(\|w\|) if adaptive. Plain, S is about rho \|g\| + rho^2 g^T H g / (2 \|g\|^2): away from a
    minimum it is mostly the gradient's norm. Adaptive, the ball stretches with each weight, and S does not change when weights are
    scaled such that the network computes the same. g is the gradient over all the data, not a batch's.
    Costs two evaluations and one gradient.

    Args:
        loss: the loss, data and parameters.
        rho: radius, above 0: in the unit of the weights, or relative to each weight if adaptive (usual: 0.05 plain, 0.5 adaptive).
        adaptive: scale the ball with the weights.

    Returns:
        S in the unit of the loss. It is below the true maximum, and negative where the step leaps over a hill.

    Raises:
        ValueError: rho is out of range, the gradient is exactly 0 (then the step has no direction; at a minimum the maximum is
            rho^2 / 2 times the largest eigenvalue), or the loss is not finite at w + epsilon.

    Example:
        >>> import torch
        >>> from dualadam.flatness import MeanLoss, sam_sharpness
        >>> def sharpness(scale, adaptive):
        ...     model = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.ReLU(), torch.nn.Linear(1, 1, bias=False))
        ...     with torch.no_grad():
        ...         model[0].weight.fill_(scale), model[2].weight.fill_(1 / scale)  # computes relu(x) at every scale
        ...     squares = lambda model, batch: (model(batch) - 2.0).square().mean()
        ...     return round(sam_sharpness(MeanLoss(model, squares, [torch.ones(4, 1)]), rho=0.1, adaptive=adaptive), 3)
        >>> [sharpness(scale, adaptive=False) for scale in (1.0, 3.0)], [sharpness(scale, adaptive=True) for scale in (1.0, 3.0)]
        ([0.291, 0.692], [0.291, 0.291])

    References:
        P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur, arXiv:2010.01412, eq. 2; J. Kwon, J. Kim, H. Park, I. K. Choi, arXiv:2102.11600,
        for the adaptive one. Deviations from the latter: T holds every chosen parameter, biases too, and nothing is added to \|w\|; either
        would end the invariance.
    """
    if not 0.0 < rho < math.inf:
        raise ValueError(f"rho must be above 0 and finite, got {rho}.")
    gradient = loss.gradient()
    t = (
        torch.cat([p.detach().abs().flatten().to(gradient) for p in loss.params])
        if adaptive
        else torch.ones_like(gradient)
    )
    norm = torch.linalg.vector_norm(t * gradient)
    if norm == 0:
        raise ValueError(
            "The gradient must not be 0 for a step uphill, got exactly 0; measure top_eigenvalues here instead."
        )
    before = loss.value()
    with loss.moved_by(t.square() * gradient * (rho / norm)):
        return loss.value() - before
