r"""The exact mean first-passage time of the one-dimensional diffusion equation, by quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy.integrate import quad
from scipy.special import logsumexp

from dualadam.diffusion.escape import effective_temperature
from dualadam.diffusion.landscapes import Landscape, require_positive
from dualadam.diffusion.noise import Noise
from dualadam.diffusion.rules import Rule


def mean_first_passage_time(
    landscape: Landscape,
    noise: Noise,
    rule: Rule,
    lr: float,
    *,
    frozen: bool = False,
    num_cells: int = 20_000,
) -> float:
    r"""Return ln of the exact mean time from the minimum to the target, for the one-dimensional Ito equation without momentum.

    .. math::
        \tau = \int_a^{a'} dy\, e^{\Phi(y)} \int_{-\infty}^{y} \frac{e^{-\Phi(z)}}{D(z)} dz, \qquad
        \Phi' = \frac{\eta\, p L'}{D}, \quad D = \eta^2 p^2 c / 2

    It has the finite-barrier correction that Kramers' formula lacks, and is what a simulation with small steps is judged by.

    Args:
        landscape: of one dimension.
        noise: its variance may vary, and vanish at single points.
        rule: the optimizer.
        lr: learning rate, > 0.
        frozen: keep p at its value at the minimum (a long-memory second moment) instead of p(c(x)).
        num_cells: cells per interval between critical points, >= 100; the error falls with its square.

    Returns:
        ln tau, tau in steps; inf where the noise vanishes on the way so fast that no walker gets through.

    Raises:
        ValueError: the landscape has more than one dimension, or num_cells is too small.
        RuntimeError: the quadrature has not converged; give more cells.

    Example:
        >>> from dualadam.diffusion import SGD, ConstantNoise, DoubleWell, escape_time_on
        >>> exact = mean_first_passage_time(DoubleWell(height=2.0), ConstantNoise(1.0), SGD, 0.04)
        >>> kramers = escape_time_on(DoubleWell(height=2.0), ConstantNoise(1.0), SGD, 0.04)
        >>> kramers.exponent, bool(0 < exact - kramers.log_time < 0.02)  # a barrier of 100 temperatures: the correction is 1 %
        (100.0, True)
    """
    if landscape.dim != 1:
        raise ValueError(f"landscape must have one dimension, got {landscape.dim}.")
    if num_cells < 100:
        raise ValueError(f"num_cells must be at least 100, got {num_cells}.")
    require_positive(lr=lr)
    start, target = float(landscape.minimum[0]), float(landscape.target[0])
    p_start = float(rule.preconditioner(_variance_at(noise, landscape.minimum))) if frozen else None

    def drift_and_diffusion(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        c = np.broadcast_to(noise.variance(x[:, None]), (len(x), 1))[:, 0]
        p = rule.preconditioner(c) if p_start is None else p_start
        return -lr * p * landscape.gradient(x[:, None])[:, 0], lr**2 * p**2 * c / 2

    lower = _far_side(landscape, noise, rule, lr)
    singular = noise.singular_points(min(lower, target), max(lower, target))
    ends = sorted({lower, start, target, *singular}, reverse=target < start)
    coarse, fine = (
        _log_first_passage_time(drift_and_diffusion, ends, ends.index(start), n)
        for n in (num_cells // 2, num_cells)
    )
    if abs(fine - coarse) < max(1e-3, 1e-4 * abs(fine)):
        return fine
    if any(_variance_at(noise, np.array([x])) < 1e-9 for x in singular):
        return math.inf
    raise RuntimeError(
        f"The quadrature has not converged (ln tau {coarse:.6g}, then {fine:.6g}); give more num_cells than {num_cells}."
    )


def log_barrier(landscape: Landscape, noise: Noise, rule: Rule, lr: float) -> float:
    r"""Return the exponent of the one-dimensional equation with its noise along the whole path.

    .. math:: \Phi_b - \Phi_a = \int_a^b \frac{2 L'}{\eta\, p\, c} dx

    The closed form replaces it by the mean of two temperatures with a weight s; this is the value that determines s.

    Example:
        >>> from dualadam.diffusion import SGD, DoubleWell, PathNoise
        >>> well = DoubleWell()
        >>> phi = log_barrier(well, PathNoise(well, at_minimum=1.0, at_saddle=0.5), SGD, 0.04)  # between 5 at a and 10 at b: s = 0.61
        >>> round((10 - phi) / (10 - 5), 2)
        0.61
    """
    require_positive(lr=lr)

    def slope(x: float) -> float:
        point = np.array([x])
        c = _variance_at(noise, point)
        return 2 * float(landscape.gradient(point)[0]) / (lr * float(rule.preconditioner(c)) * c)

    return float(
        quad(slope, float(landscape.minimum[0]), float(landscape.saddle[0]), epsabs=1e-10)[0]
    )


def _variance_at(noise: Noise, point: np.ndarray) -> float:
    return float(np.asarray(noise.variance(point)).reshape(-1)[0])


def _far_side(landscape: Landscape, noise: Noise, rule: Rule, lr: float) -> float:
    """Return a point behind the minimum where the loss has risen by 60 temperatures."""
    a = landscape.minimum
    needed = 60 * effective_temperature(rule, lr, _variance_at(noise, a))
    for distance in np.geomspace(0.01, 1e3, 200):
        x = a - distance * (landscape.target - a)
        if landscape.loss(x) - landscape.loss(a) > needed:
            return float(x[0])
    raise ValueError(
        f"landscape must rise behind its minimum by 60 temperatures, that is {needed:.3g}."
    )


def _log_first_passage_time(
    drift_and_diffusion: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    ends: list[float],
    start: int,
    num_cells: int,
) -> float:
    """Return ln of the double integral with a reflecting wall at ends[0], from ends[start] to ends[-1].

    Midpoint rule in t with x = l + h (3 t^2 - 2 t^3) between neighbouring ends: the nodes crowd there, so that an integrable singularity
    of 1 / sqrt(distance) at an end costs no accuracy. All sums are in logarithms: barriers of any height are fine.
    """
    t = (np.arange(num_cells) + 0.5) / num_cells
    x = np.concatenate([low + (high - low) * (3 * t**2 - 2 * t**3) for low, high in pairwise(ends)])
    w = np.concatenate([(high - low) * 6 * t * (1 - t) / num_cells for low, high in pairwise(ends)])
    drift, diffusion = drift_and_diffusion(x)
    w_phi = -w * drift / diffusion
    phi = np.cumsum(w_phi) - w_phi / 2
    log_inner = -phi - np.log(diffusion) + np.log(abs(w))
    inner = np.logaddexp.accumulate(log_inner)
    inner = np.concatenate([[-np.inf], inner[:-1]])
    inner = np.logaddexp(inner, log_inner - math.log(2))
    outer = slice(start * num_cells, None)
    return float(logsumexp(phi[outer] + inner[outer] + np.log(abs(w[outer]))))
