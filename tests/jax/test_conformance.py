"""What optax asks of an optimizer: dtypes, shapes, traces, schedules, trees, and its wrappers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax_cases import (
    MASK,
    assert_same_bits,
    at,
    make_gradients,
    make_params,
    one_step,
    train,
)

from dualadam.jax import dualadam, invadam, scale_by_dualadam, scale_by_invadam

OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "dualadam": lambda **settings: dualadam(
        optax.cosine_decay_schedule(0.1, 100),
        switch_rate=optax.linear_schedule(0.1, 0.25, 4),
        weight_decay=optax.linear_schedule(0.0, 0.1, 10),
        **settings,
    ),
    "invadam": lambda **settings: invadam(0.1, **settings),
    "scale_by_dualadam": scale_by_dualadam,
}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
STATE_DTYPES = {
    "float16": ("float32", "float32"),
    "bfloat16": ("float32", "float32"),
    "float32": ("float32", "float32"),
    "float64": ("float64", "float64"),
    "complex64": ("complex64", "float32"),
    "complex128": ("complex128", "float64"),
}

# An injected b2 of 0.999 is float32: 1 - b2 is off by 1.3e-5, its root by half of that.
INJECTED = 7e-6


def kinds(tree: Any) -> Any:
    """Shape, dtype and weakness of every leaf: jit traces again when one of them changes."""
    return jax.tree.map(lambda leaf: (jnp.shape(leaf), leaf.dtype, leaf.weak_type), tree)


@every_optimizer
@pytest.mark.parametrize("dtype", STATE_DTYPES)
def test_updates_have_the_gradients_dtype_and_moments_are_float32_or_wider(
    make: Callable[..., Any], dtype: str, request: pytest.FixtureRequest
):
    if dtype in ("float64", "complex128"):
        request.getfixturevalue("x64")
    params, gradients = make_params(dtype), at(make_gradients(1, dtype), 0)
    optimizer = make()
    start = optimizer.init(params)
    updates, state = jax.jit(optimizer.update)(gradients, start, params)
    assert kinds(updates) == kinds(gradients)
    assert kinds(state) == kinds(start)
    for leaf in MASK:
        dtypes = (optax.tree.get(state, "mu")[leaf].dtype, optax.tree.get(state, "nu")[leaf].dtype)
        assert dtypes == STATE_DTYPES[dtype]


@every_optimizer
@pytest.mark.parametrize(
    ("mu_dtype", "dtype"),
    [("bfloat16", "bfloat16"), (jnp.bfloat16, "float32"), (np.dtype("float16"), "float32")],
)
def test_mu_dtype_is_that_of_the_stored_first_moment_alone(
    make: Callable[..., Any], mu_dtype: Any, dtype: str
):
    optimizer, params = make(mu_dtype=mu_dtype), make_params(dtype)
    start = optimizer.init(params)
    updates, state = optimizer.update(params, start, params)
    assert kinds(state) == kinds(start)
    assert {leaf.dtype for leaf in optax.tree.get(state, "mu").values()} == {jnp.dtype(mu_dtype)}
    assert {leaf.dtype for leaf in optax.tree.get(state, "nu").values()} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in updates.values()} == {jnp.dtype(dtype)}


@every_optimizer
def test_half_precision_is_rounded_once_at_the_end_of_the_step(make: Callable[..., Any]):
    optimizer, half, gradients = make(), make_params("bfloat16"), make_gradients(20, "bfloat16")
    wide, wide_gradients = (
        jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree) for tree in (half, gradients)
    )
    state, wide_state = optimizer.init(half), optimizer.init(wide)
    assert kinds(state) == kinds(wide_state)
    for step in range(20):
        updates, state = optimizer.update(at(gradients, step), state, half)
        wide_updates, wide_state = optimizer.update(at(wide_gradients, step), wide_state, wide)
        assert_same_bits(updates, optax.tree.cast(wide_updates, jnp.bfloat16))
        assert_same_bits(state, wide_state)


@every_optimizer
@pytest.mark.parametrize("numbers", [False, True], ids=["arrays", "Python numbers"])
def test_one_trace_serves_any_number_of_steps(make: Callable[..., Any], numbers: bool):
    optimizer, traces = make(), []
    params = {"a": 1.0, "b": [2.0]} if numbers else make_params()

    @jax.jit
    def step(params: Any, state: Any, gradients: Any) -> Any:
        traces.append(None)
        return one_step(optimizer, params, state, gradients)

    state, gradients = optimizer.init(params), jax.tree.map(jnp.ones_like, params)
    params, state = step(params, state, gradients)
    traces.clear()  # jax holds a Python number in another way than the array that it becomes
    for _ in range(8):  # the hand-over of the scheduled switch rate ends in step 5
        params, state = step(params, state, gradients)
    assert len(traces) == (1 if numbers else 0)


@pytest.mark.parametrize("make", [dualadam, invadam])
def test_a_parabola_is_descended(make: Callable[..., Any]):
    optimizer, target = make(0.1), jnp.array([1.0, -1.0, 1.0])
    params = jnp.array([-1.0, 3.0, 1.0])
    state = optimizer.init(params)
    step = jax.jit(lambda params, state: one_step(optimizer, params, state, params - target))
    for _ in range(500):
        params, state = step(params, state)
    # InvAdam's step is a gradient squared: from a distance of 0.1 on it is slow
    assert float(jnp.abs(params - target).max()) < (0.01 if make is dualadam else 0.2)


@every_optimizer
def test_empty_trees_none_leaves_and_scalars_are_trees_too(make: Callable[..., Any]):
    optimizer = make()
    for tree in ({}, (), {"a": None}, {"a": None, "b": jnp.ones([]), "c": jnp.ones([0, 3])}):
        updates, state = jax.jit(optimizer.update)(tree, optimizer.init(tree), tree)
        assert jax.tree.structure(updates) == jax.tree.structure(tree)
        assert kinds(state) == kinds(optimizer.init(tree))


@every_optimizer
def test_arguments_meant_for_others_are_let_through(make: Callable[..., Any]):
    optimizer, params = make(), make_params()
    updates = optimizer.update(params, optimizer.init(params), params, value=1.0)[0]
    assert_same_bits(updates, optimizer.update(params, optimizer.init(params), params)[0])


def test_parameters_are_needed_for_decay_alone():
    gradient = jnp.ones(3)
    for optimizer in (dualadam(0.1), invadam(0.1), scale_by_dualadam()):
        assert optimizer.update(gradient, optimizer.init(gradient))[0].shape == (3,)
    optimizer = dualadam(0.1, weight_decay=0.1)
    with pytest.raises(ValueError, match="params"):
        optimizer.update(gradient, optimizer.init(gradient))


def test_a_direction_in_a_chain_is_the_whole_optimizer():
    params, gradients = make_params(), make_gradients(20)
    whole = dualadam(0.1, switch_rate=0.1, weight_decay=0.1)
    chain = optax.chain(
        scale_by_dualadam(switch_rate=0.1),
        optax.add_decayed_weights(0.1),
        optax.scale_by_learning_rate(0.1),
    )
    assert_same_bits(
        train(whole, params, whole.init(params), gradients),
        train(chain, params, chain.init(params), gradients),
    )


def test_under_vmap_every_model_is_trained_as_it_is_alone():
    params, gradients = make_params(), at(make_gradients(1), 0)

    def two_steps(rate: jax.Array) -> Any:
        optimizer = dualadam(rate, switch_rate=rate)
        once = one_step(optimizer, params, optimizer.init(params), gradients)
        return one_step(optimizer, *once, gradients)

    rates, alone = jnp.array([0.01, 0.5, 1.0]), jax.jit(two_steps)
    together = jax.jit(jax.vmap(two_steps))(rates)
    for index, rate in enumerate(rates):
        expected = jax.tree.leaves(alone(rate))
        for x, y in zip(jax.tree.leaves(at(together, index)), expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=2 * jnp.finfo(jnp.float32).eps)


def test_injected_settings_change_between_steps_without_a_trace():
    params, gradients, traces = make_params(), at(make_gradients(1), 0), []
    optimizer = optax.inject_hyperparams(dualadam)(0.1, switch_rate=0.5)
    fixed = dualadam(0.1, switch_rate=0.5)

    @jax.jit
    def step(state: Any) -> Any:
        traces.append(None)
        return optimizer.update(gradients, state, params)

    state = optimizer.init(params)
    updates, state = step(state)
    expected = fixed.update(gradients, fixed.init(params), params)[0]
    for key in updates:
        np.testing.assert_allclose(updates[key], expected[key], rtol=INJECTED)
    state.hyperparams["switch_rate"] = jnp.float32(0.0)  # 0: InvAdam
    state.hyperparams["learning_rate"] = jnp.float32(0.2)
    updates, state = step(state)
    inverse = scale_by_invadam()
    direction = inverse.update(gradients, inverse.update(gradients, inverse.init(params))[1])[0]
    for key in updates:
        np.testing.assert_allclose(updates[key], -0.2 * direction[key], rtol=INJECTED)
    assert len(traces) == 1


def test_injected_schedules_are_those_given_directly():
    params, gradients = make_params(), make_gradients(20)
    settings = {
        "learning_rate": optax.cosine_decay_schedule(0.1, 100),
        "switch_rate": optax.linear_schedule(0.01, 0.1, 10),
    }
    directly, injected = dualadam(**settings), optax.inject_hyperparams(dualadam)(**settings)
    expected, _ = train(directly, params, directly.init(params), gradients)
    actual, _ = train(injected, params, injected.init(params), gradients)
    for key in expected:  # 20 steps of at most 0.1 each
        np.testing.assert_allclose(actual[key], expected[key], rtol=0, atol=20 * 0.1 * INJECTED)


def test_settings_injected_in_half_precision_are_refused_with_the_remedy():
    params = make_params("bfloat16")
    with pytest.raises(ValueError, match=r"b2 must be in \[0, 1\), got 1\.0\. .*hyperparam_dtype"):
        optax.inject_hyperparams(dualadam)(0.1).init(params)
    optimizer = optax.inject_hyperparams(dualadam, hyperparam_dtype=jnp.float32)(0.1)
    updates, _ = jax.jit(optimizer.update)(params, optimizer.init(params), params)
    assert updates["bias"].dtype == jnp.bfloat16


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_accumulated_gradients_are_one_step_with_their_mean(dtype: str):
    params, gradients = make_params(dtype), make_gradients(2, dtype)
    optimizer = dualadam(0.1, switch_rate=0.5, weight_decay=0.1)
    accumulating = optax.MultiSteps(optimizer, every_k_schedule=2)
    history, state = train(accumulating, params, accumulating.init(params), gradients)
    assert_same_bits(at(history, 0), params)
    assert optax.tree.get(at(state, 1).inner_opt_state, "nu")["bias"].shape == (5,)
    assert int(at(state, 1).inner_opt_state[0].count) == 1
    mean = jax.tree.map(lambda leaf: leaf.astype(jnp.float32).mean(0).astype(dtype), gradients)
    expected, _ = one_step(optimizer, params, optimizer.init(params), mean)
    tolerance = 4 * float(jnp.finfo(dtype).eps)  # the mean is taken in another order
    for key in expected:
        np.testing.assert_allclose(
            *(np.asarray(x[key], np.float32) for x in (at(history, 1), expected)),
            rtol=tolerance,
            atol=tolerance,
        )


def test_masked_leaves_pass_and_have_no_moments():
    params, gradients = make_params(), at(make_gradients(1), 0)
    optimizer = optax.masked(dualadam(0.1), MASK)
    updates, state = jax.jit(optimizer.update)(gradients, optimizer.init(params), params)
    assert_same_bits(updates["bias"], gradients["bias"])
    alone = dualadam(0.1)
    expected = alone.update(gradients["weight"], alone.init(params["weight"]))[0]
    np.testing.assert_allclose(updates["weight"], expected, rtol=1e-6)
    assert len(jax.tree.leaves(optax.tree.get(state, "mu"))) == 1


def test_a_step_with_a_gradient_of_nan_can_be_skipped():
    params = make_params()
    optimizer = optax.apply_if_finite(dualadam(0.1), max_consecutive_errors=2)
    bad = jax.tree.map(lambda leaf: leaf * jnp.nan, params)
    updates, state = jax.jit(optimizer.update)(bad, optimizer.init(params), params)
    assert not any(leaf.any() for leaf in updates.values())
    assert int(state.inner_state[0].count) == 0


def test_map_params_reaches_the_moments():
    optimizer, params = dualadam(0.1, weight_decay=0.1, mask=MASK), make_params()
    state = optax.tree.map_params(optimizer, lambda leaf: leaf + 1, optimizer.init(params))
    assert (state[0].mu["bias"] == 1).all()
    assert (state[0].nu["weight"] == 1).all()
    assert int(state[0].count) == 0


def test_the_learning_rate_has_a_gradient_through_two_steps():
    params, gradients = make_params(), at(make_gradients(1), 0)

    @jax.jit
    def loss(rate: jax.Array) -> jax.Array:
        optimizer = dualadam(rate, switch_rate=0.25)
        once = one_step(optimizer, params, optimizer.init(params), gradients)
        twice, _ = one_step(optimizer, *once, gradients)
        return sum(jnp.sum(leaf**2) for leaf in twice.values())

    slope = float(jax.jit(jax.grad(loss))(jnp.float32(0.1)))
    # the moments do not depend on the parameters: the loss is a parabola of the rate
    difference = float(loss(jnp.float32(0.15)) - loss(jnp.float32(0.05))) / 0.1
    assert slope == pytest.approx(difference, rel=1e-4)
