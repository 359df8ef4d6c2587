"""The fused step against the loop: same state in, same state out; and what is special about writing memory behind torch's back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from dualadam import DualAdam, InvAdam
from dualadam.optim import _kernel_cpu, fused_status

ALONE = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
HALF = (torch.float16, torch.bfloat16)


@pytest.fixture(autouse=True)
def _needs_the_kernel() -> None:
    if why_not := _kernel_cpu.unavailable():
        pytest.skip(why_not)  # tests/unit/test_kernel_build.py fails where a compiler could have built it


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def trained(path: str, values: list[Tensor], steps: int, optimizer: Any = DualAdam, **settings: Any) -> tuple[list[Tensor], Any]:
    """Return parameters and their optimizer after some steps; the gradient of a step depends on nothing but the step."""
    params = [torch.nn.Parameter(v.clone(memory_format=torch.preserve_format)) for v in values]
    optimizer = optimizer(params, **{"lr": 1e-3, **settings, **ALONE[path]})
    take_steps(params, optimizer, range(steps))
    return params, optimizer


def take_steps(params: list[Tensor], optimizer: Any, steps: range) -> None:
    for step in steps:
        for i, p in enumerate(params):
            p.grad = torch.empty_like(p).copy_(normal(*p.shape, seed=1000 * step + i))
        optimizer.step()


def bits(params: list[Tensor], optimizer: Any) -> list[Tensor]:
    return [p.detach() for p in params] + [optimizer.state[p][key] for p in params for key in ("exp_avg", "exp_avg_sq", "step")]


def assert_equal(expected: list[Tensor], actual: list[Tensor]) -> None:
    for e, a in zip(expected, actual, strict=True):
        assert e.dtype == a.dtype
        assert e.stride() == a.stride()
        assert torch.equal(e, a), (e.float() - a.float()).abs().max()


def ulps(a: Tensor, b: Tensor, before: Tensor) -> float:
    """Return the largest difference in units in the last place of the parameter, before or after the step."""
    largest = torch.stack([a, b, before]).abs().amax(0).double()
    unit = torch.exp2(largest.log2().floor() - 23)
    return float(((a.double() - b.double()).abs() / unit).max())


STATES: dict[str, tuple[int, dict[str, Any], Any]] = {
    "first step": (0, {}, DualAdam),
    "while mixing": (10, {"switch_rate": 0.01, "weight_decay": 0.1}, DualAdam),
    "last mixed step": (8, {"switch_rate": 0.1}, DualAdam),
    "Adam": (10, {"switch_rate": 1.0, "weight_decay": 0.1}, DualAdam),
    "InvAdam": (10, {"lr": 0.1}, InvAdam),
    "maximize, other betas": (5, {"betas": (0.3, 0.6), "maximize": True, "eps": 1e-3}, DualAdam),
    "no memory of m": (5, {"betas": (0.0, 0.9)}, DualAdam),
}


def one_step_of_both(name: str) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Return the loop's and the kernel's (p, m, v) after one step from the same state, and the parameter before it."""
    steps, settings, kind = STATES[name]
    params, optimizer = trained("loop", [normal(100_003) * 0.05], steps, kind, **settings)
    before = params[0].detach().clone()
    fused_params = [torch.nn.Parameter(before.clone())]
    fused = kind(fused_params, **{"lr": 1e-3, **settings, "fused": True})
    fused.load_state_dict({**copy.deepcopy(optimizer.state_dict()), "param_groups": fused.state_dict()["param_groups"]})
    for p, o in ((params, optimizer), (fused_params, fused)):
        take_steps(p, o, range(steps, steps + 1))
    return bits(params, optimizer)[:3], bits(fused_params, fused)[:3], before


@pytest.mark.parametrize("name", STATES)
def test_one_step_from_the_same_state_is_within_4_ulp_of_the_loop(name: str) -> None:
    loop, fused, before = one_step_of_both(name)
    assert ulps(loop[0], fused[0], before) <= 4
    # the moments: one multiply-add each, rounded once on processors that fuse it, twice elsewhere
    for expected, actual in zip(loop[1:], fused[1:], strict=True):
        assert (expected - actual).abs().max() <= 2**-22 * expected.abs().max()


