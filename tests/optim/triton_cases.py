"""The cases of test_triton.py, which runs them in a process with Triton's interpreter.

The interpreter has to be chosen before triton is imported:

    TRITON_INTERPRET=1 PYTHONPATH=src python tests/optim/triton_cases.py

CPU tensors go through the CUDA kernel, instruction by instruction, and are compared with the loop.
Prints one line of JSON per case.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from typing import Any

import torch
from torch import Tensor

from dualadam import DualAdam, InvAdam, moments_of
from dualadam.optim._kernels import triton as triton_kernel
from dualadam.optim._step import fused as _fused

# elements of the tensors: chunks of 64 with and without a rest, one element, none
NUMBERS = (130, 1, 0, 64, 33, 300)
F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16
IN_8_BITS = {"switch_rate": 0.25, "stochastic_rounding": True, "state_dtype": torch.uint8}

# name: (dtype, settings, what is special)
CASES: dict[str, tuple[torch.dtype, dict[str, Any], str]] = {
    "float32 over the hand-over": (F32, {"switch_rate": 0.25, "weight_decay": 0.1}, ""),
    "InvAdam": (F32, {"lr": 0.1}, "InvAdam"),
    "maximize, other betas": (F32, {"betas": (0.3, 0.6), "maximize": True, "eps": 1e-3}, ""),
    "no memory of m": (F32, {"betas": (0.0, 0.9)}, ""),
    "unaligned": (F32, {"switch_rate": 0.25}, "unaligned"),
    "different steps": (F32, {"switch_rate": 0.25}, "joins late"),
    "tensor lr and betas": (
        F32,
        {"lr": torch.tensor(1e-2), "betas": (torch.tensor(0.9), torch.tensor(0.999))},
        "",
    ),
    "listed twice": (F32, {"switch_rate": 0.25, "weight_decay": 0.1}, "listed twice"),
    "under another default device": (F32, {"switch_rate": 0.25}, "meta"),
    "scaled gradients and a skipped step": (F32, {"switch_rate": 0.25}, "scaled"),
    "float16": (F16, {"switch_rate": 0.25}, ""),
    "bfloat16": (BF16, {"switch_rate": 0.25, "weight_decay": 0.1}, ""),
    "bfloat16, rounded stochastically": (
        BF16,
        {"switch_rate": 0.25, "stochastic_rounding": True},
        "",
    ),
    "bfloat16 all, rounded stochastically": (
        BF16,
        {"switch_rate": 0.25, "stochastic_rounding": True, "state_dtype": BF16},
        "",
    ),
    "bfloat16, rounded stochastically beyond 2^24": (
        BF16,
        {"switch_rate": 0.25, "stochastic_rounding": True},
        "beyond 2^24",
    ),
    "float32 with bfloat16 state": (F32, {"switch_rate": 0.25, "state_dtype": BF16}, ""),
    "infinite and missing gradients": (
        BF16,
        {"switch_rate": 0.25, "stochastic_rounding": True},
        "not finite",
    ),
    "moments in 8 bits": (F32, IN_8_BITS | {"weight_decay": 0.1}, ""),
    "moments in 8 bits, unaligned": (F32, IN_8_BITS, "unaligned"),
    "moments in 8 bits, float16": (F16, IN_8_BITS, ""),
    "moments in 8 bits, bfloat16": (BF16, IN_8_BITS, ""),
    "moments in 8 bits, beyond 2^24": (BF16, IN_8_BITS, "beyond 2^24"),
    "moments in 8 bits, infinite and missing gradients": (F32, IN_8_BITS, "not finite"),
    "moments in 8 bits, a skipped step": (F32, IN_8_BITS, "scaled"),
}


def values(dtype: torch.dtype, unaligned: bool) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    result = []
    for num in NUMBERS:
        storage = torch.randn(num + 1, generator=generator).to(dtype)
        result.append(torch.nn.Parameter(storage[1:] if unaligned else storage[:num].clone()))
    return result


def listed(params: list[torch.nn.Parameter], special: str) -> list[torch.nn.Parameter]:
    """Return what the optimizer gets; torch warns of a parameter that is listed twice."""
    if special != "listed twice":
        return params
    warnings.filterwarnings("ignore", message="optimizer contains a parameter group with dup")
    return [*params, params[0]]


def run(name: str) -> dict[str, Any]:
    """Return the largest difference between kernel and loop, in units of the dtype, and more."""
    dtype, settings, special = CASES[name]
    optimizer = InvAdam if special == "InvAdam" else DualAdam
    settings = {"lr": 1e-2, "rounding_seed": 0, **settings}
    sets = [values(dtype, special == "unaligned") for _ in range(2)]
    loop, fused = (
        optimizer(listed(params, special), **path, **settings)
        for params, path in zip(sets, ({"foreach": False}, {"fused": True}), strict=True)
    )
    versions = sets[1][0]._version
    for step in range(6):
        scale, skipped = torch.tensor(8.0), torch.tensor(float(special == "scaled" and step == 2))
        for i, (a, b) in enumerate(zip(*sets, strict=True)):
            if special == "joins late" and i == 1 and step < 2:
                continue
            a.grad = torch.randn(
                a.shape, generator=torch.Generator().manual_seed(100 * step + i)
            ).to(dtype)
            if special == "not finite" and len(a):
                a.grad[0] = (float("inf"), float("nan"), -float("inf"))[i % 3]
            b.grad = a.grad.clone() * (8 if special == "scaled" else 1)
        if special == "scaled":
            fused.grad_scale, fused.found_inf = scale, skipped
        if not skipped:
            loop.step()
        with torch.device("meta") if special == "meta" else contextlib.nullcontext():
            fused.step()
        if special == "beyond 2^24" and step == 2:
            for state in (*loop.state.values(), *fused.state.values()):
                state["step"].fill_(2**24 - 2)
    unit = torch.finfo(dtype).eps
    pairs = [(a.detach(), b.detach()) for a, b in zip(*sets, strict=True) if len(a)]
    difference = max(
        float(((a - b).abs() / a.abs().clamp(min=1).to(a)).nan_to_num().max()) / unit
        for a, b in pairs
    )
    moments = [
        pair
        for a, b in zip(*sets, strict=True)
        if len(a)
        for pair in zip(moments_of(loop.state[a], a), moments_of(fused.state[b], b), strict=True)
    ]
    return {
        "name": name,
        "difference": difference,
        "same_kind": all(
            torch.equal(kind(a), kind(b))
            for a, b in (*pairs, *moments)
            for kind in (torch.isnan, torch.isposinf, torch.isneginf)
        ),
        "moments": max(
            float(
                (a.float() - b.float()).abs().nan_to_num().max()
                / a.float().abs().nan_to_num(posinf=0).max()
            )
            for a, b in moments
        ),
        "steps": [float(fused.state[p]["step"]) for p in sets[1]]
        == [float(loop.state[p]["step"]) for p in sets[0]],
        "versions": sets[1][0]._version > versions,
        "unchanged_beside": special != "unaligned" or _untouched(sets[1], dtype),
    }


def _untouched(params: list[torch.nn.Parameter], dtype: torch.dtype) -> bool:
    """Whether the element before each unaligned tensor is unchanged."""
    fresh = values(dtype, True)
    first: list[tuple[Tensor, Tensor]] = [
        (p.detach()._base, q.detach()._base) for p, q in zip(params, fresh, strict=True)
    ]  # type: ignore[misc]
    return all(bool(a[0] == b[0]) for a, b in first if a is not None and b is not None)


if __name__ == "__main__":
    for dtype in triton_kernel.TUNING:
        triton_kernel.TUNING[dtype] = triton_kernel.Tuning(64, 16, 4)
    triton_kernel.TUNING[torch.uint8] = triton_kernel.Tuning(128, 64, 4)
    _fused.KERNELS["cpu"] = triton_kernel
    triton_kernel.ACCEPTS = triton_kernel.ACCEPTS._replace(device_type="cpu")
    for case in CASES:
        print(json.dumps(run(case)), flush=True)
