"""A run that orbax has saved and restored goes on as the straight run does, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import optax
import orbax.checkpoint
import pytest
from optax_cases import assert_same_bits, at, make_gradients, make_params, train

from dualadam.jax import dualadam

STEPS, DURATION = 30, 20
SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {
        "learning_rate": optax.cosine_decay_schedule(0.1, STEPS),
        "switch_rate": 1 / DURATION,
        "weight_decay": 0.1,
    },
    "bfloat16": {"learning_rate": 0.1, "switch_rate": 1 / DURATION, "mu_dtype": "bfloat16"},
}


@pytest.mark.parametrize("dtype", SETTINGS)
def test_a_resumed_run_equals_the_straight_one_bit_for_bit(dtype: str, tmp_path: Path):
    optimizer = dualadam(**SETTINGS[dtype])
    params, gradients = make_params(dtype), make_gradients(STEPS, dtype)
    start = (params, optimizer.init(params))
    straight = train(optimizer, *start, gradients)
    for stop in (5, DURATION - 1, DURATION, 25):  # before, at and after the end of the hand-over
        rest = jax.tree.map(lambda leaf, stop=stop: leaf[stop:], gradients)
        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / str(stop), at(straight, stop - 1))
            checkpointer.wait_until_finished()
            params, state = checkpointer.restore(tmp_path / str(stop), start)
        resumed = train(optimizer, params, state, rest)
        assert_same_bits(at(resumed, -1), at(straight, -1))
