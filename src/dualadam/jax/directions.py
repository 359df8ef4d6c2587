"""The directions of the two optimizers, for optax.chain: the update without rate and decay."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from dualadam.jax.checks import (
    AT_LEAST_0,
    BETA,
    SWITCH_RATE,
    Scalar,
    Schedule,
    at_least_float32,
    check_leaves,
    check_start,
    floating_dtype,
    number,
    number_or_schedule,
)

# Below this the hand-over is over: 1 - xi t is 1e-16 instead of 0 for many xi = 1/N.
NEGLIGIBLE = 1e-9


def mixing_weights(count: Scalar, switch_rate: Scalar) -> tuple[jax.Array, jax.Array]:
    """Return alpha_t = max(0, 1 - xi t) and 1 - alpha_t, the weights of InvAdam and of Adam.

    An alpha below 1e-9 counts as 0, and so does one within the rounding of 1 - xi t, which is at
    most 3/2 of the dtype's epsilon: in float32 an alpha below 2.4e-7.

    Example:
        >>> [float(mixing_weights(t, 0.25)[0]) for t in (1, 2, 3, 4, 5)]
        [0.75, 0.5, 0.25, 0.0, 0.0]
    """
    progress = jnp.asarray(switch_rate * count)
    is_over = 1 - progress < max(NEGLIGIBLE, 2 * float(jnp.finfo(progress.dtype).eps))
    return jnp.where(is_over, 0, 1 - progress), jnp.where(is_over, 1, progress)


def scale_by_dualadam(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    switch_rate: Scalar | Schedule = 0.01,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Return DualAdam's direction, without learning rate and decay, for ``optax.chain``.

    .. math:: g_t \mapsto (1 - \alpha_t)\, \hat m_t / r_t + \alpha_t\, \hat m_t r_t

    Args:
        b1, b2, eps, switch_rate, mu_dtype: as for ``dualadam``.

    Returns:
        A transformation whose state is an ``optax.ScaleByAdamState``. It points uphill, as
        ``optax.scale_by_adam`` does.

    Raises:
        InvalidValueError, InvalidTypeError: as for ``dualadam``.

    Example:
        >>> import jax.numpy as jnp
        >>> from dualadam.jax import scale_by_dualadam
        >>> direction = scale_by_dualadam(switch_rate=0.5)  # alpha is 1/2 in the first step
        >>> gradient = jnp.array([0.5, 2.0])  # (1 + g^2) / 2
        >>> direction.update(gradient, direction.init(gradient))[0].round(3).tolist()
        [0.625, 2.5]
    """
    b1, b2 = number("b1", b1, BETA), number("b2", b2, BETA)
    eps = number("eps", eps, AT_LEAST_0)
    switch_rate = number_or_schedule("switch_rate", switch_rate, SWITCH_RATE)
    mu_dtype = floating_dtype(mu_dtype)

    def init(params: Any) -> optax.ScaleByAdamState:
        check_leaves("params", params, mu_dtype)
        check_start(switch_rate)

        def first_moment(param: Any) -> jax.Array:
            return jnp.zeros_like(param, dtype=mu_dtype or _state_dtype(param))

        def second_moment(param: Any) -> jax.Array:
            return jnp.zeros_like(param, dtype=jnp.finfo(_state_dtype(param)).dtype)

        mu, nu = jax.tree.map(first_moment, params), jax.tree.map(second_moment, params)
        return optax.ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=mu, nu=nu)

    def update(
        gradients: Any, state: optax.ScaleByAdamState, params: Any = None, **extra: Any
    ) -> tuple[Any, optax.ScaleByAdamState]:
        del params, extra
        check_leaves("gradients", gradients)
        wide, mu, nu = jax.tree.map(at_least_float32, (gradients, state.mu, state.nu))
        count = optax.safe_increment(state.count)
        mu = optax.tree.update_moment(wide, mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(wide, nu, b2, 2)
        rate = switch_rate(state.count) if callable(switch_rate) else switch_rate
        alpha, adam_weight = mixing_weights(count, rate)

        def direction(m_hat: jax.Array, v_hat: jax.Array) -> jax.Array:
            r = jnp.sqrt(v_hat) + eps
            # A part of weight 0 is left out: 0 times inf is nan.
            adam = jnp.where(adam_weight > 0, adam_weight * (m_hat / r), 0)
            return jnp.where(alpha > 0, adam + alpha * (m_hat * r), adam)

        directions = jax.tree.map(
            direction,
            optax.tree.bias_correction(mu, b1, count),
            optax.tree.bias_correction(nu, b2, count),
        )
        mu, nu = optax.tree.cast_like(mu, state.mu), optax.tree.cast_like(nu, state.nu)
        return (
            optax.tree.cast_like(directions, gradients),
            optax.ScaleByAdamState(count=count, mu=mu, nu=nu),
        )

    return optax.GradientTransformationExtraArgs(init, update)


def scale_by_invadam(
    b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8, mu_dtype: Any = None
) -> optax.GradientTransformationExtraArgs:
    """Return InvAdam's direction mh r: ``scale_by_dualadam`` at switch_rate = 0.

    Args:
        b1, b2, eps, mu_dtype: as for ``dualadam``.

    Returns:
        A transformation, as ``scale_by_dualadam`` does.

    Raises:
        InvalidValueError, InvalidTypeError: as for ``dualadam``.

    Example:
        >>> import jax.numpy as jnp
        >>> from dualadam.jax import scale_by_invadam
        >>> direction = scale_by_invadam()
        >>> gradient = jnp.array([0.5, 2.0])  # g^2
        >>> direction.update(gradient, direction.init(gradient))[0].round(3).tolist()
        [0.25, 4.0]
    """
    return scale_by_dualadam(b1, b2, eps, 0.0, mu_dtype)


def _state_dtype(param: Any) -> Any:
    return jnp.promote_types(jnp.result_type(param), jnp.float32)
