"""The fused step against the loop: same state in, same state out."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fused_cases import ALONE, assert_equal, bits, normal, take_steps, trained
from torch import Tensor

from dualadam import DualAdam, InvAdam, fused_status
from dualadam.optim._kernels.cpu import INSTRUCTION_SETS

HALF = (torch.float16, torch.bfloat16)
pytestmark = pytest.mark.usefixtures("needs_the_kernel")


def ulps(a: Tensor, b: Tensor, before: Tensor) -> float:
    """Return the largest difference, in units in the last place of the parameter."""
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
    """Return (p, m, v) of loop and kernel after one step, and the parameter before it."""
    steps, settings, kind = STATES[name]
    params, optimizer = trained("loop", [normal(100_003) * 0.05], steps, kind, **settings)
    before = params[0].detach().clone()
    fused_params = [torch.nn.Parameter(before.clone())]
    fused = kind(fused_params, **{"lr": 1e-3, **settings, "fused": True})
    fused.load_state_dict(
        {
            **copy.deepcopy(optimizer.state_dict()),
            "param_groups": fused.state_dict()["param_groups"],
        }
    )
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
def test_torchs_square_root_is_all_that_sets_them_apart(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's float32 roots are rounded wrongly in part; with correct roots the bits agree."""
    root = Tensor.sqrt
    monkeypatch.setattr(Tensor, "sqrt", lambda x: root(x.double()).float())
    loop, fused, before = one_step_of_both(name)
    fuses_multiply_add = torch.backends.cpu.get_cpu_capability() in (
        "AVX2",
        "AVX512",
    )  # torch's own loops; where not, as above
    assert ulps(loop[0], fused[0], before) <= (0 if fuses_multiply_add else 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_after_the_hand_over_the_step_is_torchs_fused_adamw_to_rounding(dtype: torch.dtype) -> None:
    values = [normal(5_001, dtype=dtype), normal(3, 7, seed=1, dtype=dtype)]
    params, optimizer = trained("fused", values, 10, switch_rate=0.1, weight_decay=0.01)
    reference = [torch.nn.Parameter(p.detach().clone()) for p in params]
    adamw = torch.optim.AdamW(reference, lr=1e-3, weight_decay=0.01, fused=True)
    adamw.load_state_dict(
        {
            **copy.deepcopy(optimizer.state_dict()),
            "param_groups": adamw.state_dict()["param_groups"],
        }
    )
    for p, o in ((params, optimizer), (reference, adamw)):
        take_steps(p, o, range(10, 60))
    eps = torch.finfo(dtype).eps
    for ours, theirs in zip(
        params, reference, strict=True
    ):  # 50 steps, each a few roundings of the parameter's own size
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
        (torch.float32, {"state_dtype": torch.uint8, "stochastic_rounding": True}),
        (torch.bfloat16, {"state_dtype": torch.uint8, "stochastic_rounding": True}),
    ],
    ids=str,
)
def test_bits_do_not_depend_on_threads_or_instruction_set(
    dtype: torch.dtype,
    settings: dict[str, Any],
    threads: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = [normal(n, seed=n, dtype=dtype) for n in (1, 33, 70_001, 31, 50_000, 1_000)]
    image = normal(70, 90, 3, 3, dtype=dtype)
    values.append(image.to(memory_format=torch.channels_last))
    outcomes = []
    for num_threads, instruction_set in itertools.product((1, 2, 3), INSTRUCTION_SETS):
        threads(num_threads)
        monkeypatch.setenv("DUALADAM_INSTRUCTION_SET", instruction_set)
        outcomes.append(
            bits(*trained("fused", values, 3, switch_rate=0.5, weight_decay=0.1, **settings))
        )
    for outcome in outcomes[1:]:
        assert_equal(outcomes[0], outcome)


def test_without_torchs_parallel_loop_one_thread_takes_the_same_step_and_the_status_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch before 2.10 has no ``torch_parallel_for``."""
    values = [normal(n, seed=n) for n in (70_001, 31, 50_000)]
    whole = bits(*trained("fused", values, 3, switch_rate=0.5))
    monkeypatch.setattr("dualadam.optim._kernels.cpu.parallel_for", lambda: None)
    assert_equal(whole, bits(*trained("fused", values, 3, switch_rate=0.5)))
    assert "one thread" in fused_status().reason


@pytest.mark.parametrize("dtype", HALF)
def test_every_half_precision_number_is_read_and_rounded_as_torch_does(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    for instruction_set in INSTRUCTION_SETS:
        monkeypatch.setenv("DUALADAM_INSTRUCTION_SET", instruction_set)
        for decay in (
            1.0,
            0.75,
            1 / 3,
            1.7e-3,
        ):  # theta (1 - lr wd), with a zero gradient: reads, scales and rounds
            param = torch.nn.Parameter(every.clone())
            param.grad = torch.zeros_like(param)
            DualAdam([param], lr=1.0, weight_decay=1 - decay, fused=True).step()
            wide = every.float() * torch.tensor(1 - (1 - decay))
            wide = torch.where(
                wide.abs() < torch.finfo(torch.float32).tiny, 0.0, wide
            )  # the kernel flushes float32's subnormals
            wide = torch.where(every.float().abs() < torch.finfo(torch.float32).tiny, 0.0, wide)
            torch.testing.assert_close(
                param.detach(), wide.to(dtype), rtol=0, atol=0, equal_nan=True
            )


@pytest.mark.parametrize(
    ("dtype", "state_dtype"),
    [(torch.bfloat16, None), (torch.float32, torch.bfloat16), (torch.bfloat16, torch.bfloat16)],
)
def test_the_noise_of_stochastic_rounding_is_the_same_in_every_path(
    dtype: torch.dtype, state_dtype: torch.dtype | None
) -> None:
    """With zero gradients everything is only multiplied, so all paths round the same numbers."""
    values = [
        normal(4, 3, 5, 6, dtype=dtype).to(memory_format=torch.channels_last),
        normal(1_000, seed=1, dtype=dtype),
    ]
    outcomes = {}
    for path in ALONE:
        params = [torch.nn.Parameter(v.clone(memory_format=torch.preserve_format)) for v in values]
        optimizer = DualAdam(
            params,
            lr=1.0,
            eps=1e30,
            weight_decay=0.25,
            switch_rate=1.0,
            betas=(0.75, 0.875),
            state_dtype=state_dtype,
            stochastic_rounding=True,
            **ALONE[path],
        )
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
    """v decays by 0.1 % a step, less than half a unit of bfloat16: to nearest it stalls."""
    ends = {}
    for stochastic in (False, True):
        param = torch.nn.Parameter(torch.ones(20_000))
        optimizer = DualAdam(
            [param], state_dtype=torch.bfloat16, stochastic_rounding=stochastic, fused=True
        )
        param.grad = torch.zeros_like(param)
        optimizer.step()
        optimizer.state[param]["exp_avg_sq"].fill_(1.0)
        for _ in range(300):
            optimizer.step()
        ends[stochastic] = optimizer.state[param]["exp_avg_sq"].float().mean().item()
    assert ends[False] == 1.0
    # one element spreads by less than 2^-8 sqrt(300) = 0.07, the mean of 20,000 by less than 5e-4
    assert ends[True] == pytest.approx(0.999**300, abs=2.5e-3)


@pytest.mark.parametrize("path", ALONE)
def test_a_resumed_run_with_bfloat16_state_repeats_the_straight_one_bit_for_bit(
    path: str, tmp_path: Any
) -> None:
    settings = {"state_dtype": torch.bfloat16, "stochastic_rounding": True}
    values = [normal(40, 5), normal(7, seed=1, dtype=torch.bfloat16)]
    straight = trained(path, values, 6, **settings)
    params, optimizer = trained(path, values, 3, **settings)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    resumed = DualAdam(params, **ALONE[path])
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.param_groups[0]["state_dtype"] == "bfloat16"
    take_steps(params, resumed, range(3, 6))
    assert_equal(bits(*straight), bits(params, resumed))
    assert resumed.state[params[0]]["exp_avg"].dtype == torch.bfloat16
