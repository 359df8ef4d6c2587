"""Half-precision parameters: float32 arithmetic and state, and no more drift than AdamW's."""

from __future__ import annotations

import pytest
import torch
from cases import HALF, PATHS, Case, randn

from dualadam import DualAdam

STEPS = 300


def run(make, dtype: torch.dtype) -> torch.Tensor:
    """Return how far a weight travels on gradients that every format holds exactly."""
    start = randn(2000, seed=7).to(torch.bfloat16).to(torch.float16)
    weight = start.to(dtype).clone().requires_grad_()
    optimizer = make([weight])
    for step in range(STEPS):
        weight.grad = (randn(2000, seed=step) + 0.3).to(torch.bfloat16).to(torch.float16).to(dtype)
        optimizer.step()
    return weight.detach().double() - start.double()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", HALF)
def test_drift_from_float64_after_300_steps_is_no_worse_than_adamws(dtype: torch.dtype, path: str):
    """At switch_rate 1/50 most steps have AdamW's size, so the drifts can be compared."""

    def drift(make) -> float:
        exact = run(make, torch.float64)
        return float((run(make, dtype) - exact).norm() / exact.norm())

    ours = drift(lambda params: DualAdam(params, lr=1e-2, switch_rate=0.02, **PATHS[path]))
    theirs = drift(
        lambda params: torch.optim.AdamW(params, lr=1e-2, weight_decay=0.0, foreach=False)
    )
    assert ours <= theirs


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", HALF)
def test_state_of_a_half_precision_parameter_is_float32_and_equals_a_float32_parameters(
    dtype: torch.dtype, path: str
):
    half, full = randn(3, 4).to(dtype).requires_grad_(), randn(3, 4).clone().requires_grad_()
    optimizers = [Case("x").make([weight], path) for weight in (half, full)]
    for step in range(20):
        for weight, optimizer in zip((half, full), optimizers, strict=True):
            weight.grad = randn(3, 4, seed=step).to(dtype).to(weight.dtype)
            optimizer.step()
    for key in ("exp_avg", "exp_avg_sq"):
        assert optimizers[0].state[half][key].dtype == torch.float32
        assert torch.equal(optimizers[0].state[half][key], optimizers[1].state[full][key])


@pytest.mark.parametrize("path", PATHS)
def test_a_float16_gradient_whose_square_overflows_float16_is_squared_in_float32(path: str):
    weight = torch.ones(2, dtype=torch.float16, requires_grad=True)
    weight.grad = torch.tensor(
        [300.0, 2e-4], dtype=torch.float16
    )  # squares 9e4 and 4e-8: beyond float16 on both sides
    optimizer = Case("x", {"switch_rate": 1.0, "lr": 0.1}).make([weight], path)
    optimizer.step()
    torch.testing.assert_close(
        weight.detach(), torch.full((2,), 0.9, dtype=torch.float16)
    )  # Adam's first step is lr


@pytest.mark.parametrize("path", [{"foreach": False}, {"foreach": True}, {"fused": True}])
def test_a_state_dtype_that_is_set_by_hand_after_a_step_is_refused(path: dict[str, bool]) -> None:
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    optimizer = DualAdam([p], **path)
    optimizer.step()
    optimizer.param_groups[0]["state_dtype"] = torch.bfloat16
    before = p.detach().clone()
    with pytest.raises(RuntimeError, match=r"of a group is now torch\.bfloat16, and was"):
        optimizer.step()
    assert torch.equal(p, before)
    saved = optimizer.state_dict()
    optimizer.load_state_dict(saved)  # as the message says
    optimizer.step()
    assert optimizer.state[p]["exp_avg"].dtype == torch.bfloat16
