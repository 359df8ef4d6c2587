"""The Hessian's spectrum: its extreme eigenvalues, and the density of all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from torch import Tensor

from dualadam.flatness.hessian import hessian_operator, random_signs, seeded
from dualadam.flatness.mean_loss import MeanLoss

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class TopEigenvalues:
    """Eigenvalues in descending order, in the unit of the loss; ``residuals`` bound the distance of each to a true eigenvalue."""

    values: NDArray[np.float64]  # (k,)
    residuals: NDArray[np.float64]  # (k,)  || H v - lambda v ||_2 with || v ||_2 = 1
    vectors: NDArray[Any]  # (num_params, k), one unit vector a column


@dataclass(frozen=True)
class SpectralDensity:
    """``density`` on ``grid`` integrates to 1; ``nodes`` and ``weights`` are what it was smoothed from: eigenvalues and their shares."""

    grid: NDArray[np.float64]  # (num_points,)  unit of the loss
    density: NDArray[np.float64]  # (num_points,)  1 / unit of the loss
    nodes: NDArray[np.float64]  # (num_nodes,)
    weights: NDArray[np.float64]  # (num_nodes,)  sum to 1
    sigma: float


def top_eigenvalues(
    loss: MeanLoss,
    k: int = 5,
    *,
    which: Literal["LA", "SA", "LM"] = "LA",
    tol: float = 1e-4,
    maxiter: int = 100,
    generator: torch.Generator | None = None,
) -> TopEigenvalues:
    r"""Return k extreme eigenvalues of the Hessian, by scipy's implicitly restarted Lanczos iteration (ARPACK).

    .. math:: H v_i = \lambda_i v_i, \qquad r_i = \lVert H v_i - \lambda_i v_i \rVert_2

    For a symmetric matrix some true eigenvalue lies within r_i of lambda_i, whatever the iteration did: read the residuals. They
    cost k products more. A loss of at most max(20, 2 k + 1) parameters is solved densely.

    Args:
        loss: the loss, data and parameters.
        k: how many, from 1 to loss.num_params.
        which: scipy's names: "LA" the largest (sharpness is the first), "SA" the smallest (negative at a saddle), "LM" the largest in size.
        tol: accuracy relative to the eigenvalue, at least 0; 0 is the precision of the loss's dtype and seldom reached in float32.
        maxiter: restarts, at least 1; each costs up to max(20, 2 k + 1) products.
        generator: of the starting vector; None is one seeded with 0.

    Returns:
        Values (k,) in descending order, residuals (k,), unit vectors (num_params, k).

    Raises:
        ValueError: an argument is out of range.
        RuntimeError: maxiter restarts were not enough.

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
    n = loss.num_params
    if not 1 <= k <= n:
        raise ValueError(f"k must be in [1, {n}], the number of parameters, got {k}.")
    if which not in ("LA", "SA", "LM"):
        raise ValueError(f"which must be 'LA', 'SA' or 'LM', got {which!r}.")
    if not 0.0 <= tol < math.inf:
        raise ValueError(f"tol must be at least 0 and finite, got {tol}.")
    if maxiter < 1:
        raise ValueError(f"maxiter must be at least 1, got {maxiter}.")
    operator, num_basis = hessian_operator(loss), max(20, 2 * k + 1)
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
        generator = seeded(generator)
        start = (
            torch.randn(n, generator=generator, device=generator.device, dtype=loss.dtype)
            .cpu()
            .numpy()
        )
        try:
            values, vectors = eigsh(
                operator, k, which=which, v0=start, ncv=num_basis, tol=tol, maxiter=maxiter
            )
        except ArpackNoConvergence as error:
            raise RuntimeError(
                f"{len(error.eigenvalues)} of {k} eigenvalues converged to tol={tol:g} in {maxiter} restarts; raise maxiter or tol."
            ) from error
    order = np.argsort(-values)
    values, vectors = values[order].astype(np.float64), vectors[:, order]
    residuals = [
        float(np.linalg.norm(operator @ v - value * v))
        for value, v in zip(values, vectors.T, strict=True)
    ]
    return TopEigenvalues(values, np.array(residuals), vectors)


