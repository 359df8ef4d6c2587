"""Storing results in fewer bits than they were computed in: to nearest, or stochastically.

The noise is a hash of (place, step, index) and of nothing else. A run therefore repeats and resumes
bit for bit, whichever path it takes and however many threads it has. The kernels form the same
numbers. The step of what is rounded stochastically is float64, since float32 stops counting at 2^24
and the noise would repeat from there on.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dualadam.optim._step.columns import TensorRow, Updated
from dualadam.optim._step.memory import memory_index


class NoiseKeys(NamedTuple):
    """What seeds the noise of one parameter at one step: int32 numbers, or 0-d tensors of them."""

    moments: int | Tensor
    param: int | Tensor


def mix(h: Tensor) -> Tensor:
    """Scramble int32 tensors, read as unsigned 32-bit numbers (the finalizer of MurmurHash3).

    Example:
        >>> [hex(h & 0xFFFFFFFF) for h in mix(torch.tensor([1, 2], dtype=torch.int32)).tolist()]
        ['0x514e28b7', '0x30f4c306']
    """
    # masked, since >> on signed numbers fills with copies of the sign
    h = (h ^ (h >> 16 & 0xFFFF)) * (0x85EBCA6B - 2**32)
    h = (h ^ (h >> 13 & 0x7FFFF)) * (0xC2B2AE35 - 2**32)
    return h ^ (h >> 16 & 0xFFFF)


def mix_number(h: int) -> int:
    """Scramble one unsigned 32-bit number like ``mix``.

    Example:
        >>> hex(mix_number(1)), hex(mix_number(2))
        ('0x514e28b7', '0x30f4c306')
    """
    h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ h >> 16


def noise_keys(row: TensorRow) -> NoiseKeys | None:
    """Return the keys of a row's noise at its step, or None if nothing in it is bfloat16.

    A step that is no count (nan, or beyond 2^53) has the noise of 0: its cast is undefined.
    """
    if torch.bfloat16 not in (row.param.dtype, row.exp_avg.dtype, row.exp_avg_sq.dtype):
        return None
    seed = mix_number((row.place ^ 0x9E3779B9) & 0xFFFFFFFF)
    if row.step.is_cpu and not torch.compiler.is_compiling():
        step = row.step.item()
        seed += 2 * int(step) if 0 <= step < 2**53 else 0
        return NoiseKeys(
            moments=as_int32(mix_number(seed & 0xFFFFFFFF)),
            param=as_int32(mix_number(seed + 1 & 0xFFFFFFFF)),
        )
    is_count = (row.step >= 0) & (row.step < 2**53)
    seeds = (2 * torch.where(is_count, row.step, 0).long() + seed).int()
    return NoiseKeys(moments=mix(seeds), param=mix(seeds + 1))


def as_int32(number: int) -> int:
    """Return the signed number with the bits of an unsigned 32-bit one."""
    return number - 2**32 if number >= 2**31 else number


def stochastic_bfloat16(x: Tensor, noise: Tensor) -> Tensor:
    """Round to one of the two bfloat16 neighbours, with probabilities that make the mean x.

    ``noise`` is uniform in [0, 65536).

    Example:
        >>> x = torch.full((4,), 1 + 0.25 * 2**-7)  # a quarter of the way to the next bfloat16
        >>> noise = torch.tensor([0, 16384, 49151, 49152], dtype=torch.int32)
        >>> stochastic_bfloat16(x, noise).tolist()
        [1.0, 1.0, 1.0, 1.0078125]
    """
    x = x.float()
    rounded = ((x.view(torch.int32) + noise) & -65536).view(torch.float32)
    return torch.where(x.isfinite(), rounded, x).bfloat16()


def write_back(row: TensorRow, updated: Updated, keys: NoiseKeys | None, first: int = 0) -> None:
    """Store the values that were not updated in place.

    Args:
        row: where they are stored; a whole parameter with its state, or a piece.
        updated: the computed values.
        keys: rounds what is bfloat16 stochastically; None rounds to nearest.
        first: position of the piece in its parameter.
    """
    if (
        updated.param is row.param
        and updated.exp_avg is row.exp_avg
        and updated.exp_avg_sq is row.exp_avg_sq
    ):
        return
    if is_copy(row.param, updated.param):
        if keys is not None and row.param.dtype == torch.bfloat16:
            noise = mix(memory_index(row.param, first) + keys.param) & 0xFFFF
            row.param.copy_(stochastic_bfloat16(updated.param, noise))
            del noise  # it would lie beside the noise of the moments
        else:
            row.param.copy_(updated.param)
    moments = ((row.exp_avg, updated.exp_avg), (row.exp_avg_sq, updated.exp_avg_sq))
    if keys is not None and torch.bfloat16 in (row.exp_avg.dtype, row.exp_avg_sq.dtype):
        # exp_avg takes the lower half of the random bits, exp_avg_sq the upper half
        bits = mix(memory_index(row.param, first) + keys.moments)
    for shift, (target, value) in zip((0, 16), moments, strict=True):
        if not is_copy(target, value):
            continue
        if keys is not None and target.dtype == torch.bfloat16:
            target.copy_(stochastic_bfloat16(value, bits >> shift & 0xFFFF))
        else:
            target.copy_(value)


def is_copy(target: Tensor, value: Tensor) -> bool:
    """Whether the arithmetic worked on a copy of the stored tensor."""
    return target.dtype != value.dtype and not target.is_complex()
