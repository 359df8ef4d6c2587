"""Trainings on two processes, and on one from the checkpoint of two; run by test_sharded.py.

``sharded_program.py FOLDER RANK WORLD_SIZE`` runs every case of its world size and writes
"passed" or the traceback, by "case, path", to FOLDER/WORLD_SIZE-RANK.json.
"""

from __future__ import annotations

import copy
import datetime
import json
import os
import re
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from sharded_cases import CASES, PATHS, SETTINGS, SHARDED
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer, _apply_optimizer_in_backward
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from dualadam import DualAdam, diagnose

KINDS = {  # of state dicts
    "sharded": StateDictOptions(),
    "full": StateDictOptions(full_state_dict=True),
    "full, cpu_offload": StateDictOptions(full_state_dict=True, cpu_offload=True),
}
STOP, STEPS = 4, 12  # the hand-over ends at step 10


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def make_sharded() -> nn.Sequential:
    model = make_model()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh)
    return model


def train(model: nn.Module, optimizer: Any, first: int, last: int, share: bool = True) -> None:
    """Train on one batch per step; with share each process sees its part of the batch alone."""
    for step in range(first, last):
        batch = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
        if share:
            batch = batch.chunk(dist.get_world_size())[dist.get_rank()]
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()


def whole(tensor: Tensor) -> Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach()


