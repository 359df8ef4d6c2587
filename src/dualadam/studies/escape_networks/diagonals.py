"""Gradient covariance against Hessian, element by element of their diagonals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DiagonalComparison:
    """ln C_ii against ln H_ii over the elements where both are positive.

    Attributes:
        gamma: slope; None where the H_ii are almost equal.
        r: correlation; None where gamma is.
        ratio: median of C_ii / H_ii.
        left_out: number of elements that are not positive.
    """

    gamma: float | None
    r: float | None
    ratio: float
    left_out: int


def compare_diagonals(covariance: np.ndarray, hessian: np.ndarray) -> DiagonalComparison:
    """Compare the diagonals of a gradient covariance and a Hessian.

    Example:
        >>> h = np.geomspace(0.1, 10, 50)
        >>> found = compare_diagonals(3 * h**1.5, h)
        >>> round(found.gamma, 6), round(found.r, 6)
        (1.5, 1.0)
    """
    positive = (hessian > 0) & (covariance > 0)
    x, y = np.log(hessian[positive]), np.log(covariance[positive])
    spread = x.std() > 0.05
    return DiagonalComparison(
        gamma=float(np.polyfit(x, y, 1)[0]) if spread else None,
        r=float(np.corrcoef(x, y)[0, 1]) if spread else None,
        ratio=float(np.exp(np.median(y - x))),
        left_out=int((~positive).sum()),
    )
