r"""Escape times: Kramers' closed form for a diagonally preconditioned optimizer.

The equation, with one update as the unit of time, c the variance of the gradient noise (Ito):
d theta = -lr p(c) L' dt + lr p(c) sqrt(c) dW.
The derivation, its assumptions and where they break: docs/theory.md.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dualadam.diffusion.landscapes import Landscape, require_positive
from dualadam.diffusion.noise import Noise
from dualadam.diffusion.rules import Rule

SMALLEST_EXPONENT = 3.0  # below it a walker leaves before it has equilibrated, and the prefactor is off by tens of per cent
LARGEST_STEP = 0.2  # of lr p H: beyond it Adam's and InvAdam's exponents are off by more than 4 % (docs/theory.md, "Where it fails")
Array = np.ndarray | float | list[float]


class EscapeWarning(UserWarning):
    """A value of the theory outside the regime in which it holds; the message says which assumption broke."""


@dataclass(frozen=True)
class EscapeTime:
    """A mean escape time.

    Attributes:
        log_time: ln tau, tau in steps.
        exponent: E, the part of log_time that goes as 1 / lr: the barrier in units of the temperature.
        broken: the assumptions that do not hold here, one sentence each; empty where the value can be trusted.
    """

    log_time: float
    exponent: float
    broken: tuple[str, ...] = ()

    @property
    def time(self) -> float:
        """Tau in steps (inf where it exceeds the largest float)."""
        return math.exp(self.log_time) if self.log_time < 709 else math.inf

    @property
    def rate(self) -> float:
        """1 / tau, per step."""
        return math.exp(-self.log_time)

    @property
    def log_prefactor(self) -> float:
        """ln tau - E."""
        return self.log_time - self.exponent


def effective_temperature(rule: Rule, lr: float, variance: float) -> float:
    r"""Return :math:`T = \eta\, p(c)\, c / 2`, the temperature at which the iterates sample exp(-L / T) near a point of noise variance c.

    Momentum as an exponential average leaves it unchanged.

    Example:
        >>> from dualadam.diffusion import INVADAM, SGD
        >>> effective_temperature(SGD, 0.1, 0.25), effective_temperature(INVADAM, 0.1, 0.25)
        (0.0125, 0.00625)
    """
    require_positive(lr=lr, variance=variance)
    return lr * float(rule.preconditioner(variance)) * variance / 2


def largest_stable_lr(rule: Rule, hessian: float, variance: float, beta1: float = 0.0) -> float:
    r"""Return the lr above which the linearised update diverges: :math:`\eta\, p H < 2 (1 + \beta_1) / (1 - \beta_1)`.

    Example:
        >>> from dualadam.diffusion import INVADAM
        >>> round(largest_stable_lr(INVADAM, hessian=4.0, variance=4.0 / 16, beta1=0.9) / (38 * 16**0.5 / 4.0**1.5), 9)
        1.0
    """
    require_positive(hessian=hessian, variance=variance)
    return 2 * (1 + beta1) / (1 - beta1) / (float(rule.preconditioner(variance)) * hessian)


def escape_time(
    rule: Rule,
    lr: float,
    *,
    barrier: float,
    hessian_at_minimum: Array,
    hessian_at_saddle: Array,
    noise_at_minimum: Array,
    noise_at_saddle: Array,
    betas: tuple[float, float] = (0.0, 0.0),
    path_weight: float = 0.5,
    prefactor: Literal["ito", "paper"] = "ito",
) -> EscapeTime:
    r"""Return the mean time to cross a saddle, by Kramers' formula with a diagonal preconditioner.

    .. math::
        \tau = \frac{2 \pi f}{\eta\, p_b |H_b|} \sqrt{\prod_i \frac{T_{a,i} / H_{a,i}}{T_{b,i} / |H_{b,i}|}}\; e^{E} \cdot \frac{D_b}{D_a},
        \qquad E = \Delta L \left[ \frac{s}{T_a} + \frac{1 - s}{T_b} \right], \quad T = \eta p c / 2, \quad D = \eta p T

    a is the minimum, b the saddle; symbols without i belong to the escape direction, the first coordinate. f is 1 without momentum, else
    (sqrt(1 + 4 lr p_b |H_b| / (1 - b1)) + 1) / 2. With c = |H| / B the root is sqrt(det P_a / det P_b). The last factor is what the Ito
    equation has and the papers' formula lacks: 1 where the noise is the same at a and b.

    Valid for a barrier of several temperatures, small steps, a preconditioner that follows the noise, and Hessian and noise that are
    diagonal. What of this does not hold is in ``broken`` and raised as an ``EscapeWarning``.

    Args:
        rule: the optimizer.
        lr: learning rate, > 0.
        barrier: L_b - L_a, > 0.
        hessian_at_minimum: eigenvalues, all > 0: a number, or shape (dim,) with the escape direction first.
        hessian_at_saddle: eigenvalues in the same order, the first < 0, the others > 0.
        noise_at_minimum, noise_at_saddle: variances of the gradient noise, > 0, a number or shape (dim,).
        betas: decay rates of the moments, each in [0, 1). betas[0] enters the prefactor; betas[1] only the check that the preconditioner
            can follow the noise on the way to the saddle.
        path_weight: s in (0, 1), the part of the barrier climbed at the temperature of the minimum; without effect where T_a = T_b.
        prefactor: "ito", or "paper" to leave out D_b / D_a, as arXiv:2002.03495 and arXiv:2006.15815 do.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> from dualadam.diffusion import SGD
        >>> one = dict(barrier=0.1, hessian_at_minimum=1.0, hessian_at_saddle=-0.5, noise_at_minimum=1.0, noise_at_saddle=1.0)
        >>> tau = escape_time(SGD, 0.04, **one)
        >>> tau.exponent, round(tau.time / (2 * math.pi / (0.04 * 0.5**0.5) * math.exp(5.0)), 9)  # Kramers' 2 pi / sqrt(H_a |H_b|)
        (5.0, 1.0)

    References:
        H. Kramers, Physica 7 (1940) 284; J. Langer, Ann. Phys. 54 (1969) 258 (several dimensions); Xie et al., arXiv:2002.03495 (SGD) and
        arXiv:2006.15815 (momentum, Adam). Deviations: the factor D_b / D_a, see above; InvAdam and the mixture are ours.
    """
    require_positive(lr=lr, barrier=barrier)
    h_a, h_b, c_a, c_b = (
        np.atleast_1d(np.asarray(x, float))
        for x in (hessian_at_minimum, hessian_at_saddle, noise_at_minimum, noise_at_saddle)
    )
    h_a, h_b, c_a, c_b = np.broadcast_arrays(h_a, h_b, c_a, c_b)
    if not (h_a > 0).all():
        raise ValueError(f"hessian_at_minimum must be positive, got {hessian_at_minimum}.")
    if not (h_b[0] < 0 and (h_b[1:] > 0).all()):
        raise ValueError(
            f"hessian_at_saddle must be negative first and positive in the other directions, got {hessian_at_saddle}."
        )
    if not ((c_a > 0).all() and (c_b > 0).all()):
        raise ValueError(
            f"noise_at_minimum and noise_at_saddle must be positive, got {noise_at_minimum} and {noise_at_saddle}."
        )
    if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
        raise ValueError(f"betas must each be in [0, 1), got {betas}.")
    if not 0 < path_weight < 1:
        raise ValueError(f"path_weight must be in (0, 1), got {path_weight}.")
    if prefactor not in ("ito", "paper"):
        raise ValueError(f"prefactor must be 'ito' or 'paper', got {prefactor!r}.")
    p_a, p_b = rule.preconditioner(c_a), rule.preconditioner(c_b)
    t_a, t_b = lr * p_a * c_a / 2, lr * p_b * c_b / 2
    down = lr * p_b[0] * -h_b[0]  # rate at which a walker leaves the saddle, per step
    exponent = barrier * (path_weight / t_a[0] + (1 - path_weight) / t_b[0])
    log_time = (
        math.log(math.pi * (math.sqrt(1 + 4 * down / (1 - betas[0])) + 1 if betas[0] else 2) / down)
        + exponent
    )
    log_time += 0.5 * float(np.sum(np.log(t_a / h_a) - np.log(t_b / abs(h_b))))
    if prefactor == "ito":
        log_time += math.log(p_b[0] * t_b[0] / (p_a[0] * t_a[0]))

    broken = []
    if exponent < SMALLEST_EXPONENT:
        broken.append(
            f"Small noise: the barrier is only {exponent:.3g} temperatures high, below {SMALLEST_EXPONENT:g}."
        )
    step = float(max((lr * p_a * h_a).max(), (lr * p_b * abs(h_b)).max()))
    if step > LARGEST_STEP:
        limit = 2 * (1 + betas[0]) / (1 - betas[0])
        state = f"unstable, at or above {limit:.3g}" if step >= limit else f"above {LARGEST_STEP:g}"
        broken.append(f"Small steps: lr p H is {step:.3g}, {state}.")
    if c_a[0] != c_b[0]:
        if rule.mixing_weight is not None and down / (1 - betas[1]) > 1:
            broken.append(
                "A preconditioner that follows the noise: beta2 remembers longer than a crossing takes, so p stays as at the minimum."
            )
        if betas[0] > 0:
            broken.append(
                "Overdamped motion: momentum and a noise that varies along the path together shorten the escape."
            )
    for sentence in broken:
        warnings.warn(sentence, EscapeWarning, stacklevel=2)
    return EscapeTime(float(log_time), float(exponent), tuple(broken))


def escape_time_on(
    landscape: Landscape, noise: Noise, rule: Rule, lr: float, **settings: object
) -> EscapeTime:
    """Return ``escape_time`` with the Hessians and noises of a landscape's minimum and saddle; settings are its other arguments.

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
        **settings,  # type: ignore[arg-type]
    )


def quasi_equilibrium_threshold(switch_rate: float, lr: float, batch_size: float) -> float:
    r"""Return the second moment v above which DualAdam's mixing phase is long enough for the theory to describe it.

    .. math:: v > \left( \frac{\xi}{\eta B} \right)^{2/5}

    The inverse part leads while t < v / xi (for v << 1); the walker relaxes within 1 / (lr p H) = 1 / (lr v^(3/2) B) steps, with
    p = v^(1/2) and H = v B. Only when the second is shorter does it reach the quasi-equilibrium from which Kramers' rate follows.

    Args:
        switch_rate: xi per step, in (0, 1].
        lr: learning rate, > 0.
        batch_size: B, > 0.

    Example:
        >>> round(quasi_equilibrium_threshold(8e-5, 1e-2, 128), 3)  # the released settings; measured second moments are 1e-7 ... 1e-3
        0.021
    """
    require_positive(switch_rate=switch_rate, lr=lr, batch_size=batch_size)
    return (switch_rate / (lr * batch_size)) ** 0.4
