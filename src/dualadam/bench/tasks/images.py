"""Image classification with the whole set in memory, as bytes: no loading inside the step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dualadam.bench.models import MODELS
from dualadam.bench.tasks import Scores, Split

SPLIT_SEED = 20260307  # of every split: fixed, so that all studies of a data set judge on the same images
EVALUATION_BATCH = 512
Batch = tuple[Tensor, Tensor]


class ImageTask:
    """Images and labels of three splits; a batch is (normalised float images (B, C, H, W), labels (B,)).

    Args:
        images: uint8 (N, C, H, W) per split. labels: int64 (N,) per split.
        num_classes: labels are 0 ... num_classes - 1.
    """

    def __init__(
        self, images: dict[Split, Tensor], labels: dict[Split, Tensor], num_classes: int, device: str = "cpu", precision: str = "float32"
    ) -> None:
        train = images["train"].float()
        shape = (1, -1, 1, 1)
        self.mean = train.mean((0, 2, 3)).reshape(shape).to(device)
        self.std = train.std((0, 2, 3)).reshape(shape).to(device)
        self.images = {split: x.to(device) for split, x in images.items()}
        self.labels = {split: y.to(device) for split, y in labels.items()}
        self.num_classes, self.device, self.precision = num_classes, device, precision
        self.num_train = len(labels["train"])

    def make_model(self, name: str) -> nn.Module:
        """Return a freshly initialised model for these images."""
        _, channels, _, size = self.images["train"].shape
        return MODELS[name](self.num_classes, channels, size).to(self.device)

    def batches(self, batch_size: int, generator: torch.Generator, augment: bool) -> Iterator[Batch]:
        """Yield the full batches of one epoch; the order depends on the generator alone."""
        order = torch.randperm(self.num_train, generator=generator).to(self.device)
        for index in order.split(batch_size)[: self.num_train // batch_size]:
            yield self.normalised(self.images["train"][index]), self.labels["train"][index]

    def normalised(self, images: Tensor) -> Tensor:
        """Return bytes as floats of mean 0 and standard deviation 1 per channel of the training split."""
        return (images.float() - self.mean) / self.std

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the model's output in float32, under autocast where the precision asks for it."""
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.precision == "bfloat16"):
            return model(images).float()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean cross-entropy, in nats."""
        return cross_entropy(self.logits(model, batch[0]), batch[1])

    @torch.no_grad()
    def evaluate(self, model: nn.Module, split: Split) -> Scores:
        """Return accuracy in percent, mean cross-entropy in nats, and which images were right."""
        was_training = model.training
        model.eval()
        logits = torch.cat([self.logits(model, self.normalised(x)) for x in self.images[split].split(EVALUATION_BATCH)])
        model.train(was_training)
        correct = (logits.argmax(1) == self.labels[split]).cpu().numpy()
        return Scores({"accuracy": 100.0 * float(correct.mean())}, float(cross_entropy(logits, self.labels[split])), correct)


def digits(data: str | None, subset: int | None, device: str, precision: str) -> ImageTask:
    """Return scikit-learn's handwritten digits: 1,797 grey 8x8 images, 60 / 15 / 25 % for training, validation and test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy((bunch.images * 15.9375).astype(np.uint8))[:, None]  # 0 ... 16 -> 0 ... 255
    labels = torch.from_numpy(bunch.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    bounds: dict[Split, slice] = {"train": slice(0, 1078), "validation": slice(1078, 1348), "test": slice(1348, None)}
    index = {split: order[part] for split, part in bounds.items()}
    if subset is not None:
        index["train"] = index["train"][:subset]
    return ImageTask({s: images[i] for s, i in index.items()}, {s: labels[i] for s, i in index.items()}, 10, device, precision)


def synthetic(shape: tuple[int, int, int], num_classes: int, batch_size: int, device: str, precision: str) -> ImageTask:
    """Return two batches of noise with the shape of a data set, for timing a step without its data."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2 * batch_size, *shape), generator=generator, dtype=torch.uint8)
    labels = torch.randint(num_classes, (2 * batch_size,), generator=generator)
    splits: tuple[Split, ...] = ("train", "validation", "test")
    return ImageTask(dict.fromkeys(splits, images), dict.fromkeys(splits, labels), num_classes, device, precision)
