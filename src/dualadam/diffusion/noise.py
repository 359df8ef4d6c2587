"""Models of the gradient noise: an optimizer sees the gradient plus z, E z = 0, Cov z = C(x)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from dualadam.diffusion.checks import require_positive
from dualadam.diffusion.landscapes import Landscape, Points
from dualadam.errors import InvalidValueError


class Noise(ABC):
    """Gradient noise at points of shape (..., dim)."""

    @abstractmethod
    def variance(self, x: Points) -> Points:
        """Return the diagonal of C at x, broadcastable to the shape of x."""

    def singular_points(self, lower: float, upper: float) -> list[float]:
        """Return where in (lower, upper) a variance in one dimension vanishes or has a kink."""
        return []

    @abstractmethod
    def draw_(self, z: Tensor, x: Tensor, generator: torch.Generator) -> None:
        """Fill z in place with independent noise for every walker; z and x: (walkers, dim)."""


@dataclass(frozen=True)
class ConstantNoise(Noise):
    """Gaussian noise with one covariance everywhere.

    Args:
        covariance: one variance > 0 for all coordinates, a sequence of dim variances, or a positive
            definite matrix of shape (dim, dim).

    Raises:
        InvalidValueError: a variance is not positive, or the matrix is not symmetric positive
            definite.

    Example:
        >>> z = torch.empty(200_000, 2)
        >>> ConstantNoise([[2.0, 1.0], [1.0, 1.0]]).draw_(z, z, torch.Generator().manual_seed(0))
        >>> difference = z.T.cov() - torch.tensor([[2.0, 1.0], [1.0, 1.0]])
        >>> bool(difference.abs().max() < 0.03)
        True
    """

    covariance: float | Sequence[float] | Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        c = np.asarray(self.covariance, dtype=float)
        if c.ndim < 2:
            require_positive(**{f"covariance[{i}]": value for i, value in enumerate(c.reshape(-1))})
        elif not _is_positive_definite(c):
            raise InvalidValueError(
                "covariance must be a symmetric positive definite matrix, "
                f"got shape {c.shape} with {self.covariance!r}."
            )

    def variance(self, x: Points) -> Points:
        """Return the diagonal of the covariance."""
        c = np.asarray(self.covariance, dtype=float)
        diagonal = c.diagonal() if c.ndim == 2 else c
        return torch.tensor(diagonal, dtype=x.dtype) if isinstance(x, Tensor) else diagonal

    @cached_property
    def _factor(self) -> Tensor | float:
        c = np.asarray(self.covariance, dtype=float)
        if c.ndim == 0:
            return float(c**0.5)
        return torch.tensor(c**0.5 if c.ndim == 1 else np.linalg.cholesky(c).T, dtype=torch.float32)

    def draw_(self, z: Tensor, x: Tensor, generator: torch.Generator) -> None:
        """Fill z with the noise."""
        if isinstance(self._factor, float):
            z.normal_(0.0, self._factor, generator=generator)
        else:
            z.normal_(generator=generator)
            factor = self._factor.to(z)
            z.copy_(z @ factor) if factor.ndim == 2 else z.mul_(factor)


@dataclass(frozen=True)
class PathNoise(Noise):
    r"""Gaussian noise whose variance changes smoothly between the minima and the saddle.

    .. math::
        c(x) = c_a + (c_b - c_a) (1 - u^2)^2 \text{ for } |u| \le 1, \text{ else } c_a; \qquad
        u = x / x_{min}

    Args:
        landscape: one-dimensional, with the saddle at 0 and the minima at -x_min and x_min.
        at_minimum: c_a, > 0.
        at_saddle: c_b, > 0.

    Raises:
        InvalidValueError: a variance is not positive and finite.
    """

    landscape: Landscape
    at_minimum: float
    at_saddle: float

    def __post_init__(self) -> None:
        require_positive(at_minimum=self.at_minimum, at_saddle=self.at_saddle)

    def variance(self, x: Points) -> Points:
        """Return c(x)."""
        u2 = (x / float(self.landscape.minimum[0])) ** 2
        return self.at_minimum + (self.at_saddle - self.at_minimum) * (1 - u2).clip(0, None) ** 2

    def draw_(self, z: Tensor, x: Tensor, generator: torch.Generator) -> None:
        """Fill z with the noise."""
        z.normal_(generator=generator).mul_(self.variance(x).sqrt_())


@dataclass(frozen=True)
class HessianNoise(Noise):
    r"""Gaussian noise with the diagonal of the Hessian as its variance, along the whole path.

    .. math:: C(x) = |\mathrm{diag}\, \nabla^2 L(x)| / B + c_0

    Without a floor c_0 it vanishes at every inflection point, which a walker of the equation then
    never passes under SGD and InvAdam (docs/theory.md).

    Args:
        landscape: has the Hessian.
        batch_size: B, > 0.
        floor: c_0, >= 0.

    Raises:
        InvalidValueError: an argument is out of range.
    """

    landscape: Landscape
    batch_size: float
    floor: float = 0.0

    def __post_init__(self) -> None:
        require_positive(batch_size=self.batch_size)
        if not self.floor >= 0:
            raise InvalidValueError(f"floor must be at least 0, got {self.floor}.")

    def variance(self, x: Points) -> Points:
        """Return the diagonal of C(x)."""
        return abs(self.landscape.curvature(x)) / self.batch_size + self.floor

    def singular_points(self, lower: float, upper: float) -> list[float]:
        """Return the inflection points."""
        x = np.linspace(lower, upper, 10_001)
        h = self.landscape.curvature(x[:, None])[:, 0]
        return [
            brentq(lambda y: float(self.landscape.curvature(np.array([y]))[0]), x[i], x[i + 1])
            for i in np.flatnonzero(h[1:] * h[:-1] < 0)
        ]

    def draw_(self, z: Tensor, x: Tensor, generator: torch.Generator) -> None:
        """Fill z with the noise."""
        z.normal_(generator=generator).mul_(self.variance(x).sqrt_())


@dataclass(frozen=True)
class MeasuredNoise(Noise):
    """Noise drawn with replacement from measured mini-batch gradients, the same everywhere.

    It has their covariance and their tails.

    Args:
        gradients: mini-batch gradients at one point, shape (num_batches, dim), at least 2 of them.
            A draw is one of them minus their mean, times sqrt(n / (n - 1)), so that its covariance
            is the unbiased sample covariance.

    Raises:
        InvalidValueError: the shape is not (num_batches >= 2, dim).

    Example:
        >>> noise = MeasuredNoise(torch.tensor([[1.0, 10.0], [3.0, 10.0], [5.0, 10.0]]))
        >>> noise.variance(torch.zeros(2)).tolist()
        [4.0, 0.0]
    """

    gradients: Tensor

    def __post_init__(self) -> None:
        if self.gradients.ndim != 2 or len(self.gradients) < 2:
            raise InvalidValueError(
                "gradients must have shape (num_batches >= 2, dim), "
                f"got {tuple(self.gradients.shape)}."
            )

    @cached_property
    def _residuals(self) -> Tensor:
        n = len(self.gradients)
        return (self.gradients - self.gradients.mean(0)) * (n / (n - 1)) ** 0.5

    def variance(self, x: Points) -> Points:
        """Return the sample variance of the mini-batch gradients, shape (dim,)."""
        variance = self.gradients.var(0)
        return variance if isinstance(x, Tensor) else variance.numpy()

    def draw_(self, z: Tensor, x: Tensor, generator: torch.Generator) -> None:
        """Fill z with the noise."""
        index = torch.randint(len(self.gradients), (len(z),), generator=generator)
        torch.index_select(self._residuals.to(z), 0, index, out=z)


def _is_positive_definite(c: np.ndarray) -> bool:
    square = c.ndim == 2 and c.shape[0] == c.shape[1]
    return square and np.allclose(c, c.T) and bool(np.linalg.eigvalsh(c)[0] > 0)
