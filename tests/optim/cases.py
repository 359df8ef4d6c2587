"""The table of optimizer cases: settings x parameter layouts x paths.

An exception is a field of its row. A path through the step is a row of PATHS; all tests run it.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from oracle import Oracle
from torch import Tensor

from dualadam import DualAdam, InvAdam

PATHS: dict[str, dict[str, Any]] = {
    "loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}
BIT_EXACT = ("loop", "foreach")  # paths whose order of operations is torch's
HALF = (torch.float16, torch.bfloat16)

# What older versions of torch lack: docs/versions.md
IS_DECOUPLED = "decoupled_weight_decay"  # the key of a group
marks_decay = pytest.mark.skipif(
    IS_DECOUPLED not in torch.optim.AdamW([torch.ones(1, requires_grad=True)]).param_groups[0],
    reason="Adam of this torch does not say whether its decay is decoupled",
)
compiles = pytest.mark.skipif(
    torch.__version__.startswith("2.6.") and sys.version_info >= (3, 13),
    reason="the compiler of torch 2.6 stops with an error of its own on Python 3.13",
)


@functools.cache
def randn(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Return the same normal numbers for the same arguments; do not write to the tensor."""
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def plain() -> list[Tensor]:
    return [randn(3, 4), randn(5, seed=1)]


def mixed_dtypes() -> list[Tensor]:
    dtypes = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64)
    return [randn(4, 3, seed=i).to(dtype) for i, dtype in enumerate(dtypes)]


LAYOUTS: dict[str, Callable[[], list[Tensor]]] = {
    "plain": plain,
    "float64": lambda: [randn(3, 4, dtype=torch.float64), randn(7, dtype=torch.float64)],
    "complex64": lambda: [randn(3, 4, dtype=torch.complex64), randn(5)],
    "complex128": lambda: [randn(3, dtype=torch.complex128)],
    "float16": lambda: [randn(3, 4).half(), randn(5).half()],
    "bfloat16": lambda: [randn(3, 4).bfloat16(), randn(5).bfloat16()],
    "mixed_dtypes": mixed_dtypes,
    "non_contiguous": lambda: [randn(4, 3).t(), randn(6, 8)[::2, ::2]],
    "channels_last": lambda: [randn(2, 3, 4, 5).to(memory_format=torch.channels_last)],
    "zero_dim_and_empty": lambda: [randn(), randn(0), randn(0, 3), randn(2)],
}


@dataclass(frozen=True)
class Case:
    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    layout: str = "plain"
    optimizer: type[DualAdam] | type[InvAdam] = DualAdam
    gradient_scale: float = 1.0
    joins_at: tuple[int, ...] = (
        1,
        1,
        1,
        1,
        1,
    )  # the step at which each parameter gets its first gradient
    groups: tuple[
        dict[str, Any], ...
    ] = ()  # settings of each parameter's own group; empty: one group
    requires_grad: bool = (
        True  # autograd refuses a recorded update of a leaf that requires a gradient
    )
    paths: tuple[str, ...] = tuple(PATHS)
    order_of_torch: bool = (
        True  # False: torch computes this row in another order of operations or in half precision
    )

    def make_params(self) -> list[Tensor]:
        return [copy.deepcopy(p).requires_grad_(self.requires_grad) for p in LAYOUTS[self.layout]()]

    def make(
        self,
        params: list[Tensor],
        path: str,
        optimizer: Callable[..., torch.optim.Optimizer] | None = None,
        **more: Any,
    ) -> Any:
        settings = {**self.settings, **PATHS[path], **more}
        arguments: Any = (
            [{"params": [p], **g} for p, g in zip(params, self.groups, strict=True)]
            if self.groups
            else params
        )
        return (optimizer or self.optimizer)(arguments, **settings)

    def set_grads(self, params: list[Tensor], step: int) -> None:
        """Set a step's gradients; they depend on the step alone, so errors do not feed back."""
        for i, param in enumerate(params):
            if step >= self.joins_at[i]:
                wide = torch.complex128 if param.is_complex() else torch.float64
                gradient = (
                    randn(*param.shape, dtype=wide, seed=1000 * step + i) * self.gradient_scale
                )
                param.grad = torch.empty_like(param, memory_format=torch.preserve_format).copy_(
                    gradient
                )

    def oracle_settings(self, index: int) -> dict[str, Any]:
        """Return the settings of a parameter as plain numbers, as the oracle takes them."""
        known = ("lr", "betas", "eps", "weight_decay", "switch_rate", "maximize")
        merged = {
            "lr": 1e-3,
            "switch_rate": 0.01 if self.optimizer is DualAdam else 0.0,
            **self.settings,
        }
        merged |= self.groups[index] if self.groups else {}
        numbers = {key: merged[key] for key in known if key in merged}
        numbers["lr"] = float(numbers["lr"])
        if "betas" in numbers:
            numbers["betas"] = tuple(float(b) for b in numbers["betas"])
        return numbers

    def make_oracles(self, params: list[Tensor]) -> list[Oracle]:
        return [Oracle(to_numpy(p), rounding(p.dtype)) for p in params]


def to_numpy(tensor: Tensor) -> Any:
    tensor = tensor.detach()
    return tensor.numpy() if tensor.is_complex() else tensor.double().numpy()


