"""The quartic double well."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dualadam.diffusion.checks import require_positive
from dualadam.diffusion.landscapes.landscape import CriticalPoints, Landscape, Points


@dataclass(frozen=True)
class DoubleWell(Landscape):
    r"""Quartic double well of a given curvature and height, in one dimension.

    .. math::
        L(x) = \Delta \left( \frac{k x^2}{8 \Delta} - 1 \right)^2, \qquad
        L''(\pm x_0) = k, \quad L''(0) = -k/2, \quad x_0^2 = 8 \Delta / k

    Args:
        k: curvature at both minima, > 0.
        height: the barrier Delta, > 0.

    Raises:
        InvalidValueError: an argument is not positive and finite.

    Example:
        >>> well = DoubleWell(k=2.0, height=0.1)
        >>> well.hessian_at_minimum.round(9).tolist(), well.hessian_at_saddle.round(9).tolist()
        ([2.0], [-1.0])
        >>> round(well.barrier, 6)
        0.1
    """

    k: float = 1.0
    height: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(k=self.k, height=self.height)

    def _critical_points(self) -> CriticalPoints:
        x0 = np.array([(8 * self.height / self.k) ** 0.5])
        return CriticalPoints(minimum=-x0, saddle=0 * x0, target=x0)

    def _loss(self, x: Points) -> Points:
        return (self.height * (self.k * x**2 / (8 * self.height) - 1) ** 2).sum(-1)

    def _gradient(self, x: Points) -> Points:
        return self.k / 2 * x * (self.k * x**2 / (8 * self.height) - 1)

    def _curvature(self, x: Points) -> Points:
        return self.k / 2 * (3 * self.k * x**2 / (8 * self.height) - 1)

    def add_gradient_(self, grad: Tensor, x: Tensor) -> None:
        """Add the gradient at x to grad in place, in two passes over the memory."""
        k = self.k * self.stretch
        factor = torch.addcmul(_scalar(-k / 2, x.dtype), x, x, value=k**2 / (16 * self.height))
        grad.addcmul_(factor, x)


@lru_cache
def _scalar(value: float, dtype: torch.dtype) -> Tensor:
    """Return a cached 0-d tensor: making one costs as much as a pass over the walkers."""
    return torch.tensor(value, dtype=dtype)
