"""The equations of arXiv:2603.07122, one pure function each.

They take numbers and 0-d tensors: the loop passes Python floats (double precision), a captured or
compiled step passes tensors.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

Scalar: TypeAlias = float | Tensor
# 1 - xi t is 1e-16 instead of 0 for many xi = 1/N; below this value the hand-over is over
NEGLIGIBLE = 1e-9


class Coefficients(NamedTuple):
    """The step split over m and r: theta <- theta + adam m / r + inverse m r.

    Each is a float, a 0-d tensor, or a vector with one number per parameter.
    """

    adam: Any  # -lr (1 - alpha_t) / (1 - b1^t)
    inverse: Any  # -lr alpha_t / (1 - b1^t)
    root: Any  # sqrt(1 - b2^t), with which r = sqrt(v) / root + eps


def mixing_weight(step: Scalar, switch_rate: float) -> Any:
    r"""Return the weight of InvAdam, which falls from 1 to 0 over 1 / switch_rate steps.

    .. math:: \alpha_t = \max(0, 1 - \xi t)

    A weight below 1e-9 counts as 0.

    Args:
        step: t, the number of updates, at least 0; a number or a tensor.
        switch_rate: xi per step, in [0, 1].

    Returns:
        A number in [0, 1], or a tensor of the shape of ``step``.

    Example:
        >>> [mixing_weight(float(t), 0.25) for t in (1, 2, 3, 4, 5)]
        [0.75, 0.5, 0.25, 0.0, 0.0]
    """
    alpha = 1 - switch_rate * step
    if isinstance(alpha, Tensor):
        return torch.where(alpha < NEGLIGIBLE, 0.0, alpha)
    return alpha if alpha >= NEGLIGIBLE else 0.0


def adam_direction(m_hat: Tensor, r: Tensor) -> Tensor:
    """Return u = mh / r, which has no unit; r = sqrt(vh) + eps."""
    return m_hat / r


def invadam_direction(m_hat: Tensor, r: Tensor) -> Tensor:
    """Return u~ = mh r, in the unit of a squared gradient; r = sqrt(vh) + eps as in the release."""
    return m_hat * r


def effective_weight(r: Tensor, alpha: Tensor | float) -> Tensor:
    """Return w_t = (1 - alpha) + alpha r^2, the DualAdam step divided by the Adam step."""
    return (1 - alpha) + alpha * r.square()


def step_coefficients(
    step: Scalar, lr: Scalar, beta1: Scalar, beta2: Scalar, switch_rate: float
) -> Coefficients:
    """Return the coefficients of step t. At alpha_t = 0 they are AdamW's of torch, bit for bit."""
    alpha = mixing_weight(step, switch_rate)
    step_size = lr / (1 - beta1**step)
    return Coefficients(
        adam=-step_size * (1 - alpha),
        inverse=-step_size * alpha,
        root=(1 - beta2**step) ** 0.5,
    )
