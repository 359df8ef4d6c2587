"""Image classifiers, each made from the number of classes, the input channels and the image size; torch alone.

The definitions are the ones in common use on CIFAR: a 3x3 stem that keeps the resolution for ResNets, one linear layer after
VGG's convolutions, patches of 4 pixels for ViT. Above 64 pixels the ResNets take the ImageNet stem, and ViT's patches grow with the
image, so that the same names serve both.
"""

from collections.abc import Callable

from torch import Tensor, cat, nn

SMALL_IMAGE = 64  # largest side, in pixels, that the small-image definitions are used for


def _convolution(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, bias: bool = False
) -> list[nn.Module]:
    """Convolution with "same" padding, then BatchNorm, whose own shift makes a bias superfluous."""
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=bias
    )
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return [convolution, nn.BatchNorm2d(out_channels)]


def _classifier(features: int, num_classes: int) -> list[nn.Module]:
    """Mean over the image, then one linear layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, num_classes)]


def small_cnn(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Three times convolution 3x3, pooling, BatchNorm, ReLU (32, 64, 128 channels), then mean and a linear layer.

    Small enough for a CPU: 94,762 parameters and 10 million multiplications a CIFAR image. Pooling comes right after the convolution
    because BatchNorm and ReLU then cost a quarter.

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
    _check(num_classes, in_channels, image_size, smallest=8)
    layers: list[nn.Module] = []
    for channels in (32, 64, 128):
        convolution, norm = _convolution(in_channels, channels, 3)
        layers += [convolution, nn.MaxPool2d(2), norm, nn.ReLU()]
        in_channels = channels
    return nn.Sequential(*layers, *_classifier(in_channels, num_classes))


class _Residual(nn.Module):
    """relu(body(x) + shortcut(x)); the shortcut is a 1x1 convolution where the shape changes, else the identity."""

    def __init__(self, body: list[nn.Module], in_channels: int, out_channels: int, stride: int):
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
    _check(num_classes, in_channels, image_size, smallest=8)
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
    """ResNet-18: eight basic blocks; 11,173,962 parameters for 10 classes of small colour images.

    Args:
        num_classes: number of outputs, >= 1.
        in_channels: 1 for grey, 3 for colour images.
        image_size: side in pixels, >= 8; up to 64 the stem is a 3x3 convolution, above it 7x7 with stride 2 and pooling.

    Returns:
        A module from images (N, in_channels, image_size, image_size) to logits (N, num_classes).

    Example:
        >>> sum(p.numel() for p in resnet18(1000, 3, 224).parameters())  # the ImageNet definition
        11689512

    References:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1. Deviations for small images: the stem, which is
        the paper's own for CIFAR (section 4.2) with 64 channels.
    """
    return _resnet(_basic_block, (2, 2, 2, 2), num_classes, in_channels, image_size)


def resnet50(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """ResNet-50: sixteen bottleneck blocks; 23,520,842 parameters for 10 classes of small colour images.

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
        He et al., CVPR 2016, table 1. Deviations: the stem for small images; the stride stands in the 3x3 convolution, as has become usual.
    """
    return _resnet(_bottleneck, (3, 4, 6, 3), num_classes, in_channels, image_size)


def vgg16_bn(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """VGG-16 with BatchNorm: thirteen 3x3 convolutions in five pooled stages; 14,728,266 parameters for 10 classes of colour images.

    Args:
        num_classes: number of outputs, >= 1.
        in_channels: 1 for grey, 3 for colour images.
        image_size: side in pixels, >= 8; an odd side is rounded up where it is halved, so that 28 pixels suit five poolings.

    Returns:
        A module from images (N, in_channels, image_size, image_size) to logits (N, num_classes).

    Example:
        >>> import torch
        >>> vgg16_bn(10, 1, 28)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])

    References:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, configuration D.
        Deviations: BatchNorm (the biases under it stay, as in the usual code, though it cancels them), and one linear layer in place of
        three, as is usual on CIFAR.
    """
    _check(num_classes, in_channels, image_size, smallest=8)
    layers: list[nn.Module] = []
    for depth, channels in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(depth):
            layers += [*_convolution(in_channels, channels, 3, bias=True), nn.ReLU()]
            in_channels = channels
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(*layers, *_classifier(in_channels, num_classes))


class _ViT(nn.Module):
    """Patches, a class token, learned positions, pre-norm blocks; the class token is read out."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
    ):
        super().__init__()
        self.patches = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.class_token = nn.Parameter(
            nn.init.trunc_normal_(self.patches.weight.new_empty(1, 1, width), std=0.02)
        )
        num_tokens = 1 + (image_size // patch) ** 2
        self.positions = nn.Parameter(
            nn.init.trunc_normal_(self.patches.weight.new_empty(1, num_tokens, width), std=0.02)
        )
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width,
                    heads,
                    4 * width,
                    dropout=0.0,
                    activation="gelu",
                    batch_first=True,
                    norm_first=True,
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.positions
        return self.head(self.norm(self.blocks(tokens)[:, 0]))


def vit(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Vision transformer of width 384, depth 8, 8 heads; 14,244,490 parameters for 10 classes of 32x32 colour images.

    With patch side p, c channels, d = 384 and n = (image_size / p)^2 patches the count is
    (c p^2 + 1) d + (n + 2) d  [patches, class token, positions] + 8 (12 d^2 + 13 d)  [blocks] + 2 d  [norm] + (d + 1) num_classes.

    Args:
        num_classes: number of outputs, >= 1.
        in_channels: 1 for grey, 3 for colour images.
        image_size: side in pixels, a multiple of the patch side, which is 4 up to 32 pixels, 8 up to 64 and 16 above.

    Returns:
        A module from images (N, in_channels, image_size, image_size) to logits (N, num_classes), all zero at first: the head starts so.

    Raises:
        ValueError: if the image does not divide into patches.

    Example:
        >>> d, n = 384, 64
        >>> (3 * 4**2 + 1) * d + (n + 2) * d + 8 * (12 * d**2 + 13 * d) + 2 * d + (d + 1) * 10
        14244490
        >>> sum(p.numel() for p in vit(10, 3, 32).parameters())
        14244490

    References:
        Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021. Deviations: no dropout; sizes as above.
    """
    _check(num_classes, in_channels, image_size, smallest=4)
    patch = 4 if image_size <= 32 else 8 if image_size <= SMALL_IMAGE else 16
    if image_size % patch:
        raise ValueError(
            f"image_size must be a multiple of the patch side {patch} for vit, got {image_size}."
        )
    return _ViT(num_classes, in_channels, image_size, patch, width=384, depth=8, heads=8)


def _check(num_classes: int, in_channels: int, image_size: int, smallest: int) -> None:
    for name, value, least in (
        ("num_classes", num_classes, 1),
        ("in_channels", in_channels, 1),
        ("image_size", image_size, smallest),
    ):
        if value < least:
            raise ValueError(f"{name} must be an integer >= {least}, got {value}.")


MODELS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "small-cnn": small_cnn,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "vgg16-bn": vgg16_bn,
    "vit": vit,
}
