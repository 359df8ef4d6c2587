"""Tiny-ImageNet. Its test labels are not published, so the validation set is the test set."""

from __future__ import annotations

from pathlib import Path

import torch

from dualadam.tasks.files import damaged, existing
from dualadam.tasks.images.class_folders import ImageLists, class_files
from dualadam.tasks.images.entry import ImageFolderEntry


def read(folder: Path) -> ImageLists:
    """List train/WNID/images/*.JPEG, and val/ with its annotations."""
    classes = tuple(existing(folder, "wnids.txt").read_text().split())
    index = {name: k for k, name in enumerate(classes)}
    files, labels = class_files(folder / "train", classes, inner="images")
    annotations = existing(folder, "val/val_annotations.txt")
    rows = [line.split("\t") for line in annotations.read_text().splitlines() if line]
    if not rows or any(len(row) < 2 or row[1] not in index for row in rows):
        raise damaged(annotations, "a line without file name and one of the classes in wnids.txt")
    test_files = tuple(existing(folder, f"val/images/{name}") for name, *_ in rows)
    test_labels = torch.tensor([index[wnid] for _, wnid, *_ in rows])
    return ImageLists(files, labels, test_files, test_labels, classes)


TINY_IMAGENET = ImageFolderEntry(
    name="tiny-imagenet",
    summary="100,000 colour 64x64 photographs, 200 classes",
    num_train=90_000,
    shape=(3, 64, 64),
    num_classes=200,
    subfolder="tiny-imagenet-200",
    markers=("wnids.txt",),
    remedy="Unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip there.",
    read=read,
    image_size=64,
)