@pytest.mark.parametrize("name", STATES)
def test_torchs_square_root_is_all_that_sets_them_apart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch takes float32 roots from a library that rounds some of them the wrong way; with right ones the bits are the same."""
    root = Tensor.sqrt
    monkeypatch.setattr(Tensor, "sqrt", lambda x: root(x.double()).float())
    loop, fused, before = one_step_of_both(name)
    fuses_multiply_add = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")  # torch's own loops; where not, as above
    assert ulps(loop[0], fused[0], before) <= (0 if fuses_multiply_add else 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_after_the_hand_over_the_step_is_torchs_fused_adamw_to_rounding(dtype: torch.dtype) -> None:
    values = [normal(5_001, dtype=dtype), normal(3, 7, seed=1, dtype=dtype)]
    params, optimizer = trained("fused", values, 10, switch_rate=0.1, weight_decay=0.01)
    reference = [torch.nn.Parameter(p.detach().clone()) for p in params]
    adamw = torch.optim.AdamW(reference, lr=1e-3, weight_decay=0.01, fused=True)
    adamw.load_state_dict({**copy.deepcopy(optimizer.state_dict()), "param_groups": adamw.state_dict()["param_groups"]})
    for p, o in ((params, optimizer), (reference, adamw)):
        take_steps(p, o, range(10, 60))
    eps = torch.finfo(dtype).eps
    for ours, theirs in zip(params, reference, strict=True):  # 50 steps, each a few roundings of the parameter's own size
        torch.testing.assert_close(ours, theirs, rtol=50 * eps, atol=50 * eps)


@pytest.mark.parametrize(
    ("dtype", "settings"),
    [
        (torch.float32, {}),
        (torch.float64, {}),
        (torch.float16, {}),
        (torch.bfloat16, {"stochastic_rounding": True}),
        (torch.float32, {"state_dtype": torch.bfloat16}),
        (torch.float16, {"state_dtype": torch.bfloat16, "stochastic_rounding": True}),
        (torch.bfloat16, {"state_dtype": torch.bfloat16, "stochastic_rounding": True}),
    ],
    ids=str,
)
def test_bits_do_not_depend_on_threads_or_instruction_set(
    dtype: torch.dtype, settings: dict[str, Any], threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [normal(n, seed=n, dtype=dtype) for n in (1, 33, 70_001, 31, 50_000, 1_000)]
    outcomes = []
    for num_threads, allow_avx2 in ((1, True), (2, True), (3, True), (1, False), (2, False)):
        threads(num_threads)
        monkeypatch.setattr(_kernel_cpu, "ALLOW_AVX2", allow_avx2)
        outcomes.append(bits(*trained("fused", values, 3, switch_rate=0.5, weight_decay=0.1, **settings)))
    for outcome in outcomes[1:]:
        assert_equal(outcomes[0], outcome)


@pytest.mark.parametrize("dtype", HALF)
def test_every_half_precision_number_is_read_and_rounded_as_torch_does(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    for allow_avx2 in (True, False):
        monkeypatch.setattr(_kernel_cpu, "ALLOW_AVX2", allow_avx2)
        for decay in (1.0, 0.75, 1 / 3, 1.7e-3):  # theta (1 - lr wd), with a zero gradient: reads, scales and rounds
            param = torch.nn.Parameter(every.clone())
            param.grad = torch.zeros_like(param)
            DualAdam([param], lr=1.0, weight_decay=1 - decay, fused=True).step()
            wide = every.float() * torch.tensor(1 - (1 - decay))
            wide = torch.where(wide.abs() < torch.finfo(torch.float32).tiny, 0.0, wide)  # the kernel flushes float32's subnormals
            wide = torch.where(every.float().abs() < torch.finfo(torch.float32).tiny, 0.0, wide)
            torch.testing.assert_close(param.detach(), wide.to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("dtype", "state_dtype"), [(torch.bfloat16, None), (torch.float32, torch.bfloat16), (torch.bfloat16, torch.bfloat16)]
)
def test_the_noise_of_stochastic_rounding_is_the_same_in_every_path(dtype: torch.dtype, state_dtype: torch.dtype | None) -> None:
    """Zero gradients: both moments and the parameter are multiplied and nothing else, so all paths round the very same numbers."""
    values = [normal(4, 3, 5, 6, dtype=dtype).to(memory_format=torch.channels_last), normal(1_000, seed=1, dtype=dtype)]
    outcomes = {}
    for path in ALONE:
        params = [torch.nn.Parameter(v.clone(memory_format=torch.preserve_format)) for v in values]
        optimizer = DualAdam(params, lr=1.0, eps=1e30, weight_decay=0.25, switch_rate=1.0, betas=(0.75, 0.875), state_dtype=state_dtype,
                             stochastic_rounding=True, **ALONE[path])  # fmt: skip
        for step in range(3):
            for p in params:
                p.grad = torch.zeros_like(p)
            optimizer.step()
            if step == 0:
                for i, p in enumerate(params):
                    optimizer.state[p]["exp_avg"].copy_(normal(*p.shape, seed=5 + i))
                    optimizer.state[p]["exp_avg_sq"].copy_(normal(*p.shape, seed=7 + i).square())
        outcomes[path] = bits(params, optimizer)
    assert_equal(outcomes["loop"], outcomes["foreach"])
    assert_equal(outcomes["loop"], outcomes["fused"])


def test_stochastic_rounding_keeps_the_mean_where_rounding_to_nearest_stalls() -> None:
    """v decays by 0.1 % a step, less than half a unit of bfloat16: to nearest it stays where it is for ever."""
    ends = {}
    for stochastic in (False, True):
        param = torch.nn.Parameter(torch.ones(20_000))
        optimizer = DualAdam([param], state_dtype=torch.bfloat16, stochastic_rounding=stochastic, fused=True)
        param.grad = torch.zeros_like(param)
        optimizer.step()
        optimizer.state[param]["exp_avg_sq"].fill_(1.0)
        for _ in range(300):
            optimizer.step()
        ends[stochastic] = optimizer.state[param]["exp_avg_sq"].float().mean().item()
    assert ends[False] == 1.0
    # the spread of one element is below 2^-8 sqrt(300) = 0.07, that of the mean of 20,000 below 5e-4
    assert ends[True] == pytest.approx(0.999**300, abs=2.5e-3)


@pytest.mark.parametrize("path", ALONE)
def test_a_resumed_run_with_bfloat16_state_repeats_the_straight_one_bit_for_bit(path: str, tmp_path: Any) -> None:
    settings = {"state_dtype": torch.bfloat16, "stochastic_rounding": True}
    values = [normal(40, 5), normal(7, seed=1, dtype=torch.bfloat16)]
    straight = trained(path, values, 6, **settings)
    params, optimizer = trained(path, values, 3, **settings)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    resumed = DualAdam(params, **ALONE[path])
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.param_groups[0]["state_dtype"] == torch.bfloat16
    take_steps(params, resumed, range(3, 6))
    assert_equal(bits(*straight), bits(params, resumed))
    assert resumed.state[params[0]]["exp_avg"].dtype == torch.bfloat16


def test_a_backward_through_values_that_the_step_overwrote_is_refused() -> None:
    """The kernel writes behind autograd's back: without a bumped version this gradient would silently use the new weights."""
    param = torch.nn.Parameter(normal(5))
    loss = (param * param.detach().clone().requires_grad_()).sum()  # saves param for the other factor
    loss = loss + (param**2).sum()
    param.grad = normal(5, seed=1)
    versions = param._version
    optimizer = DualAdam([param], fused=True)
    optimizer.step()
    assert param._version > versions
    assert all(optimizer.state[param][key]._version > 0 for key in ("exp_avg", "exp_avg_sq", "step"))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_subnormal_numbers_are_flushed_inside_the_kernel_alone(threads: Callable[[int], None]) -> None:
    threads(2)
    param = torch.nn.Parameter(torch.zeros(100_000))
    param.grad = torch.zeros_like(param)
    optimizer = DualAdam([param], fused=True)
    optimizer.step()
    optimizer.state[param]["exp_avg_sq"].fill_(1e-39)
    optimizer.step()
    assert optimizer.state[param]["exp_avg_sq"].count_nonzero() == 0
    tiny = torch.full((200_000,), 1e-39)
    assert torch.equal(tiny * 0.5, torch.full((200_000,), 5e-40))  # on both threads, in torch's own kernels
    assert torch.tensor(5e-40).item() > 0


