r"""Losses with known minima, saddles, barriers and Hessians, for NumPy arrays and torch tensors alike.

A landscape describes one escape: from ``minimum`` over ``saddle`` to ``target``, along the first coordinate. Points have the shape
(..., dim). At these three points every Hessian is diagonal, as the optimizers' preconditioners are everywhere.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

Points = Any  # a NumPy array or a torch tensor of shape (..., dim)


def require_positive(**values: float) -> None:
    """Refuse a number that is not positive and finite."""
    for name, value in values.items():
        if not 0.0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}.")


@dataclass(frozen=True, kw_only=True)
class Landscape(ABC):
    r"""A loss surface with one way from a minimum over a saddle to the next minimum.

    Subclasses give the loss, gradient and diagonal of the Hessian of the unstretched surface and its three points.

    Args:
        stretch: every curvature is multiplied by it and every barrier kept, :math:`L(x) = \ell(\sqrt{stretch}\, x)`; > 0.
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
    def _critical_points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return minimum, saddle, target of the unstretched surface, each of shape (dim,)."""

    @cached_property
    def _points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a, b, c = self._critical_points()
        return a / self.stretch**0.5, b / self.stretch**0.5, c / self.stretch**0.5

    @property
    def minimum(self) -> np.ndarray:
        """The minimum that is left, shape (dim,)."""
        return self._points[0]

    @property
    def saddle(self) -> np.ndarray:
        """The saddle on the way, shape (dim,)."""
        return self._points[1]

    @property
    def target(self) -> np.ndarray:
        """The minimum that is reached, shape (dim,)."""
        return self._points[2]

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return len(self.minimum)

    @property
    def barrier(self) -> float:
        """L(saddle) - L(minimum): what an escape has to climb, in units of the loss."""
        return float(self.loss(self.saddle) - self.loss(self.minimum))

    @property
    def hessian_at_minimum(self) -> np.ndarray:
        """Diagonal of the Hessian at the minimum, shape (dim,), all positive."""
        return self.curvature(self.minimum)

    @property
    def hessian_at_saddle(self) -> np.ndarray:
        """Diagonal of the Hessian at the saddle, shape (dim,): the first is negative, the others positive."""
        return self.curvature(self.saddle)

    def loss(self, x: Points) -> Points:
        """Return L at points of shape (..., dim), with shape (...)."""
        return self._loss(x * self.stretch**0.5)

    def gradient(self, x: Points) -> Points:
        """Return the gradient at points of shape (..., dim), with their shape."""
        return self._gradient(x * self.stretch**0.5) * self.stretch**0.5

    def curvature(self, x: Points) -> Points:
        """Return the diagonal of the Hessian at points of shape (..., dim), with their shape."""
        return self._curvature(x * self.stretch**0.5) * self.stretch

    def add_gradient_(self, grad: Tensor, x: Tensor) -> None:
        """Add the gradient at x to grad, in place: the simulation's inner loop."""
        grad.add_(self.gradient(x))

    def stretched(self, factor: float) -> Self:
        """Return the same surface with every curvature multiplied by factor, at the same barrier.

        Example:
            >>> flat = StyblinskiTang()
            >>> sharp = flat.stretched(4.0)
            >>> [round(float(sharp.hessian_at_minimum[0] / flat.hessian_at_minimum[0]), 6), round(sharp.barrier / flat.barrier, 6)]
            [4.0, 1.0]
        """
        return replace(self, stretch=self.stretch * factor)


@dataclass(frozen=True)
class DoubleWell(Landscape):
    r"""Quartic double well of a given curvature and height.

    .. math::
        L(x) = \Delta \left( \frac{k x^2}{8 \Delta} - 1 \right)^2, \qquad L''(\pm x_0) = k, \quad L''(0) = -k/2, \quad x_0^2 = 8 \Delta / k

    Args:
        k: curvature at both minima, > 0.
        height: the barrier Delta, > 0.

    Raises:
        ValueError: an argument is not positive and finite.

    Example:
        >>> well = DoubleWell(k=2.0, height=0.1)
        >>> well.hessian_at_minimum.round(9).tolist(), well.hessian_at_saddle.round(9).tolist(), round(well.barrier, 6)
        ([2.0], [-1.0], 0.1)
    """

    k: float = 1.0
    height: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(k=self.k, height=self.height)

    def _critical_points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x0 = np.array([(8 * self.height / self.k) ** 0.5])
        return -x0, 0 * x0, x0

    def _loss(self, x: Points) -> Points:
        return (self.height * (self.k * x**2 / (8 * self.height) - 1) ** 2).sum(-1)

    def _gradient(self, x: Points) -> Points:
        return self.k / 2 * x * (self.k * x**2 / (8 * self.height) - 1)

    def _curvature(self, x: Points) -> Points:
        return self.k / 2 * (3 * self.k * x**2 / (8 * self.height) - 1)

    def add_gradient_(self, grad: Tensor, x: Tensor) -> None:
        """Add the gradient at x to grad, in place and in two passes."""
        k = self.k * self.stretch
        grad.addcmul_(
            torch.addcmul(_scalar(-k / 2, x.dtype), x, x, value=k**2 / (16 * self.height)), x
        )


