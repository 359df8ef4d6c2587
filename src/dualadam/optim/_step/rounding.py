"""Storing results in fewer bits than they were computed in: to nearest, or stochastically.

The noise is a hash of (place, step, index) and of nothing else: a run repeats and resumes bit for bit, whichever path or number of
threads works it off. The kernels form the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def mix(h: Tensor) -> Tensor:
    """Scramble int32 tensors, whose 32 bits count as an unsigned number (the finalizer of MurmurHash3).

    Example:
        >>> [hex(h & 0xFFFFFFFF) for h in mix(torch.tensor([1, 2], dtype=torch.int32)).tolist()]
        ['0x514e28b7', '0x30f4c306']
    """
    h = (h ^ (h >> 16 & 0xFFFF)) * (0x85EBCA6B - 2**32)  # masked: >> fills with copies of the sign
    h = (h ^ (h >> 13 & 0x7FFFF)) * (0xC2B2AE35 - 2**32)
    return h ^ (h >> 16 & 0xFFFF)


def noise_keys(place: int, step: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor] | None:
    """Return the keys of the moments' noise and of the parameter's; None where no tensor is bfloat16.

    ``place`` counts the parameters of the optimizer.
    """
    if not any(t.dtype == torch.bfloat16 for t in tensors):
        return None
    seed = torch.full((), (place ^ 0x9E3779B9) - 2**32, dtype=torch.int32, device=step.device)
    seed = mix(seed) + 2 * step.int()
    return mix(seed), mix(seed + 1)


def strides(tensor: Tensor) -> list[int]:
    """Return the strides of the dimensions that have any."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size != 1]


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill a stretch of memory, each place once."""
    expected = 1
    for stride, size in sorted(
        (stride, size)
        for stride, size in zip(tensor.stride(), tensor.shape, strict=True)
        if size != 1
    ):
        if stride != expected:
            return tensor.numel() == 0
        expected *= size
    return True


def memory_index(tensor: Tensor, first: int = 0) -> Tensor:
    """Return each element's place in memory, counted on from the tensor's first one; in the order of the indices if it is not dense.

    As int32: the lowest 32 bits of the count.
    """
    index = torch.arange(first, first + tensor.numel(), device=tensor.device).int()
    return (
        index.as_strided(tensor.shape, tensor.stride())
        if is_dense(tensor)
        else index.view(tensor.shape)
    )


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
    targets: Sequence[Tensor],
    values: Sequence[Tensor],
    keys: tuple[Tensor, Tensor] | None,
    first: int = 0,
) -> None:
    """Store (p, m, v) in (param, exp_avg, exp_avg_sq), those that were not updated in place.

    Args:
        targets: what is stored. values: what was computed.
        keys: of ``noise_keys``, for what is bfloat16; None rounds to nearest.
        first: a piece's place in its tensor.
    """
    bits: dict[bool, Tensor] = {}
    for position, (target, value) in enumerate(zip(targets, values, strict=True)):
        if target.dtype == value.dtype or target.is_complex():
            continue
        if keys is not None and target.dtype == torch.bfloat16:
            of_param = position == 0
            if of_param not in bits:
                bits = {of_param: mix(memory_index(targets[0], first) + keys[of_param])}
            # exp_avg takes the lower half of the moments' 32 random bits, exp_avg_sq the upper
            value = stochastic_bfloat16(
                value, (bits[of_param] >> 16 if position == 2 else bits[of_param]) & 0xFFFF
            )
        target.copy_(value)
