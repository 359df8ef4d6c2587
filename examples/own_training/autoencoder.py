"""An autoencoder: the loss alone, and no split but the training examples."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from dualadam.compare import Problem, compare


def make() -> Problem:
    images = torch.tensor(load_digits().data, dtype=torch.float32) / 16
    return Problem(
        model=lambda: nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 64), nn.Sigmoid()),
        loss=lambda model, images: (model(images) - images).square().mean(),
        train=images,
        summary="An autoencoder of handwritten digits",
    )


if __name__ == "__main__":
    print(compare(make, lr=1e-2, epochs=5, seeds=10, out="runs/autoencoder").table())
