"""Trains parameters that are spread over two devices: run by test_sharding.py in a process."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from optax_cases import assert_same_bits, at, compiled_step, make_gradients, one_step

from dualadam.jax import diagnose, dualadam

OPTIMIZER = dualadam(0.1, switch_rate=0.25, weight_decay=0.1)


def train_spread_and_whole(mesh: Mesh, dtype: str) -> None:
    spread, whole = PartitionSpec(None, "devices"), PartitionSpec()
    shardings = {"weight": NamedSharding(mesh, spread), "bias": NamedSharding(mesh, whole)}
    gradients = make_gradients(6, dtype)
    expected = at(gradients, 0)
    expected_state = OPTIMIZER.init(expected)
    params = jax.tree.map(jax.device_put, expected, shardings)
    state = OPTIMIZER.init(params)
    for step in range(6):
        for key, sharding in shardings.items():
            for leaf in (params[key], state[0].mu[key], state[0].nu[key]):
                assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim), (step, key)
        gradient = at(gradients, step)
        expected, expected_state = compiled_step(OPTIMIZER, expected, expected_state, gradient)
        gradient = jax.tree.map(jax.device_put, gradient, shardings)
        params, state = compiled_step(OPTIMIZER, params, state, gradient)
    assert_same_bits((params, state), (expected, expected_state))
    assert diagnose(state, switch_rate=0.25) == diagnose(expected_state, switch_rate=0.25)


def train_half_of_the_models_on_each_device(mesh: Mesh) -> None:
    models = jax.device_put(jnp.ones((4, 3)), NamedSharding(mesh, PartitionSpec("devices")))
    many = jax.jit(jax.vmap(lambda leaf: one_step(OPTIMIZER, leaf, OPTIMIZER.init(leaf), leaf)))
    assert many(models)[0].sharding.is_equivalent_to(models.sharding, 2)


if __name__ == "__main__":
    devices = Mesh(np.array(jax.devices()), ("devices",))
    assert devices.size == 2
    for dtype in ("float32", "bfloat16"):
        train_spread_and_whole(devices, dtype)
    train_half_of_the_models_on_each_device(devices)
    print("sharded equals whole")
