"""optax.adamw is what the hand-over leads to, and its state is the state here."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from optax_cases import MASK, assert_same_bits, at, make_gradients, make_params, train

from dualadam.jax import dualadam, scale_by_dualadam

DURATION, AFTER = 20, 40
SETTINGS: dict[str, dict[str, Any]] = {
    "masked decay": {"learning_rate": 0.01, "weight_decay": 0.1, "mask": MASK},
    "schedules": {
        "learning_rate": optax.cosine_decay_schedule(0.01, 100),
        "weight_decay": optax.linear_schedule(0.0, 0.1, 100),
    },
    "other betas and eps, no decay": {
        "learning_rate": 0.01,
        "b1": 0.5,
        "b2": 0.9,
        "eps": 1e-3,
        "weight_decay": 0.0,
    },
}
settings_table = pytest.mark.parametrize("name", SETTINGS)


@cache  # so that jax compiles each of them once
def make(name: str, switch_rate: float) -> tuple[Any, Any]:
    return dualadam(switch_rate=switch_rate, **SETTINGS[name]), optax.adamw(**SETTINGS[name])


compiled_or_not = pytest.mark.parametrize("compiled", [True, False], ids=["jit", "eager"])


@compiled_or_not
@settings_table
def test_after_the_hand_over_the_trajectory_is_that_of_optax_adamw_bit_for_bit(
    name: str, compiled: bool
):
    ours, optaxs = make(name, 1 / DURATION)
    params = make_params()
    gradients = make_gradients(DURATION + AFTER)
    mixing = jax.tree.map(lambda leaf: leaf[: DURATION - 1], gradients)
    after = jax.tree.map(lambda leaf: leaf[DURATION - 1 :], gradients)
    start = at(train(ours, params, ours.init(params), mixing), -1)
    assert_same_bits(
        train(ours, *start, after, compiled=compiled),
        train(optaxs, *start, after, compiled=compiled),
    )


@settings_table
def test_a_switch_rate_of_1_is_optax_adamw_from_the_first_step(name: str):
    ours, optaxs = make(name, 1.0)
    params, gradients = make_params(), make_gradients(AFTER)
    assert_same_bits(
        train(ours, params, ours.init(params), gradients),
        train(optaxs, params, optaxs.init(params), gradients),
    )


def test_a_first_moment_in_half_precision_differs_from_optax_by_its_rounding():
    """optax multiplies b1 with the moment in bfloat16; the arithmetic here is float32."""
    params, gradients = make_params(), make_gradients(AFTER)
    ours = scale_by_dualadam(switch_rate=1.0, mu_dtype="bfloat16")
    optaxs = optax.scale_by_adam(mu_dtype="bfloat16")
    actual = train(ours, params, ours.init(params), gradients)[1].mu
    expected = train(optaxs, params, optaxs.init(params), gradients)[1].mu
    for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype == jnp.bfloat16
        # each rounding moves a moment of size 1 by at most 2^-9, and 1 / (1 - b1) = 10 of them last
        assert jnp.abs(x.astype(jnp.float32) - y.astype(jnp.float32)).max() < 2 * 10 * 2**-9


def test_complex_parameters_end_in_optax_adam_too():
    """To rounding: optax keeps the second moment as complex numbers with imaginary part 0."""
    params, gradients = make_params(jnp.complex64), make_gradients(AFTER, jnp.complex64)
    ours, optaxs = scale_by_dualadam(switch_rate=1.0), optax.scale_by_adam()
    actual = train(ours, params, ours.init(params), gradients)
    expected = train(optaxs, params, optaxs.init(params), gradients)
    for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert jnp.allclose(x, y, rtol=AFTER * jnp.finfo(jnp.float32).eps)
    continued = ours.update(at(gradients, 0), at(expected[1], -1))[1]
    assert continued.nu["bias"].dtype == jnp.complex64  # a state keeps its dtypes


@settings_table
def test_a_state_of_optax_adamw_continues_here_and_is_handed_back(name: str):
    ours, optaxs = make(name, 1 / DURATION)
    params, gradients = make_params(), make_gradients(DURATION)
    assert_same_bits(ours.init(params), optaxs.init(params))
    halfway = at(train(optaxs, params, optaxs.init(params), gradients), -1)
    assert_same_bits(
        train(ours, *halfway, gradients),  # its count is beyond the hand-over
        train(optaxs, *halfway, gradients),
    )
