"""Working through large tensors piece by piece, so that the float32 copies of what is stored in fewer bits stay small."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from dualadam.optim._step.rounding import is_dense, strides

HALF = (torch.float16, torch.bfloat16)
# Copies and what is computed from them take up to 32 bytes an element, torch.optim.AdamW's temporaries for half precision 2 an element of
# all parameters (foreach) or 4 of the largest (loop): with these shares ours are never larger. There is no slack: one more temporary
# in a step means smaller shares.
SHARE_OF_ALL, SHARE_OF_LARGEST = 16, 8
# Elements copied at a time at most, by the type of device: on the CPU what stays in the cache, elsewhere what makes a launch worth it.
MOST = {"cpu": 2**17}
MOST_ELSEWHERE = 2**22
LEAST = 128  # and at least: 32 bytes each are a page of memory, below which there is nothing to be saved

Piece = tuple[
    int, tuple[Tensor, ...]
]  # place in memory of its first element, then (param, grad, exp_avg, exp_avg_sq)


def arithmetic_dtype(param: Tensor) -> torch.dtype:
    """Return the dtype that a step computes in: the parameter's, but at least float32."""
    return torch.float32 if param.dtype in HALF else param.dtype


def needs_copies(tensors: tuple[Any, ...]) -> bool:
    """Whether one of (param, grad, exp_avg, exp_avg_sq) is stored in another dtype than the step computes in."""
    dtype = arithmetic_dtype(tensors[0])
    return not dtype.is_complex and any(t.dtype != dtype for t in tensors)


def piece_size(numel: int, device: torch.device) -> int:
    """Return how many elements to copy at a time, where a share of the parameters has so many."""
    return max(LEAST, min(numel, MOST.get(device.type, MOST_ELSEWHERE)))


def pieces(*tensors: Tensor, size: int) -> list[Piece]:
    """Cut (param, grad, exp_avg, exp_avg_sq) into flat views of a size, where copies are needed and the memory is laid out alike.

    torch.compile gets everything whole, since it keeps no copies, and so does a differentiated step, which cannot change views in place.
    """
    param = tensors[0]
    if (
        torch.compiler.is_compiling()
        or torch.is_grad_enabled()
        or param.numel() <= size
        or not needs_copies(tensors)
        or not is_dense(param)
        or any(type(t) not in (Tensor, Parameter) or strides(t) != strides(param) for t in tensors)
    ):
        return [(0, tensors)]
    flat = [t.as_strided((t.numel(),), (1,)) for t in tensors]
    return [
        (first, tuple(t[first : first + size] for t in flat))
        for first in range(0, param.numel(), size)
    ]


def batches(rows: Iterable[tuple[Any, ...]]) -> list[list[tuple]]:
    """Group rows (param, grad, exp_avg, exp_avg_sq, step, place) by device and dtype, and what needs copies into bounded groups of pieces.

    Returns:
        Lists of (first element, pieces of the four tensors, step, place).
    """
    compiling = torch.compiler.is_compiling()
    alike: dict[tuple[torch.device, torch.dtype, bool], list[tuple[Any, ...]]] = {}
    for row in rows:
        alike.setdefault(
            (row[0].device, row[0].dtype, not compiling and needs_copies(row[:4])), []
        ).append(row)
    found: list[list[tuple]] = []
    for (device, _, copied), members in alike.items():
        size = (
            piece_size(sum([row[0].numel() for row in members]) // SHARE_OF_ALL, device)
            if copied
            else 0
        )
        in_batch = size + 1  # the first piece begins a batch
        for *tensors, step, place in members:
            for first, piece in pieces(*tensors, size=size) if copied else [(0, tuple(tensors))]:
                in_batch += piece[0].numel() if copied else 0
                if in_batch > size:
                    found.append([])
                    in_batch = piece[0].numel() if copied else 0
                found[-1].append((first, piece, step, place))
    return found
