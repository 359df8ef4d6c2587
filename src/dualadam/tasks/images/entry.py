"""What is known of an image data set, and how it becomes a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dualadam.tasks.files import data_not_found, given_folder
from dualadam.tasks.images.arrays import ImageArrays
from dualadam.tasks.images.class_folders import ImageLists, hidden_entries
from dualadam.tasks.images.decode import shorter_side
from dualadam.tasks.images.files_task import ImageFilesTask
from dualadam.tasks.images.models import MODELS
from dualadam.tasks.images.task import ImageTask
from dualadam.tasks.protocol import ACCURACY, FineTuning, LoadOptions, Metric, Split, TaskEntry
from dualadam.tasks.splits import (
    check_classes,
    split_generator,
    stratified_indices,
    stratified_split,
)

LARGEST_SIDE = 224  # pixels, of images whose size their data set does not fix


@dataclass(frozen=True, kw_only=True)
class ImageEntry(TaskEntry):
    """An image data set.

    Args:
        shape: (C, H, W) of an image; None where it depends on the user's data.
    """

    models: tuple[str, ...] = tuple(MODELS)
    metrics: Mapping[str, Metric] = field(default_factory=lambda: ACCURACY)
    shape: tuple[int, int, int] | None = None

    def synthetic(self, batch_size: int, options: LoadOptions) -> ImageTask | None:
        """Return two batches of noise in each split; None without shape."""
        if self.shape is None or self.num_classes is None:
            return None
        generator = torch.Generator().manual_seed(0)
        size = (2 * batch_size, *self.shape)
        images = torch.randint(256, size, generator=generator, dtype=torch.uint8)
        labels = torch.randint(self.num_classes, (2 * batch_size,), generator=generator)
        splits: tuple[Split, ...] = ("train", "validation", "test")
        return ImageTask(
            dict.fromkeys(splits, images),
            dict.fromkeys(splits, labels),
            self.num_classes,
            options.device,
            options.precision,
        )


@dataclass(frozen=True, kw_only=True)
class ImageFolderEntry(ImageEntry):
    """An image data set in a folder of the user's. Nothing is downloaded.

    The validation split is a fixed, stratified share of the training set. A subset is a fixed,
    stratified part of what remains.

    Args:
        subfolder: the folder that the data set's archive unpacks to.
        markers: the data set is where one of these files or folders is.
        remedy: how to get the data set.
        read: reads the data set from its folder.
        validation_share: of the training set.
        image_size: side in pixels that image files are scaled to; None takes the shorter side of
            the first file, at most 224.
    """

    subfolder: str
    markers: tuple[str, ...]
    remedy: str
    read: Callable[[Path], ImageArrays | ImageLists]
    validation_share: float = 0.1
    image_size: int | None = None

    def find(self, data: str | Path | None) -> Path:
        """Return the folder of the data set: the given folder, or its own subfolder of that.

        Raises:
            MissingFileError: no folder is given, or the data set is not in it.

        Example:
            >>> from dualadam.tasks.images.cifar import CIFAR10
            >>> try:
            ...     CIFAR10.find("/nowhere")
            ... except FileNotFoundError as error:
            ...     print(str(error).partition(". ")[0])
            data must be a folder with cifar-10-batches-py/data_batch_1 for cifar10, got /nowhere
        """
        if given := given_folder(data):
            for folder in (given, given / self.subfolder):
                if any((folder / marker).exists() for marker in self.markers):
                    return folder
        wanted = " or ".join(f"{self.subfolder}/{marker}".lstrip("/") for marker in self.markers)
        raise data_not_found(self.name, wanted, data, self.remedy)

    def check(self, data: str | None, language: FineTuning | None) -> tuple[str, ...]:
        """Read the data set, which takes seconds, and name the hidden entries that it lacks."""
        folder = self.find(data)
        found = self.checked(folder)
        hidden = hidden_entries(folder) if isinstance(found, ImageLists) else []
        if not hidden:
            return ()
        more = f" and {len(hidden) - 3} more" if len(hidden) > 3 else ""
        return (f"Hidden entries of {folder} are skipped: {', '.join(hidden[:3])}{more}.",)

    def checked(self, folder: Path) -> ImageArrays | ImageLists:
        """Read the data set.

        Raises:
            InvalidValueError: a file is damaged, or the training set has one class alone.
        """
        found = self.read(folder)
        check_classes(found.train_labels, found.classes, self.name)
        return found

    def load(self, options: LoadOptions) -> ImageTask:
        """Read the data set and split it."""
        found = self.checked(self.find(options.data))
        generator = split_generator()
        num_validation = max(1, round(self.validation_share * len(found.train_labels)))
        train, validation = stratified_split(found.train_labels, num_validation, generator)
        if options.subset is not None:
            train_labels = found.train_labels[train]
            train = train[stratified_indices(train_labels, options.subset, generator)]
        check_classes(found.train_labels[train], found.classes, self.name)
        labels: dict[Split, Tensor] = {
            "train": found.train_labels[train],
            "validation": found.train_labels[validation],
            "test": found.test_labels,
        }
        num_classes, device, precision = len(found.classes), options.device, options.precision
        if isinstance(found, ImageArrays):
            images: dict[Split, Tensor] = {
                "train": found.train_images[train],
                "validation": found.train_images[validation],
                "test": found.test_images,
            }
            return ImageTask(images, labels, num_classes, device, precision)
        files: dict[Split, list[Path]] = {
            "train": [found.train_files[k] for k in train.tolist()],
            "validation": [found.train_files[k] for k in validation.tolist()],
            "test": list(found.test_files),
        }
        size = self.image_size or shorter_side(found.train_files[0], at_most=LARGEST_SIDE)
        return ImageFilesTask(files, labels, num_classes, size, device, precision)
