"""The Styblinski-Tang function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dualadam.diffusion.landscapes.landscape import CriticalPoints, Landscape, Points
from dualadam.errors import InvalidValueError


@dataclass(frozen=True)
class StyblinskiTang(Landscape):
    r"""The Styblinski-Tang function: two unequal wells in every coordinate, 2^dim minima.

    .. math:: L(x) = \frac{1}{2} \sum_i (x_i^4 - 16 x_i^2 + 5 x_i)

    The first coordinate leaves its shallow well (2.747) or, with ``from_deep``, its deep well
    (-2.904). The other coordinates lie in their deep wells.

    Args:
        num_dims: number of coordinates, >= 1.
        from_deep: whether the escape starts in the deep well.

    Raises:
        InvalidValueError: num_dims is below 1.

    Example:
        >>> [round(StyblinskiTang(from_deep=deep).barrier, 1) for deep in (False, True)]
        [25.2, 39.4]

    References:
        M. Styblinski, T.-S. Tang, Neural Networks 3 (1990) 467-483. Xie et al., arXiv:2002.03495,
        use it in their experiments.
    """

    num_dims: int = 1
    from_deep: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_dims < 1:
            raise InvalidValueError(f"num_dims must be at least 1, got {self.num_dims}.")

    def _critical_points(self) -> CriticalPoints:
        deep, saddle, shallow = np.sort(np.roots([4, 0, -32, 5]).real)
        start, end = (deep, shallow) if self.from_deep else (shallow, deep)
        rest = [deep] * (self.num_dims - 1)
        return CriticalPoints(
            minimum=np.array([start, *rest]),
            saddle=np.array([saddle, *rest]),
            target=np.array([end, *rest]),
        )

    def _loss(self, x: Points) -> Points:
        return (x**4 - 16 * x**2 + 5 * x).sum(-1) / 2

    def _gradient(self, x: Points) -> Points:
        return 2 * x**3 - 16 * x + 2.5

    def _curvature(self, x: Points) -> Points:
        return 6 * x**2 - 16
