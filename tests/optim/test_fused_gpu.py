"""The fused step on CUDA: equal to the loop, in graphs, with GradScaler, in two launches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from dualadam import DualAdam, InvAdam
from dualadam.optim import fused_status
from dualadam.optim._kernels import triton as triton_kernel
from dualadam.optim._kernels.tables import tables_if_alike, tables_of
from dualadam.optim._step.columns import Columns

pytestmark = pytest.mark.gpu
SHAPES = ((), (0, 3), (1,), (5, 7), (1025,), (70_000,))


def normal(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).cuda()


def make(dtype: torch.dtype = torch.float32, shapes: Any = SHAPES) -> list[torch.nn.Parameter]:
    values = [normal(tuple(s), i).to(dtype) for i, s in enumerate(shapes)]
    return [
        torch.nn.Parameter(v) for v in (*values, normal((66,), 99).to(dtype)[1:])
    ]  # the last does not start at 16 bytes


def set_grads(params: list[torch.nn.Parameter], step: int) -> None:
    for i, p in enumerate(params):
        grad = normal(tuple(p.shape), 1000 * step + i).to(p.dtype)
        p.grad = grad if p.grad is None else p.grad.copy_(grad)


@pytest.fixture
def waiting_is_an_error() -> Iterator[Any]:
    yield torch.cuda.set_sync_debug_mode
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("kind", [DualAdam, InvAdam])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"maximize": True, "weight_decay": 0.1},
        {"state_dtype": torch.bfloat16, "stochastic_rounding": True, "rounding_seed": 0},
        {"state_dtype": torch.uint8, "stochastic_rounding": True, "rounding_seed": 0},
    ],
)
def test_the_kernel_equals_the_loop_over_the_hand_over(
    kind: Any, dtype: torch.dtype, settings: dict[str, Any]
) -> None:
    settings = settings | ({"switch_rate": 0.25} if kind is DualAdam else {})
    ends = []
    for path in ({"foreach": False}, {"fused": True}):
        params = make(dtype)
        optimizer = kind(params, **settings, **path)
        for step in range(7):
            set_grads(params, step)
            optimizer.step()
        ends.append([p.detach() for p in params])
    assert fused_status(optimizer).paths == {"fused": len(params)}
    # a code of 8 bits that differs moves a step of 1e-3 by at most a sixteenth of it
    units = {torch.float32: 2**-23, torch.bfloat16: 2**-7, torch.uint8: 2**-7}
    unit = max(torch.finfo(dtype).eps, units[settings.get("state_dtype", torch.float32)])
    for e, a in zip(*ends, strict=True):  # a few roundings in each of 7 steps
        torch.testing.assert_close(a, e, rtol=20 * unit, atol=20 * unit)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_moments_in_8_bits_have_the_codes_of_the_loop_on_the_cpu(dtype: torch.dtype) -> None:
    params = make(dtype)
    twins = [torch.nn.Parameter(p.detach().cpu()) for p in params]
    settings = {"state_dtype": torch.uint8, "stochastic_rounding": True, "rounding_seed": 0}
    optimizer = DualAdam(params, switch_rate=0.25, fused=True, **settings)
    reference = DualAdam(twins, switch_rate=0.25, foreach=False, **settings)
    for step in range(7):
        set_grads(params, step)
        for p, twin in zip(params, twins, strict=True):
            assert p.grad is not None
            twin.grad = p.grad.cpu()
        optimizer.step()
        reference.step()
    for key in ("exp_avg_8bit", "exp_avg_sq_8bit"):
        ours, theirs = (
            torch.cat([o.state[p][key].cpu() for p in ps])
            for o, ps in ((optimizer, params), (reference, twins))
        )
        # a last bit of float32 decides a code once in 2^20; a step has 71,000 numbers
        assert int((ours != theirs).sum()) <= 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_library_reads_tensors_as_python_does(
    dtype: torch.dtype, needs_the_kernel: None
) -> None:
    params = make(dtype)
    optimizer = DualAdam(params, fused=True)
    set_grads(params, 0)
    optimizer.step()
    columns = Columns([], [], [], [], [], [])
    optimizer._init_group(optimizer.param_groups[0], *columns)
    read = tables_if_alike(columns, triton_kernel.ACCEPTS)
    assert read == tables_of(columns)
    assert not read.aligned  # the last parameter is not
    assert tables_of(columns.pick([5])).aligned
    for name in ("grads", "exp_avgs", "steps"):
        moved = [*getattr(columns, name)[:-1], getattr(columns, name)[-1].cpu()]
        assert tables_if_alike(columns._replace(**{name: moved}), triton_kernel.ACCEPTS) is None


def test_a_replayed_graph_follows_lr_and_mixing_weight() -> None:
    params, twins = make(), make()
    lr = torch.tensor(1e-2, device="cuda")
    optimizer = DualAdam(params, lr=lr, switch_rate=0.125, fused=True, capturable=True)
    reference = DualAdam(twins, lr=1e-2, switch_rate=0.125, foreach=False)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for step in range(3):
            set_grads(params, step)
            optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()  # recorded, not run
    for step in range(12):  # beyond the end of the hand-over
        set_grads(twins, step)
        reference.param_groups[0]["lr"] = 1e-2 if step < 6 else 1e-3
        reference.step()
        if step >= 3:
            set_grads(params, step)
            lr.fill_(reference.param_groups[0]["lr"])
            graph.replay()
    for p, twin in zip(params, twins, strict=True):
        torch.testing.assert_close(p, twin, rtol=4e-6, atol=4e-6)
        assert optimizer.state[p]["step"] == 12


def test_grad_scaler_skips_a_step_and_leaves_gradients_alone() -> None:
    (param,) = [torch.nn.Parameter(normal((100,), 0))]
    twin = torch.nn.Parameter(param.detach().clone())
    optimizer, reference = DualAdam([param], fused=True), DualAdam([twin], foreach=False)
    scaler = torch.amp.GradScaler("cuda", init_scale=1024.0, growth_interval=100)
    for step in range(4):
        factor = float("inf") if step == 2 else 1.0
        optimizer.zero_grad()
        scaler.scale((param * normal((100,), 10 + step)).sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        if step != 2:
            twin.grad = normal((100,), 10 + step)
            reference.step()
    assert optimizer.state[param]["step"] == 3
    torch.testing.assert_close(param, twin, rtol=2e-6, atol=2e-6)


def test_the_step_never_waits_for_the_device(waiting_is_an_error: Any) -> None:
    params = make()
    optimizer = DualAdam(params, lr=torch.tensor(1e-3, device="cuda"), fused=True)
    optimizer.grad_scale, optimizer.found_inf = (
        torch.tensor(2.0, device="cuda"),
        torch.tensor(0.0, device="cuda"),
    )
    set_grads(params, 0)
    optimizer.step()  # compiles
    torch.cuda.synchronize()
    waiting_is_an_error("error")
    for p in params:  # other addresses: a new table
        p.grad = torch.ones_like(p)
    optimizer.step()


def test_a_thousand_tensors_take_two_launches() -> None:
    params = make(shapes=[(256,)] * 1000)[:-1]
    optimizer = DualAdam(params, fused=True)
    set_grads(params, 0)
    optimizer.step()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        optimizer.step()
        torch.cuda.synchronize()
    names = [
        event.name
        for event in profile.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    ]
    kernels = [name for name in names if "mem" not in name.lower()]
    assert sorted(kernels) == ["advance", "prepare"], names
