"""Small image data sets in the standard layouts, written by the tests."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dualadam.tasks import TASKS


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def read_images(folder: Path, name: str):
    """Find and read an image data set."""
    entry = TASKS[name]
    return entry.read(entry.find(folder))


def cut(file: Path, keep: float = 0.6) -> None:
    """Truncate a file."""
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def fashion_mnist(
    folder: Path, compressed: bool = True, num_train: int = 40, num_test: int = 20
) -> Path:
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for part, count in (("train", num_train), ("t10k", num_test)):
        content = {
            "images-idx3": random.integers(0, 256, (count, 28, 28), np.uint8),
            "labels-idx1": np.arange(count, dtype=np.uint8) % 10,
        }
        for kind, array in content.items():
            data = idx_bytes(array)
            name = f"{part}-{kind}-ubyte" + (".gz" if compressed else "")
            (folder / name).write_bytes(gzip.compress(data) if compressed else data)
    return folder


def cifar10(folder: Path, per_batch: int = 20) -> Path:
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        labels = [k % 10 for k in range(per_batch)]
        write_pickle(
            folder / name,
            {b"labels": labels, b"data": random.integers(0, 256, (per_batch, 3072), np.uint8)},
        )
    write_pickle(
        folder / "batches.meta", {b"label_names": [f"class {k}".encode() for k in range(10)]}
    )
    return folder


def cifar100(folder: Path) -> Path:
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name in ("train", "test"):
        labels = list(range(100))
        batch = {
            b"fine_labels": labels,
            b"coarse_labels": [k // 5 for k in labels],
            b"data": random.integers(0, 256, (100, 3072), np.uint8),
        }
        write_pickle(folder / name, batch)
    write_pickle(
        folder / "meta", {b"fine_label_names": [f"class {k}".encode() for k in range(100)]}
    )
    return folder


def write_pickle(file: Path, content: object) -> None:
    file.write_bytes(pickle.dumps(content, protocol=2))


def write_image(
    file: Path, seed: int, size: tuple[int, int] = (64, 64), mode: str = "RGB", block: int = 8
) -> None:
    """A random image whose detail survives JPEG: square blocks of one colour."""
    blocks = np.random.default_rng(seed).integers(
        0, 256, (size[1] // block, size[0] // block, 3), np.uint8
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blocks.repeat(block, 0).repeat(block, 1)).convert(mode).save(file)


def tiny_imagenet(folder: Path) -> Path:
    wnids = ["n02", "n01", "n03"]  # not in alphabetical order, as in the archive
    for label, wnid in enumerate(wnids):
        for k in range(4):
            write_image(
                folder / "train" / wnid / "images" / f"{wnid}_{k}.JPEG",
                seed=10 * label + k,
                mode="L" if k == 3 else "RGB",
            )
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("not an image\n")
        write_image(folder / "val" / "images" / f"val_{label}.JPEG", seed=100 + label)
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    (folder / "val" / "val_annotations.txt").write_text(
        "".join(f"val_{k}.JPEG\t{wnids[k]}\t0\t0\t9\t9\n" for k in (2, 0, 1))
    )
    return folder


def imagenet(folder: Path, held_out: str = "val") -> Path:
    for label, wnid in enumerate(("n01", "n02")):
        for k in range(6):
            write_image(
                folder / "train" / wnid / f"{wnid}_{k}.JPEG", seed=10 * label + k, size=(320, 256)
            )
        write_image(
            folder / held_out / wnid / f"ILSVRC2012_val_{label}.JPEG",
            seed=100 + label,
            size=(256, 384),
        )
    return folder
