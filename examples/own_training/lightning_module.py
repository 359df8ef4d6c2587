"""Your own loop is Lightning's: `configure_optimizers` returns the arm's optimizer."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dualadam.compare import Trial, compare
from dualadam.compare.trial import TrialScores

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(600, 8, generator=GENERATOR)
Y = (X[:, :4].prod(1) + X.sum(1)).unsqueeze(1)


class Regression(lightning.LightningModule):
    def __init__(self, run: Trial):
        super().__init__()
        self.run = run
        self.layers = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))

    def loss(self, batch: list[torch.Tensor]) -> torch.Tensor:
        x, y = batch
        return (self.layers(x) - y).square().mean()

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        loss = self.loss(batch)
        self.run.log(self.global_step + 1, loss=loss)  # ends a run that diverged
        return loss

    def validation_step(self, batch: list[torch.Tensor]) -> None:
        self.log("error", self.loss(batch))

    def configure_optimizers(self):
        # was: optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        optimizer = self.run.optimizer(self)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.run.steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def batches(rows: slice, shuffle: bool = False) -> DataLoader:
    return DataLoader(TensorDataset(X[rows], Y[rows]), batch_size=100, shuffle=shuffle)


def train(run: Trial) -> TrialScores:
    trainer = lightning.Trainer(
        max_steps=run.steps,
        gradient_clip_val=1.0,
        accelerator="cpu" if run.device == "cpu" else "gpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Regression(run)  # the run's seed is set already
    trainer.fit(model, batches(slice(400), shuffle=True), batches(slice(400, 500)))

    def error(rows: slice) -> float:
        return trainer.validate(model, batches(rows), verbose=False)[0]["error"]

    return run.scores(validation=error(slice(400, 500)), test=lambda: error(slice(500, 600)))


if __name__ == "__main__":
    metric = {"direction": "lower", "metric": "error"}
    result = compare(train, lr=1e-2, steps=200, seeds=10, out="runs/lightning", **metric)
    print(result.table())
