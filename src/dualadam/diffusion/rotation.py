"""Coordinates of an optimizer that are not the axes of the Hessian."""

from __future__ import annotations

import math

import numpy as np

from dualadam.diffusion.noise import Noise
from dualadam.errors import InvalidValueError


def spread_over(dim: int) -> np.ndarray:
    r"""Return a rotation that spreads the first axis evenly over all coordinates.

    .. math:: R = I - 2 u u^\top, \qquad R e_1 = (1, \ldots, 1) / \sqrt{k}

    R is the reflection that exchanges the first axis and the diagonal.

    Args:
        dim: k, at least 1.

    Returns:
        R, orthogonal, shape (dim, dim).

    Raises:
        InvalidValueError: dim is below 1.

    Example:
        >>> r = spread_over(4)
        >>> r[:, 0].tolist(), bool(np.allclose(r @ r.T, np.eye(4)))
        ([0.5, 0.5, 0.5, 0.5], True)
    """
    if dim < 1:
        raise InvalidValueError(f"dim must be at least 1, got {dim}.")
    unit = np.eye(dim)[0]
    diagonal = np.full(dim, 1 / math.sqrt(dim))
    if dim == 1:
        return np.eye(1)
    u = (unit - diagonal) / np.linalg.norm(unit - diagonal)
    return np.eye(dim) - 2 * np.outer(u, u)


def rotated_variances(noise: Noise, x: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    r"""Return the noise variances that an optimizer sees in rotated coordinates.

    .. math:: \mathrm{diag}(R\, C\, R^\top)

    Args:
        noise: independent along the axes of the landscape; its variances are the diagonal of C.
        x: the point, shape (dim,).
        rotation: R, shape (dim, dim).

    Returns:
        The variances, shape (dim,).

    Example:
        A variance of 2 along one of two axes, 1 along the other, and both mixed evenly.

        >>> from dualadam.diffusion import ConstantNoise
        >>> seen = rotated_variances(ConstantNoise([2.0, 1.0]), np.zeros(2), spread_over(2))
        >>> seen.round(9).tolist()
        [1.5, 1.5]
    """
    variances = np.broadcast_to(np.asarray(noise.variance(x), float), x.shape)
    return rotation**2 @ variances


def check_rotation(rotation: np.ndarray, dim: int) -> None:
    """Check that a rotation is an orthogonal matrix of a landscape's dimension.

    Raises:
        InvalidValueError: it is not.
    """
    if rotation.shape != (dim, dim) or not np.allclose(rotation @ rotation.T, np.eye(dim)):
        raise InvalidValueError(
            f"rotation must be an orthogonal matrix of shape ({dim}, {dim}), "
            f"got shape {rotation.shape}."
        )
