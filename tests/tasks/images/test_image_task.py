"""Images in training and evaluation: one order for all arms, augmentation in training alone."""

from __future__ import annotations

import image_layouts as layouts
import pytest
import torch
from image_layouts import seeded

from dualadam.compare.run import Run
from dualadam.compare.train import train
from dualadam.tasks import get_task
from dualadam.tasks.images.task import ImageTask


@pytest.fixture(autouse=True)
def _no_task_of_another_test():
    get_task.cache_clear()


def everything(task, split):
    """All batches of a split, as bytes would be drawn: images and labels."""
    batches = list(task.read(split, torch.arange(len(task.labels[split])).split(16)))
    return torch.cat([images for images, _ in batches]), torch.cat(
        [labels for _, labels in batches]
    )


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
