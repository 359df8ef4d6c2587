"""The image sets as tasks: fixed splits, the same images in the same order for every arm, augmentation of training images alone."""

import image_layouts as layouts
import pytest
import torch

from dualadam.compare.run import Run
from dualadam.compare.train import train
from dualadam.tasks import TASKS, get_task
from dualadam.tasks.images.task import ImageTask

# task, writer of a small set, training / validation / test images, shape (C, H, W)
SETS = [
    ("fashion-mnist", layouts.fashion_mnist, 36, 4, 20, (1, 28, 28)),
    ("cifar10", layouts.cifar10, 90, 10, 20, (3, 32, 32)),
    ("cifar100", layouts.cifar100, 90, 10, 100, (3, 32, 32)),
    ("tiny-imagenet", layouts.tiny_imagenet, 11, 1, 3, (3, 64, 64)),
    ("imagenet", layouts.imagenet, 12, 0, 2, (3, 224, 224)),
    ("image-folder", layouts.imagenet, 11, 1, 2, (3, 224, 224)),
]


@pytest.fixture(autouse=True)
def _no_task_of_another_test():
    get_task.cache_clear()


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def everything(task, split):
    """All batches of a split, as bytes would be drawn: images and labels."""
    batches = list(task.read(split, torch.arange(len(task.labels[split])).split(16)))
    return torch.cat([images for images, _ in batches]), torch.cat(
        [labels for _, labels in batches]
    )


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


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize(
    ("name", "write"), [("cifar10", layouts.cifar10), ("tiny-imagenet", layouts.tiny_imagenet)]
)
def test_the_same_images_in_the_same_order_for_every_arm_of_a_seed(
    tmp_path, monkeypatch, name, write, augment
):
    data = str(write(tmp_path / "set"))
    seen = []

    def loss(task, model, batch):
        seen.append((batch[0].clone(), batch[1].clone()))
        return torch.nn.functional.cross_entropy(task.logits(model, batch[0]), batch[1])

    monkeypatch.setattr(ImageTask, "loss", loss)
    common = {
        "phase": "tune",
        "block": "b",
        "trial": 0,
        "metric": "accuracy",
        "task": name,
        "model": "small-cnn",
        "weight_decay": 0.0,
        "epochs": 2,
        "steps": None,
    }
    common |= {"batch_size": 5, "schedule": "cosine", "final_fraction": 0.001, "augment": augment}
    streams = []
    for arm, settings, seed in (
        ("Adam", {"lr": 1e-3}, 0),
        ("DualAdam", {"lr": 1e-2, "switch_rate": 0.1}, 0),
        ("Adam", {"lr": 1e-3}, 1),
    ):
        get_task.cache_clear()  # as in another process
        torch.rand(seed + 7)  # whatever else was drawn before
        train(Run(arm=arm, optimizer=arm, settings=settings, seed=seed, **common), data=data)
        streams.append(list(seen))
        seen.clear()
    one, other, another_seed = streams
    assert len(one) == len(other) == 2 * {"cifar10": 18, "tiny-imagenet": 2}[name]
    assert all(
        torch.equal(a, b) and torch.equal(x, y) for (a, x), (b, y) in zip(one, other, strict=True)
    )
    assert not all(torch.equal(a, b) for (a, _), (b, _) in zip(one, another_seed, strict=True))
    half = len(one) // 2
    assert not all(
        torch.equal(a, b) for (a, _), (b, _) in zip(one[:half], one[half:], strict=True)
    )  # each epoch has its own order


