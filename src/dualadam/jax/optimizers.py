"""The two optimizers as optax has them: direction, decay and learning rate in a chain."""

from __future__ import annotations

from typing import Any

import jax
import optax

from dualadam.jax.checks import (
    AT_LEAST_0,
    Scalar,
    Schedule,
    at_least_float32,
    check_leaves,
    check_start,
    number_or_schedule,
)
from dualadam.jax.directions import scale_by_dualadam


def dualadam(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    switch_rate: Scalar | Schedule = 0.01,
    weight_decay: Scalar | Schedule = 0.0,
    mask: Any = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam that starts as its inverse counterpart and hands over to Adam in 1 / switch_rate steps.

    .. math::
        m_t &= b_1 m_{t-1} + (1 - b_1) g_t, \quad v_t = b_2 v_{t-1} + (1 - b_2) |g_t|^2 \\
        \hat m_t &= m_t / (1 - b_1^t), \quad \hat v_t = v_t / (1 - b_2^t), \quad
            r_t = \sqrt{\hat v_t} + \epsilon \\
        \alpha_t &= \max(0, 1 - \xi t) \\
        \theta_t &= \theta_{t-1} - \eta_t \left[ (1 - \alpha_t)\, \hat m_t / r_t
            + \alpha_t\, \hat m_t r_t + \lambda \theta_{t-1} \right]

    The step is exactly the Adam step times :math:`w_t = \xi t + (1 - \xi t) r_t^2`. In ordinary
    training :math:`r_t^2` is far below 1, and DualAdam is Adam with a linear warm-up of
    1 / switch_rate steps; elsewhere the inverse part grows with the square of the loss scale.
    ``dualadam.jax.diagnose`` says which of the two holds in a training.

    The state is that of ``optax.adamw`` with the same ``weight_decay`` and ``mask``: each takes the
    state of the other. From the first step with :math:`\alpha_t = 0` on, the updates are those of
    ``optax.adamw``.

    The arithmetic is float32 or wider. Moments have the dtype of the parameter, float32 where that
    is narrower. Updates have the dtype of the gradients. The second moment of a complex gradient is
    :math:`|g|^2`, as in optax (torch treats the two parts as parameters of their own).

    Args:
        learning_rate: eta, a number of at least 0, or a schedule of the number of updates made.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the root of the second moment, at least 0, in the unit of a gradient.
        switch_rate: xi per step, in [0, 1], or a schedule: 0 is InvAdam for ever, 1 is Adam from
            the first step. ``switch_rate_for`` derives it from the length of the training.
        weight_decay: decoupled decay lambda per unit of learning_rate, at least 0, or a schedule;
            not scaled by alpha. The default of optax.adamw is 1e-4, this one 0. Unless it is 0,
            ``update`` needs the parameters.
        mask: tree of booleans, or a function from parameters to one: True where weights decay.
        mu_dtype: floating-point dtype of the stored first moment; None is as above.

    Returns:
        A transformation with ``init(params)`` and ``update(gradients, state, params)``.

    Raises:
        InvalidValueError: a number is out of range, or mu_dtype is not a floating-point dtype.
        InvalidTypeError: an argument has the wrong type; from ``init`` and ``update``, a leaf is
            not a floating-point or complex array. Values that jax traces are not checked. A
            schedule is checked at count 0 by ``init``, and at every count by ``update`` outside
            jit.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from dualadam.jax import dualadam
        >>> optimizer = dualadam(0.1, switch_rate=0.05)
        >>> params = {"w": jnp.array([3.0, -2.0])}
        >>> state = optimizer.init(params)
        >>> @jax.jit
        ... def step(params, state):
        ...     gradients = jax.grad(lambda p: (p["w"] ** 2).sum())(params)
        ...     updates, state = optimizer.update(gradients, state, params)
        ...     return optax.apply_updates(params, updates), state
        >>> for _ in range(300):
        ...     params, state = step(params, state)
        >>> bool(abs(params["w"]).max() < 1e-3)
        True

    References:
        T. Shi, L. Chen, L. Jin, M. Zhou, arXiv:2603.07122. Deviations: eps in both directions (as
        their release has it), the mixing weight followed to its end (their release drops the
        inverse part one step earlier), optax's order of decay and step (equal to rounding).
    """
    learning_rate = number_or_schedule("learning_rate", learning_rate, AT_LEAST_0)
    weight_decay = number_or_schedule("weight_decay", weight_decay, AT_LEAST_0)
    without_decay = isinstance(weight_decay, float) and weight_decay == 0 and mask is None
    chain = optax.chain(
        scale_by_dualadam(b1, b2, eps, switch_rate, mu_dtype),
        optax.identity() if without_decay else optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )

    def init(params: Any) -> Any:
        check_start(learning_rate, weight_decay)
        return chain.init(params)

    def update(gradients: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        # In float32 until the end, so that a half-precision update is rounded once.
        check_leaves("gradients", gradients)
        wide_gradients, wide_params = jax.tree.map(at_least_float32, (gradients, params))
        updates, state = chain.update(wide_gradients, state, wide_params, **extra)
        return optax.tree.cast_like(updates, gradients), state

    return optax.GradientTransformationExtraArgs(init, update)


def invadam(
    learning_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar | Schedule = 0.0,
    mask: Any = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam's inverse counterpart: the moments are multiplied instead of divided.

    .. math::
        \theta_t = \theta_{t-1} - \eta_t \left[ \hat m_t (\sqrt{\hat v_t} + \epsilon)
            + \lambda \theta_{t-1} \right]

    with the moments of ``dualadam``, which this is at switch_rate = 0. The step is a gradient
    squared: multiplying the loss by c multiplies it by c^2, and a usable learning rate is about
    1 / vh times Adam's (near 100 on small networks). Never compare it at Adam's.

    Args:
        learning_rate, b1, b2, eps, weight_decay, mask, mu_dtype: as for ``dualadam``.

    Returns:
        A transformation, as ``dualadam`` does.

    Raises:
        InvalidValueError, InvalidTypeError: as for ``dualadam``.

    Example:
        >>> import jax.numpy as jnp
        >>> from dualadam.jax import invadam
        >>> optimizer = invadam(1e-4)
        >>> def first_step(gradient):
        ...     return optimizer.update(gradient, optimizer.init(gradient))[0]
        >>> small, large = jnp.array(1.0), jnp.array(10.0)
        >>> round(float(first_step(large) / first_step(small)))  # a hundred times the step
        100

    References:
        T. Shi, L. Chen, L. Jin, M. Zhou, arXiv:2603.07122. Deviation: eps in the direction, as
        their release has it.
    """
    return dualadam(learning_rate, b1, b2, eps, 0.0, weight_decay, mask, mu_dtype)
