"""Image data sets that stay on disk, with one folder per class."""

from __future__ import annotations

import os
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


def is_image(name: str) -> bool:
    """Whether a file has the suffix of an image."""
    return Path(name).suffix.lower() in SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that a notebook, a browser or macOS adds."""
    return name.startswith(".") or name == "__MACOSX"


def hidden_entries(folder: Path) -> list[str]:
    """Return the hidden folders and the hidden images below a folder, which no reader lists."""
    found: list[str] = []
    for root, folders, files in os.walk(folder):
        hidden = [name for name in folders if is_hidden(name)]
        hidden += [name for name in files if is_hidden(name) and is_image(name)]
        found += [str(Path(root, name).relative_to(folder)) for name in hidden]
        folders[:] = [name for name in folders if not is_hidden(name)]
    return sorted(found)


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
    """Return the names of a folder's subfolders, sorted, without hidden ones.

    Raises:
        MissingFileError: it has none.
    """
    entries = folder.iterdir() if folder.is_dir() else ()
    names = sorted(e.name for e in entries if not is_hidden(e.name) and e.is_dir())
    if not names:
        raise MissingFileError(f"{folder} must hold one folder per class, got none.")
    return tuple(names)


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
        entries = inside.iterdir() if inside.is_dir() else ()
        found = sorted(e for e in entries if is_image(e.name) and not is_hidden(e.name))
        if not found:
            raise MissingFileError(f"{inside} must hold the images of a class, got none.")
        files += found
        labels += [label] * len(found)
    return tuple(files), torch.tensor(labels)