DENSE = {
    "channels_last": lambda: normal(8, 3, 5, 6).to(memory_format=torch.channels_last),
    "channels_last, 1x1": lambda: normal(8, 3, 1, 1).to(memory_format=torch.channels_last),
    "transposed": lambda: normal(30, 20).t(),
    "permuted": lambda: normal(4, 5, 6).permute(2, 0, 1),
    "scalar": lambda: normal(),
    "empty": lambda: normal(0, 3),
    "offset by one element": lambda: normal(65)[1:],
}


@pytest.mark.parametrize("name", DENSE)
def test_dense_layouts_take_the_kernel_as_they_are(name: str) -> None:
    values = [DENSE[name]()]
    params, optimizer = trained("fused", values, 3)
    assert fused_status(optimizer).paths == {"fused": 1}
    expected = trained("loop", values, 3)
    for e, a in zip(bits(*expected), bits(params, optimizer), strict=True):
        assert e.stride() == a.stride()
        torch.testing.assert_close(e, a, rtol=2e-6, atol=2e-6)


def test_a_parameter_is_updated_where_it_lies() -> None:
    storage = normal(100)
    param = torch.nn.Parameter(storage[3:50])
    param.grad = normal(47, seed=1)
    before, address = storage.clone(), param.data_ptr()
    DualAdam([param], lr=0.1, fused=True).step()
    assert param.data_ptr() == address
    changed = storage != before
    assert changed[3:50].all()
    assert not changed[:3].any()
    assert not changed[50:].any()


