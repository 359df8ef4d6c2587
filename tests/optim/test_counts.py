"""The count of updates goes on beyond 2^24, and a cast one is brought back when it is loaded."""

from __future__ import annotations

import copy
import io
import math
import pickle
from typing import Any

import pytest
import torch
from cases import PATHS, assert_same_bits, randn, state_bits

from dualadam import DualAdam, diagnose
from dualadam.optim._step.columns import TensorRow
from dualadam.optim._step.rounding import noise_key

LAST = 2**24  # the last whole number that float32 reaches by adding 1
paths = pytest.mark.parametrize("path", PATHS)
pytestmark = pytest.mark.usefixtures("needs_the_kernel")


def started_at(step: float, weight: torch.Tensor, path: str, **settings: Any) -> DualAdam:
    """Return an optimizer whose parameter has had this many updates, with gradients of 1."""
    optimizer = DualAdam([weight], **settings, **PATHS[path])
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    optimizer.state[weight]["step"].fill_(step)
    for key in ("exp_avg", "exp_avg_sq"):
        optimizer.state[weight][key].fill_(1.0)
    weight.grad.fill_(1.0)
    return optimizer


@paths
def test_the_noise_of_stochastic_rounding_goes_on_changing_beyond_2_to_the_24(path: str):
    """500 Adam steps of 1e-5 from 1. bfloat16 is 2^-8 apart there: each step needs its own luck."""
    weight = torch.zeros(20_000, dtype=torch.bfloat16, requires_grad=True)
    settings = {"lr": 1e-5, "switch_rate": 1.0, "stochastic_rounding": True}
    optimizer = started_at(LAST, weight, path, **settings)
    weight.data.fill_(1.0)
    for _ in range(500):
        optimizer.step()
    # one element spreads by sqrt(500 x 1e-5 x 2^-8) = 0.0044, the mean of 20,000 by 3e-5
    assert weight.double().mean().item() == pytest.approx(0.995, abs=2e-4)
    assert optimizer.state[weight]["step"] == LAST + 500


@pytest.mark.parametrize("step", [LAST - 3, LAST + 3, float("nan"), float("inf"), 1e30])
def test_the_noise_is_the_same_in_every_path_at_every_count(step: float):
    """Zero gradients only multiply the moments, so that all paths round the very same numbers."""
    outcomes = []
    for path in PATHS:
        weight = randn(1_000).clone().requires_grad_()
        settings = {"betas": (0.75, 0.875), "state_dtype": torch.bfloat16}
        optimizer = started_at(step, weight, path, stochastic_rounding=True, **settings)
        for seed, key in enumerate(("exp_avg", "exp_avg_sq")):
            optimizer.state[weight][key].copy_(randn(1_000, seed=seed).square())
        weight.grad.zero_()
        for _ in range(6):
            optimizer.step()
        outcomes.append([optimizer.state[weight][key] for key in ("exp_avg", "exp_avg_sq")])
    for outcome in outcomes[1:]:
        assert_same_bits(outcomes[0], outcome)


@paths
def test_a_run_resumed_beyond_2_to_the_24_repeats_the_straight_one_bit_for_bit(path: str):
    settings = {"state_dtype": torch.bfloat16, "stochastic_rounding": True}
    straight = randn(300).clone().requires_grad_()
    optimizer = started_at(LAST - 2, straight, path, **settings)
    for step in range(8):
        if step == 5:
            resumed = straight.detach().clone().requires_grad_()
            fresh = DualAdam([resumed], **PATHS[path])
            file = io.BytesIO()
            torch.save(optimizer.state_dict(), file)
            file.seek(0)
            fresh.load_state_dict(torch.load(file, weights_only=True))
            resumed.grad = straight.grad.clone()
        optimizer.step()
        if step >= 5:
            fresh.step()
    assert_same_bits(state_bits([straight], optimizer), state_bits([resumed], fresh))


@paths
def test_a_hand_over_longer_than_2_to_the_24_steps_ends(path: str):
    weight = torch.ones(3, requires_grad=True)
    optimizer = started_at(LAST, weight, path, switch_rate=2**-24 * 0.999)
    for _ in range(4):
        optimizer.step()
    assert optimizer.state[weight]["step"] == LAST + 4
    assert optimizer.state_dict()["state"][0]["step"].dtype == torch.float64


@paths
def test_an_ordinary_count_is_torchs_float32(path: str):
    weight = torch.ones(3, requires_grad=True)
    assert started_at(0, weight, path).state[weight]["step"].dtype == torch.float32
    half = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    assert started_at(0, half, path).state[half]["step"].dtype == torch.float32


def cast(saved: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    saved = copy.deepcopy(saved)
    for state in saved["state"].values():
        state["step"] = state["step"].to(dtype)
    return saved


@paths
@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.float64]
)
def test_a_count_that_was_cast_is_brought_back_and_the_hand_over_ends(
    path: str, stochastic: bool, dtype: torch.dtype
):
    """A bfloat16 count stays at 256 for ever, and alpha with it."""
    rounded = {"state_dtype": torch.bfloat16, "stochastic_rounding": True} if stochastic else {}
    settings = {"switch_rate": 1 / 260, **rounded, **PATHS[path]}
    straight = randn(40).clone().requires_grad_()
    optimizer = started_at(256, straight, path, switch_rate=1 / 260, **rounded)
    resumed = straight.detach().clone().requires_grad_()
    fresh = DualAdam([resumed], **settings)
    fresh.load_state_dict(cast(optimizer.state_dict(), dtype))
    for _ in range(6):
        resumed.grad = straight.grad.clone()
        optimizer.step()
        fresh.step()
    step = fresh.state[resumed]["step"]
    assert step == 262
    assert step.dtype in (torch.float32, torch.float64)
    assert diagnose(fresh).groups[0].mixing_weight == 0.0
    for expected, actual in zip(
        state_bits([straight], optimizer), state_bits([resumed], fresh), strict=True
    ):
        assert torch.equal(expected.double(), actual.double())


@paths
def test_a_pickled_optimizer_with_a_float32_count_gets_the_count_that_its_noise_needs(path: str):
    weight = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    optimizer = started_at(7, weight, path, stochastic_rounding=True)
    optimizer.state[weight]["step"] = torch.tensor(7.0)
    _, copied = pickle.loads(pickle.dumps((weight, optimizer)))
    (state,) = copied.state.values()
    assert state["step"].dtype == torch.float64
    assert state["step"] == 7


def test_keys_formed_from_a_number_and_from_a_tensor_are_the_same(monkeypatch: pytest.MonkeyPatch):
    """A count on the CPU is read, one on another device is not."""
    bfloat16 = torch.zeros(1, dtype=torch.bfloat16)
    for step in (1.0, 2.0**24 + 1, 2.0**31 + 5, 2.0**40 + 3, 2.0**53, math.nan, -1.0):
        count = torch.tensor(step, dtype=torch.float64)
        row = TensorRow(bfloat16, bfloat16, bfloat16, bfloat16, count, place=5)
        number = noise_key(row)
        with monkeypatch.context() as patch:
            patch.setattr(torch.compiler, "is_compiling", lambda: True)
            tensor = noise_key(row)
        assert number is not None
        assert tensor is not None
        assert int(tensor) == number