@dataclass(frozen=True)
class StyblinskiTang(Landscape):
    r"""The Styblinski-Tang function: two unequal wells in every coordinate, 2^dim minima.

    .. math:: L(x) = \frac{1}{2} \sum_i (x_i^4 - 16 x_i^2 + 5 x_i)

    The escape is the one from the shallower well of the first coordinate (2.747) or, with ``from_deep``, from the deeper (-2.904); the
    other coordinates are in their deep wells.

    Args:
        num_dims: number of coordinates, >= 1.
        from_deep: leave the deeper well.

    Raises:
        ValueError: num_dims is below 1.

    Example:
        >>> [round(StyblinskiTang(from_deep=d).barrier, 1) for d in (False, True)]
        [25.2, 39.4]

    References:
        M. Styblinski, T.-S. Tang, Neural Networks 3 (1990) 467-483; the landscape of Xie et al., arXiv:2002.03495, in their experiments.
    """

    num_dims: int = 1
    from_deep: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_dims < 1:
            raise ValueError(f"num_dims must be at least 1, got {self.num_dims}.")

    def _critical_points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        deep, pass_, shallow = np.sort(np.roots([4, 0, -32, 5]).real)
        start, end = (deep, shallow) if self.from_deep else (shallow, deep)
        rest = [deep] * (self.num_dims - 1)
        return np.array([start, *rest]), np.array([pass_, *rest]), np.array([end, *rest])

    def _loss(self, x: Points) -> Points:
        return (x**4 - 16 * x**2 + 5 * x).sum(-1) / 2

    def _gradient(self, x: Points) -> Points:
        return 2 * x**3 - 16 * x + 2.5

    def _curvature(self, x: Points) -> Points:
        return 6 * x**2 - 16


@dataclass(frozen=True)
class SpectrumWell(Landscape):
    r"""A double well along the first coordinate in a valley with a chosen Hessian spectrum, which may narrow towards the saddle.

    .. math:: L(x) = W(x_0) + \frac{1}{2} \sum_{i \ge 1} \lambda_i \left[ 1 + (\rho - 1) (1 - u^2)^2 \right] x_i^2, \qquad u = x_0 / x_{min}

    with W the ``DoubleWell`` of curvature lambda_0. The Hessian is diag(lambda) at the minima and
    diag(-lambda_0 / 2, rho lambda_1, rho lambda_2, ...) at the saddle.

    Args:
        spectrum: lambda, the eigenvalues at the minima, each > 0; the escape is along the first.
        height: the barrier, > 0.
        narrowing: rho, >= 1 (below 1 the surface would not be bounded from below).

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> well = SpectrumWell((1.0, 2.0, 5.0), narrowing=3.0)
        >>> well.hessian_at_minimum.round(9).tolist(), well.hessian_at_saddle.round(9).tolist()
        ([1.0, 2.0, 5.0], [-0.5, 6.0, 15.0])
    """

    spectrum: tuple[float, ...] = (1.0, 1.0)
    height: float = 0.1
    narrowing: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(**{f"spectrum[{i}]": value for i, value in enumerate(self.spectrum)})
        if not 1.0 <= self.narrowing < math.inf:
            raise ValueError(f"narrowing must be at least 1, got {self.narrowing}.")

    @cached_property
    def _well(self) -> DoubleWell:
        return DoubleWell(self.spectrum[0], self.height)

    def _critical_points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        unit = np.eye(len(self.spectrum))[0]
        return self._well.minimum[0] * unit, 0 * unit, self._well.target[0] * unit

    def _parts(self, x: Points) -> tuple[Points, Points, Points, Points]:
        """Return x_0, x_i, lambda_i (alike in kind to x) and u^2, with x_0 and u^2 of shape (..., 1)."""
        first, rest = x[..., :1], x[..., 1:]
        rates = self.spectrum[1:]
        stiffness = (
            torch.tensor(rates, dtype=x.dtype, device=x.device)
            if isinstance(x, Tensor)
            else np.array(rates)
        )
        return first, rest, stiffness, first**2 / float(self._well.target[0]) ** 2

    def _loss(self, x: Points) -> Points:
        first, rest, stiffness, u2 = self._parts(x)
        return (
            self._well.loss(first)
            + (stiffness * rest**2 * (1 + (self.narrowing - 1) * (1 - u2) ** 2)).sum(-1) / 2
        )

    def _gradient(self, x: Points) -> Points:
        first, rest, stiffness, u2 = self._parts(x)
        along = self._well.gradient(first)
        if self.narrowing != 1:
            slope = -4 * first * (1 - u2) / float(self._well.target[0]) ** 2
            along = (
                along + (self.narrowing - 1) / 2 * slope * (stiffness * rest**2).sum(-1)[..., None]
            )
        return _join(along, stiffness * rest * (1 + (self.narrowing - 1) * (1 - u2) ** 2))

    def _curvature(self, x: Points) -> Points:
        first, rest, stiffness, u2 = self._parts(x)
        bend = (12 * u2 - 4) / float(self._well.target[0]) ** 2
        along = (
            self._well.curvature(first)
            + (self.narrowing - 1) / 2 * bend * (stiffness * rest**2).sum(-1)[..., None]
        )
        return _join(along, stiffness * (1 + (self.narrowing - 1) * (1 - u2) ** 2) + 0 * rest)


