"""Parameters trained on one path, for the tests of the fused step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dualadam import DualAdam

ALONE = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def trained(
    path: str, values: list[Tensor], steps: int, optimizer: Any = DualAdam, **settings: Any
) -> tuple[list[Tensor], Any]:
    """Return parameters and their optimizer after some steps, whose gradients are fixed."""
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
    return [p.detach() for p in params] + [
        optimizer.state[p][key] for p in params for key in sorted(optimizer.state[p])
    ]


def assert_equal(expected: list[Tensor], actual: list[Tensor]) -> None:
    for e, a in zip(expected, actual, strict=True):
        assert e.dtype == a.dtype
        assert e.stride() == a.stride()
        assert torch.equal(e, a), (e.float() - a.float()).abs().max()
