"""Your own loop: gradient clipping and a scheduler, which multiply with any arm's warm-up."""

import torch
from torch import nn

from dualadam.compare import Trial, compare
from dualadam.compare.trial import TrialScores

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(600, 8, generator=GENERATOR)
Y = (X[:, :4].prod(1) + X.sum(1)).unsqueeze(1)


def train(run: Trial) -> TrialScores:
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1)).to(run.device)
    optimizer = run.optimizer(model)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, run.steps)

    def error(rows: slice) -> float:
        with torch.no_grad():
            return (model(X[rows]) - Y[rows]).square().mean().item()

    for step in range(1, run.steps + 1):
        rows = torch.randint(400, (32,))
        loss = (model(X[rows]) - Y[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            run.log(step, loss=loss, validation=error(slice(400, 500)))
    return run.scores(validation=error(slice(400, 500)), test=lambda: error(slice(500, 600)))


if __name__ == "__main__":
    result = compare(
        train, lr=1e-2, steps=200, seeds=10, direction="lower", metric="error", out="runs/loop"
    )
    print(result.table())