def test_augmentation_moves_training_images_and_nothing_else(tmp_path):
    task = get_task("cifar10", data=str(layouts.cifar10(tmp_path / "set")))
    before = {split: everything(task, split)[0] for split in ("train", "validation", "test")}
    plain, moved = (next(task.batches(90, seeded(3), augment))[0] for augment in (False, True))
    still = [torch.equal(a, b) for a, b in zip(plain, moved, strict=True)]
    assert sum(still) < 5  # one crop in 162 is the image itself: 0.6 expected of 90
    assert all(before[split].equal(everything(task, split)[0]) for split in before)
    flat = before["train"].transpose(0, 1).flatten(1)
    # float32 sums of 92,160 values
    torch.testing.assert_close(flat.mean(1), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(flat.std(1), torch.ones(3), rtol=1e-4, atol=0)


def test_decoded_files_are_moved_only_in_training(tmp_path):
    task = get_task("tiny-imagenet", data=str(layouts.tiny_imagenet(tmp_path / "set")))
    plain, moved, again = (
        next(task.batches(8, seeded(3), augment))[0] for augment in (False, True, True)
    )
    assert moved.equal(again)
    assert not moved.equal(plain)
    assert everything(task, "test")[0].equal(everything(task, "test")[0])


def test_evaluation_scores_each_image_of_the_split_once(tmp_path):
    task = get_task("cifar10", data=str(layouts.cifar10(tmp_path / "set")))
    model = task.make_model("small-cnn")
    scores = task.evaluate(model, "test")
    model.eval()
    images, labels = everything(task, "test")
    with torch.no_grad():
        logits = model(images)
    assert scores.correct.tolist() == (logits.argmax(1) == labels).tolist()
    assert scores.metrics["accuracy"] == 100 * scores.correct.mean()
    assert scores.loss == pytest.approx(
        torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5
    )  # batches of 512, float32


def test_channels_last_changes_the_speed_and_not_the_logits(tmp_path):
    task = get_task("cifar10", data=str(layouts.cifar10(tmp_path / "set")))
    torch.manual_seed(0)
    model = task.make_model("small-cnn")
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.manual_seed(0)
    plain = ImageTask.make_model(task, "small-cnn").to(memory_format=torch.contiguous_format)
    images, _ = next(task.batches(32, seeded(0), augment=False))
    # float32 sums of up to 576 products in another order
    torch.testing.assert_close(model(images), plain(images.contiguous()), rtol=1e-4, atol=1e-4)


def test_bfloat16_is_autocast_of_the_forward_pass_with_a_float32_loss(tmp_path):
    data = str(layouts.cifar10(tmp_path / "set"))
    half, full = (
        get_task("cifar10", data=data, precision="bfloat16"),
        get_task("cifar10", data=data),
    )
    model = half.make_model("small-cnn")
    batch = next(half.batches(32, seeded(0), augment=False))
    loss = half.loss(model, batch)
    assert loss.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    # bfloat16 keeps 8 bits; four layers add their roundings up
    assert loss.item() == pytest.approx(full.loss(model, batch).item(), rel=0.05)
    assert loss.item() != full.loss(model, batch).item()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_one_seed_gives_the_same_images_on_the_gpu_as_on_the_cpu(tmp_path):
    data = str(layouts.cifar10(tmp_path / "set"))
    here, there = (
        next(get_task("cifar10", data, None, device).batches(32, seeded(0), augment=True))
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(here[0], there[0].cpu())
    assert here[1].equal(there[1].cpu())


@pytest.mark.parametrize("name", [row[0] for row in SETS])
def test_a_task_without_its_data_says_in_one_sentence_what_is_expected(tmp_path, name):
    with pytest.raises(
        FileNotFoundError,
        match=rf"^data must be a folder with .* for {name}, got {tmp_path}\. [^\n]*$",
    ):
        get_task(name, data=str(tmp_path))


def test_only_so_many_images_are_judged_of_every_class_and_training_has_all():
    task = get_task("digits")
    model = task.make_model("small-cnn")
    whole = {split: task.evaluate(model, split).correct for split in ("validation", "test")}
    get_task.cache_clear()
    task = get_task("digits", evaluate_at_most=60)
    for split, correct in whole.items():
        judged = task.evaluated[split]
        counts = task.labels[split][judged].bincount()
        assert counts.sum() == 60
        assert (
            counts - 60 * task.labels[split].bincount() / len(task.labels[split])
        ).abs().max() < 1
        assert task.evaluate(model, split).correct.tolist() == correct[judged.numpy()].tolist()
    assert task.num_train == len(task.labels["train"])
    get_task.cache_clear()
