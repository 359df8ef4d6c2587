"""Resuming equals the straight run bit for bit, at any step and in every way of saving."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import ROW_IDS, ROWS, Case, assert_same_bits, state_bits

from dualadam import DualAdam

Run = tuple[list[torch.Tensor], Any]


def through_state_dict(case: Case, path: str, run: Run) -> Run:
    params = copy.deepcopy(run[0])
    fresh = case.make(params, path)
    fresh.load_state_dict(run[1].state_dict())
    return params, fresh


def through_file(case: Case, path: str, run: Run) -> Run:
    file = io.BytesIO()
    torch.save({"params": run[0], "optimizer": run[1].state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    fresh = case.make(saved["params"], path)
    fresh.load_state_dict(saved["optimizer"])
    return saved["params"], fresh


def through_deepcopy(case: Case, path: str, run: Run) -> Run:
    return copy.deepcopy(run)


def through_pickle(case: Case, path: str, run: Run) -> Run:
    return pickle.loads(pickle.dumps(run))


WAYS = [through_state_dict, through_file, through_deepcopy, through_pickle]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("case", "path"), ROWS, ids=ROW_IDS)
def test_a_run_saved_and_loaded_after_every_step_equals_the_straight_run(
    case: Case, path: str, way: Callable[[Case, str, Run], Run]
):
    """Loading after every step is resuming at any step, by induction."""
    straight: Run = (params := case.make_params(), case.make(params, path))
    resumed: Run = (params := case.make_params(), case.make(params, path))
    for step in (1, 2, 3, 4, 41, 42, 100, 101):  # 41: the late parameters join
        for params, optimizer in (straight, resumed):
            case.set_grads(params, step)
            optimizer.step()
        resumed = way(case, path, resumed)
        assert_same_bits(state_bits(*straight), state_bits(*resumed))


@pytest.mark.parametrize("way", WAYS)
def test_resuming_on_either_side_of_the_hand_over_equals_the_straight_run(
    way: Callable[[Case, str, Run], Run],
):
    case = Case("short", {"switch_rate": 0.1, "lr": 1e-2, "weight_decay": 0.1})
    for resume_at in range(1, 13):
        straight: Run = (params := case.make_params(), case.make(params, "loop"))
        resumed: Run = (params := case.make_params(), case.make(params, "loop"))
        for step in range(1, 16):
            for params, optimizer in (straight, resumed):
                case.set_grads(params, step)
                optimizer.step()
            if step == resume_at:
                resumed = way(case, "loop", resumed)
        assert_same_bits(state_bits(*straight), state_bits(*resumed))


def test_a_state_with_the_step_as_a_number_continues():
    case = Case("old", {"lr": 1e-2})
    straight: Run = (params := case.make_params(), case.make(params, "loop"))
    for step in (1, 2):
        case.set_grads(straight[0], step)
        straight[1].step()
    old = copy.deepcopy(straight[1].state_dict())
    for state in old["state"].values():
        state["step"] = int(state["step"])
    params = copy.deepcopy(straight[0])
    resumed = case.make(params, "loop")
    resumed.load_state_dict(old)
    for values, optimizer in (straight, (params, resumed)):
        case.set_grads(values, 3)
        optimizer.step()
    assert_same_bits(state_bits(*straight), state_bits(params, resumed))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_loaded_state_of_a_half_precision_parameter_is_a_float32_copy(dtype: torch.dtype):
    weight = torch.ones(3, dtype=dtype, requires_grad=True)
    optimizer = DualAdam([weight])
    weight.grad = torch.full_like(weight, 0.1)
    optimizer.step()
    saved = optimizer.state_dict()
    fresh = DualAdam([weight])
    fresh.load_state_dict(saved)
    for key in ("exp_avg", "exp_avg_sq"):
        assert fresh.state[weight][key].dtype == torch.float32
        assert torch.equal(fresh.state[weight][key], saved["state"][0][key])
        assert fresh.state[weight][key].data_ptr() != saved["state"][0][key].data_ptr()


def test_the_users_load_hooks_see_and_change_what_is_loaded():
    weight = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    optimizer = DualAdam([weight])
    weight.grad = torch.full_like(weight, 0.1)
    optimizer.step()
    seen = []

    def change(_: Any, saved: dict[str, Any]) -> dict[str, Any]:
        saved = copy.deepcopy(saved)
        saved["state"][0]["exp_avg"].fill_(1 / 3)
        return saved

    optimizer.register_load_state_dict_pre_hook(change)
    optimizer.register_load_state_dict_post_hook(
        lambda opt: seen.append(opt.state[weight]["exp_avg"].clone())
    )
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen[0].dtype == torch.float32
    assert torch.equal(seen[0], torch.full((3,), 1 / 3))
