"""Class folders of the user's own: hidden entries are skipped, and one class alone is refused."""

from __future__ import annotations

import shutil

import image_layouts as layouts
import pytest
import torch
from compare_cases import TINY, run_command

from dualadam.errors import InvalidValueError
from dualadam.tasks import check_data, get_task


@pytest.fixture(autouse=True)
def _no_task_of_another_test():
    get_task.cache_clear()


def add_hidden_entries(train, name):
    """Add what a notebook and macOS add: folders that are no class, images that are none."""
    for folder in (".ipynb_checkpoints", "__MACOSX"):
        layouts.write_image(train / folder / "a.png", seed=0)
    (train / name / "._a.jpeg").write_bytes(b"no image")
    (train / name / ".DS_Store").write_bytes(b"no image")


@pytest.mark.parametrize("name", ["imagenet", "image-folder"])
def test_hidden_entries_are_skipped_with_a_note(tmp_path, name):
    folder = layouts.imagenet(tmp_path / "set")
    whole = layouts.read_images(folder, name)
    assert check_data(name, str(folder)) == ()
    add_hidden_entries(folder / "train", "n01")
    assert layouts.read_images(folder, name).train_files == whole.train_files
    assert layouts.read_images(folder, name).classes == whole.classes
    (note,) = check_data(name, str(folder))
    assert note == (
        f"Hidden entries of {folder} are skipped: train/.ipynb_checkpoints, train/__MACOSX, "
        "train/n01/._a.jpeg."
    )


def test_hidden_files_of_tiny_imagenet_are_skipped_with_a_note(tmp_path):
    folder = layouts.tiny_imagenet(tmp_path / "set")
    whole = layouts.read_images(folder, "tiny-imagenet")
    (folder / "train" / "n01" / "images" / "._n01_0.JPEG").write_bytes(b"no image")
    assert layouts.read_images(folder, "tiny-imagenet").train_files == whole.train_files
    assert check_data("tiny-imagenet", str(folder)) == (
        f"Hidden entries of {folder} are skipped: train/n01/images/._n01_0.JPEG.",
    )


def test_many_hidden_entries_are_counted(tmp_path):
    folder = layouts.imagenet(tmp_path / "set")
    for k in range(9):
        (folder / "train" / "n01" / f"._{k}.png").write_bytes(b"")
    (note,) = check_data("image-folder", str(folder))
    assert note.endswith("._2.png and 6 more.")


ONE_CLASS = "^The training split of '{name}' must have more than one class, got '{alone}' alone;"


@pytest.mark.parametrize("name", ["imagenet", "image-folder"])
def test_a_folder_of_one_class_is_refused(tmp_path, name):
    folder = layouts.imagenet(tmp_path / "set")
    for part in ("train", "val"):
        shutil.rmtree(folder / part / "n02")
    for call in (check_data, get_task):
        with pytest.raises(InvalidValueError, match=ONE_CLASS.format(name=name, alone="n01")):
            call(name, str(folder))


def test_cifar_of_one_class_is_refused(tmp_path):
    folder = layouts.cifar10(tmp_path / "set")
    images = layouts.read_images(folder, "cifar10").test_images.flatten(1).numpy()
    for k in range(1, 6):
        batch = {b"data": images, b"labels": [3] * len(images)}
        layouts.write_pickle(folder / f"data_batch_{k}", batch)
    with pytest.raises(InvalidValueError, match=ONE_CLASS.format(name="cifar10", alone="class 3")):
        check_data("cifar10", str(folder))


def test_fashion_mnist_of_one_class_is_refused(tmp_path):
    folder = layouts.fashion_mnist(tmp_path / "set", compressed=False)
    labels = layouts.idx_bytes(torch.full((40,), 2, dtype=torch.uint8).numpy())
    (folder / "train-labels-idx1-ubyte").write_bytes(labels)
    alone = ONE_CLASS.format(name="fashion-mnist", alone="Pullover")
    with pytest.raises(InvalidValueError, match=alone):
        check_data("fashion-mnist", str(folder))


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_a_subset_that_leaves_one_class_is_refused(tmp_path, name):
    data = str(layouts.cifar10(tmp_path / "set"))
    with pytest.raises(InvalidValueError, match=f"^The training split of '{name}' must have more"):
        get_task(name, data, subset=1)


def test_a_folder_too_small_for_a_validation_split_of_its_share_holds_one_image_out(tmp_path):
    folder = layouts.imagenet(tmp_path / "set")
    for file in sorted((folder / "train").glob("*/*"))[::2]:
        file.unlink()
    task = get_task("imagenet", str(folder))
    assert {split: len(labels) for split, labels in task.labels.items()} == {
        "train": 5,
        "validation": 1,
        "test": 2,
    }


STUDY = TINY.replace('task = "digits"', 'task = "image-folder"').replace("steps = 10", "steps = 2")


def test_a_study_says_what_is_wrong_with_its_images_before_it_has_a_folder(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(STUDY.replace("batch_size = 8", "batch_size = 4"))
    folder = layouts.imagenet(tmp_path / "set")
    add_hidden_entries(folder / "train", "n01")
    assert run_command("compare", "own.toml", "--data", folder, "--dry-run") == 0
    assert "Warning: Hidden entries of" in capsys.readouterr().err
    for part in ("train", "val"):
        shutil.rmtree(folder / part / "n02")
    assert run_command("compare", "own.toml", "--data", folder, "--out", "out") == 2
    assert "must have more than one class, got 'n01' alone" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
