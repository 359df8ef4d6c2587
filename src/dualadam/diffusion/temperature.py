"""The effective temperature of an optimizer, and the limits on its settings."""

from __future__ import annotations

from dualadam.diffusion.checks import require_positive
from dualadam.diffusion.rules import Rule
from dualadam.errors import InvalidValueError


def effective_temperature(rule: Rule, lr: float, variance: float) -> float:
    r"""Return the temperature T at which the iterates sample exp(-L / T).

    .. math:: T = \eta\, p(c)\, c / 2

    Momentum as an exponential average leaves T unchanged.

    Args:
        rule: the optimizer.
        lr: learning rate eta, > 0.
        variance: c, the variance of the gradient noise, > 0.

    Returns:
        T, in units of the loss.

    Raises:
        InvalidValueError: an argument is not positive and finite.

    Example:
        >>> from dualadam.diffusion import INVADAM, SGD
        >>> effective_temperature(SGD, 0.1, 0.25), effective_temperature(INVADAM, 0.1, 0.25)
        (0.0125, 0.00625)
    """
    require_positive(lr=lr, variance=variance)
    return lr * float(rule.preconditioner(variance)) * variance / 2


def largest_stable_lr(rule: Rule, hessian: float, variance: float, beta1: float = 0.0) -> float:
    r"""Return the lr above which the linearised update diverges.

    .. math:: \eta\, p H < 2 (1 + \beta_1) / (1 - \beta_1)

    Args:
        rule: the optimizer.
        hessian: H at the minimum, > 0.
        variance: c, the variance of the gradient noise there, > 0.
        beta1: decay rate of the momentum, in [0, 1).

    Raises:
        InvalidValueError: hessian or variance is not positive and finite.

    Example:
        >>> from dualadam.diffusion import INVADAM
        >>> lr = largest_stable_lr(INVADAM, hessian=4.0, variance=4.0 / 16, beta1=0.9)
        >>> round(lr / (38 * 16**0.5 / 4.0**1.5), 9)  # 38 B^(1/2) / H^(3/2)
        1.0
    """
    require_positive(hessian=hessian, variance=variance)
    return 2 * (1 + beta1) / (1 - beta1) / (float(rule.preconditioner(variance)) * hessian)


def stationary_variance(
    rule: Rule, lr: float, hessian: float, variance: float, beta1: float = 0.0
) -> float:
    r"""Return the variance of the iterates around a quadratic minimum, at any step size.

    .. math::
        H\, \mathrm{Var} = \frac{T}{1 - \eta\, p H (1 - \beta_1) / (2 (1 + \beta_1))},
        \qquad T = \eta\, p c / 2

    The iterates are those of theta <- theta - lr p m, m <- beta1 m + (1 - beta1)(H theta + z), with
    p held at p(c). It is T / H for small steps, and diverges at the edge of stability,
    ``largest_stable_lr``: T stays finite there and says too little about how far a walker moves.

    Args:
        rule: the optimizer.
        lr: learning rate, > 0 and below ``largest_stable_lr``.
        hessian: H at the minimum, > 0.
        variance: c, the variance of the gradient noise, > 0.
        beta1: decay rate of the momentum, in [0, 1).

    Returns:
        Var, in units of the weights squared.

    Raises:
        InvalidValueError: an argument is not positive and finite, or the update is unstable.

    Example:
        Halfway to the edge it is twice T / H, whatever the optimizer.

        >>> from dualadam.diffusion import ADAM, effective_temperature, largest_stable_lr
        >>> lr = largest_stable_lr(ADAM, 2.0, 0.25, beta1=0.9) / 2
        >>> var = stationary_variance(ADAM, lr, 2.0, 0.25, beta1=0.9)
        >>> round(2.0 * var / effective_temperature(ADAM, lr, 0.25), 9)
        2.0

    References:
        The stationary covariance of the recursion, solved exactly; for beta1 = 0 it is that of
        S. Mandt, M. Hoffman, D. Blei, arXiv:1704.04289, without its limit of small steps.
    """
    stable = largest_stable_lr(rule, hessian, variance, beta1)
    temperature = effective_temperature(rule, lr, variance)
    if lr >= stable:
        raise InvalidValueError(f"lr must be below {stable:.4g}, the edge of stability, got {lr}.")
    return temperature / hessian / (1 - lr / stable)


def quasi_equilibrium_threshold(switch_rate: float, lr: float, batch_size: float) -> float:
    r"""Return the second moment v above which the theory describes DualAdam's mixing phase.

    .. math:: v > \left( \frac{\xi}{\eta B} \right)^{2/5}

    The inverse part leads while t < v / xi, for v << 1. The walker relaxes within
    1 / (lr p H) = 1 / (lr v^(3/2) B) steps, with p = v^(1/2) and H = v B. Kramers' rate needs the
    quasi-equilibrium, which the walker reaches only if it relaxes before the inverse part ends.

    Args:
        switch_rate: xi per step, in (0, 1].
        lr: learning rate, > 0.
        batch_size: B, > 0.

    Returns:
        v, in units of the gradient squared.

    Raises:
        InvalidValueError: an argument is not positive and finite.

    Example:
        The released settings. Second moments measured in training are 1e-7 to 1e-3.

        >>> round(quasi_equilibrium_threshold(8e-5, 1e-2, 128), 3)
        0.021
    """
    require_positive(switch_rate=switch_rate, lr=lr, batch_size=batch_size)
    return (switch_rate / (lr * batch_size)) ** 0.4
