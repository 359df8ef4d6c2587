"""The equations of arXiv:2603.07122, one pure function each.

Numbers and 0-d tensors both work: the loop passes Python floats (double precision), a captured or compiled step passes tensors.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor

Scalar: TypeAlias = float | Tensor
NEGLIGIBLE = (
    1e-9  # 1 - xi t is 1e-16 instead of 0 for many xi = 1/N; below this the hand-over is over
)


def mixing_weight(step: Scalar, switch_rate: float) -> Any:
    """alpha_t = max(0, 1 - xi t): the weight of InvAdam, from 1 to 0 over 1/xi steps; below 1e-9 it counts as 0.

    Example:
        >>> [mixing_weight(float(t), 0.25) for t in (1, 2, 3, 4, 5)]
        [0.75, 0.5, 0.25, 0.0, 0.0]
    """
    alpha = 1 - switch_rate * step
    if isinstance(alpha, Tensor):
        return torch.where(alpha < NEGLIGIBLE, 0.0, alpha)
    return alpha if alpha >= NEGLIGIBLE else 0.0


def adam_direction(m_hat: Tensor, r: Tensor) -> Tensor:
    """u = mh / r, unit-free, with r = sqrt(vh) + eps."""
    return m_hat / r


def invadam_direction(m_hat: Tensor, r: Tensor) -> Tensor:
    """u~ = mh r, in gradient squared, with r = sqrt(vh) + eps (the transcription of the paper has no eps here; the release has)."""
    return m_hat * r


def effective_weight(r: Tensor, alpha: Tensor | float) -> Tensor:
    """w_t = (1 - alpha) + alpha r^2: the DualAdam step over the Adam step of the same state, element by element."""
    return (1 - alpha) + alpha * r.square()


def step_coefficients(
    step: Scalar, lr: Scalar, beta1: Scalar, beta2: Scalar, switch_rate: float
) -> tuple[Any, Any, Any]:
    """Split the step over m and r: theta <- theta + c_adam m / r + c_inv m r, r = sqrt(v) / root + eps.

    c_adam = -lr (1 - alpha_t) / (1 - b1^t), c_inv = -lr alpha_t / (1 - b1^t), root = sqrt(1 - b2^t).
    With alpha_t = 0 the first and the last are torch.optim.AdamW's own numbers, bit for bit.
    """
    alpha = mixing_weight(step, switch_rate)
    step_size = lr / (1 - beta1**step)
    return -step_size * (1 - alpha), -step_size * alpha, (1 - beta2**step) ** 0.5
