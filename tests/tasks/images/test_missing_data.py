"""A data set or a file that is missing is named, with what is expected where."""

from __future__ import annotations

import image_layouts as layouts
import pytest
from image_layouts import read_images

from dualadam.tasks import TASKS

# layout, name, what is removed, and what the sentence says is expected
MISSING = [
    (
        layouts.fashion_mnist,
        "fashion-mnist",
        "t10k-labels-idx1-ubyte.gz",
        "must hold the file t10k-labels-idx1-ubyte.gz or t10k-labels-idx1-ubyte",
    ),
    (layouts.cifar10, "cifar10", "data_batch_4", "must hold the file data_batch_4"),
    (layouts.cifar100, "cifar100", "meta", "must hold the file meta"),
    (
        layouts.tiny_imagenet,
        "tiny-imagenet",
        "val/images/val_1.JPEG",
        "must hold the file val/images/val_1.JPEG",
    ),
    (
        layouts.imagenet,
        "imagenet",
        "val/n02/ILSVRC2012_val_1.JPEG",
        "val/n02 must hold the images of a class, got none",
    ),
]


@pytest.mark.parametrize(("write", "name", "file", "sentence"), MISSING)
def test_a_missing_file_is_named(tmp_path, write, name, file, sentence):
    folder = write(tmp_path / "set")
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=sentence):
        read_images(folder, name)


def test_a_validation_folder_with_unknown_classes_is_refused(tmp_path):
    folder = layouts.imagenet(tmp_path / "set")
    (folder / "val" / "n77").mkdir()
    with pytest.raises(ValueError, match=r"classes in .*val must be those in .*train, got n77"):
        read_images(folder, "imagenet")


def test_unsorted_validation_images_are_refused(tmp_path):
    folder = layouts.imagenet(tmp_path / "set")
    for file in (folder / "val").glob("*/*"):
        file.rename(folder / "val" / file.name)
        file.parent.rmdir()
    with pytest.raises(FileNotFoundError, match="val must hold one folder per class, got none"):
        read_images(folder, "imagenet")


def test_the_environment_variable_names_the_folder_unless_an_argument_does(tmp_path, monkeypatch):
    layouts.cifar10(tmp_path / "cifar-10-batches-py")
    monkeypatch.setenv("DUALADAM_DATA", str(tmp_path))
    assert TASKS["cifar10"].find(None) == tmp_path / "cifar-10-batches-py"
    with pytest.raises(FileNotFoundError, match="data must be a folder with"):
        TASKS["cifar10"].find(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "fashion-mnist",
            r"fashion-mnist/train-images-idx3-ubyte\.gz or .*dataset-fashion-mnist",
        ),
        (
            "cifar10",
            r"cifar-10-batches-py/data_batch_1 .*cifar-10-python\.tar\.gz",
        ),
        (
            "cifar100",
            r"cifar-100-python/train .*cifar-100-python\.tar\.gz",
        ),
        (
            "tiny-imagenet",
            r"tiny-imagenet-200/wnids\.txt .*tiny-imagenet-200\.zip",
        ),
        ("imagenet", r"imagenet/train .*image-net\.org"),
        ("image-folder", r"train for image-folder.*train/CLASS"),
    ],
)
def test_without_data_the_error_says_what_is_expected_and_how_to_get_it(
    monkeypatch, tmp_path, name, sentence
):
    monkeypatch.delenv("DUALADAM_DATA", raising=False)
    with pytest.raises(
        FileNotFoundError, match=f"^data must be a folder with {sentence}"
    ) as none_given:
        TASKS[name].find(None)
    assert "got none (give --data FOLDER or set DUALADAM_DATA)" in str(none_given.value)
    with pytest.raises(FileNotFoundError, match=f"got {tmp_path}"):
        TASKS[name].find(tmp_path)
