"""The density of the Hessian's eigenvalues."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from dualadam.errors import InvalidValueError
from dualadam.flatness.mean_loss import MeanLoss
from dualadam.flatness.probes import generator_or_default, random_signs

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class SpectralDensity:
    """A smoothed density of eigenvalues, and the quadrature that it was smoothed from.

    Attributes:
        grid: points, shape (num_points,), in the unit of the loss.
        density: at the points, shape (num_points,), in 1 / unit of the loss; integrates to 1.
        nodes: estimated eigenvalues, shape (num_nodes,).
        weights: share of all eigenvalues at each node, shape (num_nodes,); sums to 1.
        sigma: width of the smoothing, in the unit of the loss.
    """

    grid: NDArray[np.float64]
    density: NDArray[np.float64]
    nodes: NDArray[np.float64]
    weights: NDArray[np.float64]
    sigma: float


def spectral_density(
    loss: MeanLoss,
    *,
    num_steps: int = 30,
    num_samples: int = 5,
    grid: ArrayLike | None = None,
    sigma: float | None = None,
    generator: torch.Generator | None = None,
) -> SpectralDensity:
    r"""Return the density of the Hessian's eigenvalues, by stochastic Lanczos quadrature.

    .. math::
        \phi_\sigma(t) = \frac1n \sum_{i=1}^n \mathcal N(t; \lambda_i, \sigma^2)
        \approx \frac1S \sum_{s=1}^S \sum_{j=1}^m \tau_{sj}^2\, \mathcal N(t; \theta_{sj}, \sigma^2)

    Each of S random sign vectors z starts m Lanczos steps (with full reorthogonalisation). theta
    and tau are the eigenvalues of the tridiagonal matrix and the first elements of its
    eigenvectors. For a polynomial p of degree up to 2 m - 1 one sample gives z^T p(H) z / n
    exactly. Its mean is tr p(H) / n, since E[z z^T] is the identity, so the moments of the density
    are unbiased. A few steps find the ends of the spectrum; the bulk is resolved to about its
    width / m.

    Args:
        loss: the loss, with its data and parameters.
        num_steps: m, at least 1. Memory is m flat vectors. More than num_params steps have no
            further effect.
        num_samples: S, at least 1. The cost is m S products.
        grid: 1-D increasing points, in the unit of the loss. None takes 1000 points from 5 sigma
            below the nodes to 5 sigma above them.
        sigma: width of the smoothing, above 0, in the unit of the loss. None takes 1 % of the range
            of the nodes, or of their size if they are all equal.
        generator: of the sign vectors; None is one seeded with 0.

    Returns:
        The density on the grid, with the quadrature's nodes and weights.

    Raises:
        InvalidValueError: an argument is out of range.

    Example:
        >>> import torch
        >>> from dualadam.flatness import MeanLoss, spectral_density
        >>> spectrum = torch.tensor([0.0] * 90 + [1.0] * 9 + [10.0])
        >>> quadratic = lambda model, batch: (model.weight.square() * batch).sum() / 2
        >>> loss = MeanLoss(torch.nn.Linear(100, 1, bias=False), quadratic, [spectrum])
        >>> density = spectral_density(loss, num_samples=1)  # three eigenvalues: three steps
        >>> density.nodes.round(3).tolist(), density.weights.round(3).tolist()
        ([0.0, 1.0, 10.0], [0.9, 0.09, 0.01])

    References:
        G. H. Golub, J. H. Welsch (1969). S. Ubaru, J. Chen, Y. Saad, "Fast estimation of tr(f(A))
        via stochastic Lanczos quadrature" (2017). B. Ghorbani, S. Krishnan, Y. Xiao,
        arXiv:1901.10159, for networks. Deviation: signs instead of Gaussian vectors.
    """
    if num_steps < 1:
        raise InvalidValueError(f"num_steps must be at least 1, got {num_steps}.")
    if num_samples < 1:
        raise InvalidValueError(f"num_samples must be at least 1, got {num_samples}.")
    if sigma is not None and not 0.0 < sigma < math.inf:
        raise InvalidValueError(f"sigma must be above 0 and finite, got {sigma}.")
    generator = generator_or_default(generator)
    samples = [
        _lanczos_quadrature(loss, random_signs(loss, generator), num_steps)
        for _ in range(num_samples)
    ]
    nodes = np.concatenate([sample.nodes for sample in samples])
    weights = np.concatenate([sample.weights for sample in samples]) / num_samples
    if sigma is None:
        sigma = 0.01 * float(np.ptp(nodes)) or 0.01 * float(abs(nodes[0])) or 1e-3
    if grid is None:
        points = np.linspace(nodes.min() - 5 * sigma, nodes.max() + 5 * sigma, 1000)
    else:
        points = np.asarray(grid, dtype=np.float64)
    if points.ndim != 1 or not (np.diff(points) > 0).all():
        raise InvalidValueError(f"grid must be 1-D and increasing, got shape {points.shape}.")
    bumps = np.exp(-0.5 * ((points[:, None] - nodes) / sigma) ** 2)
    bumps /= sigma * math.sqrt(2 * math.pi)
    return SpectralDensity(points, bumps @ weights, nodes, weights, sigma)


class _Quadrature(NamedTuple):
    nodes: NDArray[np.float64]
    weights: NDArray[np.float64]


def _lanczos_quadrature(loss: MeanLoss, start: Tensor, num_steps: int) -> _Quadrature:
    """Return the Gauss quadrature of at most num_steps Lanczos steps from ``start``.

    The steps end early when the Krylov space of ``start`` is exhausted.
    """
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
        for _ in range(2):  # Gram-Schmidt twice is orthogonal to rounding
            product -= known.T @ (known @ product)
        beta = torch.linalg.vector_norm(product).item()
        if len(alphas) == num_steps or beta <= rounding * max(map(abs, alphas + betas)):
            break
        basis[len(alphas)] = product / beta
        betas.append(beta)
    nodes, vectors = eigh_tridiagonal(np.array(alphas), np.array(betas))
    return _Quadrature(nodes, vectors[0] ** 2)
