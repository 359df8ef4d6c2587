"""What the tests of dualadam.jax share: parameters, gradients, and two ways of training."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

SHAPES = {"weight": (3, 4), "bias": (5,)}
MASK = {"weight": True, "bias": False}


def make_params(dtype: Any = jnp.float32) -> dict[str, jax.Array]:
    generator = np.random.default_rng(0)
    return {key: jnp.asarray(generator.normal(size=shape), dtype) for key, shape in SHAPES.items()}


def make_gradients(steps: int, dtype: Any = jnp.float32, scale: float = 1.0) -> Any:
    """Return a tree with one more dimension: that of the steps."""
    generator = np.random.default_rng(1)

    def draw(shape: tuple[int, ...]) -> Any:
        values = scale * generator.normal(size=(steps, *shape))
        if jnp.issubdtype(dtype, jnp.complexfloating):
            values = values + 1j * scale * generator.normal(size=(steps, *shape))
        return jnp.asarray(values, dtype)

    return {key: draw(shape) for key, shape in SHAPES.items()}


def at(tree: Any, step: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[step], tree)


def one_step(optimizer: Any, params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, updates), state


compiled_step = jax.jit(one_step, static_argnums=0)


def train(optimizer: Any, params: Any, state: Any, gradients: Any, compiled: bool = True) -> Any:
    """Return (params, state) after each step, with one more dimension, in NumPy."""
    step = compiled_step if compiled else one_step
    gradients, history = jax.tree.map(np.asarray, gradients), []
    for count in range(len(jax.tree.leaves(gradients)[0])):
        params, state = step(optimizer, params, state, at(gradients, count))
        history.append((params, state))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *history)


def assert_same_bits(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
