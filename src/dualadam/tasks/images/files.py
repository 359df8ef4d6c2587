"""Where each image data set is looked for, and which reader it has.

A set is looked for in the given folder itself and in the subfolder that its archive unpacks to; none is downloaded.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dualadam.tasks.images.arrays import (
    ImageArrays,
    read_cifar10,
    read_cifar100,
    read_fashion_mnist,
)
from dualadam.tasks.images.folders import ImageLists, read_imagenet, read_tiny_imagenet

ENVIRONMENT = "DUALADAM_DATA"


class Layout(NamedTuple):
    """Where a data set's archive unpacks to, what marks it (any of these), how to get it, and its reader."""

    subfolder: str
    markers: tuple[str, ...]
    remedy: str
    read: Callable[[Path], ImageArrays | ImageLists]


LAYOUTS: dict[str, Layout] = {
    "fashion-mnist": Layout(
        "fashion-mnist",
        ("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"),
        "Install Debian's dataset-fashion-mnist (into /usr/share/datasets), or fetch it from github.com/zalandoresearch/fashion-mnist.",
        read_fashion_mnist,
    ),
    "cifar10": Layout(
        "cifar-10-batches-py",
        ("data_batch_1",),
        "Unpack https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz there.",
        read_cifar10,
    ),
    "cifar100": Layout(
        "cifar-100-python",
        ("train",),
        "Unpack https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz there.",
        read_cifar100,
    ),
    "tiny-imagenet": Layout(
        "tiny-imagenet-200",
        ("wnids.txt",),
        "Unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip there.",
        read_tiny_imagenet,
    ),
    "imagenet": Layout(
        "imagenet",
        ("train",),
        "Ask for ILSVRC 2012 at https://image-net.org and sort train/ and val/ into one folder a class.",
        read_imagenet,
    ),
    "image-folder": Layout(
        "",
        ("train",),
        "Put each image into train/CLASS/ or test/CLASS/.",
        read_imagenet,
    ),
}


def data_folder(argument: str | Path | None, name: str) -> Path:
    """Find the folder of a data set.

    Args:
        argument: the user's folder, as from `--data`; None takes the environment variable DUALADAM_DATA.
        name: one of `LAYOUTS`.

    Returns:
        The given folder where it holds the set's files itself, else the set's own subfolder of it.

    Raises:
        FileNotFoundError: if no folder is named or the set is not in it; the sentence says what is expected and how to get it.

    Example:
        >>> try:
        ...     data_folder("/nowhere", "cifar10")
        ... except FileNotFoundError as error:
        ...     print(str(error).partition(". ")[0])
        data must be a folder with cifar-10-batches-py/data_batch_1 for cifar10, got /nowhere
    """
    layout = LAYOUTS[name]
    given = argument or os.environ.get(ENVIRONMENT)
    expected = " or ".join(f"{layout.subfolder}/{marker}".lstrip("/") for marker in layout.markers)
    if given:
        for folder in (Path(given), Path(given) / layout.subfolder):
            if any((folder / marker).exists() for marker in layout.markers):
                return folder
    got = given or f"none (give --data FOLDER or set {ENVIRONMENT})"
    raise FileNotFoundError(
        f"data must be a folder with {expected} for {name}, got {got}. {layout.remedy}"
    )


def read_images(argument: str | Path | None, name: str) -> ImageArrays | ImageLists:
    """Find and read a data set: `ImageArrays` for the sets that fit into memory, else `ImageLists`.

    Args:
        argument: the user's folder; None takes the environment variable DUALADAM_DATA.
        name: one of `LAYOUTS`.

    Raises:
        FileNotFoundError: if the folder or one of its files is missing; the sentence names it and says how to get it.
        ValueError: if a file is damaged or truncated; the sentence names it.

    Example:
        >>> sorted(LAYOUTS)
        ['cifar10', 'cifar100', 'fashion-mnist', 'image-folder', 'imagenet', 'tiny-imagenet']
    """
    return LAYOUTS[name].read(data_folder(argument, name))