def rounding(dtype: torch.dtype) -> Callable[[Any], Any]:
    """Round a float64 array as a half-precision format does; leave it for wider formats."""
    if dtype not in HALF:
        return lambda theta: theta
    return lambda theta: np.asarray(torch.tensor(theta).to(dtype).double().numpy())


def epsilon(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def state_bits(params: list[Tensor], optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return copies of everything a step changes, for comparisons bit for bit."""
    tensors = [p.detach().clone() for p in params]
    for p in params:
        tensors += [optimizer.state[p][key].clone() for key in sorted(optimizer.state.get(p, {}))]
    return tensors


def assert_same_bits(expected: list[Tensor], actual: list[Tensor]) -> None:
    assert len(expected) == len(actual)
    for e, a in zip(expected, actual, strict=True):
        assert e.dtype == a.dtype
        assert torch.equal(e, a), f"largest difference {(e - a).abs().max()}"


def assert_near(
    expected: Any, actual: Tensor, *, steps: int, eps: float, scale: float = 0.0
) -> None:
    """Allow 2 n units of the largest value after n steps: each step rounds a few half units."""
    values = to_numpy(actual)
    values = np.stack([values.real, values.imag], axis=-1) if actual.is_complex() else values
    largest = max(float(np.abs(expected).max(initial=0.0)), scale)
    error = float(np.abs(values - expected).max(initial=0.0))
    assert error <= 2 * (steps + 2) * eps * largest, (
        f"error {error} after {steps} steps, largest value {largest}"
    )


# All settings on the plain layout, then the plain settings on every layout. The hand-over ends
# within the 300 steps of the tests.
SETTINGS = [
    Case("defaults"),
    Case("longer_than_the_run", {"lr": 1e-2, "switch_rate": 8e-5}),
    Case("adam_from_the_first_step", {"switch_rate": 1.0}),
    Case("two_steps", {"switch_rate": 0.5}),
    Case("beyond_half", {"switch_rate": 0.7}),
    Case("not_exactly_over", {"switch_rate": 1 / 49}),  # 1 - 49/49 is 1.1e-16 in binary
    Case("invadam", {"lr": 1e-2}, optimizer=InvAdam),
    Case("invadam_decayed", {"lr": 1e-2, "weight_decay": 0.1}, optimizer=InvAdam),
    Case("zero_switch_rate", {"switch_rate": 0.0}),
    Case("weight_decay", {"lr": 1e-2, "weight_decay": 0.1}),
    Case("maximize", {"lr": 1e-2, "maximize": True, "weight_decay": 0.1}),
    Case("large_eps", {"eps": 0.1}),
    Case("zero_eps", {"eps": 0.0}),
    Case("other_betas", {"betas": (0.5, 0.9)}),
    Case("zero_betas", {"betas": (0.0, 0.0)}),
    Case("zero_lr", {"lr": 0.0, "weight_decay": 0.1}),
    Case("small_gradients", gradient_scale=1e-6),
    Case("large_gradients", {"lr": 1e-4}, gradient_scale=30.0),
    Case("joins_late", {"lr": 1e-2, "switch_rate": 0.05}, joins_at=(1, 41)),
    Case(
        "own_groups",
        groups=(
            {"lr": 1e-2, "betas": (0.8, 0.99), "switch_rate": 0.1},
            {"eps": 1e-3, "weight_decay": 0.1, "maximize": True},
        ),
    ),
    Case("tensor_lr", {"lr": torch.tensor(1e-2)}, paths=("loop",), order_of_torch=False),
    Case("one_element_lr", {"lr": torch.tensor([1e-2])}, paths=("loop",), order_of_torch=False),
    Case(
        "tensor_betas",
        {"betas": (torch.tensor(0.9), torch.tensor(0.999))},
        paths=("loop",),
        order_of_torch=False,
    ),
    Case("capturable", {"capturable": True, "weight_decay": 0.1}, order_of_torch=False),
    Case("capturable_invadam", {"capturable": True}, optimizer=InvAdam),
    Case(
        "capturable_tensors",
        {
            "lr": torch.tensor([1e-2]),
            "betas": (torch.tensor(0.9), torch.tensor(0.99)),
            "capturable": True,
        },
        order_of_torch=False,
    ),
    Case(
        "differentiable",
        {"differentiable": True},
        requires_grad=False,
        paths=("loop",),
        order_of_torch=False,
    ),
]
CASES = SETTINGS + [
    Case(
        layout,
        {"lr": 1e-2, "weight_decay": 0.1},
        layout,
        order_of_torch=not any(p.dtype in HALF for p in make()),
    )
    for layout, make in LAYOUTS.items()
    if layout != "plain"
]
CASES += [
    Case(
        "mixed_dtypes_capturable",
        {"lr": 1e-2, "capturable": True},
        layout="mixed_dtypes",
        order_of_torch=False,
    ),
    Case(
        "mixed_dtypes_maximize",
        {"lr": 1e-2, "maximize": True},
        layout="mixed_dtypes",
        order_of_torch=False,
    ),
    Case(
        "mixed_dtypes_join_late",
        {"lr": 1e-2, "switch_rate": 0.1},
        layout="mixed_dtypes",
        joins_at=(1, 5, 9, 30, 2),
        order_of_torch=False,
    ),
]
ROWS = [(case, path) for case in CASES for path in case.paths]
ROW_IDS = [f"{case.name}-{path}" for case, path in ROWS]
