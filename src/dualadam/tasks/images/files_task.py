"""Image classification with images that are decoded when they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from dualadam.tasks.images.augment import crop_and_flip
from dualadam.tasks.images.decode import decoded_batches
from dualadam.tasks.images.model_arguments import SMALL_IMAGE
from dualadam.tasks.images.task import Batch, ImageTask
from dualadam.tasks.protocol import Split

NUM_DECODERS = (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
)


class ImageFilesTask(ImageTask):
    """An ``ImageTask`` whose images are files, decoded by one thread per core.

    Args:
        files: paths per split.
        labels: int64 (N,) per split, from 0 to num_classes - 1.
        num_classes: outputs of the models.
        image_size: side in pixels that images are scaled to. Augmentation takes random parts above
            64 pixels, and crops with padding 4 up to 64 pixels.
        device: where batches and models live.
        precision: "float32", or "bfloat16" for autocast of the forward pass.
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
        no_images: dict[Split, Tensor] = {"train": torch.empty(0, 3, image_size, image_size)}
        super().__init__(no_images, labels, num_classes, device, precision)

    def pixel_statistics(self) -> tuple[Tensor, Tensor]:
        """Return the usual mean and standard deviation of natural images, as bytes."""
        statistics = 255 * torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
        mean, std = statistics.reshape(2, 1, 3, 1, 1).to(self.device)
        return mean, std

    def read(
        self, split: Split, batches: Iterable[Tensor], augment: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the batches of these indices, augmented where there is a generator for it."""
        parts = augment if self.image_size > SMALL_IMAGE else None
        for index, decoded in decoded_batches(
            self.files[split], batches, self.image_size, NUM_DECODERS, parts
        ):
            images = decoded.to(self.device, non_blocking=True)
            if augment is not None:
                images = crop_and_flip(images, augment, padding=4 if parts is None else 0)
            yield self.normalised(images), self.labels[split][index.to(self.device)]
