"""Escape times by Kramers' formula for an optimizer with a diagonal preconditioner.

The Ito equation, with one update as the unit of time and c the variance of the gradient noise:
d theta = -lr p(c) L' dt + lr p(c) sqrt(c) dW.
docs/theory.md derives the formula, lists its assumptions and shows where they fail.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dualadam.diffusion.checks import require_positive
from dualadam.diffusion.landscapes import Landscape
from dualadam.diffusion.noise import Noise
from dualadam.diffusion.rules import Rule
from dualadam.errors import InvalidValueError

# Below this exponent a walker leaves before it has equilibrated.
SMALLEST_EXPONENT = 3.0
# Largest lr p H at which Adam's and InvAdam's exponents are within 4 %.
LARGEST_STEP = 0.2

# The sentence for a Hessian that is not diagonal in the optimizer's coordinates.
ROTATED = (
    "A diagonal Hessian: it is not axis-aligned, so the preconditioner averages the noise of "
    "several directions, and the exponent depends on the curvature much as SGD's does."
)

Array = np.ndarray | float | list[float]
Betas = tuple[float, float]
Prefactor = Literal["ito", "paper"]


class EscapeWarning(UserWarning):
    """The theory is used where an assumption does not hold; the message says which."""


@dataclass(frozen=True)
class EscapeTime:
    """A mean escape time.

    Attributes:
        log_time: ln tau, tau in steps.
        exponent: E, the barrier in units of the temperature; the part of log_time that is
            proportional to 1 / lr.
        broken: the assumptions that do not hold, one sentence each; empty if all hold.
    """

    log_time: float
    exponent: float
    broken: tuple[str, ...] = ()

    @property
    def time(self) -> float:
        """Tau in steps; inf where it exceeds the largest float."""
        return math.exp(self.log_time) if self.log_time < 709 else math.inf

    @property
    def rate(self) -> float:
        """1 / tau, per step."""
        return math.exp(-self.log_time)

    @property
    def log_prefactor(self) -> float:
        """ln tau - E."""
        return self.log_time - self.exponent


@dataclass(frozen=True)
class _Ends:
    """Arrays of shape (dim,) at the minimum (a) and at the saddle (b)."""

    hessian_a: np.ndarray
    hessian_b: np.ndarray
    noise_a: np.ndarray
    noise_b: np.ndarray


def escape_time(
    rule: Rule,
    lr: float,
    *,
    barrier: float,
    hessian_at_minimum: Array,
    hessian_at_saddle: Array,
    noise_at_minimum: Array,
    noise_at_saddle: Array,
    betas: Betas = (0.0, 0.0),
    path_weight: float = 0.5,
    prefactor: Prefactor = "ito",
    axis_aligned: bool = True,
) -> EscapeTime:
    r"""Return the mean time to cross a saddle, by Kramers' formula.

    .. math::
        \tau = \frac{2 \pi f}{\eta\, p_b |H_b|}
        \sqrt{\prod_i \frac{T_{a,i} / H_{a,i}}{T_{b,i} / |H_{b,i}|}}\; e^{E} \cdot
        \frac{D_b}{D_a},
        \qquad E = \Delta L \left[ \frac{s}{T_a} + \frac{1 - s}{T_b} \right],
        \quad T = \eta p c / 2, \quad D = \eta p T

    a is the minimum and b the saddle. Symbols without i belong to the escape direction, the first
    coordinate. f is 1 without momentum, else ``(sqrt(1 + 4 lr p_b |H_b| / (1 - b1)) + 1) / 2``.
    With ``c = |H| / B`` the root is sqrt(det P_a / det P_b). The last factor, D_b / D_a, follows
    from the Ito equation; the papers' formula lacks it. It is 1 where the noise is the same at a
    and b.

    The formula holds for a barrier of several temperatures, small steps, a preconditioner that
    follows the noise, and a diagonal Hessian and noise. ``broken`` lists the assumptions that do
    not hold, and an ``EscapeWarning`` is issued for each.

    Args:
        rule: the optimizer.
        lr: learning rate, > 0.
        barrier: L_b - L_a, > 0.
        hessian_at_minimum: eigenvalues, all > 0: a number, or shape (dim,) with the escape
            direction first.
        hessian_at_saddle: eigenvalues in the same order, the first < 0, the others > 0.
        noise_at_minimum: variances of the gradient noise, > 0, a number or shape (dim,).
        noise_at_saddle: likewise.
        betas: decay rates of the moments, each in [0, 1). betas[0] enters the prefactor. betas[1]
            only decides whether the preconditioner can follow the noise up to the saddle.
        path_weight: s in (0, 1), the part of the barrier climbed at the temperature of the
            minimum; without effect where T_a = T_b.
        prefactor: "ito", or "paper" to leave out D_b / D_a, as arXiv:2002.03495 and
            arXiv:2006.15815 do.
        axis_aligned: whether the eigenvectors of the Hessian are the optimizer's coordinates. False
            changes no number, and warns if the rule has a preconditioner: the exponent's dependence
            on the curvature is then closer to SGD's.

    Raises:
        InvalidValueError: an argument is out of range.

    Example:
        The prefactor is Kramers' ``2 pi / sqrt(H_a |H_b|)``, over lr.

        >>> from dualadam.diffusion import SGD
        >>> hessians = dict(hessian_at_minimum=1.0, hessian_at_saddle=-0.5)
        >>> noise = dict(noise_at_minimum=1.0, noise_at_saddle=1.0)
        >>> tau = escape_time(SGD, 0.04, barrier=0.1, **hessians, **noise)
        >>> tau.exponent, round(tau.time / (2 * math.pi / (0.04 * 0.5**0.5) * math.exp(5.0)), 9)
        (5.0, 1.0)

    References:
        H. Kramers, Physica 7 (1940) 284; J. Langer, Ann. Phys. 54 (1969) 258 (several dimensions);
        Xie et al., arXiv:2002.03495 (SGD) and arXiv:2006.15815 (momentum, Adam). Deviations: the
        factor D_b / D_a; InvAdam and the mixture are derived here.
    """
    require_positive(lr=lr, barrier=barrier)
    ends = _checked_ends(hessian_at_minimum, hessian_at_saddle, noise_at_minimum, noise_at_saddle)
    if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
        raise InvalidValueError(f"betas must each be in [0, 1), got {betas}.")
    if not 0 < path_weight < 1:
        raise InvalidValueError(f"path_weight must be in (0, 1), got {path_weight}.")
    if prefactor not in ("ito", "paper"):
        raise InvalidValueError(f"prefactor must be 'ito' or 'paper', got {prefactor!r}.")
    h_a, h_b = ends.hessian_a, ends.hessian_b
    p_a, p_b = rule.preconditioner(ends.noise_a), rule.preconditioner(ends.noise_b)
    t_a, t_b = lr * p_a * ends.noise_a / 2, lr * p_b * ends.noise_b / 2
    down = lr * p_b[0] * -h_b[0]  # rate at which a walker leaves the saddle, per step
    exponent = barrier * (path_weight / t_a[0] + (1 - path_weight) / t_b[0])
    twice_f = math.sqrt(1 + 4 * down / (1 - betas[0])) + 1 if betas[0] else 2
    log_time = math.log(math.pi * twice_f / down) + exponent
    log_time += 0.5 * float(np.sum(np.log(t_a / h_a) - np.log(t_b / abs(h_b))))
    if prefactor == "ito":
        log_time += math.log(p_b[0] * t_b[0] / (p_a[0] * t_a[0]))
    step = float(max((lr * p_a * h_a).max(), (lr * p_b * abs(h_b)).max()))
    noise_varies = bool(ends.noise_a[0] != ends.noise_b[0])
    broken = tuple(_broken_assumptions(rule, betas, exponent, step, down, noise_varies))
    if not axis_aligned and rule.mixing_weight is not None:
        broken += (ROTATED,)
    for sentence in broken:
        warnings.warn(sentence, EscapeWarning, stacklevel=2)
    return EscapeTime(float(log_time), float(exponent), broken)


def _checked_ends(hessian_a: Array, hessian_b: Array, noise_a: Array, noise_b: Array) -> _Ends:
    ends = _Ends(
        *np.broadcast_arrays(
            *(np.atleast_1d(np.asarray(x, float)) for x in (hessian_a, hessian_b, noise_a, noise_b))
        )
    )
    if not (ends.hessian_a > 0).all():
        raise InvalidValueError(f"hessian_at_minimum must be positive, got {hessian_a}.")
    if not (ends.hessian_b[0] < 0 and (ends.hessian_b[1:] > 0).all()):
        raise InvalidValueError(
            "hessian_at_saddle must be negative first and positive in the other directions, "
            f"got {hessian_b}."
        )
    if not ((ends.noise_a > 0).all() and (ends.noise_b > 0).all()):
        raise InvalidValueError(
            f"noise_at_minimum and noise_at_saddle must be positive, got {noise_a} and {noise_b}."
        )
    return ends


def _broken_assumptions(
    rule: Rule, betas: Betas, exponent: float, step: float, down: float, noise_varies: bool
) -> Iterator[str]:
    if exponent < SMALLEST_EXPONENT:
        yield (
            f"Small noise: the barrier is only {exponent:.3g} temperatures high, "
            f"below {SMALLEST_EXPONENT:g}."
        )
    if step > LARGEST_STEP:
        limit = 2 * (1 + betas[0]) / (1 - betas[0])
        state = f"unstable, at or above {limit:.3g}" if step >= limit else f"above {LARGEST_STEP:g}"
        yield f"Small steps: lr p H is {step:.3g}, {state}."
    if noise_varies and rule.mixing_weight is not None and down / (1 - betas[1]) > 1:
        yield (
            "A preconditioner that follows the noise: beta2 remembers longer than a crossing "
            "takes, so p stays near its value at the minimum."
        )
    if noise_varies and betas[0] > 0:
        yield (
            "Overdamped motion: momentum, together with noise that varies along the path, "
            "shortens the escape."
        )


def escape_time_on(
    landscape: Landscape,
    noise: Noise,
    rule: Rule,
    lr: float,
    *,
    betas: Betas = (0.0, 0.0),
    path_weight: float = 0.5,
    prefactor: Prefactor = "ito",
    axis_aligned: bool = True,
) -> EscapeTime:
    """Return ``escape_time`` for the minimum and the saddle of a landscape.

    Args:
        landscape: gives the barrier and the Hessians.
        noise: gives the variances.
        rule, lr, betas, path_weight, prefactor, axis_aligned: as for ``escape_time``.

    Raises:
        InvalidValueError: an argument is out of range.

    Example:
        >>> from dualadam.diffusion import ADAM, ConstantNoise, DoubleWell
        >>> round(escape_time_on(DoubleWell(), ConstantNoise(0.25), ADAM, 0.04).exponent, 6)
        10.0
    """
    return escape_time(
        rule,
        lr,
        barrier=landscape.barrier,
        hessian_at_minimum=landscape.hessian_at_minimum,
        hessian_at_saddle=landscape.hessian_at_saddle,
        noise_at_minimum=noise.variance(landscape.minimum),
        noise_at_saddle=noise.variance(landscape.saddle),
        betas=betas,
        path_weight=path_weight,
        prefactor=prefactor,
        axis_aligned=axis_aligned,
    )
