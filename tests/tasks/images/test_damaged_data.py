"""A file with the wrong content is named, with the reason."""

from __future__ import annotations

import gzip

import image_layouts as layouts
import numpy as np
import pytest
from image_layouts import cut, read_images

from dualadam.tasks.images.idx import read_idx

# layout, name, what is done to which file, and the reason given
DAMAGE = [
    (
        layouts.fashion_mnist,
        "fashion-mnist",
        "train-images-idx3-ubyte.gz",
        cut,
        "not a complete gzip file",
    ),
    (
        layouts.fashion_mnist,
        "fashion-mnist",
        "t10k-labels-idx1-ubyte.gz",
        lambda f: f.write_bytes(b"<html>"),
        "not a complete gzip file",
    ),
    (
        layouts.fashion_mnist,
        "fashion-mnist",
        "t10k-images-idx3-ubyte.gz",
        lambda f: f.write_bytes(gzip.compress(b"\0\0\x0d\x03" + bytes(12))),
        "no idx file of unsigned bytes",
    ),
    (
        layouts.fashion_mnist,
        "fashion-mnist",
        "train-images-idx3-ubyte.gz",
        lambda f: f.write_bytes(gzip.compress(gzip.decompress(f.read_bytes())[:-5])),
        r"31,355 bytes for shape \(40, 28, 28\)",
    ),
    (
        layouts.fashion_mnist,
        "fashion-mnist",
        "train-labels-idx1-ubyte.gz",
        lambda f: f.write_bytes(gzip.compress(layouts.idx_bytes(np.zeros(39, np.uint8)))),
        r"labels of shape \(39,\) for 40 images",
    ),
    (
        layouts.fashion_mnist,
        "fashion-mnist",
        "train-labels-idx1-ubyte.gz",
        lambda f: f.write_bytes(gzip.compress(layouts.idx_bytes(np.full(40, 10, np.uint8)))),
        "labels from 10 to 10 for 10 classes",
    ),
    (layouts.cifar10, "cifar10", "data_batch_3", cut, "not a complete pickle"),
    (
        layouts.cifar10,
        "cifar10",
        "test_batch",
        lambda f: f.write_bytes(b""),
        "not a complete pickle",
    ),
    (
        layouts.cifar10,
        "cifar10",
        "data_batch_5",
        lambda f: layouts.write_pickle(f, [1, 2]),
        "no dictionary with data, labels",
    ),
    (
        layouts.cifar100,
        "cifar100",
        "test",
        lambda f: layouts.write_pickle(f, {b"data": 0}),
        "no dictionary with data, fine_labels",
    ),
    (
        layouts.cifar100,
        "cifar100",
        "train",
        lambda f: layouts.write_pickle(
            f, {b"data": np.zeros((2, 3000), np.uint8), b"fine_labels": [0, 1]}
        ),
        r"images of type uint8 and shape \(2, 3000\)",
    ),
    (
        layouts.cifar10,
        "cifar10",
        "test_batch",
        lambda f: layouts.write_pickle(
            f, {b"data": np.zeros((1, 3072), np.uint8), b"labels": [None]}
        ),
        "labels that are not integers",
    ),
    (
        layouts.cifar10,
        "cifar10",
        "test_batch",
        lambda f: layouts.write_pickle(f, {b"data": [[0], 1], b"labels": [0]}),
        "images that are not an array",
    ),
    (
        layouts.cifar10,
        "cifar10",
        "batches.meta",
        lambda f: layouts.write_pickle(f, {b"label_names": [1, 2]}),
        "label_names that are not a list of names",
    ),
    (
        layouts.tiny_imagenet,
        "tiny-imagenet",
        "val/val_annotations.txt",
        lambda f: f.write_text("val_0.JPEG\tn99\n"),
        "a line without file name",
    ),
]


@pytest.mark.parametrize(("write", "name", "file", "damage", "reason"), DAMAGE)
def test_a_damaged_file_is_named_with_the_reason(tmp_path, write, name, file, damage, reason):
    folder = write(tmp_path / "set")
    damage(folder / file)
    with pytest.raises(
        ValueError, match=f"{file} must be a whole file of the data set, got .*{reason}"
    ):
        read_images(folder, name)


def test_idx_files_may_have_any_number_of_dimensions(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(layouts.idx_bytes(array))
    assert (read_idx(tmp_path / "a", 3) == array).all()
