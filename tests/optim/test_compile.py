"""torch.compile of the step: how often it compiles, and that it computes the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

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


def count_compilations(
    make: Callable[[list[torch.Tensor]], torch.optim.Optimizer],
    schedule: Callable[[int], float] | None = None,
) -> int:
    """Return how many graphs 8 compiled steps made, across the hand-over of switch_rate 1/4."""
    params = [randn(3, 4).clone().requires_grad_(), randn(5).clone().requires_grad_()]
    optimizer = make(params)
    counter = CompileCounterWithBackend("eager")
    step = torch.compile(optimizer.step, backend=counter)
    for i in range(8):
        for param in params:
            param.grad = randn(*param.shape, seed=i)
        if schedule:
            group = optimizer.param_groups[0]
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(schedule(i))
            else:
                group["lr"] = schedule(i)
        step()
    assert all(optimizer.state[p]["step"] == 8 for p in params)
    return counter.frame_count


def schedule(i: int) -> float:
    return LR / (i + 1)


@paths
@pytest.mark.parametrize("optimizer", [DualAdam, InvAdam])
def test_a_changing_step_and_mixing_weight_never_recompile(path: str, optimizer):
    settings = {"switch_rate": 0.25} if optimizer is DualAdam else {}
    assert (
        count_compilations(lambda params: optimizer(params, lr=LR, **settings, **PATHS[path])) == 1
    )


@paths
def test_with_a_tensor_lr_a_schedule_compiles_once(path: str):
    capturable = PATHS[path].get("foreach") is True  # foreach takes a tensor lr only with it

    def make(params):
        lr = torch.tensor(LR)
        return DualAdam(params, lr=lr, switch_rate=0.25, capturable=capturable, **PATHS[path])

    assert count_compilations(make, schedule) == 1


@paths
def test_with_a_float_lr_a_schedule_compiles_no_more_often_than_adamw_does(path: str):
    ours = count_compilations(
        lambda params: DualAdam(params, lr=LR, switch_rate=0.25, **PATHS[path]), schedule
    )
    theirs = count_compilations(
        lambda params: torch.optim.AdamW(params, lr=LR, **PATHS[path]), schedule
    )
    assert 1 <= ours <= theirs


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


def test_the_fused_step_is_one_graph_of_one_operator_after_torchs_own_break():
    """torch breaks the graph before every optimizer's step; nothing else lies outside a graph."""
    params = [randn(3, 4).clone().requires_grad_(), randn(5).clone().requires_grad_()]
    optimizer = DualAdam(params, lr=torch.tensor(LR), fused=True)
    graphs = []
    torch._dynamo.utils.counters.clear()
    step = torch.compile(
        optimizer.step, backend=lambda graph, inputs: graphs.append(graph) or graph.forward
    )
    for i in range(4):
        for param in params:
            param.grad = randn(*param.shape, seed=i)
        optimizer.param_groups[0]["lr"].fill_(schedule(i))
        step()
    (graph,) = graphs
    targets = [node.target for node in graph.graph.nodes if node.op.startswith("call")]
    assert (
        targets.count(torch.ops.dualadam.fused_step)
        + targets.count(torch.ops.dualadam.fused_step.default)
        == 1
    )
    (reason,) = torch._dynamo.utils.counters["graph_break"]
    assert "User-inserted graph break" in reason
