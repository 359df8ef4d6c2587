"""The extreme eigenvalues of the Hessian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from dualadam.errors import InvalidValueError, NotConvergedError
from dualadam.flatness.hessian import hessian_operator
from dualadam.flatness.mean_loss import MeanLoss
from dualadam.flatness.probes import generator_or_default

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TopEigenvalues:
    """Extreme eigenvalues with their eigenvectors.

    Attributes:
        values: shape (k,), descending, in the unit of the loss.
        residuals: || H v - lambda v ||_2, shape (k,); each bounds the distance of its value to a
            true eigenvalue.
        vectors: shape (num_params, k), one unit vector a column.
    """

    values: NDArray[np.float64]
    residuals: NDArray[np.float64]
    vectors: NDArray[Any]


def top_eigenvalues(
    loss: MeanLoss,
    k: int = 5,
    *,
    which: Literal["LA", "SA", "LM"] = "LA",
    tol: float = 1e-4,
    maxiter: int = 100,
    generator: torch.Generator | None = None,
) -> TopEigenvalues:
    r"""Return k extreme eigenvalues of the Hessian, by implicitly restarted Lanczos (ARPACK).

    .. math:: H v_i = \lambda_i v_i, \qquad r_i = \lVert H v_i - \lambda_i v_i \rVert_2

    H is symmetric, so some true eigenvalue lies within r_i of lambda_i, however early the iteration
    ended. The residuals cost k more products. A loss of at most max(20, 2 k + 1) parameters is
    solved densely.

    Args:
        loss: the loss, with its data and parameters.
        k: how many eigenvalues, from 1 to loss.num_params.
        which: "LA" for the largest (the first is the sharpness), "SA" for the smallest (negative at
            a saddle), "LM" for the largest in magnitude; the names are SciPy's.
        tol: relative accuracy, at least 0. 0 asks for the precision of the loss's dtype, which
            float32 seldom reaches.
        maxiter: upper limit of restarts, at least 1. Each costs up to max(20, 2 k + 1) products.
        generator: of the starting vector; None is one seeded with 0.

    Returns:
        Values in descending order, their residuals and unit vectors.

    Raises:
        InvalidValueError: an argument is out of range.
        NotConvergedError: maxiter restarts were not enough.

    Example:
        >>> import torch
        >>> from dualadam.flatness import MeanLoss, top_eigenvalues
        >>> model = torch.nn.Linear(100, 1, bias=False)  # L = w^T diag(1 ... 100) w / 2
        >>> quadratic = lambda model, batch: (model.weight.square() * batch).sum() / 2
        >>> loss = MeanLoss(model, quadratic, [torch.arange(1.0, 101.0)])
        >>> top = top_eigenvalues(loss, k=2)
        >>> top.values.round(2).tolist(), bool((top.residuals < 0.1).all())
        ([100.0, 99.0], True)

    References:
        R. B. Lehoucq, D. C. Sorensen, C. Yang, "ARPACK Users' Guide" (1998).
    """
    operator = hessian_operator(loss)
    return extreme_eigenvalues(
        operator, k, which=which, tol=tol, maxiter=maxiter, generator=generator
    )


def extreme_eigenvalues(
    operator: LinearOperator,
    k: int,
    *,
    which: Literal["LA", "SA", "LM"] = "LA",
    tol: float = 1e-4,
    maxiter: int = 100,
    generator: torch.Generator | None = None,
) -> TopEigenvalues:
    """Return k extreme eigenvalues of a symmetric operator; everything as ``top_eigenvalues``."""
    n = operator.shape[0]
    if not 1 <= k <= n:
        raise InvalidValueError(f"k must be in [1, {n}], the number of parameters, got {k}.")
    if which not in ("LA", "SA", "LM"):
        raise InvalidValueError(f"which must be 'LA', 'SA' or 'LM', got {which!r}.")
    if not 0.0 <= tol < math.inf:
        raise InvalidValueError(f"tol must be at least 0 and finite, got {tol}.")
    if maxiter < 1:
        raise InvalidValueError(f"maxiter must be at least 1, got {maxiter}.")
    num_basis = max(20, 2 * k + 1)
    if num_basis >= n:
        dense = operator @ np.eye(n, dtype=operator.dtype)
        values, vectors = np.linalg.eigh((dense + dense.T) / 2)
        chosen = {
            "LA": np.arange(n - k, n),
            "SA": np.arange(k),
            "LM": np.argsort(np.abs(values))[n - k :],
        }[which]
        values, vectors = values[chosen], vectors[:, chosen]
    else:
        generator = generator_or_default(generator)
        dtype = torch.float64 if operator.dtype == np.float64 else torch.float32
        start = torch.randn(n, generator=generator, device=generator.device, dtype=dtype)
        try:
            values, vectors = eigsh(
                operator,
                k,
                which=which,
                v0=start.cpu().numpy(),
                ncv=num_basis,
                tol=tol,
                maxiter=maxiter,
            )
        except ArpackNoConvergence as error:
            raise NotConvergedError(
                f"{len(error.eigenvalues)} of {k} eigenvalues converged to tol={tol:g} in "
                f"{maxiter} restarts; raise maxiter or tol."
            ) from error
    order = np.argsort(-values)
    values, vectors = values[order].astype(np.float64), vectors[:, order]
    residuals = [
        float(np.linalg.norm(operator @ v - value * v))
        for value, v in zip(values, vectors.T, strict=True)
    ]
    return TopEigenvalues(values, np.array(residuals), vectors)
