"""A regression on a table: tensors, the mean loss as the metric."""

import torch
from torch import nn

from dualadam.compare import Problem, compare


def make() -> Problem:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 8, generator=generator)
    y = (x[:, :4].prod(1) + x.sum(1)).unsqueeze(1)
    return Problem(
        model=lambda: nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1)),
        loss=lambda model, batch: (model(batch[0]) - batch[1]).square().mean(),
        train=(x[:400], y[:400]),
        validation=(x[400:500], y[400:500]),
        test=(x[500:], y[500:]),
        summary="A table of 8 columns",
    )


if __name__ == "__main__":
    print(compare(make, lr=1e-2, steps=200, seeds=10, out="runs/table").table())
