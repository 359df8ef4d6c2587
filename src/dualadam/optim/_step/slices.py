"""Cutting large tensors into pieces, which keeps the float32 copies of half precision small."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from dualadam.optim._step.columns import TensorRow
from dualadam.optim._step.memory import is_dense, strides
from dualadam.optim._step.quantised import BLOCK, is_quantised, part

HALF = (torch.float16, torch.bfloat16)
# The copies and what is computed from them take up to 32 bytes per element. The temporaries of
# torch.optim.AdamW for half precision take 2 bytes per element of all parameters (foreach), or 4 of
# the largest one (loop). With these shares ours are never larger. There is no slack: a step with
# one more temporary needs smaller shares.
SHARE_OF_ALL, SHARE_OF_LARGEST = 16, 8
# The most elements that are copied at a time, by device type: what stays in the cache on the CPU,
# what makes a launch worth its cost elsewhere
MOST = {"cpu": 2**17}
MOST_ELSEWHERE = 2**22
LEAST = 128  # 32 bytes each are a page of memory; smaller pieces would save nothing


class Piece(NamedTuple):
    """A stretch of one parameter with its gradient and state."""

    first: int  # position in memory of its first element
    row: TensorRow


def arithmetic_dtype(param: Tensor) -> torch.dtype:
    """Return the dtype that a step computes in: the parameter's, but at least float32."""
    return torch.float32 if param.dtype in HALF else param.dtype


def needs_copies(row: TensorRow) -> bool:
    """Whether a tensor of the row is stored in another dtype than the step computes in."""
    dtype = arithmetic_dtype(row.param)
    tensors = (row.param, row.grad, row.exp_avg, row.exp_avg_sq)
    return not dtype.is_complex and any(t.dtype != dtype for t in tensors)


def piece_size(numel: int, device: torch.device) -> int:
    """Return how many elements to copy at a time where the share of the parameters is ``numel``."""
    return max(LEAST, min(numel, MOST.get(device.type, MOST_ELSEWHERE)))


def pieces(row: TensorRow, size: int) -> list[Piece]:
    """Cut a row into flat views of at most ``size`` elements, or return it whole.

    It is cut where copies are needed and the four tensors are laid out alike, and between blocks of
    moments in 8 bits. torch.compile gets it whole, since compiled code keeps no copies; so does a
    differentiated step, which cannot change views in place.
    """
    param = row.param
    moments = (row.exp_avg, row.exp_avg_sq)
    in_blocks = any(map(is_quantised, moments))
    if in_blocks:
        size = max(size // BLOCK, 1) * BLOCK
    tensors = (param, row.grad, *(moment for moment in moments if not is_quantised(moment)))
    if (
        torch.compiler.is_compiling()
        or torch.is_grad_enabled()
        or param.numel() <= size
        or not needs_copies(row)
        or not (param.is_contiguous() if in_blocks else is_dense(param))
        or any(type(t) not in (Tensor, Parameter) or strides(t) != strides(param) for t in tensors)
    ):
        return [Piece(0, row)]
    found = []
    for first in range(0, param.numel(), size):
        p, g, m, v = (
            part(t, first, size)
            if is_quantised(t)
            else t.as_strided((t.numel(),), (1,))[first : first + size]
            for t in (param, row.grad, *moments)
        )
        found.append(Piece(first, TensorRow(p, g, m, v, row.step, row.place)))
    return found


def batches(rows: list[TensorRow]) -> list[list[Piece]]:
    """Group rows by device and dtype; cut what needs copies into groups of bounded size."""
    compiling = torch.compiler.is_compiling()
    alike: dict[tuple[torch.device, torch.dtype, bool], list[TensorRow]] = defaultdict(list)
    for row in rows:
        copied = not compiling and needs_copies(row)
        alike[row.param.device, row.param.dtype, copied].append(row)
    found: list[list[Piece]] = []
    for (device, _, copied), members in alike.items():
        if not copied:
            found.append([Piece(0, row) for row in members])
            continue
        total = sum([row.param.numel() for row in members])
        size = piece_size(total // SHARE_OF_ALL, device)
        in_batch = size + 1  # the first piece begins a batch
        for row in members:
            for piece in pieces(row, size):
                in_batch += piece.row.param.numel()
                if in_batch > size:
                    found.append([])
                    in_batch = piece.row.param.numel()
                found[-1].append(piece)
    return found
