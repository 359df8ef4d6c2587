"""Storing results in fewer bits than they were computed in: to nearest, or stochastically.

The noise is a hash of (place, step, index) and of nothing else. A run therefore repeats and resumes
bit for bit, whichever path it takes and however many threads it has. The kernels form the same
numbers. The step of what is rounded stochastically is float64, since float32 stops counting at 2^24
and the noise would repeat from there on.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dualadam.optim._step.columns import TensorRow, Updated
from dualadam.optim._step.memory import memory_index
from dualadam.optim._step.quantised import BLOCK, is_quantised, quantised

# Of an element's hash exp_avg takes the lower half, low, exp_avg_sq the upper half, high, and the
# parameter 16 bits of the product with this number, which are (high + 0x9E37 low) mod 2^16. Any two
# of the three are independent: for each value of one, every value of the other occurs once.
PARAM_MULTIPLIER = 0x9E370001 - 2**32
# The places of a block have odd multipliers made from this number (the fraction of the root of 3).
# No ratio of two of them is p / q with p q < 101, modulo 2^32 or 2^19, the bits that exp_avg_sq
# takes: two of its places are correlated by 3 % at most, and all other pairs not measurably.
MULTIPLIER_SEED = 0xBB67AE85 - 2**32
ROUNDED = {torch.bfloat16, torch.uint8}  # dtypes that are rounded stochastically


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


def noise_key(row: TensorRow) -> int | Tensor | None:
    """Return the key of a row's noise at its step, or None if nothing in it is rounded so.

    The key is an int32 number, or a 0-d tensor of it where the step must stay on its device. A step
    that is no count (nan, or beyond 2^53) has the noise of 0: its cast is undefined.
    """
    if ROUNDED.isdisjoint((row.param.dtype, row.exp_avg.dtype, row.exp_avg_sq.dtype)):
        return None
    seed = mix_number((row.place ^ 0x9E3779B9) & 0xFFFFFFFF)
    if row.step.is_cpu and not torch.compiler.is_compiling():
        step = row.step.item()
        seed += int(step) if 0 <= step < 2**53 else 0
        return as_int32(mix_number(seed & 0xFFFFFFFF))
    is_count = (row.step >= 0) & (row.step < 2**53)
    return mix((torch.where(is_count, row.step, 0).long() + seed).int())


def hashes_of(row: TensorRow, key: int | Tensor, first: int) -> Tensor:
    """Return 32 bits for each element of a row or a piece, from which its noise is taken.

    With moments in 8 bits a block has one hash, which saves time, and an element takes its product
    with an odd number for its place in the block. Blocks follow the order of the indices.
    """
    param = row.param
    if not is_quantised(row.exp_avg):
        return mix(memory_index(param, first) + key)
    block, device = first // BLOCK, param.device
    blocks = torch.arange(block, block + -(-param.numel() // BLOCK), device=device).int()
    places = torch.arange(BLOCK, device=device).int()
    hashes = mix(blocks + key)[:, None] * (mix(places + MULTIPLIER_SEED) | 1)
    return hashes.flatten()[: param.numel()].view(param.shape)


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


def write_back(row: TensorRow, updated: Updated, key: int | Tensor | None, first: int = 0) -> None:
    """Store the values that were not updated in place.

    Args:
        row: where they are stored; a whole parameter with its state, or a piece.
        updated: the computed values.
        key: rounds what is bfloat16 or in 8 bits stochastically; None rounds to nearest.
        first: position of the piece in its parameter.
    """
    hashes: Tensor | None = None
    # the parameter comes last, since its noise replaces the hashes
    for name in ("exp_avg", "exp_avg_sq", "param"):
        target, value = getattr(row, name), getattr(updated, name)
        if not is_copy(target, value):
            continue
        if key is not None and target.dtype in ROUNDED and hashes is None:
            hashes = hashes_of(row, key, first)
        if is_quantised(target):
            target.copy_(quantised(value, name == "exp_avg", hashes))
        elif hashes is None or target.dtype not in ROUNDED:
            target.copy_(value)
        else:
            if name == "param":
                hashes.mul_(PARAM_MULTIPLIER)
            noise = hashes & 0xFFFF if name == "exp_avg" else hashes >> 16 & 0xFFFF
            target.copy_(stochastic_bfloat16(value, noise))


def is_copy(target: Tensor, value: Tensor) -> bool:
    """Whether the arithmetic worked on a copy of the stored tensor."""
    return value is not target and target.dtype != value.dtype and not target.is_complex()