def everything(model: nn.Module, optimizer: Any) -> dict[str, Tensor]:
    """Return parameters and states by name, whole."""
    found = {}
    for name, param in model.named_parameters():
        found[name] = whole(param)
        found |= {f"{name} {key}": whole(v) for key, v in optimizer.state[param].items()}
    return {key: value.clone() for key, value in found.items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert value.dtype == other[key].dtype, (key, value.dtype, other[key].dtype)
        torch.testing.assert_close(
            value, other[key], rtol=tolerance, atol=tolerance, msg=lambda m, key=key: f"{key}: {m}"
        )


def tolerance_of(path: str) -> float:
    # gradients are summed in another order; a bfloat16 moment is rounded by up to 2^-8, with
    # other noise in a shard, and a few elements differ by more than one rounding
    return 2e-2 if path == "bfloat16 state" else 1e-5


def ddp_is_one_process_with_the_whole_batch(folder: Path, path: str) -> None:
    alone, model = make_model(), DistributedDataParallel(make_model())
    reference = DualAdam(alone.parameters(), **SETTINGS, **PATHS[path])
    optimizer = DualAdam(model.parameters(), **SETTINGS, **PATHS[path])
    train(alone, reference, 0, STEPS, share=False)
    train(model, optimizer, 0, STEPS)
    mine = everything(model.module, optimizer)
    assert_same(everything(alone, reference), mine, tolerance_of(path))
    others: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(others, mine)
    for other in others:  # the processes hold the same bits
        assert_same(mine, other)


def zero_is_the_undivided_optimizer(folder: Path, path: str) -> None:
    models = [DistributedDataParallel(make_model()) for _ in range(2)]
    plain = DualAdam(models[0].parameters(), **SETTINGS, **PATHS[path])
    divided = ZeroRedundancyOptimizer(
        models[1].parameters(), optimizer_class=DualAdam, **SETTINGS, **PATHS[path]
    )
    train(models[0], plain, 0, STEPS)
    train(models[1], divided, 0, STOP)
    divided.consolidate_state_dict(to=0)
    saved = [divided.state_dict() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(saved, src=0)
    resumed = ZeroRedundancyOptimizer(
        models[1].parameters(), optimizer_class=DualAdam, **SETTINGS, **PATHS[path]
    )
    resumed.load_state_dict(saved[0])
    train(models[1], resumed, STOP, STEPS)
    # the noise of rounding counts the parameters of the process
    tolerance = tolerance_of(path) if path == "bfloat16 state" else 0.0
    weights = [dict(model.named_parameters()) for model in models]
    assert_same(weights[0], weights[1], tolerance)
    rows = diagnose(resumed.optim)  # of the parameters of this process
    assert [row.mixing_weight for row in rows] == [0.0]


def a_step_in_backward_is_the_step_after_it(folder: Path, path: str) -> None:
    models = [make_model() for _ in range(2)]
    optimizers = [DualAdam([p], **SETTINGS, **PATHS[path]) for p in models[0].parameters()]
    _apply_optimizer_in_backward(DualAdam, models[1].parameters(), {**SETTINGS, **PATHS[path]})
    for step in range(STEPS):
        batch = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
        for model in models:
            model(batch).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert all(p.grad is None for p in models[1].parameters())
    assert_same(*(dict(model.named_parameters()) for model in models))


def a_loaded_checkpoint_continues_as_the_straight_run(folder: Path, path: str) -> None:
    """Save with two processes; two load it and continue bit for bit, as FSDP2 shards them."""
    straight = make_sharded()
    optimizer = DualAdam(straight.parameters(), **SETTINGS, **PATHS[path])
    train(straight, optimizer, 0, STOP)
    saved = everything(straight, optimizer)
    checkpoints = {}
    for kind, options in KINDS.items():
        checkpoints[kind] = get_state_dict(straight, optimizer, options=options)
        model_state, optimizer_state = checkpoints[kind]
        if kind == "sharded":
            dcp.save(
                {"model": model_state, "optimizer": optimizer_state},
                checkpoint_id=folder / f"dcp {path}",
            )
            checkpoints[kind] = None
        elif dist.get_rank() == 0:
            torch.save(checkpoints[kind], folder / f"{kind} {path}.pt")
        # a full state that is offloaded is on the first process alone
        assert kind != "full, cpu_offload" or bool(model_state) is (dist.get_rank() == 0)
    if dist.get_rank() == 0:
        torch.save(saved, folder / f"saved {path}.pt")
    dist.barrier()
    train(straight, optimizer, STOP, STEPS)
    expected = everything(straight, optimizer)
    if dist.get_rank() == 0:
        torch.save(expected, folder / f"expected {path}.pt")
    for kind in KINDS:
        model = make_sharded()
        resumed = DualAdam(model.parameters(), **SETTINGS, **PATHS[path])
        load(model, resumed, folder, kind, path)
        assert_same(saved, everything(model, resumed))
        train(model, resumed, STOP, STEPS)
        assert_same(expected, everything(model, resumed))


def load(model: nn.Module, optimizer: DualAdam, folder: Path, kind: str, path: str) -> None:
    if kind == "sharded":
        model_state, optimizer_state = get_state_dict(model, optimizer)
        dcp.load(
            {"model": model_state, "optimizer": optimizer_state},
            checkpoint_id=folder / f"dcp {path}",
        )
        options = StateDictOptions()
    else:
        # the first process reads the file and the others get their shards from it
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        model_state, optimizer_state = {}, {}
        if dist.get_rank() == 0:
            model_state, optimizer_state = torch.load(folder / f"{kind} {path}.pt")
    # set_state_dict does nothing in a process that has read nothing, and the first one waits
    set_model_state_dict(model, model_state, options=options)
    set_optimizer_state_dict(model, optimizer, optimizer_state, options=options)


def one_process_continues_what_two_have_saved(folder: Path, path: str) -> None:
    """A plain model, without shards; what is loaded is exact, what follows is so to rounding."""
    saved, expected = (torch.load(folder / f"{name} {path}.pt") for name in ("saved", "expected"))
    for kind in KINDS:
        model = make_model()
        optimizer = DualAdam(model.parameters(), **SETTINGS, **PATHS[path])
        load(model, optimizer, folder, kind, path)
        assert_same(saved, everything(model, optimizer))
        train(model, optimizer, STOP, STEPS)
        assert_same(expected, everything(model, optimizer), tolerance_of(path))


def a_state_of_another_world_size_is_refused(folder: Path, path: str) -> None:
    """A process that saves its own state_dict can load it in as many processes alone."""
    model, sharded = make_model(), make_sharded()
    plain, divided = (DualAdam(m.parameters(), **SETTINGS, **PATHS[path]) for m in (model, sharded))
    train(model, plain, 0, 1)
    train(sharded, divided, 0, 1)
    over = "exp_avg of parameter 0 must be distributed over as many processes as the parameter"
    refused(plain, divided.state_dict(), f"{over} (none), got one that is over 2.")
    refused(divided, plain.state_dict(), f"{over} (2), got one that is over none.")
    shards = copy.deepcopy(divided.state_dict())
    for of_param in shards["state"].values():
        for key in ("exp_avg", "exp_avg_sq"):
            of_param[key] = of_param[key].to_local()
    rows = 4 if dist.get_rank() == 0 else 3
    refused(plain, shards, f"exp_avg of parameter 0 must have its shape (7, 5), got ({rows}, 5).")


def refused(optimizer: DualAdam, state: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)) as error:
        optimizer.load_state_dict(state)
    assert "torch.distributed.checkpoint" in str(error.value)


def main(folder: Path, rank: int, world_size: int) -> None:
    dist.init_process_group(
        "gloo",
        rank=rank,
        world_size=world_size,
        init_method=f"file://{folder}/store-{world_size}",
        timeout=datetime.timedelta(seconds=30),
    )
    results = {}
    for case in CASES[world_size]:
        if case in SHARDED and not hasattr(torch.cpu.Stream, "record_event"):
            continue
        for path in PATHS:
            try:
                globals()[case](folder, path)
                results[f"{case}, {path}"] = "passed"
            except Exception:
                results[f"{case}, {path}"] = traceback.format_exc()
            # written after each case: if one process fails, the other waits until the time-out
            (folder / f"{world_size}-{rank}.json").write_text(json.dumps(results))
            dist.barrier()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    os._exit(0)  # gloo's threads outlive the interpreter, and an exit may be aborted
