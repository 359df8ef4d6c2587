"""torch.compile of the step: how often it compiles, and that it computes the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from cases import PATHS, Case, randn
from torch._dynamo.testing import CompileCounterWithBackend

from dualadam import DualAdam, InvAdam

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit:DeprecationWarning"
)  # raised inside torch's compiler
paths = pytest.mark.parametrize("path", PATHS)
LR = 1e-2


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def schedule_lr(group: dict[str, Any], i: int) -> None:
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(LR / (i + 1))
    else:
        group["lr"] = LR / (i + 1)


def schedule_decay(group: dict[str, Any], i: int) -> None:
    group["weight_decay"] = 0.1 / (i + 1)


Schedule = Callable[[dict[str, Any], int], None]


def count_graphs(
    make: Callable[[list[torch.Tensor]], torch.optim.Optimizer], schedule: Schedule | None = None
) -> int:
    """Return how many graphs aot_eager got in 6 compiled steps, across a hand-over of 4 steps.

    It is a real backend: for it dynamo makes numbers inputs of the graph, or constants where it
    cannot, and every new constant is a new graph. The backend eager shows neither.
    """
    params = [randn(3, 4).clone().requires_grad_(), randn(5).clone().requires_grad_()]
    optimizer = make(params)
    counter = CompileCounterWithBackend("aot_eager")
    step = torch.compile(optimizer.step, backend=counter)
    for i in range(6):
        for param in params:
            param.grad = randn(*param.shape, seed=i)
        if schedule:
            schedule(optimizer.param_groups[0], i)
        step()
    assert all(optimizer.state[p]["step"] == 6 for p in params)
    return counter.frame_count


# a fused step stays outside of every graph
GRAPHS = {"loop": 1, "foreach": 1, "fused": 0}


@paths
@pytest.mark.parametrize("optimizer", [DualAdam, InvAdam])
def test_a_changing_step_and_mixing_weight_never_recompile(path: str, optimizer):
    settings = {"switch_rate": 0.25} if optimizer is DualAdam else {}
    made = count_graphs(lambda params: optimizer(params, lr=LR, **settings, **PATHS[path]))
    assert made == GRAPHS[path]


@paths
def test_with_a_tensor_lr_a_schedule_compiles_nothing_again(path: str):
    capturable = PATHS[path].get("foreach") is True  # foreach takes a tensor lr only with it

    def make(params):
        lr = torch.tensor(LR)
        return DualAdam(params, lr=lr, switch_rate=0.25, capturable=capturable, **PATHS[path])

    assert count_graphs(make, schedule_lr) == GRAPHS[path]


@paths
@pytest.mark.parametrize("schedule", [schedule_lr, schedule_decay])
def test_a_scheduled_number_makes_no_more_graphs_than_with_adamw(path: str, schedule: Schedule):
    """The first graph has the number as a constant, the second one as an input."""
    settings = {"lr": LR, "weight_decay": 0.1, **PATHS[path]}
    ours = count_graphs(lambda params: DualAdam(params, switch_rate=0.25, **settings), schedule)
    theirs = count_graphs(lambda params: torch.optim.AdamW(params, **settings), schedule)
    assert ours == 2 * GRAPHS[path] <= theirs


@paths
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("layout", ["plain", "complex64", "mixed_dtypes"])
def test_a_compiled_step_equals_the_plain_one(path: str, layout: str, backend: str):
    """Coefficients are 0-d tensors, rounded once to the parameter's format: a few units a step."""
    case = Case("compiled", {"lr": LR, "weight_decay": 0.1, "switch_rate": 0.25}, layout)
    params = case.make_params()
    twins = copy.deepcopy(params)
    plain, compiled = case.make(params, path), case.make(twins, path)
    step = torch.compile(compiled.step, backend=backend)
    for i in range(1, 7):
        case.set_grads(params, i)
        case.set_grads(twins, i)
        plain.step()
        step()
    for param, twin in zip(params, twins, strict=True):
        eps = torch.finfo(param.dtype).eps
        torch.testing.assert_close(twin, param, rtol=20 * eps, atol=20 * eps)
        for key in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(
                compiled.state[twin][key], plain.state[param][key], rtol=1e-6, atol=1e-9
            )


def test_beside_a_fused_group_the_other_groups_step_as_without_torch_compile():
    """Groups of one optimizer are stepped together; another optimizer is compiled as before."""

    def trained(compiled: bool) -> list[torch.Tensor]:
        params = [randn(3, 4).clone().requires_grad_(), randn(5).clone().requires_grad_()]
        groups = [{"params": params[:1], "fused": True}, {"params": params[1:]}]
        optimizer = DualAdam(groups, lr=LR, switch_rate=0.25)
        step = torch.compile(optimizer.step, backend="aot_eager") if compiled else optimizer.step
        for i in range(3):
            for param in params:
                param.grad = randn(*param.shape, seed=i)
            step()
        return params

    for plain, compiled in zip(trained(False), trained(True), strict=True):
        assert torch.equal(plain, compiled)
    assert count_graphs(lambda params: DualAdam(params, lr=LR)) == 1


def test_a_compiled_fused_step_refuses_a_negative_lr_as_the_plain_one_does():
    param = randn(3).clone().requires_grad_()
    param.grad = randn(3)
    optimizer = DualAdam([param], fused=True)
    optimizer.param_groups[0]["lr"] = -1.0
    with pytest.raises(ValueError, match="lr must be at least 0"):
        torch.compile(optimizer.step, backend="aot_eager")()


# each has a float64 count, or a 0-d float64 parameter: torch.compile takes both for numbers
IN_FLOAT64 = {
    "8-bit state": {"state_dtype": torch.uint8, "stochastic_rounding": True},
    "a lasting hand-over": {"switch_rate": 2.0**-25},
    "float64 parameters": {},
}


@pytest.mark.parametrize("path", ["loop", "foreach"])
@pytest.mark.parametrize("name", IN_FLOAT64)
def test_a_graph_changes_numbers_in_float64_too(path: str, name: str):
    dtype = torch.float64 if name == "float64 parameters" else torch.float32
    settings = {"lr": LR, "switch_rate": 0.25, **IN_FLOAT64[name], **PATHS[path]}
    outcomes = []
    for compiled in (False, True):
        params = [randn(*shape).to(dtype, copy=True).requires_grad_() for shape in ((), (3, 4))]
        optimizer = DualAdam(params, rounding_seed=0, **settings)
        step = torch.compile(optimizer.step, backend="aot_eager") if compiled else optimizer.step
        for i in range(3):
            for param in params:
                param.grad = randn(*param.shape, seed=i).to(dtype)
            step()
        assert all(optimizer.state[p]["step"] == 3 for p in params)
        outcomes.append(params)
    # 3 steps, each rounded a second time at most: numbers below 2 have a spacing of 1.2e-7
    torch.testing.assert_close(*outcomes, rtol=0, atol=3.6e-7)
