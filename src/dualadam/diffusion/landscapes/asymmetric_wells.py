"""A sharp and a flat well of equal depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dualadam.diffusion.checks import require_positive
from dualadam.diffusion.landscapes.landscape import CriticalPoints, Landscape, Points


class _Slopes(NamedTuple):
    mean: float  # of u' on the left and on the right
    half: float  # half of u' on the right - u' on the left
    width: float  # half-width of the interval in which u' changes


class _Coordinate(NamedTuple):
    u: Points
    du: Points
    ddu: Points


@dataclass(frozen=True)
class AsymmetricWells(Landscape):
    r"""A sharp and a flat well of equal depth, joined by one saddle, in one dimension.

    .. math::
        L(x) = \Delta (u(x)^2 - 1)^2, \qquad u(0) = 0, \quad
        L'' = 8 \Delta u'^2 \text{ at the minima}, \quad L''(0) = -4 \Delta u'(0)^2

    u' goes from sqrt(H_a / 8 Delta) on the left to sqrt(H_b / 8 Delta) on the right by a cubic,
    within half of a well's width, so that L is twice continuously differentiable.

    Args:
        start_curvature: H_a at the left minimum, where the escape starts, > 0.
        target_curvature: H_b at the right minimum, where it ends, > 0.
        height: the barrier Delta, the same from both sides, > 0.

    Raises:
        InvalidValueError: an argument is not positive and finite.

    Example:
        >>> wells = AsymmetricWells(start_curvature=4.0, target_curvature=1.0)
        >>> [round(float(wells.curvature(x)[0]), 9) for x in (wells.minimum, wells.target)]
        [4.0, 1.0]
        >>> round(wells.barrier, 9)
        0.1
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
    def _slopes(self) -> _Slopes:
        left = self.start_curvature / (8 * self.height)
        right = self.target_curvature / (8 * self.height)
        return _Slopes(
            mean=(left**0.5 + right**0.5) / 2,
            half=(right**0.5 - left**0.5) / 2,
            width=0.5 / max(left, right) ** 0.5,
        )

    def _coordinate(self, x: Points) -> _Coordinate:
        mean, half, width = self._slopes
        t = (x / width).clip(-1, 1)
        bent = width * (3 * t**2 / 4 - t**4 / 8) + (abs(x) - width).clip(0, None)
        return _Coordinate(
            u=mean * x + half * bent,
            du=mean + half * t * (3 - t**2) / 2,
            ddu=half / width * 1.5 * (1 - t**2),
        )

    def _critical_points(self) -> CriticalPoints:
        mean, half, width = self._slopes
        left = -width - (1 + float(self._coordinate(np.array(-width)).u)) / (mean - half)
        right = width + (1 - float(self._coordinate(np.array(width)).u)) / (mean + half)
        return CriticalPoints(np.array([left]), np.array([0.0]), np.array([right]))

    def _loss(self, x: Points) -> Points:
        return (self.height * (self._coordinate(x).u ** 2 - 1) ** 2).sum(-1)

    def _gradient(self, x: Points) -> Points:
        u, du, _ = self._coordinate(x)
        return 4 * self.height * (u**2 - 1) * u * du

    def _curvature(self, x: Points) -> Points:
        u, du, ddu = self._coordinate(x)
        return 4 * self.height * ((3 * u**2 - 1) * du**2 + (u**2 - 1) * u * ddu)
