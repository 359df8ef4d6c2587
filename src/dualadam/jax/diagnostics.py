"""What the inverse part is doing in this training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np
import optax

from dualadam.errors import InvalidTypeError
from dualadam.jax.checks import (
    AT_LEAST_0,
    BETA,
    SWITCH_RATE,
    Scalar,
    Schedule,
    number,
    number_or_schedule,
)
from dualadam.jax.directions import mixing_weights

QUANTILES = (0.05, 0.5, 0.95)
# Quantiles of larger states are taken over this many evenly spaced coordinates.
SAMPLE = 100_000


@dataclass(frozen=True)
class GroupDiagnosis:
    """One state of ``scale_by_dualadam``; means are over its coordinates, nan before an update.

    Attributes:
        group: place of the state among those found, from 0.
        num_coordinates: number of coordinates; a complex number is one.
        mixing_weight: alpha_t of the last update, in [0, 1].
        second_moment_mean: mean of vh, gradient squared.
        second_moment_q05: 5 % quantile of vh.
        second_moment_median: median of vh.
        second_moment_q95: 95 % quantile of vh.
        adam_norm: 2-norm of (1 - alpha) u.
        inverse_norm: 2-norm of alpha u~.
        ratio: R = inverse_norm / adam_norm.
        effective_weight: mean of w_t; 1 is Adam's own step.
        inverse_share: share of coordinates where the inverse part is the larger one, in [0, 1].
    """

    group: int
    num_coordinates: int
    mixing_weight: float
    second_moment_mean: float
    second_moment_q05: float
    second_moment_median: float
    second_moment_q95: float
    adam_norm: float
    inverse_norm: float
    ratio: float
    effective_weight: float
    inverse_share: float


@dataclass(frozen=True)
class Diagnosis:
    """One row per state: ``print`` it, iterate over it, or log ``as_dict()``."""

    groups: tuple[GroupDiagnosis, ...]

    def __iter__(self) -> Iterator[GroupDiagnosis]:
        return iter(self.groups)

    def as_dict(self) -> dict[str, float]:
        """Return a flat mapping such as {"group0/mixing_weight": 0.99, ...}, for loggers."""
        return {
            f"group{row.group}/{name}": value
            for row in self
            for name, value in asdict(row).items()
            if name != "group"
        }

    def __str__(self) -> str:
        return "\n".join(f"{name:30} {value:.4g}" for name, value in self.as_dict().items())


def diagnose(
    state: Any,
    switch_rate: Scalar | Schedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
) -> Diagnosis:
    r"""Measure how large the inverse part of the last update was.

    .. math::
        R = \frac{\| \alpha u~ \|}{\| (1 - \alpha) u \|}, \quad w_t = (1 - \alpha) + \alpha r^2

    A ratio far below 1 and a mean w near 1 - alpha say that DualAdam is Adam with a linear warm-up
    in this training; a ratio of 0.1 or more says that the inverse part acts, and with it the square
    of the loss scale. The numbers are those of ``dualadam.diagnose``, computed in float64 by NumPy:
    every moment is copied to the host once.

    Args:
        state: the state of ``dualadam``, or whatever holds it (``optax.chain``, ``MultiSteps``,
            ``inject_hyperparams``, ``partition``). Each ``optax.ScaleByAdamState`` is a row. The
            state of ``optax.adam`` has the same type: leave it out.
        switch_rate: that of the optimizer, a number or a schedule; 0 for ``invadam``. Optax's
            states hold no settings.
        b1: that of the optimizer.
        b2: that of the optimizer.
        eps: that of the optimizer.

    Returns:
        A ``Diagnosis``. Quantiles are taken over at most 100,000 evenly spaced coordinates,
        everything else over all.

    Raises:
        InvalidTypeError: there is no such state, it is traced by jax (call it outside jit), or it
            belongs to several models at once (as vmap makes it).
        InvalidValueError: a setting is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from dualadam.jax import diagnose, dualadam
        >>> optimizer = dualadam(1e-3, switch_rate=0.5)
        >>> gradient = jnp.ones(3)  # alpha is 1/2 and every gradient 1: both parts are equal
        >>> _, state = optimizer.update(gradient, optimizer.init(gradient))
        >>> row = diagnose(state, switch_rate=0.5).groups[0]
        >>> round(row.mixing_weight, 4), round(row.ratio, 4), round(row.effective_weight, 4)
        (0.5, 1.0, 1.0)
    """
    rate = number_or_schedule("switch_rate", switch_rate, SWITCH_RATE)
    b1, b2 = float(number("b1", b1, BETA)), float(number("b2", b2, BETA))
    eps = float(number("eps", eps, AT_LEAST_0))
    states = [
        leaf for leaf in jax.tree.leaves(state, is_leaf=_is_adam_state) if _is_adam_state(leaf)
    ]
    if not states:
        raise InvalidTypeError(
            "state must hold the state of dualadam, invadam or their scale_by_ transformations, "
            f"got {type(state).__name__} without one."
        )
    return Diagnosis(
        tuple(_diagnose_one(one, index, rate, b1, b2, eps) for index, one in enumerate(states))
    )


def _is_adam_state(node: Any) -> bool:
    return isinstance(node, optax.ScaleByAdamState)


def _diagnose_one(
    state: optax.ScaleByAdamState, index: int, switch_rate: Any, b1: float, b2: float, eps: float
) -> GroupDiagnosis:
    if isinstance(state.count, jax.core.Tracer):
        raise InvalidTypeError(
            "state must hold arrays, got traced ones. Call diagnose outside jit."
        )
    if np.ndim(state.count) != 0:
        raise InvalidTypeError(
            f"state must be that of one model, got {np.size(state.count)} counts. "
            "jax.tree.map(lambda leaf: leaf[0], state) is the first model's."
        )
    step = int(state.count)
    mus, nus = jax.tree.leaves(state.mu), jax.tree.leaves(state.nu)
    total = sum(nu.size for nu in nus)
    if not step or not total:
        return GroupDiagnosis(index, 0, *(math.nan,) * 10)

    rate = switch_rate(state.count - 1) if callable(switch_rate) else switch_rate
    alpha, adam_weight = (float(weight) for weight in mixing_weights(state.count, rate))
    stride = -(-total // SAMPLE)
    # Sums of vh, |adam|^2, |inverse|^2, w, and the coordinates that the inverse part leads.
    sums = np.zeros(5)
    sample = []
    for mu, nu in zip(mus, nus, strict=True):
        m_hat = np.abs(_to_host(mu)) / (1 - b1**step)
        v_hat = _to_host(nu).real / (1 - b2**step)
        r = np.sqrt(v_hat) + eps
        with np.errstate(divide="ignore", invalid="ignore"):
            adam = adam_weight * (m_hat / r) if adam_weight else np.zeros_like(r)
        inverse = alpha * m_hat * r
        parts = (v_hat, adam**2, inverse**2, adam_weight + alpha * r**2, alpha * r**2 > adam_weight)
        sums += [part.sum() for part in parts]
        sample.append(v_hat.ravel()[::stride])
    v_mean, adam2, inverse2, weight, leads = sums.tolist()
    q05, median, q95 = np.quantile(np.concatenate(sample), QUANTILES).tolist()
    return GroupDiagnosis(
        group=index,
        num_coordinates=total,
        mixing_weight=alpha,
        second_moment_mean=v_mean / total,
        second_moment_q05=q05,
        second_moment_median=median,
        second_moment_q95=q95,
        adam_norm=adam2**0.5,
        inverse_norm=inverse2**0.5,
        ratio=(inverse2 / adam2) ** 0.5 if adam2 else math.inf if inverse2 else math.nan,
        effective_weight=weight / total,
        inverse_share=leads / total,
    )


def _to_host(array: jax.Array) -> np.ndarray[Any, Any]:
    """Return the array in double precision: squares of second moments underflow in float32."""
    host = np.asarray(array)
    return host.astype(np.complex128 if np.iscomplexobj(host) else np.float64)
