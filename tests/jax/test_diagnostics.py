"""diagnose against the torch package's, inside optax's wrappers, and what it refuses."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from optax_cases import MASK, at, make_gradients, make_params, train

import dualadam.optim.diagnostics as torchs
from dualadam import DualAdam
from dualadam.errors import InvalidTypeError, InvalidValueError
from dualadam.jax import GroupDiagnosis, diagnose, dualadam, invadam

STEPS = 30
OPTIMIZER = dualadam(1e-3, switch_rate=0.01)


def state_after(optimizer: Any, steps: int, dtype: str = "float32", scale: float = 1.0) -> Any:
    params, gradients = make_params(dtype), make_gradients(steps, dtype, scale)
    return at(train(optimizer, params, optimizer.init(params), gradients)[1], -1)


def test_the_rows_have_the_names_of_the_torch_packages():
    names = [field.name for field in dataclasses.fields(GroupDiagnosis)]
    assert names == [field.name for field in dataclasses.fields(torchs.GroupDiagnosis)]


@pytest.mark.parametrize("scale", [1e-4, 1.0, 10.0])
@pytest.mark.parametrize("steps", [1, STEPS, 120])
def test_every_number_is_that_of_the_torch_package(steps: int, scale: float):
    gradients = make_gradients(steps, "float32", scale)
    tensors = [
        torch.zeros(shape[1:]).requires_grad_() for shape in map(np.shape, gradients.values())
    ]
    optimizer = DualAdam(tensors, switch_rate=0.01)
    for step in range(steps):
        for tensor, gradient in zip(tensors, gradients.values(), strict=True):
            tensor.grad = torch.tensor(np.array(gradient[step]))
        optimizer.step()
    (expected,) = torchs.diagnose(optimizer)
    (row,) = diagnose(state_after(OPTIMIZER, steps, scale=scale), switch_rate=0.01)
    # both states are float32, and each step has rounded them
    for name, value in dataclasses.asdict(expected).items():
        assert getattr(row, name) == pytest.approx(value, rel=2e-7 * (steps + 4), abs=1e-14), name


@pytest.mark.parametrize("dtype", ["bfloat16", "complex64"])
def test_other_dtypes_are_diagnosed_a_complex_number_as_one_coordinate(dtype: str):
    (row,) = diagnose(state_after(OPTIMIZER, STEPS, dtype), switch_rate=0.01)
    assert row.num_coordinates == 17
    assert row.mixing_weight == pytest.approx(0.7, rel=1e-6)
    mean = {"bfloat16": 1.0, "complex64": 2.0}[dtype]  # of |g|^2, 17 coordinates, 30 steps
    assert row.second_moment_mean == pytest.approx(mean, rel=0.2)


def test_states_inside_wrappers_are_found_and_each_is_a_row():
    parts = dict.fromkeys(MASK, OPTIMIZER)
    optimizer = optax.MultiSteps(
        optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.partition(parts, dict(zip(MASK, MASK, strict=True))),
        ),
        every_k_schedule=2,
    )
    rows = diagnose(state_after(optimizer, STEPS), switch_rate=0.01).groups
    assert [(row.group, row.num_coordinates) for row in rows] == [(0, 5), (1, 12)]
    assert {round(row.mixing_weight, 6) for row in rows} == {0.85}
    injected = optax.masked(optax.inject_hyperparams(dualadam)(1e-3, switch_rate=0.01), MASK)
    (row,) = diagnose(state_after(injected, STEPS), switch_rate=0.01)
    assert row.num_coordinates == 12


def test_a_scheduled_switch_rate_is_that_of_the_last_update():
    schedule = optax.linear_schedule(0.0, 0.1, 10)
    state = state_after(dualadam(1e-3, switch_rate=schedule), 5)
    (row,) = diagnose(state, switch_rate=schedule)
    assert row.mixing_weight == pytest.approx(1 - 0.04 * 5)
    with pytest.raises(InvalidValueError, match=r"switch_rate must .* got -0\.5 at count 4"):
        diagnose(state, switch_rate=lambda count: -0.5)


def test_pure_invadam_has_no_adam_part_and_pure_adam_no_inverse_part():
    optimizer, zeros = invadam(1e-3, eps=0.0), jnp.zeros(3)
    _, state = optimizer.update(jnp.array([0.0, 1.0, 2.0]), optimizer.init(zeros))
    (row,) = diagnose(state, switch_rate=0, eps=0.0)
    assert (row.mixing_weight, row.ratio, row.inverse_share) == (1.0, math.inf, 2 / 3)
    (row,) = diagnose(state, switch_rate=1.0)
    assert (row.ratio, row.effective_weight, row.inverse_share) == (0.0, 1.0, 0.0)


def test_the_mapping_is_flat_and_holds_plain_numbers_which_the_text_names():
    diagnosis = diagnose(state_after(OPTIMIZER, STEPS), switch_rate=0.01)
    mapping = diagnosis.as_dict()
    assert len(mapping) == 11
    assert all(type(value) in (int, float) for value in mapping.values())
    assert [line.split()[0] for line in str(diagnosis).splitlines()] == list(mapping)


def test_a_state_without_an_update_or_a_coordinate_is_a_row_of_nan():
    for params in (jnp.ones(3), {}, jnp.ones(0)):
        (row,) = diagnose(dualadam(1e-3).init(params), switch_rate=0.01)
        assert row.num_coordinates == 0
        assert math.isnan(row.mixing_weight)
        assert math.isnan(row.ratio)


def test_quantiles_of_a_large_state_are_those_of_a_sample_within_its_error():
    """2.5 million coordinates, 100,000 sampled: the error is about 1.6e-3 in probability."""
    gradient = jnp.asarray(np.random.default_rng(3).normal(size=2_500_000), "float32")
    optimizer = dualadam(1e-3)
    (row,) = diagnose(optimizer.update(gradient, optimizer.init(gradient))[1], switch_rate=0.01)
    squares = np.square(np.asarray(gradient))
    for quantile, probability in (
        (row.second_moment_q05, 0.05),
        (row.second_moment_median, 0.5),
        (row.second_moment_q95, 0.95),
    ):
        assert abs((squares <= quantile).mean() - probability) < 6.4e-3  # four times that


def test_what_cannot_be_diagnosed_is_refused():
    state = dualadam(1e-3).init(jnp.ones(3))
    with pytest.raises(InvalidTypeError, match=r"state must hold the state of dualadam.* got dict"):
        diagnose({"params": jnp.ones(3)}, switch_rate=0.01)
    with pytest.raises(InvalidTypeError, match="Call diagnose outside jit"):
        jax.jit(lambda state: diagnose(state, switch_rate=0.01).groups[0].ratio)(state)
    many = jax.vmap(dualadam(1e-3).init)(jnp.ones((4, 3)))
    with pytest.raises(InvalidTypeError, match="state must be that of one model, got 4 counts"):
        diagnose(many, switch_rate=0.01)
    with pytest.raises(InvalidValueError, match=r"b2 must be in \[0, 1\), got 2"):
        diagnose(state, switch_rate=0.01, b2=2.0)
