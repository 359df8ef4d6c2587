"""Sharded parameters (DTensor): each process steps and measures the part that it holds."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dualadam.optim._step.columns import Columns, TensorRow


class Sharding(NamedTuple):
    """How a DTensor is distributed."""

    mesh: Any  # DeviceMesh
    placements: tuple[Any, ...]


def local_columns(columns: Columns) -> Columns:
    """Return columns with DTensors replaced by the parts that this process holds.

    The step works element by element, so a shard steps as it would in the whole. The noise of
    stochastic rounding counts the elements of the shard.
    """
    module = dtensor_module()
    if module is None or not any(
        issubclass(kind, module.DTensor) for kind in set(map(type, columns.params))
    ):
        return columns
    rows = columns.rows()
    local = [local_row(row) for row in rows]
    if not torch.compiler.is_compiling():
        # autograd saved the whole, whose version differs from that of its part
        for row, part in zip(rows, local, strict=True):
            if part is not row:
                torch.autograd.graph.increment_version([row.param, row.exp_avg, row.exp_avg_sq])
    return Columns(*map(list, zip(*local, strict=True)))


def local_row(row: TensorRow) -> TensorRow:
    """Return the part of a row that this process holds; a row not sharded alike stays as it is."""
    shardings = {sharding_of(t) for t in (row.param, row.grad, row.exp_avg, row.exp_avg_sq)}
    sharding = shardings.pop()
    if shardings or sharding is None or any(p.is_partial() for p in sharding.placements):
        return row
    return TensorRow(
        local_part(row.param),
        local_part(row.grad),
        local_part(row.exp_avg),
        local_part(row.exp_avg_sq),
        row.step,
        row.place,
    )


def local_part(tensor: Tensor) -> Tensor:
    """Return what this process holds of a DTensor, and any other tensor as it is."""
    return tensor.to_local() if sharding_of(tensor) else tensor  # type: ignore[attr-defined]


def sharding_of(tensor: Tensor) -> Sharding | None:
    """Return how a DTensor is distributed; None for any other tensor."""
    module = dtensor_module()
    if module is None or not isinstance(tensor, module.DTensor):
        return None
    return Sharding(tensor.device_mesh, tensor.placements)


def sum_over_shards(values: Tensor, sharding: Sharding) -> Tensor:
    """Return the sums over all shards, on the CPU; every process of the mesh calls it."""
    values = values.to(sharding.mesh.device_type)
    for group in shard_groups(sharding):
        torch.distributed.all_reduce(values, group=group)
    return values.cpu()


def gather_shards(values: Tensor, sharding: Sharding) -> list[Tensor]:
    """Return the values of all shards; every process of the mesh calls it."""
    found = [values]
    for group in shard_groups(sharding):
        of_process: list[Any] = [None] * torch.distributed.get_world_size(group)
        torch.distributed.all_gather_object(of_process, found, group=group)
        found = [tensor for tensors in of_process for tensor in tensors]
    return found


def shard_groups(sharding: Sharding) -> list[Any]:
    """Return the process groups along the mesh dimensions that a tensor is sharded over."""
    return [
        sharding.mesh.get_group(dim)
        for dim, placement in enumerate(sharding.placements)
        if not placement.is_replicate()
    ]


def dtensor_module() -> ModuleType | None:
    """Return torch.distributed.tensor if it is imported: whoever has a DTensor has imported it."""
    return sys.modules.get("torch.distributed.tensor")
