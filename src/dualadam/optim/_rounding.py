"""Storing results in fewer bits than they were computed in: to nearest, or stochastically.

The noise is a hash of (place, step, index) and of nothing else: a run repeats and resumes bit for bit, whichever path or number of
threads works it off. The kernels form the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

MASK = 0xFFFFFFFF


def mix(h: Any) -> Any:
    """Scramble an unsigned 32-bit integer (the finalizer of MurmurHash3), or an int64 tensor of them.

    Example:
        >>> hex(mix(1)), hex(mix(torch.tensor([2])).item())
        ('0x514e28b7', '0x30f4c306')
    """
    h = ((h ^ h >> 16) * 0x85EBCA6B) & MASK
    h = ((h ^ h >> 13) * 0xC2B2AE35) & MASK
    return h ^ h >> 16


def noise_keys(place: int, step: Tensor) -> tuple[Tensor, Tensor]:
    """Return the keys of the moments' noise and of the parameter's; place counts the parameters of the optimizer."""
    seed = mix(place ^ 0x9E3779B9) + 2 * step.long()
    return mix(seed & MASK), mix((seed + 1) & MASK)


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill a stretch of memory, each place once."""
    expected = 1
    for stride, size in sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size != 1):
        if stride != expected:
            return tensor.numel() == 0
        expected *= size
    return True


def memory_index(tensor: Tensor) -> Tensor:
    """Return each element's place in memory, counted from the tensor's first one; in the order of the indices if it is not dense."""
    index = torch.arange(tensor.numel(), device=tensor.device)
    return index.as_strided(tensor.shape, tensor.stride()) if is_dense(tensor) else index.view(tensor.shape)


def stochastic_bfloat16(x: Tensor, noise: Tensor) -> Tensor:
    """Round to one of the two bfloat16 neighbours, with probabilities whose mean is x; noise is uniform in [0, 65536).

    Example:
        >>> x = torch.full((4,), 1 + 0.25 * 2**-7)  # a quarter of the way from 1 to the next bfloat16
        >>> stochastic_bfloat16(x, torch.tensor([0, 16384, 49151, 49152], dtype=torch.int32)).tolist()
        [1.0, 1.0, 1.0, 1.0078125]
    """
    x = x.float()
    rounded = ((x.view(torch.int32) + noise) & -65536).view(torch.float32)
    return torch.where(x.isfinite(), rounded, x).bfloat16()


def write_back(
    targets: Sequence[Tensor], values: Sequence[Tensor], place: int, step: Tensor, stochastic_rounding: bool, first: int = 0
) -> None:
    """Store (p, m, v) in (param, exp_avg, exp_avg_sq), those that were not updated in place; ``first`` is a piece's place in its tensor."""
    noises: list[Tensor | None] = [None, None, None]
    if stochastic_rounding and any(t.dtype == torch.bfloat16 for t in targets):
        index = memory_index(targets[0]) + first
        of_moments, of_param = (mix((index + key) & MASK) for key in noise_keys(place, step))
        noises = [(n & 0xFFFF).int() for n in (of_param, of_moments, of_moments >> 16)]
    for target, value, noise in zip(targets, values, noises, strict=True):
        if target.dtype == value.dtype or target.is_complex():
            continue
        if noise is not None and target.dtype == torch.bfloat16:
            value = stochastic_bfloat16(value, noise)
        target.copy_(value)
