"""Each data set is read in its standard layout; missing and damaged files are named."""

from __future__ import annotations

import image_layouts as layouts
import numpy as np
import pytest
import torch
from image_layouts import read_images

# name, writer, the archive's subfolder, training and test images, (C, H, W), classes
ARRAYS = [
    ("fashion-mnist", layouts.fashion_mnist, "fashion-mnist", 40, 20, (1, 28, 28), 10),
    ("cifar10", layouts.cifar10, "cifar-10-batches-py", 100, 20, (3, 32, 32), 10),
    ("cifar100", layouts.cifar100, "cifar-100-python", 100, 100, (3, 32, 32), 100),
]


LISTS = [
    ("tiny-imagenet", layouts.tiny_imagenet, "tiny-imagenet-200", 12, 3, ("n02", "n01", "n03")),
    ("imagenet", layouts.imagenet, "imagenet", 12, 2, ("n01", "n02")),
    ("image-folder", layouts.imagenet, "", 12, 2, ("n01", "n02")),
]


@pytest.mark.parametrize(
    ("name", "write", "subfolder", "num_train", "num_test", "shape", "num_classes"), ARRAYS
)
def test_a_set_in_memory_has_the_shapes_types_and_labels_of_its_layout(
    tmp_path, name, write, subfolder, num_train, num_test, shape, num_classes
):
    write(tmp_path / subfolder)
    data = read_images(tmp_path, name)
    for images, labels, count in (
        (data.train_images, data.train_labels, num_train),
        (data.test_images, data.test_labels, num_test),
    ):
        assert (images.shape, images.dtype, labels.dtype) == (
            (count, *shape),
            torch.uint8,
            torch.int64,
        )
        assert (
            labels.bincount(minlength=num_classes).tolist() == [count // num_classes] * num_classes
        )
    assert len(data.classes) == num_classes
    itself = read_images(tmp_path / subfolder, name)
    assert itself.train_images.equal(data.train_images)


@pytest.mark.parametrize(("name", "write", "subfolder", "num_train", "num_test", "classes"), LISTS)
def test_a_set_on_disk_lists_its_files_with_the_label_of_their_folder(
    tmp_path, name, write, subfolder, num_train, num_test, classes
):
    write(tmp_path / subfolder)
    data = read_images(tmp_path, name)
    assert (len(data.train_files), len(data.test_files), data.classes) == (
        num_train,
        num_test,
        classes,
    )
    for file, label in zip(data.train_files, data.train_labels.tolist(), strict=True):
        assert file.name.startswith(classes[label])


def test_tiny_imagenets_test_labels_come_from_its_annotations(tmp_path):
    data = read_images(layouts.tiny_imagenet(tmp_path / "set"), "tiny-imagenet")
    assert [file.name for file in data.test_files] == ["val_2.JPEG", "val_0.JPEG", "val_1.JPEG"]
    assert data.test_labels.tolist() == [2, 0, 1]


def test_idx_files_are_read_uncompressed_too(tmp_path):
    plain = read_images(
        layouts.fashion_mnist(tmp_path / "plain", compressed=False), "fashion-mnist"
    )
    packed = read_images(layouts.fashion_mnist(tmp_path / "packed"), "fashion-mnist")
    assert plain.train_images.equal(packed.train_images)


def test_cifar_pixels_are_planes_of_red_green_and_blue(tmp_path):
    folder = layouts.cifar10(tmp_path / "set")
    data = np.zeros((1, 3072), np.uint8)
    data[0, 1024 + 32 * 5 + 7] = 200  # green, row 5, column 7
    layouts.write_pickle(folder / "test_batch", {b"labels": [4], b"data": data})
    assert read_images(folder, "cifar10").test_images.nonzero().tolist() == [[0, 1, 5, 7]]