def spectral_density(
    loss: MeanLoss,
    *,
    num_steps: int = 30,
    num_samples: int = 5,
    grid: ArrayLike | None = None,
    sigma: float | None = None,
    generator: torch.Generator | None = None,
) -> SpectralDensity:
    r"""Return how the Hessian's eigenvalues are distributed, by stochastic Lanczos quadrature.

    .. math::
        \phi_\sigma(t) = \frac1n \sum_{i=1}^n \mathcal N(t; \lambda_i, \sigma^2)
        \approx \frac1S \sum_{s=1}^S \sum_{j=1}^m \tau_{sj}^2\, \mathcal N(t; \theta_{sj}, \sigma^2)

    Each of S random sign vectors z starts m Lanczos steps (with full reorthogonalisation); theta and tau are the eigenvalues of the
    tridiagonal matrix and the first elements of its eigenvectors. For a polynomial p of degree up to 2 m - 1 one sample gives
    z^T p(H) z / n exactly, which is unbiased since E[z z^T] is the identity: the density's moments are the spectrum's on average. Its ends
    are found in a few steps; the bulk is resolved to about its width / m.

    Args:
        loss: the loss, data and parameters.
        num_steps: m, at least 1; memory is m flat vectors. More than num_params has no further effect.
        num_samples: S, at least 1. The cost is m S products.
        grid: 1-D increasing points at which the density is wanted, in the unit of the loss; None takes 1000 from 5 sigma
            below the nodes to 5 sigma above them.
        sigma: width of the smoothing, above 0, in the unit of the loss; None takes 1 % of the range of the nodes
            (of their size if they are all equal).
        generator: of the sign vectors; None is one seeded with 0.

    Returns:
        Grid, density, nodes with their weights (mass of each, sum 1), and sigma.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import torch
        >>> from dualadam.flatness import MeanLoss, spectral_density
        >>> spectrum = torch.tensor([0.0] * 90 + [1.0] * 9 + [10.0])
        >>> quadratic = lambda model, batch: (model.weight.square() * batch).sum() / 2
        >>> loss = MeanLoss(torch.nn.Linear(100, 1, bias=False), quadratic, [spectrum])
        >>> density = spectral_density(loss, num_samples=1)  # three different eigenvalues: Lanczos ends after three steps
        >>> density.nodes.round(3).tolist(), density.weights.round(3).tolist()
        ([0.0, 1.0, 10.0], [0.9, 0.09, 0.01])

    References:
        G. H. Golub, J. H. Welsch (1969); S. Ubaru, J. Chen, Y. Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature"
        (2017); B. Ghorbani, S. Krishnan, Y. Xiao, arXiv:1901.10159, for networks. Deviation: signs instead of Gaussian vectors.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}.")
    if sigma is not None and not 0.0 < sigma < math.inf:
        raise ValueError(f"sigma must be above 0 and finite, got {sigma}.")
    generator = seeded(generator)
    rules = [
        _lanczos_quadrature(loss, random_signs(loss, generator), num_steps)
        for _ in range(num_samples)
    ]
    nodes = np.concatenate([theta for theta, _ in rules])
    weights = np.concatenate([tau_squared for _, tau_squared in rules]) / num_samples
    if sigma is None:
        sigma = 0.01 * float(np.ptp(nodes)) or 0.01 * float(abs(nodes[0])) or 1e-3
    points = (
        np.linspace(nodes.min() - 5 * sigma, nodes.max() + 5 * sigma, 1000)
        if grid is None
        else np.asarray(grid, dtype=np.float64)
    )
    if points.ndim != 1 or not (np.diff(points) > 0).all():
        raise ValueError(f"grid must be 1-D and increasing, got shape {points.shape}.")
    bumps = np.exp(-0.5 * ((points[:, None] - nodes) / sigma) ** 2) / (
        sigma * math.sqrt(2 * math.pi)
    )
    return SpectralDensity(points, bumps @ weights, nodes, weights, sigma)


def _lanczos_quadrature(
    loss: MeanLoss, start: Tensor, num_steps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights of the Gauss quadrature that num_steps Lanczos steps from ``start`` make, fewer if the space is used up."""
    num_steps = min(num_steps, loss.num_params)
    rounding = 10 * torch.finfo(loss.dtype).eps * math.sqrt(loss.num_params)
    basis = torch.empty(num_steps, loss.num_params, device=loss.device, dtype=loss.dtype)
    basis[0] = start / torch.linalg.vector_norm(start)
    alphas: list[float] = []
    betas: list[float] = []
    while True:
        known = basis[: len(alphas) + 1]
        product = loss.hvp(known[-1])
        alphas.append(torch.dot(known[-1], product).item())
        for _ in range(2):  # Gram-Schmidt twice is enough to be orthogonal to rounding
            product -= known.T @ (known @ product)
        beta = torch.linalg.vector_norm(product).item()
        if len(alphas) == num_steps or beta <= rounding * max(map(abs, alphas + betas)):
            break
        basis[len(alphas)] = product / beta
        betas.append(beta)
    nodes, vectors = eigh_tridiagonal(np.array(alphas), np.array(betas))
    return nodes, vectors[0] ** 2
