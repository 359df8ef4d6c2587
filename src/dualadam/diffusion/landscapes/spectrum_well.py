"""A double well with transverse directions of a chosen Hessian spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dualadam.diffusion.checks import require_positive
from dualadam.diffusion.landscapes.double_well import DoubleWell
from dualadam.diffusion.landscapes.landscape import CriticalPoints, Landscape, Points
from dualadam.errors import InvalidValueError


class _Parts(NamedTuple):
    first: Points  # x_0, shape (..., 1)
    rest: Points  # x_i, shape (..., dim - 1)
    stiffness: Points  # lambda_i at the minima, shape (dim - 1,)
    u2: Points  # u^2, shape (..., 1)


@dataclass(frozen=True)
class SpectrumWell(Landscape):
    r"""A double well along the first coordinate, in a valley that may narrow towards the saddle.

    .. math::
        L(x) = W(x_0) + \frac{1}{2} \sum_{i \ge 1}
        \lambda_i \left[ 1 + (\rho - 1) (1 - u^2)^2 \right] x_i^2, \qquad u = x_0 / x_{min}

    W is the ``DoubleWell`` of curvature lambda_0. The Hessian is diag(lambda) at the minima and
    diag(-lambda_0 / 2, rho lambda_1, rho lambda_2, ...) at the saddle.

    Args:
        spectrum: lambda, the eigenvalues at the minima, each > 0; the escape is along the first.
        height: the barrier, > 0.
        narrowing: rho, >= 1; below 1 the loss would not be bounded from below.

    Raises:
        InvalidValueError: an argument is out of range.

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
            raise InvalidValueError(f"narrowing must be at least 1, got {self.narrowing}.")

    @cached_property
    def _well(self) -> DoubleWell:
        return DoubleWell(self.spectrum[0], self.height)

    def _critical_points(self) -> CriticalPoints:
        unit = np.eye(len(self.spectrum))[0]
        return CriticalPoints(
            minimum=self._well.minimum[0] * unit,
            saddle=0 * unit,
            target=self._well.target[0] * unit,
        )

    def _parts(self, x: Points) -> _Parts:
        first, rates = x[..., :1], self.spectrum[1:]
        if isinstance(x, Tensor):
            stiffness: Points = torch.tensor(rates, dtype=x.dtype, device=x.device)
        else:
            stiffness = np.array(rates)
        return _Parts(first, x[..., 1:], stiffness, first**2 / float(self._well.target[0]) ** 2)

    def _loss(self, x: Points) -> Points:
        first, rest, stiffness, u2 = self._parts(x)
        valley = (stiffness * rest**2 * (1 + (self.narrowing - 1) * (1 - u2) ** 2)).sum(-1) / 2
        return self._well.loss(first) + valley

    def _gradient(self, x: Points) -> Points:
        first, rest, stiffness, u2 = self._parts(x)
        along = self._well.gradient(first)
        if self.narrowing != 1:
            slope = -4 * first * (1 - u2) / float(self._well.target[0]) ** 2
            squares = (stiffness * rest**2).sum(-1)[..., None]
            along = along + (self.narrowing - 1) / 2 * slope * squares
        return _join(along, stiffness * rest * (1 + (self.narrowing - 1) * (1 - u2) ** 2))

    def _curvature(self, x: Points) -> Points:
        first, rest, stiffness, u2 = self._parts(x)
        bend = (12 * u2 - 4) / float(self._well.target[0]) ** 2
        squares = (stiffness * rest**2).sum(-1)[..., None]
        along = self._well.curvature(first) + (self.narrowing - 1) / 2 * bend * squares
        return _join(along, stiffness * (1 + (self.narrowing - 1) * (1 - u2) ** 2) + 0 * rest)


def _join(first: Points, rest: Points) -> Points:
    if isinstance(first, Tensor):
        return torch.cat([first, rest], -1)
    return np.concatenate([first, rest], -1)
