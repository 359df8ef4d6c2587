"""Image data sets that stay on disk: lists of files in class folders, decoded as they are needed by several threads."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dualadam.tasks.images.arrays import damaged, existing
from dualadam.tasks.images.models import SMALL_IMAGE

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ImageLists:
    """A data set on disk: the files, labels int64 (N,), and the name of each class."""

    train_files: tuple[Path, ...]
    train_labels: Tensor
    test_files: tuple[Path, ...]
    test_labels: Tensor
    classes: tuple[str, ...]


def read_tiny_imagenet(folder: Path) -> ImageLists:
    """List Tiny-ImageNet: train/WNID/images/*.JPEG, and val/ with its annotations as the test set (the test labels are not published)."""
    classes = tuple(existing(folder, "wnids.txt").read_text().split())
    index = {name: k for k, name in enumerate(classes)}
    files, labels = _class_files(folder / "train", classes, inner="images")
    annotations = existing(folder, "val/val_annotations.txt")
    rows = [line.split("\t") for line in annotations.read_text().splitlines() if line]
    if not rows or any(len(row) < 2 or row[1] not in index for row in rows):
        raise damaged(annotations, "a line without file name and one of the classes in wnids.txt")
    test_files = tuple(existing(folder, f"val/images/{row[0]}") for row in rows)
    return ImageLists(
        files, labels, test_files, torch.tensor([index[row[1]] for row in rows]), classes
    )


def read_imagenet(folder: Path) -> ImageLists:
    """List ImageNet-1K, or any set of the same layout: train/CLASS/* and val/CLASS/* (or test/CLASS/*), which is the test set."""
    test = next(
        (folder / part for part in ("val", "test") if (folder / part).is_dir()), folder / "val"
    )
    classes = _class_names(folder / "train")
    if unknown := sorted(set(_class_names(test)) - set(classes)):
        raise ValueError(
            f"classes in {test} must be those in {folder / 'train'}, got {', '.join(unknown[:3])}."
        )
    train, held_out = _class_files(folder / "train", classes), _class_files(test, classes)
    return ImageLists(*train, *held_out, classes)


SUFFIXES = frozenset(
    {".jpeg", ".jpg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
)


def _class_names(folder: Path) -> tuple[str, ...]:
    names = (
        tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
        if folder.is_dir()
        else ()
    )
    if not names:
        raise FileNotFoundError(f"{folder} must hold one folder a class, got none.")
    return names


def _class_files(
    folder: Path, classes: tuple[str, ...], inner: str = ""
) -> tuple[tuple[Path, ...], Tensor]:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        inside = folder / name / inner
        found = (
            sorted(entry for entry in inside.iterdir() if entry.suffix.lower() in SUFFIXES)
            if inside.is_dir()
            else []
        )
        if not found:
            raise FileNotFoundError(f"{inside} must hold the images of a class, got none.")
        files += found
        labels += [label] * len(found)
    return tuple(files), torch.tensor(labels)


def decode(file: Path, image_size: int, draws: Tensor | None = None) -> Tensor:
    """Decode one image file to uint8 RGB, (3, image_size, image_size).

    Without draws the shorter side is scaled to image_size (above 64 pixels to 8/7 of it, ImageNet's 256 for 224) and the middle cut
    out. With draws, a random part of 8 to 100 % of the area and of aspect ratio 3/4 to 4/3 is scaled to the square.

    Args:
        file: an image in any format Pillow reads.
        image_size: side of the square in pixels.
        draws: area, aspect ratio, top and left as four numbers in [0, 1).

    Raises:
        ValueError: if the file is damaged or truncated; the sentence names it.
        ImportError: without Pillow.

    References:
        Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6. Deviation: a part wider or higher than the image is
        cut to it rather than drawn again, so that each image takes exactly four draws.
    """
    with _opened(file) as image:
        width, height = image.size
        if draws is None:
            side = min(width, height) * (7 / 8 if image_size > SMALL_IMAGE else 1)
            part_width, part_height, top, left = side, side, 0.5, 0.5
        else:
            area, ratio, top, left = draws.tolist()
            surface, aspect = (0.08 + 0.92 * area) * width * height, (3 / 4) ** (1 - 2 * ratio)
            part_width, part_height = (
                min((surface * aspect) ** 0.5, width),
                min((surface / aspect) ** 0.5, height),
            )
        left, top = left * (width - part_width), top * (height - part_height)
        # a JPEG far larger than needed is decoded at 1/2, 1/4 or 1/8 of its size, which takes the box with it
        image.draft(
            "RGB",
            (
                math.ceil(image_size * width / part_width),
                math.ceil(image_size * height / part_height),
            ),
        )
        across, down = image.width / width, image.height / height
        right, bottom = (
            min((left + part_width) * across, image.width),
            min((top + part_height) * down, image.height),
        )
        box = (left * across, top * down, right, bottom)
        pixels = image.convert("RGB").resize(
            (image_size, image_size), resample=2, box=box
        )  # 2 is bilinear
    return (
        torch.frombuffer(bytearray(pixels.tobytes()), dtype=torch.uint8)
        .reshape(image_size, image_size, 3)
        .permute(2, 0, 1)
    )


def shorter_side(file: Path, at_most: int) -> int:
    """Return the shorter side of an image in pixels, cut to at_most and rounded down to a multiple of 8, above 64 pixels of 16."""
    with _opened(file) as image:
        side = min(*image.size, at_most)
    return max(8, side - side % (8 if side <= SMALL_IMAGE else 16))


@contextmanager
def _opened(file: Path) -> Iterator[Image]:
    """An image file, opened by Pillow; whatever is wrong with it is told with its name."""
    try:
        import PIL.Image
    except ImportError as error:
        raise ImportError("image files need Pillow: pip install 'dualadam[bench]'.") from error
    try:
        with PIL.Image.open(file) as image:
            yield image
    except (
        OSError,
        SyntaxError,
        ValueError,
    ) as error:  # SyntaxError is Pillow's word for a broken PNG
        raise damaged(file, f"an image that Pillow cannot decode: {error}") from error


def decoded_batches(
    files: Sequence[Path],
    batches: Iterable[Tensor],
    image_size: int,
    num_workers: int,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Decode batch after batch in `num_workers` threads, two batches ahead of the one that is handed out.

    Args:
        files: all image files.
        batches: for each batch the int64 indices of its files, shape (N,).
        image_size: side of the images in pixels.
        num_workers: threads, >= 1; their number changes nothing but the time.
        generator: draws the random parts of the images; None takes the middle of each.

    Yields:
        The indices, and uint8 images (N, 3, image_size, image_size).

    Raises:
        ValueError: if a file is damaged; the sentence names it.
    """
    with ThreadPoolExecutor(num_workers) as pool:
        waiting: deque[tuple[Tensor, list[Future[Tensor]]]] = deque()
        for indices in batches:
            draws = (
                [None] * len(indices)
                if generator is None
                else torch.rand(len(indices), 4, generator=generator)
            )
            waiting.append(
                (
                    indices,
                    [
                        pool.submit(decode, files[k], image_size, d)
                        for k, d in zip(indices.tolist(), draws, strict=True)
                    ],
                )
            )
            if len(waiting) > 2:
                yield _stacked(*waiting.popleft())
        while waiting:
            yield _stacked(*waiting.popleft())


def _stacked(indices: Tensor, images: list[Future[Tensor]]) -> tuple[Tensor, Tensor]:
    return indices, torch.stack([image.result() for image in images])
