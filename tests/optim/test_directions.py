"""Properties of the step that hold for every gradient, by hypothesis, on every path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from cases import PATHS
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracle import Oracle

from dualadam import DualAdam, InvAdam

magnitudes = st.floats(1e-3, 1e3)
signed = st.tuples(magnitudes, st.sampled_from([-1.0, 1.0])).map(lambda pair: pair[0] * pair[1])
gradients = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=signed
)  # steps x coordinates
switch_rates = st.floats(0.0, 1.0)
rows = pytest.mark.parametrize("path", PATHS)
EXACT = {"rtol": 0.0, "atol": 0.0}


def travel(
    rows: np.ndarray[Any, Any], optimizer=DualAdam, path: str = "loop", **kwargs: Any
) -> torch.Tensor:
    """Return how far parameters go from zero under these gradients, shape (steps, coordinates)."""
    weight = torch.zeros(rows.shape[1], dtype=torch.float64, requires_grad=True)
    opt = optimizer([weight], **{"lr": 1.0, "eps": 0.0, **kwargs}, **PATHS[path])
    for row in rows:
        weight.grad = torch.tensor(row)
        opt.step()
    return weight.detach()


@rows
@given(rows=gradients, power=st.integers(-8, 8))
def test_gradients_times_k_leave_adams_steps_and_multiply_invadams_by_k_squared(
    path: str, rows, power: int
):
    k = 2.0**power  # a power of two only shifts exponents
    torch.testing.assert_close(
        travel(rows * k, path=path, switch_rate=1.0),
        travel(rows, path=path, switch_rate=1.0),
        **EXACT,
    )
    torch.testing.assert_close(
        travel(rows * k, InvAdam, path), travel(rows, InvAdam, path) * k**2, **EXACT
    )


@rows
@given(rows=gradients, switch_rate=switch_rates)
def test_the_opposite_gradients_and_maximize_each_turn_every_step_round(
    path: str, rows, switch_rate: float
):
    forward = travel(rows, path=path, switch_rate=switch_rate)
    torch.testing.assert_close(travel(-rows, path=path, switch_rate=switch_rate), -forward, **EXACT)
    torch.testing.assert_close(
        travel(rows, path=path, switch_rate=switch_rate, maximize=True), -forward, **EXACT
    )


@rows
@given(rows=gradients, switch_rate=switch_rates, data=st.data())
def test_permuted_coordinates_take_permuted_steps(path: str, rows, switch_rate: float, data):
    order = data.draw(st.permutations(range(rows.shape[1])))
    moved = travel(rows[:, order], path=path, switch_rate=switch_rate)
    # vector and remainder lanes of a kernel may differ by an ulp; opposite steps may cancel
    scale = float(np.abs(rows).max()) ** 2 + 1
    torch.testing.assert_close(
        moved,
        travel(rows, path=path, switch_rate=switch_rate)[list(order)],
        rtol=1e-12,
        atol=1e-12 * scale,
    )


@rows
@given(rows=gradients, switch_rate=switch_rates, cut=st.integers(0, 5))
def test_splitting_a_parameter_in_two_changes_no_step(
    path: str, rows, switch_rate: float, cut: int
):
    whole = travel(rows, path=path, switch_rate=switch_rate)
    halves = [
        torch.zeros(part.shape[1], dtype=torch.float64, requires_grad=True)
        for part in (rows[:, :cut], rows[:, cut:])
    ]
    optimizer = DualAdam(halves, lr=1.0, eps=0.0, switch_rate=switch_rate, **PATHS[path])
    for row in rows:
        for half, part in zip(halves, (row[:cut], row[cut:]), strict=True):
            half.grad = torch.tensor(part)
        optimizer.step()
    scale = float(np.abs(rows).max()) ** 2 + 1
    torch.testing.assert_close(
        torch.cat([h.detach() for h in halves]), whole, rtol=1e-12, atol=1e-12 * scale
    )


@rows
@given(rows=gradients, switch_rate=switch_rates)
def test_a_step_is_exactly_adams_step_times_the_effective_weight(
    path: str, rows, switch_rate: float
):
    """w_t = xi t + (1 - xi t) r^2 until 1/xi, then 1."""
    oracle = Oracle(np.zeros(rows.shape[1]))
    before = travel(rows[:-1], path=path, switch_rate=switch_rate)
    step = travel(rows, path=path, switch_rate=switch_rate) - before
    for row in rows:
        oracle.step(row, lr=0.0)
    mh, vh = oracle.hats((0.9, 0.999))
    progress = min(1.0, switch_rate * oracle.t)
    expected = -(mh / np.sqrt(vh)) * (progress + (1 - progress) * vh)
    scale = (
        float(np.abs(rows).max()) ** 2 * np.abs(rows).max() + before.abs().max().item() + 1
    )  # the difference of two positions loses digits
    np.testing.assert_allclose(step.numpy(), expected, rtol=1e-9, atol=1e-14 * scale)


@settings(max_examples=30)
@rows
@given(
    rows=gradients,
    switch_rate=switch_rates,
    weight_decay=st.floats(0, 0.5),
    beta1=st.floats(0, 0.99),
    beta2=st.floats(0, 0.9999),
)
def test_any_settings_equal_the_oracle(
    path: str, rows, switch_rate: float, weight_decay: float, beta1: float, beta2: float
):
    numbers = {
        "lr": 1e-3,
        "betas": (beta1, beta2),
        "eps": 1e-8,
        "weight_decay": weight_decay,
        "switch_rate": switch_rate,
    }
    oracle = Oracle(np.zeros(rows.shape[1]))
    for row in rows:
        oracle.step(row, **numbers)
    np.testing.assert_allclose(
        travel(rows, path=path, **numbers).numpy(), oracle.theta, rtol=1e-9, atol=1e-9
    )
