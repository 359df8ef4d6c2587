"""Random crops and flips of whole batches of images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dualadam.errors import InvalidValueError


def crop_and_flip(
    images: Tensor, generator: torch.Generator, padding: int = 4, flip: bool = True
) -> Tensor:
    """Pad with zeros, cut each image out at a random place, and mirror half of them.

    The random numbers are drawn on the CPU, so one seed gives the same crops on every device.

    Args:
        images: (N, C, H, W), any type and device.
        generator: a CPU generator.
        padding: pixels added on each side, >= 0; offsets are uniform on 0, ..., 2 padding in both
            directions.
        flip: mirror each image left to right with probability 1/2. Not for digits and letters.

    Returns:
        A new tensor of the same shape, type and device.

    Raises:
        InvalidValueError: images is not 4-d, or padding is negative.

    Example:
        >>> images = torch.arange(64, dtype=torch.uint8).reshape(4, 1, 4, 4)
        >>> still = crop_and_flip(images, torch.Generator(), padding=0, flip=False)
        >>> assert torch.equal(still, images)
        >>> generators = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
        >>> first, again, other = (crop_and_flip(images, generator) for generator in generators)
        >>> assert torch.equal(first, again) and not torch.equal(first, other)
    """
    if images.dim() != 4:
        raise InvalidValueError(f"images must have shape (N, C, H, W), got {tuple(images.shape)}.")
    if padding < 0:
        raise InvalidValueError(f"padding must be >= 0, got {padding}.")
    num, _, height, width = images.shape
    top, left = (
        torch.randint(2 * padding + 1, (num,), generator=generator).to(images.device)
        for _ in range(2)
    )
    mirrored = (torch.rand(num, generator=generator) < 0.5).to(images.device)
    # a view: (N, C, top, left, H, W)
    windows = functional.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    cropped = windows[torch.arange(num, device=images.device), :, top, left]
    return torch.where(mirrored[:, None, None, None], cropped.flip(3), cropped) if flip else cropped
