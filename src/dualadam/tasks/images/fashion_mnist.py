"""Fashion-MNIST. MNIST has the same files and is read too."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dualadam.tasks.files import existing
from dualadam.tasks.images.arrays import ImageArrays, checked_labels
from dualadam.tasks.images.entry import ImageFolderEntry
from dualadam.tasks.images.idx import read_idx

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def read(folder: Path) -> ImageArrays:
    """Read the four idx files, compressed or not."""
    return ImageArrays(
        *_images_and_labels(folder, "train"), *_images_and_labels(folder, "t10k"), CLASSES
    )


def _images_and_labels(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    file = existing(folder, f"{part}-images-idx3-ubyte.gz", f"{part}-images-idx3-ubyte")
    images = read_idx(file, num_dimensions=3)
    file = existing(folder, f"{part}-labels-idx1-ubyte.gz", f"{part}-labels-idx1-ubyte")
    labels = read_idx(file, num_dimensions=1)
    return (
        torch.from_numpy(images[:, None]),
        checked_labels(labels, len(images), len(CLASSES), file),
    )


FASHION_MNIST = ImageFolderEntry(
    name="fashion-mnist",
    summary="60,000 grey 28x28 pictures of clothes, 10 classes",
    num_train=54_000,
    shape=(1, 28, 28),
    num_classes=10,
    subfolder="fashion-mnist",
    markers=("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"),
    remedy=(
        "Install Debian's dataset-fashion-mnist (into /usr/share/datasets), or fetch it from "
        "github.com/zalandoresearch/fashion-mnist."
    ),
    read=read,
)
