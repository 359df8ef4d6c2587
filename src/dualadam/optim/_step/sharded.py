"""Sharded parameters (DTensor): each process steps the part that it holds."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import torch

from dualadam.optim._step.columns import Columns, TensorRow


def local_columns(columns: Columns) -> Columns:
    """Return columns with DTensors replaced by the parts that this process holds.

    The step works element by element, so a shard steps as it would in the whole. The noise of
    stochastic rounding counts the elements of the shard.
    """
    module = dtensor_module()
    if module is None or not any(isinstance(p, module.DTensor) for p in columns.params):
        return columns
    rows = columns.rows()
    local = [local_row(row) for row in rows]
    for row, part in zip(rows, local, strict=True):
        if part is not row:
            # autograd saved the whole, whose version differs from that of its part
            torch.autograd.graph.increment_version([row.param, row.exp_avg, row.exp_avg_sq])
    return Columns(*map(list, zip(*local, strict=True)))


def local_row(row: TensorRow) -> TensorRow:
    """Return the part of a row that this process holds; a row not sharded alike stays as it is."""
    module = dtensor_module()
    tensors: tuple[Any, ...] = (row.param, row.grad, row.exp_avg, row.exp_avg_sq)
    if module is None or not all(isinstance(t, module.DTensor) for t in tensors):
        return row
    param, grad, exp_avg, exp_avg_sq = tensors
    specs = {(t.device_mesh, t.placements) for t in tensors}
    if len(specs) != 1 or any(placement.is_partial() for placement in param.placements):
        return row
    return TensorRow(
        param.to_local(),
        grad.to_local(),
        exp_avg.to_local(),
        exp_avg_sq.to_local(),
        row.step,
        row.place,
    )


def dtensor_module() -> ModuleType | None:
    """Return torch.distributed.tensor if it is imported: whoever has a DTensor has imported it."""
    return sys.modules.get("torch.distributed.tensor")
