"""Two processes step and diagnose sharded parameters in every path; run by test_fused_cuda.py."""

from __future__ import annotations

import copy
import math
import os
import sys
import warnings
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_tensor

from dualadam import DualAdam, diagnose, fused_status

PATHS: dict[str, dict[str, Any]] = {
    "loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}
ROUNDED = {"state_dtype": "bfloat16", "stochastic_rounding": True}
# 7 rows do not divide by two, 6 do, and 1 leaves the second process without a row
ROWS = (7, 6, 1)
PLACEMENTS: tuple[Placement, ...] = (Shard(0), Shard(1), Replicate())


def normal(rows: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed)).to(dtype)


def shards_step_as_the_whole(mesh: DeviceMesh, path: str, rows: int, placement: Placement) -> None:
    """Compare parameters, moments and diagnosis over the hand-over."""
    whole = nn.Parameter(normal(rows, 0))
    shard = nn.Parameter(distribute_tensor(normal(rows, 0), mesh, [placement]))
    settings = {"lr": 1e-2, "switch_rate": 0.25, "weight_decay": 0.1}
    reference = DualAdam([whole], foreach=False, **settings)
    optimizer = DualAdam([shard], **settings, **PATHS[path])
    for step in range(1, 7):
        whole.grad = normal(rows, step)
        shard.grad = distribute_tensor(normal(rows, step), mesh, [placement])
        version = shard._version
        reference.step()
        optimizer.step()
        assert shard._version > version
        same_diagnosis(reference, optimizer)
    if path == "fused":
        # torch 2.6 leaves gaps in the columns that a process gets
        dense = shard.to_local().is_contiguous()
        taken = "fused" if dense else "not fused: not dense in memory"
        assert fused_status(optimizer).paths == {taken: 1}
    close(shard, whole)
    for key in ("exp_avg", "exp_avg_sq"):
        state = optimizer.state[shard][key]
        assert state.to_local().shape == shard.to_local().shape
        close(state, reference.state[whole][key])


def close(actual: Any, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual.full_tensor().detach(), expected, rtol=2e-6, atol=2e-6)


def same_diagnosis(expected: DualAdam, actual: DualAdam) -> None:
    for row, of_shards in zip(diagnose(expected), diagnose(actual), strict=True):
        for (key, value), other in zip(
            asdict(row).items(), asdict(of_shards).values(), strict=True
        ):
            assert math.isclose(value, other, rel_tol=1e-5), (key, value, other)


def shards_are_rounded_as_tensors_of_their_own(
    mesh: DeviceMesh, path: str, rows: int, dtype: torch.dtype
) -> None:
    """Compare with an optimizer that knows the local part alone, bit for bit."""
    shard = nn.Parameter(distribute_tensor(normal(rows, 0, dtype), mesh, [Shard(0)]))
    alone = nn.Parameter(shard.to_local().detach().clone())
    optimizers = []
    for param in (shard, alone):
        optimizers.append(DualAdam([param], lr=1e-2, switch_rate=0.25, **ROUNDED, **PATHS[path]))
        for step in range(1, 7):
            grad = distribute_tensor(normal(rows, step, dtype), mesh, [Shard(0)])
            param.grad = grad if param is shard else grad.to_local()
            optimizers[-1].step()
    assert torch.equal(shard.to_local(), alone)
    for key in ("exp_avg", "exp_avg_sq"):
        state = optimizers[0].state[shard][key].to_local()
        assert state.dtype == torch.bfloat16
        assert torch.equal(state, optimizers[1].state[alone][key])


def a_model_of_fsdp2_trains(mesh: DeviceMesh, path: str, settings: dict[str, Any]) -> None:
    """Compare with the model in one process; both see the same batch."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    sharded = copy.deepcopy(model)
    for layer in (sharded[0], sharded[2], sharded):
        fully_shard(layer, mesh=mesh)
    common = {"lr": 1e-2, "switch_rate": 0.25, **settings}
    reference = DualAdam(model.parameters(), foreach=False, **common)
    optimizer = DualAdam(sharded.parameters(), **common, **PATHS[path])
    for _ in range(6):
        for net, opt in ((model, reference), (sharded, optimizer)):
            net(torch.ones(4, 5)).square().sum().backward()
            opt.step()
            opt.zero_grad()
    # a bfloat16 moment is rounded by up to 2^-8, with other noise in the shards
    tolerance = 1e-2 if settings else 1e-5
    for param, twin in zip(model.parameters(), sharded.parameters(), strict=True):
        assert isinstance(twin, DTensor)
        torch.testing.assert_close(
            twin.full_tensor().detach(), param.detach(), rtol=tolerance, atol=tolerance
        )
    if not settings:
        same_diagnosis(reference, optimizer)
    (row,) = diagnose(optimizer)
    assert row.num_coordinates == sum(p.numel() for p in model.parameters())


def main(rank: int, store: str) -> None:
    """Run every case in both processes."""
    dist.init_process_group("gloo", rank=rank, world_size=2, init_method=f"file://{store}")
    mesh = init_device_mesh("cpu", (2,))
    for path in PATHS:
        for rows in ROWS:
            for placement in PLACEMENTS:
                shards_step_as_the_whole(mesh, path, rows, placement)
            for dtype in (torch.float32, torch.bfloat16):
                shards_are_rounded_as_tensors_of_their_own(mesh, path, rows, dtype)
        for settings in ({}, ROUNDED) if hasattr(torch.cpu.Stream, "record_event") else ():
            a_model_of_fsdp2_trains(mesh, path, settings)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(int(sys.argv[1]), sys.argv[2])
    # all was asserted: gloo's threads outlive the interpreter, and one exit in twelve was aborted
    os._exit(0)
