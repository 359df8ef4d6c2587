"""Image data sets that stay on disk, with one folder per class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dualadam.errors import InvalidValueError, MissingFileError

SUFFIXES = frozenset(
    {".jpeg", ".jpg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
)


@dataclass(frozen=True)
class ImageLists:
    """Image files and labels int64 (N,) of a training set and a test set."""

    train_files: tuple[Path, ...]
    train_labels: Tensor
    test_files: tuple[Path, ...]
    test_labels: Tensor
    classes: tuple[str, ...]


def read_class_folders(folder: Path) -> ImageLists:
    """List train/CLASS/*, and val/CLASS/* (or test/CLASS/*) as the test set.

    Raises:
        MissingFileError: a folder is missing or has no images.
        InvalidValueError: the test set has a class that the training set lacks.
    """
    test = next(
        (folder / part for part in ("val", "test") if (folder / part).is_dir()), folder / "val"
    )
    classes = class_names(folder / "train")
    if unknown := sorted(set(class_names(test)) - set(classes)):
        raise InvalidValueError(
            f"classes in {test} must be those in {folder / 'train'}, got {', '.join(unknown[:3])}."
        )
    train, held_out = class_files(folder / "train", classes), class_files(test, classes)
    return ImageLists(*train, *held_out, classes)


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the names of a folder's subfolders, sorted.

    Raises:
        MissingFileError: it has none.
    """
    names = (
        tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
        if folder.is_dir()
        else ()
    )
    if not names:
        raise MissingFileError(f"{folder} must hold one folder a class, got none.")
    return names


def class_files(
    folder: Path, classes: tuple[str, ...], inner: str = ""
) -> tuple[tuple[Path, ...], Tensor]:
    """Return the image files in folder/CLASS/inner and the index of each file's class.

    Raises:
        MissingFileError: a class has no images.
    """
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
            raise MissingFileError(f"{inside} must hold the images of a class, got none.")
        files += found
        labels += [label] * len(found)
    return tuple(files), torch.tensor(labels)
