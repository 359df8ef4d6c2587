"""The vision transformer. Its patches grow with the image."""

from __future__ import annotations

from torch import Tensor, cat, nn

from dualadam.errors import InvalidValueError
from dualadam.tasks.images.model_arguments import SMALL_IMAGE, check_model_arguments


class _ViT(nn.Module):
    """Patches, a class token, learned positions and pre-norm blocks; the class token is read."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
    ) -> None:
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
    """Vision transformer of width d = 384, depth 8 and 8 heads.

    With c channels, patches of side p and n = (image_size / p)^2 patches it has

        (c p^2 + 1) d + (n + 2) d + 8 (12 d^2 + 13 d) + 2 d + (d + 1) num_classes

    parameters: patches, class token and positions, blocks, norm, head.

    Args:
        num_classes: number of outputs, >= 1.
        in_channels: 1 for grey, 3 for colour images.
        image_size: side in pixels, a multiple of p. p is 4 up to 32 pixels, 8 up to 64 pixels, and
            16 above.

    Returns:
        A module from images (N, in_channels, image_size, image_size) to logits (N, num_classes).
        The head starts at 0, so the first logits are 0.

    Raises:
        InvalidValueError: the image does not divide into patches.

    Example:
        >>> d, n = 384, 64
        >>> (3 * 4**2 + 1) * d + (n + 2) * d + 8 * (12 * d**2 + 13 * d) + 2 * d + (d + 1) * 10
        14244490
        >>> sum(p.numel() for p in vit(10, 3, 32).parameters())
        14244490

    References:
        Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021. Deviations: no dropout; the
        sizes above.
    """
    check_model_arguments(num_classes, in_channels, image_size, smallest=4)
    patch = 4 if image_size <= 32 else 8 if image_size <= SMALL_IMAGE else 16
    if image_size % patch:
        raise InvalidValueError(
            f"image_size must be a multiple of the patch side {patch} for vit, got {image_size}."
        )
    return _ViT(num_classes, in_channels, image_size, patch, width=384, depth=8, heads=8)
