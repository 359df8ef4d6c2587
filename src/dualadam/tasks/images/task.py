"""Image classification: sets that fit stay in memory as bytes, larger ones are decoded as they are read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dualadam.tasks import Scores, Split
from dualadam.tasks.images.arrays import ImageArrays
from dualadam.tasks.images.augment import (
    SPLIT_SEED,
    crop_and_flip,
    evaluation_sample,
    stratified_indices,
    stratified_split,
)
from dualadam.tasks.images.files import read_images
from dualadam.tasks.images.folders import decoded_batches, shorter_side
from dualadam.tasks.images.models import MODELS, SMALL_IMAGE

EVALUATION_BATCH = 512
NUM_DECODERS = (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
)
Batch = tuple[Tensor, Tensor]


class ImageTask:
    """Images and labels of three splits; a batch is (normalised float images (B, C, H, W), labels (B,)).

    Args:
        images: uint8 (N, C, H, W) per split. labels: int64 (N,) per split.
        num_classes: labels are 0 ... num_classes - 1.
        mirror: whether augmentation may flip an image left to right.
    """

    def __init__(
        self,
        images: dict[Split, Tensor],
        labels: dict[Split, Tensor],
        num_classes: int,
        device: str = "cpu",
        precision: str = "float32",
        mirror: bool = True,
    ) -> None:
        self.images = {split: x.to(device) for split, x in images.items()}
        self.labels = {split: y.to(device) for split, y in labels.items()}
        self.num_classes, self.device, self.precision, self.mirror = (
            num_classes,
            device,
            precision,
            mirror,
        )
        self.num_train = len(labels["train"])
        self.judged: dict[Split, Tensor] = {
            split: torch.arange(len(y)) for split, y in labels.items() if split != "train"
        }
        _, self.channels, _, self.image_size = images["train"].shape
        self.mean, self.std = self.pixel_statistics()

    def pixel_statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the training split's bytes, one per channel, each (1, C, 1, 1)."""
        planes = self.images["train"].transpose(0, 1)
        rows = torch.stack(
            [torch.stack([x.mean(), x.std()]) for x in map(torch.Tensor.float, planes)]
        )  # one float channel at a time
        mean, std = rows.T.reshape(2, 1, -1, 1, 1)
        return mean, std

    def make_model(self, name: str) -> nn.Module:
        """Return a freshly initialised model for these images, with convolutions in channels_last, which is the faster order everywhere."""
        model = MODELS[name](self.num_classes, self.channels, self.image_size)
        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def batches(
        self, batch_size: int, generator: torch.Generator, augment: bool
    ) -> Iterator[Batch]:
        """Yield the full batches of one epoch; order, crops and flips depend on the generator alone."""
        order = torch.randperm(self.num_train, generator=generator)
        full = order.split(batch_size)[: self.num_train // batch_size]
        return self.read("train", full, generator if augment else None)

    def read(
        self, split: Split, batches: Iterable[Tensor], augment: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the images of these indices, randomly cropped with padding 4 and mirrored where there is a generator for it."""
        for index in batches:
            index = index.to(self.device)
            images = self.images[split][index]
            if augment is not None:
                images = crop_and_flip(images, augment, flip=self.mirror)
            yield self.normalised(images), self.labels[split][index]

    def normalised(self, images: Tensor) -> Tensor:
        """Return bytes as floats of mean 0 and standard deviation 1 per channel of the training split."""
        return ((images.float() - self.mean) / self.std).contiguous(
            memory_format=torch.channels_last
        )

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the model's output in float32, under autocast where the precision asks for it."""
        with torch.autocast(
            self.device.split(":")[0], torch.bfloat16, enabled=self.precision == "bfloat16"
        ):
            return model(images).float()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean cross-entropy, in nats."""
        return cross_entropy(self.logits(model, batch[0]), batch[1])

    def weight(self, batch: Batch) -> int:
        """Return the number of images."""
        return len(batch[1])

    def limit_evaluation(self, count: int) -> None:
        """Judge from now on only so many images of the validation and test splits."""
        self.judged = {
            split: evaluation_sample(self.labels[split].cpu(), count) for split in self.judged
        }

    @torch.no_grad()
    def evaluate(self, model: nn.Module, split: Split) -> Scores:
        """Return accuracy in percent, mean cross-entropy in nats, and which images were right."""
        was_training = model.training
        model.eval()
        found = [
            (self.logits(model, images), labels)
            for images, labels in self.read(split, self.judged[split].split(EVALUATION_BATCH))
        ]
        logits, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        model.train(was_training)
        correct = (logits.argmax(1) == labels).cpu().numpy()
        return Scores(
            {"accuracy": 100.0 * float(correct.mean())},
            float(cross_entropy(logits, labels)),
            correct,
        )


class ImageFilesTask(ImageTask):
    """Image files decoded as they are needed, by as many threads as there are cores; else as `ImageTask`.

    Args:
        files: paths per split. labels: int64 (N,) per split.
        num_classes: labels are 0 ... num_classes - 1.
        image_size: side in pixels that every image is brought to. Augmentation takes random parts above 64 pixels, else crops with
            padding 4.
    """

    def __init__(
        self,
        files: dict[Split, list[Path]],
        labels: dict[Split, Tensor],
        num_classes: int,
        image_size: int,
        device: str = "cpu",
        precision: str = "float32",
    ) -> None:
        self.files = files
        super().__init__(
            {"train": torch.empty(0, 3, image_size, image_size)},
            labels,
            num_classes,
            device,
            precision,
        )

    def pixel_statistics(self) -> tuple[Tensor, Tensor]:
        """Return the usual mean and standard deviation of natural images, as bytes."""
        mean, std = 255 * torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).reshape(
            2, 1, 3, 1, 1
        ).to(self.device)
        return mean, std

    def read(
        self, split: Split, batches: Iterable[Tensor], augment: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the images of these indices."""
        parts = augment if self.image_size > SMALL_IMAGE else None
        for index, decoded in decoded_batches(
            self.files[split], batches, self.image_size, NUM_DECODERS, parts
        ):
            images = decoded.to(self.device, non_blocking=True)
            if augment is not None:
                images = crop_and_flip(images, augment, padding=4 if parts is None else 0)
            yield self.normalised(images), self.labels[split][index.to(self.device)]


def digits(data: str | None, subset: int | None, device: str, precision: str) -> ImageTask:
    """Return scikit-learn's handwritten digits: 1,797 grey 8x8 images, 60 / 15 / 25 % for training, validation and test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy((bunch.images * 15.9375).astype(np.uint8))[
        :, None
    ]  # 0 ... 16 -> 0 ... 255
    labels = torch.from_numpy(bunch.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    bounds: dict[Split, slice] = {
        "train": slice(0, 1078),
        "validation": slice(1078, 1348),
        "test": slice(1348, None),
    }
    index = {split: order[part] for split, part in bounds.items()}
    if subset is not None:
        keep = stratified_indices(
            labels[index["train"]], subset, torch.Generator().manual_seed(SPLIT_SEED)
        )
        index["train"] = index["train"][keep]
    return ImageTask(
        {s: images[i] for s, i in index.items()},
        {s: labels[i] for s, i in index.items()},
        10,
        device,
        precision,
    )


def synthetic(
    shape: tuple[int, int, int], num_classes: int, batch_size: int, device: str, precision: str
) -> ImageTask:
    """Return two batches of noise with the shape of a data set, for timing a step without its data."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2 * batch_size, *shape), generator=generator, dtype=torch.uint8)
    labels = torch.randint(num_classes, (2 * batch_size,), generator=generator)
    splits: tuple[Split, ...] = ("train", "validation", "test")
    return ImageTask(
        dict.fromkeys(splits, images), dict.fromkeys(splits, labels), num_classes, device, precision
    )


def read_task(
    name: str,
    validation_share: float,
    image_size: int | None,
    *,
    data: str | None,
    subset: int | None,
    device: str,
    precision: str,
) -> ImageTask:
    """Return a data set of `image_files.LAYOUTS` as a task.

    The validation split is a fixed, stratified share of the training set; subset is then a fixed, stratified part of what is left. Files
    are brought to image_size; None takes the size of the first of them.
    """
    found = read_images(data, name)
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    kept, held_out = stratified_split(
        found.train_labels, round(validation_share * len(found.train_labels)), generator
    )
    if subset is not None:
        kept = kept[stratified_indices(found.train_labels[kept], subset, generator)]
    labels: dict[Split, Tensor] = {
        "train": found.train_labels[kept],
        "validation": found.train_labels[held_out],
        "test": found.test_labels,
    }
    if isinstance(found, ImageArrays):
        images: dict[Split, Tensor] = {
            "train": found.train_images[kept],
            "validation": found.train_images[held_out],
            "test": found.test_images,
        }
        return ImageTask(images, labels, len(found.classes), device, precision)
    files: dict[Split, list[Path]] = {
        "train": [found.train_files[k] for k in kept.tolist()],
        "validation": [found.train_files[k] for k in held_out.tolist()],
        "test": list(found.test_files),
    }
    size = image_size or shorter_side(found.train_files[0], at_most=224)
    return ImageFilesTask(files, labels, len(found.classes), size, device, precision)


fashion_mnist = partial(read_task, "fashion-mnist", 0.1, None)
cifar10 = partial(read_task, "cifar10", 0.1, None)
cifar100 = partial(read_task, "cifar100", 0.1, None)
tiny_imagenet = partial(read_task, "tiny-imagenet", 0.1, 64)
imagenet = partial(read_task, "imagenet", 0.02, 224)
image_folder = partial(read_task, "image-folder", 0.1, None)
