"""Your own loop uses accelerate: accumulation, clipping, and a schedule for any optimizer."""

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dualadam.compare import Trial, compare
from dualadam.compare.trial import TrialScores

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(600, 8, generator=GENERATOR)
Y = (X[:, :4].prod(1) + X.sum(1)).unsqueeze(1)


def train(run: Trial) -> TrialScores:
    accelerator = Accelerator(cpu=run.device == "cpu", gradient_accumulation_steps=2)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))  # the seed is set already
    # was: optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    optimizer = run.optimizer(model)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, run.steps)
    loader = DataLoader(TensorDataset(X[:400], Y[:400]), batch_size=20, shuffle=True)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    device, step = accelerator.device, 0

    def error(rows: slice) -> float:
        with torch.no_grad():
            return (model(X[rows].to(device)) - Y[rows].to(device)).square().mean().item()

    while step < run.steps:
        for x, y in loader:
            with accelerator.accumulate(model):
                loss = (model(x) - y).square().mean()
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                step += 1
                run.log(step, loss=loss)
            if step == run.steps:
                break
    return run.scores(validation=error(slice(400, 500)), test=lambda: error(slice(500, 600)))


if __name__ == "__main__":
    metric = {"direction": "lower", "metric": "error"}
    result = compare(train, lr=1e-2, steps=200, seeds=10, out="runs/accelerate", **metric)
    print(result.table())
