"""What every landscape has: a minimum, a saddle, a target, and the loss between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from torch import Tensor

from dualadam.diffusion.checks import require_positive

Points = Any  # a NumPy array or a torch tensor of shape (..., dim)


class CriticalPoints(NamedTuple):
    """The three points of an escape, each of shape (dim,)."""

    minimum: np.ndarray
    saddle: np.ndarray
    target: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Landscape(ABC):
    r"""A loss surface with one path from a minimum over a saddle to the next minimum.

    The escape is along the first coordinate. At the three critical points the Hessian is diagonal,
    as the optimizers' preconditioners are. All methods take NumPy arrays and torch tensors alike.

    A subclass defines the loss, the gradient, the diagonal of the Hessian and the critical points
    of the surface before stretching.

    Args:
        stretch: multiplies every curvature and keeps every barrier,
            :math:`L(x) = \ell(\sqrt{stretch}\, x)`; > 0.
    """

    stretch: float = 1.0

    def __post_init__(self) -> None:
        require_positive(stretch=self.stretch)

    @abstractmethod
    def _loss(self, x: Points) -> Points: ...

    @abstractmethod
    def _gradient(self, x: Points) -> Points: ...

    @abstractmethod
    def _curvature(self, x: Points) -> Points: ...

    @abstractmethod
    def _critical_points(self) -> CriticalPoints: ...

    @cached_property
    def _stretched_points(self) -> CriticalPoints:
        return CriticalPoints(*(point / self.stretch**0.5 for point in self._critical_points()))

    @property
    def minimum(self) -> np.ndarray:
        """The minimum where the escape starts, shape (dim,)."""
        return self._stretched_points.minimum

    @property
    def saddle(self) -> np.ndarray:
        """The saddle on the path, shape (dim,)."""
        return self._stretched_points.saddle

    @property
    def target(self) -> np.ndarray:
        """The minimum where the escape ends, shape (dim,)."""
        return self._stretched_points.target

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return len(self.minimum)

    @property
    def barrier(self) -> float:
        """L(saddle) - L(minimum), in units of the loss."""
        return float(self.loss(self.saddle) - self.loss(self.minimum))

    @property
    def hessian_at_minimum(self) -> np.ndarray:
        """Diagonal of the Hessian at the minimum, shape (dim,), all positive."""
        return self.curvature(self.minimum)

    @property
    def hessian_at_saddle(self) -> np.ndarray:
        """Diagonal of the Hessian at the saddle, shape (dim,); only the first is negative."""
        return self.curvature(self.saddle)

    def loss(self, x: Points) -> Points:
        """Return L at points of shape (..., dim), with shape (...)."""
        return self._loss(x * self.stretch**0.5)

    def gradient(self, x: Points) -> Points:
        """Return the gradient at points of shape (..., dim), with the same shape."""
        return self._gradient(x * self.stretch**0.5) * self.stretch**0.5

    def curvature(self, x: Points) -> Points:
        """Return the diagonal of the Hessian at points of shape (..., dim), with the same shape."""
        return self._curvature(x * self.stretch**0.5) * self.stretch

    def add_gradient_(self, grad: Tensor, x: Tensor) -> None:
        """Add the gradient at x to grad in place, as the simulation does at every step."""
        grad.add_(self.gradient(x))

    def stretched(self, factor: float) -> Self:
        """Return the same surface with every curvature multiplied by factor and the same barrier.

        Raises:
            InvalidValueError: factor is not positive and finite.

        Example:
            >>> from dualadam.diffusion import StyblinskiTang
            >>> flat = StyblinskiTang()
            >>> sharp = flat.stretched(4.0)
            >>> round(float(sharp.hessian_at_minimum[0] / flat.hessian_at_minimum[0]), 6)
            4.0
            >>> round(sharp.barrier / flat.barrier, 6)
            1.0
        """
        return replace(self, stretch=self.stretch * factor)
