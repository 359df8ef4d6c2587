"""Image files, decoded to squares of bytes by several threads."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dualadam.errors import InvalidValueError, MissingExtraError
from dualadam.tasks.files import damaged
from dualadam.tasks.images.model_arguments import SMALL_IMAGE

if TYPE_CHECKING:
    from PIL.Image import Image

BILINEAR = 2  # Pillow's number for it
LARGEST = 89_478_485  # pixels of an image, a quarter of a gigabyte in RGB; Pillow warns from there


class Box(NamedTuple):
    """A part of an image, in pixels."""

    left: float
    top: float
    width: float
    height: float


def middle(width: int, height: int, image_size: int) -> Box:
    """Return the largest square around the middle; above 64 pixels 7/8 of it.

    A side of 224 pixels is then cut from the middle of an image whose shorter side is 256 pixels,
    as is usual for ImageNet.
    """
    side = min(width, height) * (7 / 8 if image_size > SMALL_IMAGE else 1)
    return Box((width - side) / 2, (height - side) / 2, side, side)


def random_part(width: int, height: int, draws: Tensor) -> Box:
    """Return a part of 8 to 100 % of the area and of aspect ratio 3/4 to 4/3.

    Args:
        width: of the image in pixels.
        height: of the image in pixels.
        draws: area, aspect ratio, top and left, four numbers in [0, 1).

    References:
        Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6. Deviation: a part
        wider or higher than the image is cut to it instead of drawn again, so that each image takes
        exactly four draws.
    """
    area, ratio, top, left = draws.tolist()
    surface, aspect = (0.08 + 0.92 * area) * width * height, (3 / 4) ** (1 - 2 * ratio)
    part_width = min((surface * aspect) ** 0.5, width)
    part_height = min((surface / aspect) ** 0.5, height)
    return Box(left * (width - part_width), top * (height - part_height), part_width, part_height)


def decode(file: Path, image_size: int, draws: Tensor | None = None) -> Tensor:
    """Decode one image file and scale a part of it.

    Args:
        file: an image in any format that Pillow reads.
        image_size: side of the result in pixels.
        draws: the numbers of ``random_part``; None takes the ``middle``.

    Returns:
        uint8 RGB, (3, image_size, image_size).

    Raises:
        InvalidValueError: the file is damaged or truncated, or the range of its values is unknown.
        MissingExtraError: Pillow is not installed.
    """
    with _opened(file) as image:
        width, height = image.size
        part = (
            middle(width, height, image_size)
            if draws is None
            else random_part(width, height, draws)
        )
        # a JPEG far larger than needed is decoded at 1/2, 1/4 or 1/8 of its size
        image.draft(
            "RGB",
            (
                math.ceil(image_size * width / part.width),
                math.ceil(image_size * height / part.height),
            ),
        )
        across, down = image.width / width, image.height / height
        box = (
            part.left * across,
            part.top * down,
            min((part.left + part.width) * across, image.width),
            min((part.top + part.height) * down, image.height),
        )
        pixels = _rgb(image, file).resize((image_size, image_size), resample=BILINEAR, box=box)
    flat = torch.frombuffer(bytearray(pixels.tobytes()), dtype=torch.uint8)
    return flat.reshape(image_size, image_size, 3).permute(2, 0, 1)


def shorter_side(file: Path, at_most: int) -> int:
    """Return the shorter side of an image in pixels, at most ``at_most``.

    It is rounded down to a multiple of 8, above 64 pixels of 16, and at least 8.
    """
    with _opened(file) as image:
        side = min(*image.size, at_most)
    return max(8, side - side % (8 if side <= SMALL_IMAGE else 16))


def _rgb(image: Image, file: Path) -> Image:
    """Return an image in RGB. Grey values of 16 bits are scaled, where Pillow would clip them.

    Raises:
        InvalidValueError: the range of the values is unknown.
    """
    import PIL.Image

    # Pillow widens PGM files of more than 8 bits, and some versions PNG files, to mode I
    wide = image.mode == "I" and image.format in ("PNG", "PPM")
    if wide or image.mode.startswith("I;16"):
        white = 2 ** _tiff_bits(image) - 1
        grey = np.asarray(image).astype(np.float64) * (255 / white)
        return PIL.Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise InvalidValueError(
            f"{file} must be an image of at most 16 bits per channel, got mode {image.mode} of "
            "Pillow, whose range is unknown. Convert the file."
        )
    return image.convert("RGB")


def _tiff_bits(image: Image) -> int:
    """Return the bits of a grey value, which are 16 unless a TIFF file says 12."""
    bits_per_sample = 258
    tags = getattr(image, "tag_v2", {})
    return int(tags.get(bits_per_sample, (16,))[0])


@contextmanager
def _opened(file: Path) -> Iterator[Image]:
    """Open an image file; errors name the file."""
    try:
        import PIL.Image
    except ImportError as error:
        raise MissingExtraError(
            "Image files need Pillow: pip install 'dualadam[bench]'."
        ) from error
    try:
        with PIL.Image.open(file) as image:
            if image.width * image.height > LARGEST:
                raise damaged(
                    file,
                    f"an image of {image.width} x {image.height} pixels, more than {LARGEST:,}",
                )
            yield image
    except InvalidValueError:
        raise
    # Pillow's own limits are higher, or the same with a warning
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise damaged(file, f"an image of more than {LARGEST:,} pixels") from error
    # Pillow raises SyntaxError for a broken PNG
    except (OSError, SyntaxError, ValueError) as error:
        raise damaged(file, f"an image that Pillow cannot decode: {error}") from error


def decoded_batches(
    files: Sequence[Path],
    batches: Iterable[Tensor],
    image_size: int,
    num_workers: int,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Decode batches in ``num_workers`` threads, two batches ahead of the one yielded.

    Args:
        files: all image files.
        batches: for each batch the int64 indices of its files, shape (N,).
        image_size: side of the images in pixels.
        num_workers: threads, >= 1; their number changes nothing but the time.
        generator: draws a random part of each image; None takes the middle.

    Yields:
        The indices, and uint8 images (N, 3, image_size, image_size).

    Raises:
        InvalidValueError: a file is damaged.
    """
    with ThreadPoolExecutor(num_workers) as pool:
        waiting: deque[tuple[Tensor, list[Future[Tensor]]]] = deque()
        for indices in batches:
            draws: Iterable[Tensor | None] = (
                [None] * len(indices)
                if generator is None
                else torch.rand(len(indices), 4, generator=generator)
            )
            images = [
                pool.submit(decode, files[k], image_size, numbers)
                for k, numbers in zip(indices.tolist(), draws, strict=True)
            ]
            waiting.append((indices, images))
            if len(waiting) > 2:
                yield _stacked(*waiting.popleft())
        while waiting:
            yield _stacked(*waiting.popleft())


def _stacked(indices: Tensor, images: list[Future[Tensor]]) -> tuple[Tensor, Tensor]:
    return indices, torch.stack([image.result() for image in images])
