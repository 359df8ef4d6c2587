"""Working through large tensors piece by piece, so that the float32 copies of what is stored in fewer bits stay small."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter

from dualadam.optim._rounding import is_dense

HALF = (torch.float16, torch.bfloat16)
# Elements of a piece, by the type of device: on the CPU it stays in the cache, elsewhere a launch must be worth its while.
SLICE = {"cpu": 2**18}
SLICE_ELSEWHERE = 2**22

Piece = tuple[int, tuple[Tensor, ...]]  # place in memory of its first element, then (param, grad, exp_avg, exp_avg_sq)


def arithmetic_dtype(param: Tensor) -> torch.dtype:
    """Return the dtype that a step computes in: the parameter's, but at least float32."""
    return torch.float32 if param.dtype in HALF else param.dtype


def needs_copies(tensors: tuple[Tensor, ...]) -> bool:
    """Whether one of (param, grad, exp_avg, exp_avg_sq) is stored in another dtype than the step computes in."""
    return not tensors[0].is_complex() and any(t.dtype != arithmetic_dtype(tensors[0]) for t in tensors)


def pieces(*tensors: Tensor) -> list[Piece]:
    """Cut (param, grad, exp_avg, exp_avg_sq) into flat views of bounded size, where copies are needed and the memory is laid out alike.

    torch.compile gets everything whole: it keeps no copies.
    """
    param = tensors[0]
    size = SLICE.get(param.device.type, SLICE_ELSEWHERE)
    if (
        torch.compiler.is_compiling()
        or param.numel() <= size
        or not needs_copies(tensors)
        or not is_dense(param)
        or any(type(t) not in (Tensor, Parameter) or t.stride() != param.stride() for t in tensors)
    ):
        return [(0, tensors)]
    flat = [t.as_strided((t.numel(),), (1,)) for t in tensors]
    return [(first, tuple(t[first : first + size] for t in flat)) for first in range(0, param.numel(), size)]


def batches(rows: Iterable[tuple[Tensor, ...]]) -> list[list[tuple]]:
    """Group the pieces of rows (param, grad, exp_avg, exp_avg_sq, step, place) so that one group's copies are as bounded as one piece.

    Returns:
        Lists of (first element, pieces of the four tensors, step, place). What needs no copies does not count.
    """
    groups: list[list[tuple]] = [[]]
    copied = 0
    for *tensors, step, place in rows:
        for first, piece in pieces(*tensors):
            if needs_copies(piece) and not torch.compiler.is_compiling():
                copied += piece[0].numel()
                if groups[-1] and copied > SLICE.get(piece[0].device.type, SLICE_ELSEWHERE):
                    groups.append([])
                    copied = piece[0].numel()
            groups[-1].append((first, piece, step, place))
    return groups
