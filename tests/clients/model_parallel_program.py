"""Lightning's ModelParallelStrategy (FSDP2) with two processes on the CPU.

``model_parallel_program.py FOLDER RANK``, run by test_model_parallel.py, writes FOLDER/RANK.json.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard

from dualadam import DualAdam, diagnose
from dualadam.callbacks.lightning import DiagnoseCallback

SETTINGS: dict[str, Any] = {"lr": 1e-2, "switch_rate": 0.1, "fused": True}
STOP, STEPS = 4, 12


class Regression(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(
            torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3)
        )

    def configure_model(self) -> None:
        for layer in (self.net[0], self.net[2], self.net):
            fully_shard(layer, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        return self.net(batch[0]).square().mean()

    def configure_optimizers(self) -> DualAdam:
        return DualAdam(self.parameters(), **SETTINGS)

    def train_dataloader(self) -> Any:
        # one batch, again and again: Lightning resumes amid an epoch with its first batch
        rows = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).repeat(STEPS, 1)
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows), batch_size=4)


def fit(folder: Path, steps: int, resume: str | None = None) -> lightning.Trainer:
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
        max_steps=steps,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder),
        callbacks=[DiagnoseCallback(every=4)],
    )
    trainer.fit(Regression(), ckpt_path=resume)
    return trainer


def weights(trainer: lightning.Trainer) -> list[torch.Tensor]:
    return [p.full_tensor().detach() for p in trainer.lightning_module.parameters()]


def main(folder: Path, rank: int) -> None:
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    warnings.simplefilter("ignore")
    straight = fit(folder, STEPS)
    stopped = fit(folder, STOP)
    alphas = [row.mixing_weight for row in diagnose(stopped.optimizers[0])]
    stopped.save_checkpoint(folder / "saved")
    resumed = fit(folder, STEPS, str(folder / "saved"))
    same = all(map(torch.equal, weights(straight), weights(resumed)))
    (folder / f"{rank}.json").write_text(json.dumps({"same": same, "alphas": alphas}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)
