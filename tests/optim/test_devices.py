"""A default device other than that of the parameters changes nothing; fused needs a kernel."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from cases import PATHS, assert_same_bits, randn, state_bits

from dualadam import DualAdam, diagnose, fused_status

pytestmark = pytest.mark.usefixtures("needs_the_kernel")
paths = pytest.mark.parametrize("path", PATHS)


@contextlib.contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    yield
    torch.set_default_device(None)


DEFAULTS = {"torch.device": torch.device, "set_default_device": default_device}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.1, "maximize": True},
    {"capturable": True},
    {"state_dtype": "bfloat16", "stochastic_rounding": True},
]


def params() -> list[torch.Tensor]:
    made = [randn(40), randn(3, 5, seed=1), randn(7, seed=2).bfloat16(), randn(6, 8)[::2, ::2]]
    made = [value.clone() for value in made[:3]] + made[3:]
    return [value.detach().requires_grad_() for value in copy.deepcopy(made)]


def set_grads(values: list[torch.Tensor], step: int) -> None:
    for i, param in enumerate(values):
        grad = randn(*param.shape, seed=10 * step + i).to(param.dtype)
        param.grad = torch.empty_like(param).copy_(grad)


@paths
@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_under_another_default_device_the_step_and_the_diagnosis_are_the_same(
    path: str, default: str, settings: dict[str, Any]
):
    for seed in range(50):  # cached on the CPU
        for shape in ((40,), (3, 5), (7,), (3, 4)):
            randn(*shape, seed=seed)
    outcomes = []
    for context in (contextlib.nullcontext(), DEFAULTS[default]("meta")):
        values = params()
        with context:
            optimizer = DualAdam(values, switch_rate=0.25, **settings, **PATHS[path])
            for step in range(1, 5):
                set_grads(values, step)
                optimizer.step()
                if step == 2:
                    saved = copy.deepcopy(optimizer.state_dict())
                    optimizer = DualAdam(values, switch_rate=0.25, **settings, **PATHS[path])
                    optimizer.load_state_dict(saved)
            status = str(fused_status(optimizer))
            copied = pickle.loads(pickle.dumps(optimizer))
            diagnosis = diagnose(optimizer)
        assert {state["step"].device.type for state in copied.state.values()} == {"cpu"}
        outcomes.append((state_bits(values, optimizer), diagnosis, status))
    assert_same_bits(outcomes[0][0], outcomes[1][0])
    assert outcomes[0][1:] == outcomes[1][1:]


def test_fused_is_refused_at_construction_on_a_device_without_a_kernel():
    meta = torch.nn.Parameter(torch.empty(3, device="meta"))
    with pytest.raises(
        RuntimeError,
        match=r"fused=True is not available: there is no kernel for the device type meta\. Move",
    ):
        DualAdam([meta], fused=True)
    optimizer = DualAdam([torch.nn.Parameter(torch.ones(3))], fused=True)
    with pytest.raises(RuntimeError, match="device type meta"):
        optimizer.add_param_group({"params": [meta]})
    assert len(optimizer.param_groups) == 1
    DualAdam([meta], fused=None)
