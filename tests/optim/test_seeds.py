"""The rounding noise of several optimizers: independent, repeatable, and kept in a resumed run."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from cases import PATHS, assert_same_bits, randn, state_bits

from dualadam import DualAdam, InvAdam
from dualadam.optim._step.seeds import begin_again

pytestmark = pytest.mark.usefixtures("needs_the_kernel")
paths = pytest.mark.parametrize("path", PATHS)
ROUNDED = {"stochastic_rounding": True, "state_dtype": "bfloat16"}
SIZE = 20_000


@pytest.fixture(autouse=True)
def _numbered_from_0() -> Iterator[None]:
    begin_again()
    yield
    begin_again()


def equal_weights(num: int) -> list[torch.Tensor]:
    return [torch.ones(SIZE, dtype=torch.bfloat16, requires_grad=True) for _ in range(num)]


def one_each(weights: list[torch.Tensor], path: str, **more: Any) -> list[DualAdam]:
    return [DualAdam([w], lr=1e-3, **ROUNDED, **PATHS[path], **more) for w in weights]


def step_all(optimizers: list[Any], seed: int) -> None:
    for optimizer in optimizers:
        for param in optimizer.param_groups[0]["params"]:
            param.grad = randn(SIZE, seed=seed).bfloat16()
        optimizer.step()


def agreement(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a == b).double().mean().item()


@paths
def test_equal_parameters_of_optimizers_of_their_own_round_independently(path: str):
    """As much as equal parameters of one optimizer, which agree where both are rounded alike."""
    together = equal_weights(2)
    optimizer = DualAdam(together, lr=1e-3, **ROUNDED, **PATHS[path])
    alone = equal_weights(2)
    optimizers = one_each(alone, path)
    for step in range(5):
        step_all([optimizer], step)
        step_all(optimizers, step)
    expected, actual = agreement(*together), agreement(*alone)
    assert 0.3 < actual < 0.9
    assert actual == pytest.approx(expected, abs=0.03)  # 20,000 coins: 0.004


@paths
def test_the_first_optimizer_has_the_noise_of_the_seed_0_and_a_seed_can_be_given(path: str):
    weights = equal_weights(4)
    optimizers = one_each(weights[:2], path)
    optimizers += one_each(weights[2:], path, rounding_seed=1)
    assert [o.param_groups[0]["rounding_seed"] for o in optimizers] == [0, 1, 1, 1]
    step_all(optimizers, 0)
    assert torch.equal(weights[1], weights[2])
    assert torch.equal(weights[1], weights[3])
    assert not torch.equal(weights[0], weights[1])


@paths
def test_a_second_training_in_the_same_process_repeats_the_first(path: str):
    outcomes = []
    kept = []
    for _ in range(2):
        weights = equal_weights(3)
        optimizers = one_each(weights, path)
        kept.append(optimizers)
        for step in range(3):
            step_all(optimizers[:2], step)  # the third is frozen
        outcomes.append(weights)
    assert_same_bits(*outcomes)


def test_an_optimizer_that_was_thrown_away_takes_no_number():
    """As one that a tool makes to check its arguments."""
    (weight,) = equal_weights(1)
    DualAdam([weight], **ROUNDED)
    gc.collect()
    assert DualAdam([weight], **ROUNDED).param_groups[0]["rounding_seed"] == 0


def test_optimizers_that_round_to_nearest_have_no_seed_and_take_none():
    weights = equal_weights(2)
    nearest = [DualAdam([weights[0]]), InvAdam([weights[0]])]
    rounded = DualAdam([weights[1]], **ROUNDED)
    assert [o.param_groups[0]["rounding_seed"] for o in nearest] == [None, None]
    assert rounded.param_groups[0]["rounding_seed"] == 0


def test_all_groups_of_an_optimizer_have_one_seed():
    weights = equal_weights(4)
    first = DualAdam([weights[0]], **ROUNDED)
    optimizer = DualAdam([{"params": [weights[1]]}, {"params": [weights[2]], **ROUNDED}])
    optimizer.add_param_group({"params": [weights[3]], **ROUNDED})
    seeds = [group["rounding_seed"] for group in optimizer.param_groups]
    assert (first.param_groups[0]["rounding_seed"], seeds) == (0, [None, 1, 1])


def through_state_dict(optimizer: DualAdam, weight: torch.Tensor, path: str) -> Any:
    twin = weight.detach().clone().requires_grad_()
    fresh = DualAdam([twin], **PATHS[path])
    fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    return fresh, twin


def through_pickle(optimizer: DualAdam, weight: torch.Tensor, path: str) -> Any:
    return pickle.loads(pickle.dumps((optimizer, weight)))


@paths
@pytest.mark.parametrize("way", [through_state_dict, through_pickle])
def test_a_resumed_optimizer_keeps_its_seed(path: str, way: Callable[..., Any]):
    weights = equal_weights(3)
    optimizers = one_each(weights, path)
    step_all(optimizers, 0)
    resumed, twin = way(optimizers[2], weights[2], path)
    assert resumed.param_groups[0]["rounding_seed"] == 2
    for step in range(1, 4):
        step_all([optimizers[2], resumed], step)
    assert_same_bits(state_bits([weights[2]], optimizers[2]), state_bits([twin], resumed))


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (2**32, ValueError), (1.0, TypeError), (True, TypeError)]
)
def test_a_bad_seed_is_refused(seed: Any, error: type[Exception]):
    with pytest.raises(error, match="rounding_seed must be"):
        DualAdam(equal_weights(1), rounding_seed=seed, **ROUNDED)
