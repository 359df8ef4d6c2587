"""What load_state_dict refuses, before anything changes, and which other states it continues."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import PATHS, assert_same_bits, randn, state_bits
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from dualadam import DualAdam, InvAdam

paths = pytest.mark.parametrize("path", PATHS)
pytestmark = pytest.mark.usefixtures("needs_the_kernel")
STORAGES: dict[str, tuple[torch.dtype, dict[str, Any]]] = {
    "float32": (torch.float32, {}),
    "bfloat16": (torch.bfloat16, {}),
    "bfloat16 state": (torch.float32, {"state_dtype": "bfloat16"}),
}
storages = pytest.mark.parametrize("storage", STORAGES)


def stepped(rows: int, path: str, storage: str) -> tuple[list[torch.Tensor], DualAdam]:
    dtype, settings = STORAGES[storage]
    params = [randn(5).to(dtype), randn(rows, 8).to(dtype)]
    params = [p.clone().requires_grad_() for p in params]
    names = ["bias", "head.weight"]
    optimizer = DualAdam(list(zip(names, params, strict=True)), **settings, **PATHS[path])
    for p in params:
        p.grad = torch.full_like(p, 0.5)
    optimizer.step()
    return params, optimizer


@paths
@storages
@pytest.mark.parametrize(("before", "after"), [(4000, 3000), (1000, 1010), (8, 1), (1, 8)])
def test_moments_of_another_shape_are_refused_with_the_parameters_name_and_both_shapes(
    path: str, storage: str, before: int, after: int
):
    _, saved = stepped(before, path, storage)
    params, optimizer = stepped(after, path, storage)
    bits = state_bits(params, optimizer)
    with pytest.raises(
        ValueError,
        match=rf"exp_avg of parameter 1 \(head\.weight\) must have its shape \({after}, 8\), "
        rf"got \({before}, 8\)\.",
    ):
        optimizer.load_state_dict(saved.state_dict())
    assert_same_bits(bits, state_bits(params, optimizer))


@paths
@storages
@pytest.mark.parametrize("rows", [3000, 1000, 1010, 1])
def test_a_parameter_that_was_resized_in_place_is_refused_by_the_step_before_anything_changes(
    path: str, storage: str, rows: int
):
    params, optimizer = stepped(1005, path, storage)
    params[1].data = randn(rows, 8).to(params[1].dtype)
    params[1].grad = torch.full_like(params[1], 0.5)
    bits = state_bits(params, optimizer)
    with pytest.raises(RuntimeError, match=rf"shape of its parameter, \({rows}, 8\), got \(1005"):
        optimizer.step()
    assert_same_bits(bits, state_bits(params, optimizer))


@pytest.mark.parametrize("key", ["exp_avg_sq", "step"])
def test_every_key_of_the_state_is_checked(key: str):
    _, optimizer = stepped(6, "loop", "bfloat16")
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"][1][key] = torch.zeros(3)
    with pytest.raises(ValueError, match=rf"{key} of parameter 1 \(head\.weight\) must"):
        optimizer.load_state_dict(saved)


@pytest.mark.parametrize("stepped", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("cls", [DualAdam, InvAdam])
def test_a_state_of_sgd_is_refused_whether_it_has_stepped_or_not(
    cls: Any, momentum: float, stepped: bool
):
    weight = torch.ones(3, requires_grad=True)
    sgd = torch.optim.SGD([weight], lr=0.1, momentum=momentum)
    if stepped:
        weight.grad = torch.ones(3)
        sgd.step()
    optimizer = cls([weight])
    with pytest.raises(ValueError, match=r"got momentum_buffer|its group 0 has no betas|Adam's"):
        optimizer.load_state_dict(sgd.state_dict())
    assert optimizer.param_groups[0]["lr"] == 1e-3


def of_pytorch_optimizer(weight: torch.Tensor, saved: dict[str, Any]) -> dict[str, Any]:
    """Return a state as pytorch_optimizer 4.1.0 saves it: the count is in the group."""
    saved = copy.deepcopy(saved)
    (group,) = saved["param_groups"]
    group["step"] = int(saved["state"][0].pop("step"))
    group |= {"weight_decouple": True, "fixed_decay": False}
    kept = ("params", "lr", "betas", "eps", "weight_decay", "switch_rate")
    saved["param_groups"] = [
        {k: v for k, v in group.items() if k in (*kept, "step", "weight_decouple", "fixed_decay")}
    ]
    return saved


@paths
def test_a_state_with_the_count_in_its_group_is_continued(path: str):
    settings = {"switch_rate": 0.1, "lr": 1e-2, **PATHS[path]}
    weight = randn(30).clone().requires_grad_()
    straight = DualAdam([weight], **settings)
    for step in range(4):
        weight.grad = randn(30, seed=step).clone()
        straight.step()
    twin = weight.detach().clone().requires_grad_()
    resumed = DualAdam([twin], **settings)
    resumed.load_state_dict(of_pytorch_optimizer(weight, straight.state_dict()))
    assert "step" not in resumed.param_groups[0]
    for step in range(4, 12):
        weight.grad = randn(30, seed=step).clone()
        twin.grad = weight.grad.clone()
        straight.step()
        resumed.step()
    assert_same_bits(state_bits([weight], straight), state_bits([twin], resumed))


def test_a_coupled_decay_of_that_state_warns_where_it_is_loaded():
    weight = torch.ones(3, requires_grad=True)
    weight.grad = torch.ones(3)
    optimizer = DualAdam([weight], weight_decay=0.1)
    optimizer.step()
    saved = of_pytorch_optimizer(weight, optimizer.state_dict())
    saved["param_groups"][0]["weight_decouple"] = False
    with pytest.warns(UserWarning, match=r"coupled weight_decay 0\.1 of pytorch_opt") as caught:
        optimizer.load_state_dict(saved)
    assert Path(caught[0].filename) == Path(__file__)


@pytest.mark.parametrize("keys", [("m", "v"), ("exp_avg", "exp_avg_sq")])
def test_a_state_without_a_count_is_refused_with_the_reason(keys: tuple[str, str]):
    """The authors' release counts outside its state_dict, and names the moments m and v."""
    weight = torch.ones(3, requires_grad=True)
    saved = {
        "state": {0: {key: torch.zeros(3) for key in keys}},
        "param_groups": [{"params": [0], "lr": 1e-3, "beta1": 0.9, "beta2": 0.999}],
    }
    with pytest.raises(ValueError, match=r"no count of updates.*authors' release"):
        DualAdam([weight]).load_state_dict(saved)


