"""CIFAR-10 and CIFAR-100 in the layout of their archives for Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dualadam.tasks.files import damaged, existing
from dualadam.tasks.images.arrays import ImageArrays, checked_labels
from dualadam.tasks.images.entry import ImageFolderEntry
from dualadam.tasks.images.pickles import read_pickle


def read_cifar10(folder: Path) -> ImageArrays:
    """Read five training batches and a test batch."""
    names = _class_names(existing(folder, "batches.meta"), b"label_names")
    train = [
        _images_and_labels(existing(folder, f"data_batch_{k}"), b"labels", len(names))
        for k in range(1, 6)
    ]
    test = _images_and_labels(existing(folder, "test_batch"), b"labels", len(names))
    images, labels = (torch.cat(part) for part in zip(*train, strict=True))
    return ImageArrays(images, labels, *test, names)


def read_cifar100(folder: Path) -> ImageArrays:
    """Read a training and a test batch with the 100 fine labels."""
    names = _class_names(existing(folder, "meta"), b"fine_label_names")
    train, test = (
        _images_and_labels(existing(folder, part), b"fine_labels", len(names))
        for part in ("train", "test")
    )
    return ImageArrays(*train, *test, names)


def _class_names(file: Path, key: bytes) -> tuple[str, ...]:
    names = read_pickle(file, key)[key]
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise damaged(file, f"{key.decode()} that are not a list of names")
    return tuple(name.decode(errors="replace") for name in names)


def _images_and_labels(file: Path, key: bytes, num_classes: int) -> tuple[Tensor, Tensor]:
    batch = read_pickle(file, b"data", key)
    images = batch[b"data"]
    if not isinstance(images, np.ndarray):
        raise damaged(file, "images that are not an array")
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != 3072:
        raise damaged(
            file,
            f"images of type {images.dtype} and shape {images.shape} instead of uint8 (N, 3072)",
        )
    labels = checked_labels(batch[key], len(images), num_classes, file)
    return torch.from_numpy(images.reshape(-1, 3, 32, 32).copy()), labels


CIFAR10 = ImageFolderEntry(
    name="cifar10",
    summary="50,000 colour 32x32 photographs, 10 classes",
    num_train=45_000,
    shape=(3, 32, 32),
    num_classes=10,
    subfolder="cifar-10-batches-py",
    markers=("data_batch_1",),
    remedy="Unpack https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz there.",
    read=read_cifar10,
)
CIFAR100 = ImageFolderEntry(
    name="cifar100",
    summary="50,000 colour 32x32 photographs, 100 classes",
    num_train=45_000,
    shape=(3, 32, 32),
    num_classes=100,
    subfolder="cifar-100-python",
    markers=("train",),
    remedy="Unpack https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz there.",
    read=read_cifar100,
)