class Subclass(Tensor):
    pass


def with_grad(param: Tensor, grad: Tensor | None = None) -> Tensor:
    param = param.requires_grad_()
    param.grad = torch.ones_like(param) if grad is None else grad
    return param


FALLS_BACK = {
    "complex64": lambda: with_grad(normal(3, dtype=torch.complex64)),
    "not dense": lambda: with_grad(normal(6, 8)[::2, ::2]),
    "unlike the parameter": lambda: with_grad(normal(6, 8), normal(8, 6).t()),
    "negated": lambda: with_grad(normal(3), torch._neg_view(normal(3))),
    "subclass": lambda: with_grad(normal(3).as_subclass(Subclass)),
}


@pytest.mark.parametrize("reason", FALLS_BACK)
def test_what_the_kernel_does_not_take_falls_back_and_is_right(reason: str) -> None:
    results = []
    for path in ("loop", "fused"):
        params = [FALLS_BACK[reason](), with_grad(normal(4))]
        optimizer = DualAdam(params, **ALONE[path])
        optimizer.step()
        optimizer.step()
        results.append(params)
    paths = fused_status(optimizer).paths
    assert paths.pop("fused") == 1
    assert reason in next(iter(paths)), paths
    for e, a in zip(*results, strict=True):
        torch.testing.assert_close(e.detach(), a.detach(), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("reason", FALLS_BACK)
def test_columns_with_one_tensor_that_rows_refuse_are_not_taken_whole(reason: str) -> None:
    plain = trained("fused", [normal(8), normal(0), normal(2, 3)], 1)
    refused = DualAdam([FALLS_BACK[reason]()], fused=True)
    refused.step()
    rows = [
        (p, p.grad, *(optimizer.state[p][key] for key in ("exp_avg", "exp_avg_sq", "step")))
        for optimizer in (plain[1], refused)
        for p in optimizer.param_groups[0]["params"]
    ]
    assert [_kernel_cpu.refuses(*row) is None for row in rows] == [True, True, True, False]
    assert _kernel_cpu.takes_all(*zip(*rows[:3], strict=True))
    for where in range(4):  # wherever it stands among the others
        mixed = [*rows[:where], rows[3], *rows[where:3]]
        assert not _kernel_cpu.takes_all(*zip(*mixed, strict=True))


def test_a_state_of_another_shape_never_reaches_the_kernel() -> None:
    params, optimizer = trained("fused", [normal(8)], 1)
    for key, wrong in (("exp_avg", torch.zeros(4)), ("exp_avg_sq", torch.zeros(4)), ("step", torch.zeros(0))):
        state = {**optimizer.state[params[0]], key: wrong}
        row = (params[0], params[0].grad, state["exp_avg"], state["exp_avg_sq"], state["step"])
        assert _kernel_cpu.refuses(*row)
        assert not _kernel_cpu.takes_all(*([value] for value in row))
    half = optimizer.state[params[0]]["exp_avg"].half()
    for grad in (params[0].grad, params[0].grad.to("meta")):
        row = (params[0], grad, half, half, optimizer.state[params[0]]["step"])
        assert _kernel_cpu.refuses(*row)
        assert not _kernel_cpu.takes_all(*([value] for value in row))


def test_parameters_that_join_late_keep_their_own_step_in_one_group() -> None:
    for settings in ({}, {"switch_rate": 0.2}):
        outcomes = []
        for path in ("loop", "fused"):
            params = [torch.nn.Parameter(normal(50, seed=i)) for i in range(3)]
            optimizer = DualAdam(params, lr=0.01, **settings, **ALONE[path])
            for step in range(8):
                for i, p in enumerate(params):
                    p.grad = normal(50, seed=100 * step + i) if step >= 2 * i else None
                optimizer.step()
            outcomes.append(bits(params, optimizer))
        assert [float(s) for s in outcomes[1][5::3]] == [8, 6, 4]
        for e, a in zip(*outcomes, strict=True):
            torch.testing.assert_close(e, a, rtol=2e-6, atol=2e-6)


def scaled_run(optimizer_of: Callable[[list[Tensor]], Any], scale: float, overflow_at: int) -> tuple[list[Tensor], Any, list[float]]:
    params = [torch.nn.Parameter(normal(20)), torch.nn.Parameter(normal(6, 8)[::2, ::2])]  # the second falls back
    optimizer = optimizer_of(params)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=100)
    counts = []
    for step in range(4):
        optimizer.zero_grad()
        loss = ((params[0] * normal(20, seed=step)).sum() + (params[1] * normal(3, 4, seed=step)).sum()) * (
            float("inf") if step == overflow_at else 1.0
        )
        scaler.scale(loss).backward()
        grads = [p.grad.clone() for p in params]
        scaler.step(optimizer)
        if optimizer._step_supports_amp_scaling:
            assert all(torch.equal(p.grad, g) or g.isnan().any() for p, g in zip(params, grads, strict=True)), "gradients are left alone"
        scaler.update()
        counts.append(float(optimizer.state[params[0]]["step"]) if optimizer.state else 0.0)
    return params, optimizer, counts