@dataclass(frozen=True)
class AsymmetricWells(Landscape):
    r"""A sharp and a flat well of equal depth joined by one saddle, in one dimension; twice continuously differentiable.

    .. math::
        L(x) = \Delta (u(x)^2 - 1)^2, \qquad u(0) = 0, \quad L'' = 8 \Delta u'^2 \text{ at the minima}, \quad L''(0) = -4 \Delta u'(0)^2

    where u' passes from sqrt(H_a / 8 Delta) on the left to sqrt(H_b / 8 Delta) on the right by a cubic, within a half of a well's width.

    Args:
        start_curvature: H_a of the left minimum, which is left, > 0.
        target_curvature: H_b of the right minimum, which is reached, > 0.
        height: the barrier Delta, the same from both sides, > 0.

    Raises:
        ValueError: an argument is not positive and finite.

    Example:
        >>> wells = AsymmetricWells(start_curvature=4.0, target_curvature=1.0)
        >>> wells.hessian_at_minimum.round(9).tolist(), wells.curvature(wells.target).round(9).tolist(), round(wells.barrier, 9)
        ([4.0], [1.0], 0.1)
    """

    start_curvature: float = 4.0
    target_curvature: float = 1.0
    height: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(
            start_curvature=self.start_curvature,
            target_curvature=self.target_curvature,
            height=self.height,
        )

    @property
    def _slopes(self) -> tuple[float, float, float]:
        """Return the mean of u' on both sides, half their difference, and the half-width of the passage between them."""
        left, right = (
            curvature / (8 * self.height)
            for curvature in (self.start_curvature, self.target_curvature)
        )
        return (
            (left**0.5 + right**0.5) / 2,
            (right**0.5 - left**0.5) / 2,
            0.5 / max(left, right) ** 0.5,
        )

    def _u(self, x: Points) -> tuple[Points, Points, Points]:
        """Return u, u' and u''."""
        mean, half, width = self._slopes
        t = (x / width).clip(-1, 1)
        u = mean * x + half * (width * (3 * t**2 / 4 - t**4 / 8) + (abs(x) - width).clip(0, None))
        return u, mean + half * t * (3 - t**2) / 2, half / width * 1.5 * (1 - t**2)

    def _critical_points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, half, width = self._slopes
        left = -width - (1 + float(self._u(np.array(-width))[0])) / (mean - half)
        right = width + (1 - float(self._u(np.array(width))[0])) / (mean + half)
        return np.array([left]), np.array([0.0]), np.array([right])

    def _loss(self, x: Points) -> Points:
        return (self.height * (self._u(x)[0] ** 2 - 1) ** 2).sum(-1)

    def _gradient(self, x: Points) -> Points:
        u, du, _ = self._u(x)
        return 4 * self.height * (u**2 - 1) * u * du

    def _curvature(self, x: Points) -> Points:
        u, du, ddu = self._u(x)
        return 4 * self.height * ((3 * u**2 - 1) * du**2 + (u**2 - 1) * u * ddu)


def _join(first: Points, rest: Points) -> Points:
    return (
        torch.cat([first, rest], -1)
        if isinstance(first, Tensor)
        else np.concatenate([first, rest], -1)
    )


@lru_cache
def _scalar(value: float, dtype: torch.dtype) -> Tensor:
    """Return a 0-d tensor; making one at every step costs as much as a pass over the walkers."""
    return torch.tensor(value, dtype=dtype)
