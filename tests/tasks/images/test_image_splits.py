"""Image data sets as tasks: fixed, stratified splits."""

from __future__ import annotations

import image_layouts as layouts
import pytest
import torch
from image_layouts import seeded

from dualadam.tasks import TASKS, get_task

# task, writer of a small set, training / validation / test images, shape (C, H, W)
SETS = [
    ("fashion-mnist", layouts.fashion_mnist, 36, 4, 20, (1, 28, 28)),
    ("cifar10", layouts.cifar10, 90, 10, 20, (3, 32, 32)),
    ("cifar100", layouts.cifar100, 90, 10, 100, (3, 32, 32)),
    ("tiny-imagenet", layouts.tiny_imagenet, 11, 1, 3, (3, 64, 64)),
    ("imagenet", layouts.imagenet, 11, 1, 2, (3, 224, 224)),
    ("image-folder", layouts.imagenet, 11, 1, 2, (3, 224, 224)),
]


@pytest.fixture(autouse=True)
def _no_task_of_another_test():
    get_task.cache_clear()


@pytest.mark.parametrize(
    ("name", "write", "num_train", "num_validation", "num_test", "shape"), SETS
)
def test_a_set_becomes_three_splits_of_normalised_images(
    tmp_path, name, write, num_train, num_validation, num_test, shape
):
    task = get_task(name, data=str(write(tmp_path / "set")))
    assert [len(task.labels[split]) for split in ("train", "validation", "test")] == [
        num_train,
        num_validation,
        num_test,
    ]
    batches = list(task.batches(4, seeded(0), augment=True))
    assert len(batches) == num_train // 4
    for images, labels in batches:
        assert (images.shape, images.dtype, labels.shape) == ((4, *shape), torch.float32, (4,))
        assert images.is_contiguous(memory_format=torch.channels_last)
    assert task.num_train == num_train


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "tiny-imagenet"])
def test_known_sizes_are_the_real_sets_less_their_validation_share(name):
    whole = {"fashion-mnist": 60_000, "cifar10": 50_000, "tiny-imagenet": 100_000}[name]
    assert TASKS[name].num_train == whole - round(0.1 * whole)


def test_no_image_is_in_two_splits_and_every_class_keeps_its_share(tmp_path):
    task = get_task("cifar10", data=str(layouts.cifar10(tmp_path / "set")))
    images = torch.cat([task.images[split] for split in ("train", "validation", "test")])
    assert len(images.flatten(1).unique(dim=0)) == len(images) == 120
    assert task.labels["train"].bincount().tolist() == [9] * 10
    assert task.labels["validation"].bincount().tolist() == [1] * 10


def test_a_subset_is_stratified_fixed_and_leaves_validation_and_test_alone(tmp_path):
    data = str(layouts.cifar10(tmp_path / "set"))
    whole, part, again = (
        get_task("cifar10", data=data),
        get_task("cifar10", data=data, subset=30),
        get_task("cifar10", data, 30, "cpu"),
    )
    assert part is not again
    assert part.labels["train"].bincount().tolist() == [3] * 10
    assert part.images["train"].equal(again.images["train"])
    assert all(part.images[split].equal(whole.images[split]) for split in ("validation", "test"))


@pytest.mark.parametrize("name", [row[0] for row in SETS])
def test_a_task_without_its_data_says_in_one_sentence_what_is_expected(tmp_path, name):
    with pytest.raises(
        FileNotFoundError,
        match=rf"^data must be a folder with .* for {name}, got {tmp_path}\. [^\n]*$",
    ):
        get_task(name, data=str(tmp_path))
