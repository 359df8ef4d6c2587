"""The density of the Hessian's eigenvalues."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from dualadam.errors import InvalidValueError
from dualadam.flatness.hessian_trace import TraceEstimate, check_sampling
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
        standard_error: of the density at the points, shape (num_points,), from the spread of the
            samples; NaN for one sample.
        trace: the sum of the eigenvalues that the density implies: Hutchinson's estimate from the
            same vectors. Its standard_error is an upper bound, see ``spectral_density``.
            ``converged`` says whether it met the tolerance, and is False if none was asked for.
    """

    grid: NDArray[np.float64]
    density: NDArray[np.float64]
    nodes: NDArray[np.float64]
    weights: NDArray[np.float64]
    sigma: float
    standard_error: NDArray[np.float64]
    trace: TraceEstimate


def spectral_density(
    loss: MeanLoss,
    *,
    num_steps: int = 30,
    num_samples: int | None = None,
    rtol: float = 0.05,
    min_samples: int = 10,
    max_samples: int = 100,
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

    The error is random, since few vectors sample many eigenvalues: a density from five vectors can
    miss the trace by a third. So vectors are drawn until the error of the trace is small against
    the sum of the eigenvalues' magnitudes, which is the trace itself at a minimum:

    .. math::
        \mathrm{SE}(\mathrm{tr}) \le \sqrt{2 / S}\, \lVert H \rVert_F
        \le \mathrm{rtol} \sum_i \lvert \lambda_i \rvert

    The first relation holds for sign vectors, whatever H is. Both sides of the second are taken
    from the quadrature. A stop at a small spread of the samples would prefer samples that miss the
    largest eigenvalues.

    Args:
        loss: the loss, with its data and parameters.
        num_steps: m, at least 1. Memory is m flat vectors. More than num_params steps have no
            further effect.
        num_samples: S, at least 1. None draws vectors until the error is small enough. The cost is
            m S products.
        rtol: see above, at least 0; without effect on a given num_samples.
        min_samples: vectors before the first check, at least 2.
        max_samples: upper limit of vectors, at least min_samples.
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
        >>> round(density.trace.value, 3)
        19.0

    References:
        G. H. Golub, J. H. Welsch (1969). S. Ubaru, J. Chen, Y. Saad, "Fast estimation of tr(f(A))
        via stochastic Lanczos quadrature" (2017). B. Ghorbani, S. Krishnan, Y. Xiao,
        arXiv:1901.10159, for networks. Deviation: signs instead of Gaussian vectors.
    """
    if num_steps < 1:
        raise InvalidValueError(f"num_steps must be at least 1, got {num_steps}.")
    if num_samples is not None and num_samples < 1:
        raise InvalidValueError(f"num_samples must be at least 1, got {num_samples}.")
    check_sampling(rtol, min_samples, max_samples)
    if sigma is not None and not 0.0 < sigma < math.inf:
        raise InvalidValueError(f"sigma must be above 0 and finite, got {sigma}.")
    generator = generator_or_default(generator)
    samples: list[_Quadrature] = []
    while True:
        samples.append(_lanczos_quadrature(loss, random_signs(loss, generator), num_steps))
        if len(samples) < (num_samples or min_samples):
            continue
        trace = _implied_trace(samples, loss.num_params, None if num_samples else rtol)
        if trace.converged or len(samples) == (num_samples or max_samples):
            break
    nodes = np.concatenate([sample.nodes for sample in samples])
    weights = np.concatenate([sample.weights for sample in samples]) / len(samples)
    if sigma is None:
        sigma = 0.01 * float(np.ptp(nodes)) or 0.01 * float(abs(nodes[0])) or 1e-3
    if grid is None:
        points = np.linspace(nodes.min() - 5 * sigma, nodes.max() + 5 * sigma, 1000)
    else:
        points = np.asarray(grid, dtype=np.float64)
    if points.ndim != 1 or not (np.diff(points) > 0).all():
        raise InvalidValueError(f"grid must be 1-D and increasing, got shape {points.shape}.")
    densities = np.array([_smoothed(sample, points, sigma) for sample in samples])
    return SpectralDensity(
        grid=points,
        density=densities.mean(0),
        nodes=nodes,
        weights=weights,
        sigma=sigma,
        standard_error=_standard_error(densities),
        trace=trace,
    )


def _implied_trace(
    samples: Sequence[_Quadrature], num_params: int, rtol: float | None
) -> TraceEstimate:
    """Return n times the mean eigenvalue, and the bound of its standard error."""
    mean = float(np.mean([s.weights @ s.nodes for s in samples]))
    magnitude = float(np.mean([s.weights @ abs(s.nodes) for s in samples]))
    square = float(np.mean([s.mean_square for s in samples]))
    error = math.sqrt(2 * square * num_params / len(samples))
    converged = rtol is not None and error <= rtol * num_params * magnitude
    return TraceEstimate(num_params * mean, error, len(samples), converged)


def _standard_error(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard error of the mean over the first axis; NaN for one sample."""
    if len(samples) == 1:
        return np.full(samples.shape[1:], math.nan)
    return np.asarray(np.std(samples, axis=0, ddof=1) / math.sqrt(len(samples)))


def _smoothed(sample: _Quadrature, points: NDArray[np.float64], sigma: float) -> Any:
    bumps = np.exp(-0.5 * ((points[:, None] - sample.nodes) / sigma) ** 2)
    return bumps @ sample.weights / (sigma * math.sqrt(2 * math.pi))


class _Quadrature(NamedTuple):
    nodes: NDArray[np.float64]
    weights: NDArray[np.float64]
    mean_square: float  # z^T H^2 z / n, an estimate of the mean square of the eigenvalues


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
    mean_square = 0.0
    while True:
        known = basis[: len(alphas) + 1]
        product = loss.hvp(known[-1])
        if not alphas:
            mean_square = torch.dot(product, product).item()
        alphas.append(torch.dot(known[-1], product).item())
        for _ in range(2):  # Gram-Schmidt twice is orthogonal to rounding
            product -= known.T @ (known @ product)
        beta = torch.linalg.vector_norm(product).item()
        if len(alphas) == num_steps or beta <= rounding * max(map(abs, alphas + betas)):
            break
        basis[len(alphas)] = product / beta
        betas.append(beta)
    nodes, vectors = eigh_tridiagonal(np.array(alphas), np.array(betas))
    return _Quadrature(nodes, vectors[0] ** 2, mean_square)
