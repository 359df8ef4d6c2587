"""Image classification with all images in memory as bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dualadam.tasks.images.augment import crop_and_flip
from dualadam.tasks.images.models import MODELS
from dualadam.tasks.protocol import Scores, Split
from dualadam.tasks.splits import evaluation_sample

EVALUATION_BATCH = 512
Batch = tuple[Tensor, Tensor]  # float images (B, C, H, W), labels (B,)


class ImageTask:
    """Images and labels of three splits. A batch is (normalised images, labels).

    Args:
        images: uint8 (N, C, H, W) per split.
        labels: int64 (N,) per split, from 0 to num_classes - 1.
        num_classes: outputs of the models.
        device: where the images and the models live.
        precision: "float32", or "bfloat16" for autocast of the forward pass.
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
        self.num_classes = num_classes
        self.device, self.precision, self.mirror = device, precision, mirror
        self.num_train = len(labels["train"])
        # indices of the examples that ``evaluate`` scores
        self.evaluated: dict[Split, Tensor] = {
            split: torch.arange(len(y)) for split, y in labels.items() if split != "train"
        }
        _, self.channels, _, self.image_size = images["train"].shape
        self.mean, self.std = self.pixel_statistics()

    def pixel_statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of each channel's bytes in the training split.

        Both have the shape (1, C, 1, 1).
        """
        # one float channel at a time, to save memory
        channels = (channel.float() for channel in self.images["train"].transpose(0, 1))
        rows = torch.stack([torch.stack([x.mean(), x.std()]) for x in channels])
        mean, std = rows.T.reshape(2, 1, -1, 1, 1)
        return mean, std

    def make_model(self, name: str) -> nn.Module:
        """Return a freshly initialised model, in channels_last, the faster order on all devices."""
        model = MODELS[name](self.num_classes, self.channels, self.image_size)
        layout = torch.channels_last
        return model.to(self.device, memory_format=layout)  # type: ignore[call-overload]

    def batches(
        self, batch_size: int, generator: torch.Generator, augment: bool
    ) -> Iterator[Batch]:
        """Yield the full batches of one epoch.

        Order, crops and flips depend on the generator alone.
        """
        order = torch.randperm(self.num_train, generator=generator)
        full = order.split(batch_size)[: self.num_train // batch_size]
        return self.read("train", full, generator if augment else None)

    def read(
        self, split: Split, batches: Iterable[Tensor], augment: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the batches of these indices, augmented where there is a generator for it."""
        for index in batches:
            index = index.to(self.device)
            images = self.images[split][index]
            if augment is not None:
                images = crop_and_flip(images, augment, flip=self.mirror)
            yield self.normalised(images), self.labels[split][index]

    def normalised(self, images: Tensor) -> Tensor:
        """Return floats of which each channel has mean 0 and standard deviation 1 in training."""
        return ((images.float() - self.mean) / self.std).contiguous(
            memory_format=torch.channels_last
        )

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the model's output in float32, from a forward pass in the task's precision."""
        with torch.autocast(
            self.device.split(":")[0], torch.bfloat16, enabled=self.precision == "bfloat16"
        ):
            return model(images).float()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean cross-entropy, in nats."""
        images, labels = batch
        return cross_entropy(self.logits(model, images), labels)

    def weight(self, batch: Batch) -> int:
        """Return the number of images."""
        _, labels = batch
        return len(labels)

    def limit_evaluation(self, count: int) -> None:
        """Score at most ``count`` images of the validation and of the test split from now on."""
        self.evaluated = {
            split: evaluation_sample(self.labels[split].cpu(), count) for split in self.evaluated
        }

    @torch.no_grad()
    def evaluate(self, model: nn.Module, split: Split) -> Scores:
        """Return accuracy in percent, mean cross-entropy in nats, and which images were right."""
        was_training = model.training
        model.eval()
        batches = [
            (self.logits(model, images), labels)
            for images, labels in self.read(split, self.evaluated[split].split(EVALUATION_BATCH))
        ]
        logits, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        model.train(was_training)
        correct = (logits.argmax(1) == labels).cpu().numpy()
        accuracy = 100.0 * float(correct.mean())
        return Scores({"accuracy": accuracy}, float(cross_entropy(logits, labels)), correct)
