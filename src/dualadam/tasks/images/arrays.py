"""Readers of the image data sets that fit into memory: Fashion-MNIST's idx files and CIFAR's python folders."""

import gzip
import io
import pickle
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageArrays:
    """A data set in memory: images uint8 (N, C, H, W), labels int64 (N,), and the name of each class."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]


def read_fashion_mnist(folder: Path) -> ImageArrays:
    """Read the four idx files of Fashion-MNIST (or MNIST, whose layout is the same), compressed or not."""
    names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    train, test = (_idx_pair(folder, part, len(names)) for part in ("train", "t10k"))
    return ImageArrays(*train, *test, names)


def _idx_pair(folder: Path, part: str, num_classes: int) -> tuple[Tensor, Tensor]:
    file = existing(folder, f"{part}-images-idx3-ubyte.gz", f"{part}-images-idx3-ubyte")
    images = read_idx(file)
    if images.ndim != 3:
        raise damaged(file, f"shape {images.shape} instead of (N, H, W)")
    file = existing(folder, f"{part}-labels-idx1-ubyte.gz", f"{part}-labels-idx1-ubyte")
    return torch.from_numpy(images[:, None]), _labels(
        read_idx(file), len(images), num_classes, file
    )


def read_idx(file: Path) -> np.ndarray:
    """Read one idx file of unsigned bytes: two zero bytes, type 8, the number of dimensions, each as big-endian int32, then the bytes.

    Raises:
        ValueError: if the file is damaged, truncated or of another type; the sentence names it.
    """
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(file, "not a complete gzip file") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise damaged(file, "no idx file of unsigned bytes")
    start = 4 + 4 * content[3]
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], ">i4"))
    if min(shape, default=0) < 1 or len(content) - start != np.prod(shape, dtype=np.int64):
        raise damaged(file, f"{len(content) - start} bytes for shape {shape}")
    return np.frombuffer(bytearray(content), np.uint8, offset=start).reshape(shape)


def read_cifar10(folder: Path) -> ImageArrays:
    """Read CIFAR-10's python folder: five training batches and a test batch."""
    names = _pickled(existing(folder, "batches.meta"), b"label_names")[b"label_names"]
    train = [
        _cifar_batch(existing(folder, f"data_batch_{k}"), b"labels", len(names))
        for k in range(1, 6)
    ]
    test = _cifar_batch(existing(folder, "test_batch"), b"labels", len(names))
    images, labels = (torch.cat(part) for part in zip(*train, strict=True))
    return ImageArrays(images, labels, *test, tuple(name.decode() for name in names))


def read_cifar100(folder: Path) -> ImageArrays:
    """Read CIFAR-100's python folder with its 100 fine labels."""
    names = _pickled(existing(folder, "meta"), b"fine_label_names")[b"fine_label_names"]
    parts = [
        _cifar_batch(existing(folder, part), b"fine_labels", len(names))
        for part in ("train", "test")
    ]
    return ImageArrays(*parts[0], *parts[1], tuple(name.decode() for name in names))


def _cifar_batch(file: Path, key: bytes, num_classes: int) -> tuple[Tensor, Tensor]:
    batch = _pickled(file, b"data", key)
    images = np.asarray(batch[b"data"])
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != 3072:
        raise damaged(
            file,
            f"images of type {images.dtype} and shape {images.shape} instead of uint8 (N, 3072)",
        )
    return torch.from_numpy(images.reshape(-1, 3, 32, 32).copy()), _labels(
        batch[key], len(images), num_classes, file
    )


class _SafeUnpickler(pickle.Unpickler):
    """Builds numpy arrays and Python's plain containers; whatever else a pickle asks for could run code, and is refused."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace(
            "numpy.core", "numpy._core"
        )  # the name before numpy 2, which the official archives carry
        if (module, name) == ("numpy", "dtype"):
            return lambda code, align=False, copy=False: np.dtype(
                code, bool(align), bool(copy)
            )  # Python 2 wrote them as 0 and 1
        if (module, name) in {
            ("numpy", "ndarray"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in it")


def _pickled(file: Path, *keys: bytes) -> dict[bytes, Any]:
    try:
        content = _SafeUnpickler(io.BytesIO(file.read_bytes()), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise damaged(file, f"not a complete pickle of arrays and lists: {error}") from error
    if not isinstance(content, dict) or not all(key in content for key in keys):
        raise damaged(file, f"no dictionary with {', '.join(key.decode() for key in keys)}")
    return content


def _labels(labels: Any, num_images: int, num_classes: int, file: Path) -> Tensor:
    result = torch.as_tensor(np.asarray(labels, dtype=np.int64))
    if result.shape != (num_images,):
        raise damaged(file, f"labels of shape {tuple(result.shape)} for {num_images} images")
    if num_images and not 0 <= result.min() <= result.max() < num_classes:
        raise damaged(
            file, f"labels from {result.min()} to {result.max()} for {num_classes} classes"
        )
    return result


def existing(folder: Path, *names: str) -> Path:
    """The first of these files that the folder holds; FileNotFoundError where there is none."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} must hold the file {' or '.join(names)}, got none.")


def damaged(file: Path, reason: str) -> ValueError:
    """The error for a file that is there but cannot be what it should be."""
    return ValueError(f"{file} must be a whole file of the data set, got {reason}. Fetch it again.")
