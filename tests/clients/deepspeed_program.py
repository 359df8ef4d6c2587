"""DeepSpeed with two processes on the CPU: every stage of ZeRO against one process.

``deepspeed_program.py FOLDER RANK``, run by test_deepspeed.py, writes FOLDER/RANK.json.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from sharded_cases import PATHS, SETTINGS
from torch import nn

from dualadam import DualAdam, diagnose

STAGES = (1, 2, 3)
STOP, STEPS = 4, 12


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def batch_of(step: int) -> torch.Tensor:
    whole = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
    return whole.chunk(2)[dist.get_rank()]


def engine_of(stage: int, path: str) -> Any:
    import deepspeed

    model = make_model()
    optimizer = DualAdam(model.parameters(), **SETTINGS, **PATHS[path])
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        config={
            "train_micro_batch_size_per_gpu": 4,
            "zero_optimization": {"stage": stage},
            "zero_allow_untested_optimizer": True,
        },
    )
    return engine


def train(engine: Any, first: int, last: int) -> None:
    for step in range(first, last):
        engine.backward(engine(batch_of(step)).square().mean())
        engine.step()


def weights_of(engine: Any) -> list[torch.Tensor]:
    import deepspeed

    params = list(engine.module.parameters())
    with deepspeed.zero.GatheredParameters(params):
        return [p.detach().clone() for p in params]


def reference_of(path: str) -> list[torch.Tensor]:
    """Return the weights that one process has after training on the whole batches."""
    model = make_model()
    optimizer = DualAdam(model.parameters(), **SETTINGS, **PATHS[path])
    for step in range(STEPS):
        optimizer.zero_grad()
        batch = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
        model(batch).square().mean().backward()
        optimizer.step()
    return [p.detach() for p in model.parameters()]


def run(folder: Path, stage: int, path: str) -> dict[str, Any]:
    """Train with a stop in between, and say how far it is from one process and from no stop."""
    straight = engine_of(stage, path)
    train(straight, 0, STOP)
    straight.save_checkpoint(str(folder))
    rows = list(diagnose(straight.optimizer))
    train(straight, STOP, STEPS)
    expected = weights_of(straight)
    resumed = engine_of(stage, path)
    resumed.load_checkpoint(str(folder))
    train(resumed, STOP, STEPS)
    pairs = zip(expected, reference_of(path), strict=True)
    return {
        "error": max(float((a - b).abs().max()) for a, b in pairs),
        "resumed": all(map(torch.equal, expected, weights_of(resumed))),
        "alphas": [row.mixing_weight for row in rows],
    }


def main(folder: Path, rank: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "DS_ACCELERATOR": "cpu"}
    import deepspeed

    # gloo serves; DeepSpeed would compile its own collectives over shared memory for minutes
    deepspeed.ops.__compatible_ops__.clear()
    deepspeed.init_distributed(dist_backend="gloo")
    found = {}
    for stage in STAGES:
        for path in PATHS:
            found[f"{stage}, {path}"] = run(folder / f"{stage} {path}", stage, path)
            (folder / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)
