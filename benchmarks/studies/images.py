"""Image problems of the studies: small enough for hundreds of runs on two cores.

The data sets are those of the package; the folder is ``$DUALADAM_DATA``, as for ``dualadam run``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dualadam.compare import Metric, Problem
from dualadam.tasks import get_task

Batch = tuple[Tensor, Tensor]  # normalised images (B, C, H, W), labels (B,)
NUM_CLASSES = 10


def strided_cnn(channels: int) -> nn.Module:
    """Return a network of two strided convolutions, 16 and 32 channels, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(32 * 16, NUM_CLASSES),
    )


def perceptron(pixels: int) -> nn.Module:
    """Return a multilayer perceptron with two hidden layers of 64 units."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(pixels, 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, NUM_CLASSES),
    )


def mean_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean cross-entropy in nats."""
    images, labels = batch
    return cross_entropy(model(images), labels)


def summed_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return the sum of the cross-entropies: the mean times the batch size."""
    images, labels = batch
    return cross_entropy(model(images), labels, reduction="sum")


def accuracy(model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
    """Return the accuracy in percent."""
    right = total = 0
    for images, labels in batches:
        right += int((model(images).argmax(1) == labels).sum())
        total += len(labels)
    return {"accuracy": 100 * right / total}


def problem(
    name: str,
    *,
    subset: int | None,
    network: str = "strided",
    wrong_labels: float = 0.0,
    summed: bool = False,
) -> Problem:
    """Return a problem on a data set of the package.

    Args:
        name: of the data set.
        subset: training images to keep.
        network: "strided" or "perceptron".
        wrong_labels: share of the training labels that are replaced by another class, the same in
            every run.
        summed: whether the loss of a batch is a sum.
    """
    task = get_task(name, data=None, subset=subset)
    splits = {
        split: (task.normalised(task.images[split]), task.labels[split])
        for split in ("train", "validation", "test")
    }
    if wrong_labels:
        images, labels = splits["train"]
        draw = torch.Generator().manual_seed(0)
        wrong = torch.randperm(len(labels), generator=draw)[: round(wrong_labels * len(labels))]
        shift = torch.randint(1, NUM_CLASSES, (len(wrong),), generator=draw)
        labels = labels.clone()
        labels[wrong] = (labels[wrong] + shift) % NUM_CLASSES
        splits["train"] = images, labels
    _, channels, height, width = splits["train"][0].shape
    make = (
        partial(strided_cnn, channels)
        if network == "strided"
        else partial(perceptron, channels * height * width)
    )
    return Problem(
        model=lambda: make().to(memory_format=torch.channels_last),
        loss=summed_loss if summed else mean_loss,
        evaluate=accuracy,
        metrics={"accuracy": Metric("%", higher_is_better=True, worst=0.0)},
        summary=f"{name}, {len(splits['train'][1]):,} images, a small {network} network",
        **splits,
    )


def fashion() -> Problem:
    """Return 6,000 images of Fashion-MNIST."""
    return problem("fashion-mnist", subset=6000)


def cifar() -> Problem:
    """Return 10,000 images of CIFAR-10."""
    return problem("cifar10", subset=10_000)


def digits() -> Problem:
    """Return the 8x8 digits, with a multilayer perceptron."""
    return problem("digits", subset=None, network="perceptron")


def digits_summed() -> Problem:
    """Return the digits with a summed loss."""
    return problem("digits", subset=None, network="perceptron", summed=True)


def digits_wrong_20() -> Problem:
    """Return the digits with 20 % wrong training labels."""
    return problem("digits", subset=None, network="perceptron", wrong_labels=0.2)


def digits_wrong_40() -> Problem:
    """Return the digits with 40 % wrong training labels."""
    return problem("digits", subset=None, network="perceptron", wrong_labels=0.4)


def digits_200() -> Problem:
    """Return 200 training images of the digits."""
    return problem("digits", subset=200, network="perceptron")


def fashion_summed() -> Problem:
    """Return 6,000 images of Fashion-MNIST with a summed loss."""
    return problem("fashion-mnist", subset=6000, summed=True)


def fashion_wrong_20() -> Problem:
    """Return 6,000 images of Fashion-MNIST with 20 % wrong training labels."""
    return problem("fashion-mnist", subset=6000, wrong_labels=0.2)
