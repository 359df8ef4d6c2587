"""The sharpness of sharpness-aware minimization (SAM)."""

from __future__ import annotations

import math

import torch

from dualadam.errors import InvalidValueError
from dualadam.flatness.mean_loss import MeanLoss


def sam_sharpness(loss: MeanLoss, rho: float = 0.05, *, adaptive: bool = False) -> float:
    r"""Return the rise of the loss in a ball of radius rho, its maximum taken to first order.

    .. math::
        S = L(w + \epsilon) - L(w)
        \approx \max_{\lVert T^{-1} \epsilon \rVert_2 \le \rho} L(w + \epsilon) - L(w), \qquad
        \epsilon = \rho\, \frac{T^2 g}{\lVert T g \rVert_2}, \quad g = \nabla L(w)

    T is the identity, or diag(\|w\|) if adaptive. g is the gradient over all the data, not over a
    batch. Plain, S is about rho \|g\| + rho^2 g^T H g / (2 \|g\|^2), so that away from a minimum
    the norm of the gradient dominates. Adaptive, the ball stretches with each weight, and S does
    not change when weights are rescaled such that the network computes the same function. The cost
    is two evaluations and one gradient.

    Args:
        loss: the loss, with its data and parameters.
        rho: radius, above 0. Plain, in the unit of the weights (usually 0.05); adaptive, relative
            to each weight (usually 0.5).
        adaptive: whether the ball stretches with the weights.

    Returns:
        S in the unit of the loss. It is at most the true maximum, and negative where the step
        passes over a maximum.

    Raises:
        InvalidValueError: rho is out of range, the gradient is exactly 0 (the step has no
            direction; at a minimum the maximum is rho^2 / 2 times the largest eigenvalue), or the
            loss is not finite at w + epsilon.

    Example:
        >>> import torch
        >>> from torch.nn import Linear, ReLU, Sequential
        >>> from dualadam.flatness import MeanLoss, sam_sharpness
        >>> squares = lambda model, batch: (model(batch) - 2.0).square().mean()
        >>> def sharpness(scale, adaptive):
        ...     model = Sequential(Linear(1, 1, bias=False), ReLU(), Linear(1, 1, bias=False))
        ...     torch.nn.init.constant_(model[0].weight, scale)
        ...     torch.nn.init.constant_(model[2].weight, 1 / scale)  # relu(x) at every scale
        ...     loss = MeanLoss(model, squares, [torch.ones(4, 1)])
        ...     return round(sam_sharpness(loss, rho=0.1, adaptive=adaptive), 3)
        >>> sharpness(1.0, adaptive=False), sharpness(3.0, adaptive=False)
        (0.291, 0.692)
        >>> sharpness(1.0, adaptive=True), sharpness(3.0, adaptive=True)
        (0.291, 0.291)

    References:
        P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur, arXiv:2010.01412, eq. 2. J. Kwon, J. Kim,
        H. Park, I. K. Choi, arXiv:2102.11600, for the adaptive one. Deviations from the latter: T
        holds every chosen parameter, biases included, and nothing is added to \|w\|. Either would
        end the invariance.
    """
    if not 0.0 < rho < math.inf:
        raise InvalidValueError(f"rho must be above 0 and finite, got {rho}.")
    gradient = loss.gradient()
    scale = torch.ones_like(gradient)
    if adaptive:
        scale = torch.cat([p.detach().abs().flatten().to(gradient) for p in loss.params])
    norm = torch.linalg.vector_norm(scale * gradient)
    if norm == 0:
        raise InvalidValueError(
            "The gradient must not be 0 for a step uphill, got exactly 0; "
            "measure top_eigenvalues here instead."
        )
    before = loss.value()
    with loss.moved_by(scale.square() * gradient * (rho / norm)):
        return loss.value() - before
