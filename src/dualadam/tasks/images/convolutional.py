"""The convolutional classifiers: a small one for a CPU, ResNet-18, ResNet-50 and VGG-16.

They are the variants in common use on CIFAR: a 3x3 stem that keeps the resolution for ResNets, and
one linear layer after VGG's convolutions. Above 64 pixels the ResNets take the ImageNet stem.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from dualadam.tasks.images.model_arguments import SMALL_IMAGE, check_model_arguments


def _convolution(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, bias: bool = False
) -> list[nn.Module]:
    """Return a convolution with "same" padding and a BatchNorm, whose shift replaces the bias."""
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=bias
    )
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return [convolution, nn.BatchNorm2d(out_channels)]


def _classifier(features: int, num_classes: int) -> list[nn.Module]:
    """Return the mean over the image and one linear layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, num_classes)]


def small_cnn(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Three blocks of convolution, pooling, BatchNorm and ReLU, then the mean and a linear layer.

    The blocks have 32, 64 and 128 channels. The model is small enough for a CPU: for CIFAR it has
    94,762 parameters and 10 million multiplications per image. Pooling comes before BatchNorm and
    ReLU, which then cost a quarter.

    Args:
        num_classes: number of outputs, >= 1.
        in_channels: 1 for grey, 3 for colour images.
        image_size: side of the square image in pixels, >= 8.

    Returns:
        A module from images (N, in_channels, image_size, image_size) to logits (N, num_classes).

    Example:
        >>> sum(p.numel() for p in small_cnn(10, 3, 32).parameters())
        94762
    """
    check_model_arguments(num_classes, in_channels, image_size, smallest=8)
    layers: list[nn.Module] = []
    for channels in (32, 64, 128):
        convolution, norm = _convolution(in_channels, channels, 3)
        layers += [convolution, nn.MaxPool2d(2), norm, nn.ReLU()]
        in_channels = channels
    return nn.Sequential(*layers, *_classifier(in_channels, num_classes))


class _Residual(nn.Module):
    """relu(body(x) + shortcut(x)).

    The shortcut is the identity, or a 1x1 convolution where the shape changes.
    """

    def __init__(
        self, body: list[nn.Module], in_channels: int, out_channels: int, stride: int
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        same = in_channels == out_channels and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(*_convolution(in_channels, out_channels, 1, stride))
        )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.body(x) + self.shortcut(x))


def _basic_block(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    body = [*_convolution(in_channels, width, 3, stride), nn.ReLU(), *_convolution(width, width, 3)]
    return _Residual(body, in_channels, width, stride), width


def _bottleneck(in_channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
    narrow = [
        *_convolution(in_channels, width, 1),
        nn.ReLU(),
        *_convolution(width, width, 3, stride),
        nn.ReLU(),
    ]
    return _Residual(
        [*narrow, *_convolution(width, 4 * width, 1)], in_channels, 4 * width, stride
    ), 4 * width


def _resnet(
    block: Callable[[int, int, int], tuple[nn.Module, int]],
    depths: tuple[int, ...],
    num_classes: int,
    in_channels: int,
    image_size: int,
) -> nn.Module:
    check_model_arguments(num_classes, in_channels, image_size, smallest=8)
    if image_size <= SMALL_IMAGE:
        layers = [*_convolution(in_channels, 64, 3), nn.ReLU()]
    else:
        layers = [*_convolution(in_channels, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    channels = 64
    for stage, depth in enumerate(depths):
        for index in range(depth):
            layer, channels = block(channels, 64 * 2**stage, 2 if stage > 0 and index == 0 else 1)
            layers.append(layer)
    return nn.Sequential(*layers, *_classifier(channels, num_classes))


def resnet18(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """ResNet-18: eight basic blocks.

    It has 11,173,962 parameters for 10 classes of small colour images.

    Args:
        num_classes: number of outputs, >= 1.
        in_channels: 1 for grey, 3 for colour images.
        image_size: side in pixels, >= 8. Up to 64 the stem is a 3x3 convolution; above 64 it is a
            7x7 convolution with stride 2, then pooling.

    Returns:
        A module from images (N, in_channels, image_size, image_size) to logits (N, num_classes).

    Example:
        >>> sum(p.numel() for p in resnet18(1000, 3, 224).parameters())  # the ImageNet definition
        11689512

    References:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1. Deviation for
        small images: the stem is the paper's own for CIFAR (section 4.2), with 64 channels.
    """
    return _resnet(_basic_block, (2, 2, 2, 2), num_classes, in_channels, image_size)


def resnet50(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """ResNet-50: sixteen bottleneck blocks.

    It has 23,520,842 parameters for 10 classes of small colour images.

    Args:
        num_classes: number of outputs, >= 1.
        in_channels: 1 for grey, 3 for colour images.
        image_size: side in pixels, >= 8; the stem follows it as in `resnet18`.

    Returns:
        A module from images (N, in_channels, image_size, image_size) to logits (N, num_classes).

    Example:
        >>> sum(p.numel() for p in resnet50(1000, 3, 224).parameters())  # the ImageNet definition
        25557032

    References:
        He et al., CVPR 2016, table 1. Deviations: the stem for small images; the 3x3 convolution
        has the stride, as in most code today.
    """
    return _resnet(_bottleneck, (3, 4, 6, 3), num_classes, in_channels, image_size)


def vgg16_bn(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """VGG-16 with BatchNorm: thirteen 3x3 convolutions in five pooled stages.

    It has 14,728,266 parameters for 10 classes of colour images.

    Args:
        num_classes: number of outputs, >= 1.
        in_channels: 1 for grey, 3 for colour images.
        image_size: side in pixels, >= 8. Pooling rounds an odd side up, so five poolings take 28
            pixels.

    Returns:
        A module from images (N, in_channels, image_size, image_size) to logits (N, num_classes).

    Example:
        >>> import torch
        >>> vgg16_bn(10, 1, 28)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])

    References:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", ICLR 2015, configuration D. Deviations: BatchNorm (the convolutions keep their
        biases, which it cancels, as in most code); one linear layer instead of three, as is usual
        on CIFAR.
    """
    check_model_arguments(num_classes, in_channels, image_size, smallest=8)
    layers: list[nn.Module] = []
    for depth, channels in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(depth):
            layers += [*_convolution(in_channels, channels, 3, bias=True), nn.ReLU()]
            in_channels = channels
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(*layers, *_classifier(in_channels, num_classes))
