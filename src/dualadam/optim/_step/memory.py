"""How a tensor lies in memory."""

from __future__ import annotations

import torch
from torch import Tensor


def strides(tensor: Tensor) -> list[int]:
    """Return the strides of the dimensions with more than one element."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size != 1]


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill one stretch of memory without gaps or overlaps."""
    sizes = [size for size in tensor.shape if size != 1]
    expected = 1
    for stride, size in sorted(zip(strides(tensor), sizes, strict=True)):
        if stride != expected:
            return tensor.numel() == 0
        expected *= size
    return True


def memory_index(tensor: Tensor, first: int = 0) -> Tensor:
    """Return each element's position in memory, counted from ``first``, in int32 (lower bits).

    The elements of a tensor that is not dense are counted in the order of their indices.
    """
    places = torch.arange(first, first + tensor.numel(), device=tensor.device).int()
    if is_dense(tensor):
        return places.as_strided(tensor.shape, tensor.stride())
    return places.view(tensor.shape)
