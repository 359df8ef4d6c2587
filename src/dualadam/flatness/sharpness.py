"""The sharpness of sharpness-aware minimization (SAM)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dualadam.errors import InvalidValueError
from dualadam.flatness.mean_loss import MeanLoss


def sam_sharpness(
    loss: MeanLoss, rho: float = 0.05, *, adaptive: bool = False, num_steps: int = 1
) -> float:
    r"""Return the rise of the loss in a ball of radius rho, its maximum taken to first order.

    .. math::
        S = L(w + \epsilon) - L(w)
        \approx \max_{\lVert T^{-1} \epsilon \rVert_2 \le \rho} L(w + \epsilon) - L(w), \qquad
        \epsilon = \rho\, \frac{T^2 g}{\lVert T g \rVert_2}, \quad g = \nabla L(w)

    T is the identity, or diag(\|w\|) if adaptive. g is the gradient over all the data, not over a
    batch. Plain, S is about rho \|g\| + rho^2 g^T H g / (2 \|g\|^2), so that away from a minimum
    the norm of the gradient dominates. Adaptive, the ball stretches with each weight, and S does
    not change when weights are rescaled such that the network computes the same function.

    With several steps, epsilon = T u moves on over the surface of the ball:

    .. math::
        u \leftarrow \rho\, \frac{a\, u / \rho + \hat g}{\lVert a\, u / \rho + \hat g \rVert},
        \qquad \hat g = \frac{T \nabla L(w + T u)}{\lVert T \nabla L(w + T u) \rVert}

    a starts at 0, which never lowers a convex loss and is the power iteration for a quadratic one.
    A step that does not raise the loss is taken back, and the next one is shorter: a becomes
    2 a + 1. The cost is at most num_steps + 1 evaluations and num_steps gradients.

    Args:
        loss: the loss, with its data and parameters.
        rho: radius, above 0. Plain, in the unit of the weights (usually 0.05); adaptive, relative
            to each weight (usually 0.5).
        adaptive: whether the ball stretches with the weights.
        num_steps: steps uphill, at least 1. One is the sharpness of SAM; 20 come close to the
            maximum where one step misses it by a factor of 2 or 3.

    Returns:
        S in the unit of the loss, at the highest point found. It is at most the true maximum, and
        negative where every step passes over a maximum.

    Raises:
        InvalidValueError: rho or num_steps is out of range, the gradient is exactly 0 (the step
            has no direction; at a minimum the maximum is rho^2 / 2 times the largest eigenvalue),
            or the loss is not finite at w + epsilon.

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
    if num_steps < 1:
        raise InvalidValueError(f"num_steps must be at least 1, got {num_steps}.")
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
    step = scale.square() * gradient * (rho / norm)
    with loss.moved_by(step):
        highest = loss.value()
    if num_steps > 1:
        start = scale * gradient / norm
        highest = _climb(loss, rho, scale, start, highest, num_steps - 1)
    return highest - before


def _climb(
    loss: MeanLoss, rho: float, scale: Tensor, u: Tensor, highest: float, num_steps: int
) -> float:
    """Return the highest loss of further steps from the unit vector u, where it is ``highest``."""
    uphill: Tensor | None = None
    stiffness = 0.0
    for _ in range(num_steps):
        if uphill is None:
            with loss.moved_by(rho * scale * u):
                uphill = scale * loss.gradient()
            norm = torch.linalg.vector_norm(uphill)
            if norm == 0:
                return highest
            uphill /= norm
        candidate = stiffness * u + uphill
        length = torch.linalg.vector_norm(candidate)
        value = -math.inf
        if length > 0:
            candidate /= length
            with loss.moved_by(rho * scale * candidate):
                value = loss.value()
        if value > highest:
            u, highest, uphill = candidate, value, None
        else:
            stiffness = 2 * stiffness + 1
    return highest


def m_sam_sharpness(
    loss: MeanLoss, rho: float = 0.05, *, adaptive: bool = False, num_steps: int = 1
) -> float:
    r"""Return m-sharpness: the mean over batches of the sharpness of each batch's loss.

    .. math:: S_m = \sum_b n_b S_b / \sum_b n_b

    S_b is ``sam_sharpness`` of the loss of batch b alone, with its own step uphill. m is the number
    of examples of a batch: SAM trains with small m, and m-sharpness then predicts generalisation
    better than the sharpness over all the data. A batch's gradient is not 0 at a minimum of the
    mean, so S_m exists there and is of the order of rho.

    Args:
        loss: its batches are those of the mean; compare models at equal batches.
        rho, adaptive, num_steps: as for ``sam_sharpness``.

    Returns:
        S_m in the unit of the loss.

    Raises:
        InvalidValueError: as for ``sam_sharpness``.

    Example:
        The mean loss (w - 1)^2 / 2 + (w + 1)^2 / 2 has its minimum at 0, where each batch has the
        slope 1.

        >>> import torch
        >>> from dualadam.flatness import MeanLoss, m_sam_sharpness
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> square = lambda model, batch: (model.weight - batch).square().sum() / 2
        >>> loss = MeanLoss(model, square, [torch.tensor([1.0]), torch.tensor([-1.0])])
        >>> round(m_sam_sharpness(loss, rho=0.1), 4)  # rho + rho^2 / 2
        0.105

    References:
        P. Foret et al., arXiv:2010.01412, section 4.1.
    """
    parts = [
        (part.num_examples(batch), sam_sharpness(part, rho, adaptive=adaptive, num_steps=num_steps))
        for batch, part in loss.by_batch()
    ]
    return sum(n * sharpness for n, sharpness in parts) / sum(n for n, _ in parts)