@pytest.mark.parametrize("overflow_at", [-1, 0, 2])
def test_loss_scaling_inside_the_step_equals_unscaling_before_it(overflow_at: int) -> None:
    expected = scaled_run(lambda ps: DualAdam(ps), 1024.0, overflow_at)
    actual = scaled_run(lambda ps: DualAdam(ps, fused=True), 1024.0, overflow_at)
    assert actual[1]._step_supports_amp_scaling
    assert not expected[1]._step_supports_amp_scaling
    assert actual[2][-1] == 4 - (overflow_at >= 0)
    for e, a in zip(expected[0], actual[0], strict=True):
        torch.testing.assert_close(e.detach(), a.detach(), rtol=2e-6, atol=2e-6)


def test_amp_scaling_is_left_to_the_scaler_unless_every_group_is_fused() -> None:
    params = [torch.nn.Parameter(normal(3)), torch.nn.Parameter(normal(3))]
    optimizer = DualAdam([{"params": params[:1], "fused": True}, {"params": params[1:]}])
    assert not optimizer._step_supports_amp_scaling


def test_settings_that_exclude_each_other_are_refused() -> None:
    params = [torch.nn.Parameter(normal(3))]
    with pytest.raises(RuntimeError, match="`fused` does not support `differentiable`"):
        DualAdam(params, fused=True, differentiable=True)
    with pytest.raises(RuntimeError, match="`fused` and `foreach` cannot be `True` together"):
        DualAdam(params, fused=True, foreach=True)
    with pytest.raises(RuntimeError, match="`stochastic_rounding` does not support `differentiable`"):
        DualAdam(params, stochastic_rounding=True, differentiable=True)
    with pytest.raises(ValueError, match=r"state_dtype must be None, torch\.float32 or torch\.bfloat16, got torch\.float16"):
        InvAdam(params, state_dtype=torch.float16)
    with pytest.raises(ValueError, match="state_dtype must be None for complex parameters"):
        DualAdam([torch.nn.Parameter(normal(3, dtype=torch.complex64))], state_dtype=torch.bfloat16)
    with pytest.raises(TypeError, match="stochastic_rounding must be True or False, got 1"):
        DualAdam(params, stochastic_rounding=1)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="stochastic_rounding=True has no effect"):
        DualAdam(params, stochastic_rounding=True)


def test_the_environment_variable_turns_the_kernel_off_with_a_warning_and_the_step_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALADAM_DISABLE_FUSED", "1")
    with pytest.warns(UserWarning, match="fused=True has no effect: the environment variable DUALADAM_DISABLE_FUSED is set"):
        params, optimizer = trained("fused", [normal(5)], 2)
    assert_equal(bits(*trained("loop", [normal(5)], 2)), bits(params, optimizer))
    assert fused_status(optimizer).paths == {"not fused: the environment variable DUALADAM_DISABLE_FUSED is set": 1}
    assert str(fused_status()) == "fused: not available: the environment variable DUALADAM_DISABLE_FUSED is set."
