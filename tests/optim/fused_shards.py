"""Two processes step a sharded parameter with fused=True, and the whole of it with the loop; run by test_fused_cuda.py."""

from __future__ import annotations

import os
import sys
import warnings

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from dualadam import DualAdam
from dualadam.optim import fused_status


def normal(seed: int) -> torch.Tensor:
    return torch.randn(7, 5, generator=torch.Generator().manual_seed(seed))


def main(rank: int, store: str) -> None:
    """Compare over the hand-over; 7 rows do not divide by two."""
    dist.init_process_group("gloo", rank=rank, world_size=2, init_method=f"file://{store}")
    mesh = init_device_mesh("cpu", (2,))
    whole = torch.nn.Parameter(normal(0))
    shard = torch.nn.Parameter(distribute_tensor(normal(0), mesh, [Shard(0)]))
    optimizers = [
        DualAdam([p], lr=1e-2, switch_rate=0.25, weight_decay=0.1, **path)
        for p, path in ((whole, {"foreach": False}), (shard, {"fused": True}))
    ]
    for step in range(1, 7):
        whole.grad, shard.grad = normal(step), distribute_tensor(normal(step), mesh, [Shard(0)])
        version = shard._version
        for optimizer in optimizers:
            optimizer.step()
        assert shard._version > version
    assert fused_status(optimizers[1]).paths == {"fused": 1}
    torch.testing.assert_close(shard.full_tensor().detach(), whole.detach(), rtol=2e-6, atol=2e-6)
    for key in ("exp_avg", "exp_avg_sq"):
        state = optimizers[1].state[shard][key]
        assert state.to_local().shape[0] == (4, 3)[rank]
        torch.testing.assert_close(
            state.full_tensor(), optimizers[0].state[whole][key], rtol=2e-6, atol=2e-6
        )
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(int(sys.argv[1]), sys.argv[2])
    os._exit(
        0
    )  # all was asserted: one exit in twelve was aborted, by gloo's threads that outlive the interpreter