DTYPES = [torch.bfloat16, "bfloat16", "torch.bfloat16"]


@paths
@pytest.mark.parametrize("state_dtype", DTYPES, ids=str)
def test_a_state_dtype_is_a_dtype_or_its_name_and_the_group_keeps_the_name(path: str, state_dtype):
    weight, other = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    optimizer = DualAdam([weight], state_dtype=state_dtype, **PATHS[path])
    optimizer.add_param_group({"params": [other], "state_dtype": state_dtype})
    for param in (weight, other):
        param.grad = torch.ones(3)
    optimizer.step()
    assert [group["state_dtype"] for group in optimizer.param_groups] == ["bfloat16"] * 2
    assert {optimizer.state[p]["exp_avg"].dtype for p in (weight, other)} == {torch.bfloat16}
    assert optimizer.defaults["state_dtype"] == "bfloat16"


@pytest.mark.parametrize("state_dtype", ["float16", "half", torch.float64, 16, "bf16"])
def test_another_state_dtype_is_refused(state_dtype):
    weight = torch.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match="state_dtype must be None, "):
        DualAdam([weight], state_dtype=state_dtype)


@paths
def test_a_group_that_was_saved_with_a_dtype_gets_its_name(path: str):
    """As earlier versions saved it."""
    params, optimizer = stepped(6, path, "bfloat16 state")
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0]["state_dtype"] = torch.bfloat16
    fresh = DualAdam(params, **PATHS[path])
    fresh.load_state_dict(saved)
    assert fresh.param_groups[0]["state_dtype"] == "bfloat16"
    assert_same_bits(state_bits(params, optimizer), state_bits(params, fresh))


@paths
@pytest.mark.parametrize("options", [{"full_state_dict": True}, {"cpu_offload": True}], ids=str)
def test_the_state_passes_through_a_distributed_checkpoint(path: str, options: dict[str, bool]):
    def make() -> tuple[nn.Module, DualAdam]:
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        settings = {"state_dtype": torch.bfloat16, "stochastic_rounding": True}
        optimizer = DualAdam(model.parameters(), **settings, **PATHS[path])
        return model, optimizer

    def step(model: nn.Module, optimizer: DualAdam) -> None:
        for seed, param in enumerate(model.parameters()):
            param.grad = randn(*param.shape, seed=seed).clone()
        optimizer.step()

    model, optimizer = make()
    step(model, optimizer)
    chosen = StateDictOptions(**options)
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=chosen))
    twin, resumed = make()
    twin.load_state_dict(model.state_dict())
    set_optimizer_state_dict(twin, resumed, saved, options=chosen)
    for pair in ((model, optimizer), (twin, resumed)):
        step(*pair)
    assert_same_bits(
        state_bits(list(model.parameters()), optimizer),
        state_bits(list(twin.parameters()), resumed),
    )
