"""The image classifiers by name, each made from (num_classes, in_channels, image_size)."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from dualadam.tasks.images.convolutional import resnet18, resnet50, small_cnn, vgg16_bn
from dualadam.tasks.images.vit import vit

MODELS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "small-cnn": small_cnn,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "vgg16-bn": vgg16_bn,
    "vit": vit,
}
