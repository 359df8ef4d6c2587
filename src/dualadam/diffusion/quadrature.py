"""The exact mean first-passage time of the one-dimensional diffusion equation, by quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy.integrate import quad
from scipy.special import logsumexp

from dualadam.diffusion.checks import require_positive
from dualadam.diffusion.landscapes import Landscape
from dualadam.diffusion.noise import Noise
from dualadam.diffusion.rules import Rule
from dualadam.diffusion.temperature import effective_temperature
from dualadam.errors import InvalidValueError, NotConvergedError

DriftAndDiffusion = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def mean_first_passage_time(
    landscape: Landscape,
    noise: Noise,
    rule: Rule,
    lr: float,
    *,
    frozen: bool = False,
    num_cells: int = 20_000,
) -> float:
    r"""Return ln of the exact mean time from the minimum to the target, without momentum.

    .. math::
        \tau = \int_a^{a'} dy\, e^{\Phi(y)} \int_{-\infty}^{y} \frac{e^{-\Phi(z)}}{D(z)} dz,
        \qquad \Phi' = \frac{\eta\, p L'}{D}, \quad D = \eta^2 p^2 c / 2

    The equation is the one-dimensional Ito equation. The result has the finite-barrier correction
    that Kramers' formula lacks; a simulation with small steps must agree with it.

    Args:
        landscape: of one dimension.
        noise: its variance may vary, and may vanish at single points.
        rule: the optimizer.
        lr: learning rate, > 0.
        frozen: whether p keeps its value at the minimum, as for a second moment with a long memory,
            instead of following p(c(x)).
        num_cells: cells per interval between critical points, >= 100; the error is proportional to
            1 / num_cells^2.

    Returns:
        ln tau, tau in steps; inf where the noise vanishes on the path so fast that no walker gets
        through.

    Raises:
        InvalidValueError: the landscape has more than one dimension, or num_cells is too small.
        NotConvergedError: more cells are needed.

    Example:
        At a barrier of 100 temperatures the correction is 1 %.

        >>> from dualadam.diffusion import SGD, ConstantNoise, DoubleWell, escape_time_on
        >>> exact = mean_first_passage_time(DoubleWell(height=2.0), ConstantNoise(1.0), SGD, 0.04)
        >>> kramers = escape_time_on(DoubleWell(height=2.0), ConstantNoise(1.0), SGD, 0.04)
        >>> kramers.exponent, bool(0 < exact - kramers.log_time < 0.02)
        (100.0, True)
    """
    if landscape.dim != 1:
        raise InvalidValueError(f"landscape must have one dimension, got {landscape.dim}.")
    if num_cells < 100:
        raise InvalidValueError(f"num_cells must be at least 100, got {num_cells}.")
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
        integrate_first_passage(drift_and_diffusion, ends, ends.index(start), n)
        for n in (num_cells // 2, num_cells)
    )
    if abs(fine - coarse) < max(1e-3, 1e-4 * abs(fine)):
        return fine
    if any(_variance_at(noise, np.array([x])) < 1e-9 for x in singular):
        return math.inf
    raise NotConvergedError(
        f"The quadrature has not converged: ln tau is {coarse:.6g}, then {fine:.6g}. "
        f"num_cells must be larger than {num_cells}."
    )


def log_barrier(landscape: Landscape, noise: Noise, rule: Rule, lr: float) -> float:
    r"""Return the exponent of the one-dimensional equation, with the noise along the whole path.

    .. math:: \Phi_b - \Phi_a = \int_a^b \frac{2 L'}{\eta\, p\, c} dx

    The closed form replaces 1 / T by a weighted mean of its values at a and b; this integral
    determines the weight s (``path_weight`` of ``escape_time``).

    Args:
        landscape: of one dimension.
        noise: its variance must be positive on the whole path.
        rule: the optimizer.
        lr: learning rate, > 0.

    Raises:
        InvalidValueError: lr is not positive and finite.

    Example:
        With the temperature of a the exponent would be 5, with that of b 10.

        >>> from dualadam.diffusion import SGD, DoubleWell, PathNoise
        >>> well = DoubleWell()
        >>> phi = log_barrier(well, PathNoise(well, at_minimum=1.0, at_saddle=0.5), SGD, 0.04)
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
    """Return a point behind the minimum where the loss is 60 temperatures higher."""
    a = landscape.minimum
    needed = 60 * effective_temperature(rule, lr, _variance_at(noise, a))
    for distance in np.geomspace(0.01, 1e3, 200):
        x = a - distance * (landscape.target - a)
        if landscape.loss(x) - landscape.loss(a) > needed:
            return float(x[0])
    raise InvalidValueError(
        f"landscape must rise by 60 temperatures, that is {needed:.3g}, behind its minimum."
    )


def integrate_first_passage(
    drift_and_diffusion: DriftAndDiffusion, ends: list[float], start: int, num_cells: int
) -> float:
    """Return ln of the mean time from ends[start] to ends[-1], with a reflecting wall at ends[0].

    The midpoint rule in t, with x = l + h (3 t^2 - 2 t^3) between neighbouring ends, puts more
    nodes near the ends, so that an integrable singularity of 1 / sqrt(distance) there costs no
    accuracy.
    All sums are sums of logarithms, so that barriers may be of any height.

    Args:
        drift_and_diffusion: returns both at points of shape (n,), each of shape (n,).
        ends: increasing or decreasing; the interior ones are where the integrand is singular.
        start: index into ends.
        num_cells: cells between neighbouring ends.
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
