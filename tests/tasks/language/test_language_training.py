"""The training loop on language tasks: accumulation, divergence, flatness."""

from __future__ import annotations

import json
from dataclasses import astuple, replace

import pytest
import torch
from compare_cases import numbers, run_of
from language_cases import classification_task, generation_task

from dualadam.compare import measures
from dualadam.compare import training as training_module
from dualadam.compare.measures import measure_flatness
from dualadam.compare.run import Record
from dualadam.compare.train import train
from dualadam.compare.training import Training
from dualadam.tasks import TASKS, FineTuning


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", ["images", "classification", "generation", "packed"])
@pytest.mark.parametrize("parts", [2, 3, 8, 50])
def test_parts_of_a_batch_give_the_step_of_the_whole_batch(monkeypatch, kind, parts):
    tasks = {
        "classification": classification_task,
        "generation": generation_task,
        "packed": lambda: generation_task(row_length=20),
    }
    task = tasks[kind]() if kind in tasks else training_module.get_task("digits")
    run = run_of(optimizer="SGD", settings={"lr": 0.1}, batch_size=11, steps=3)
    weights, losses = [], []
    for accumulate in (1, parts):
        training = Training(replace(run, accumulate=accumulate), task)
        model = training.model
        if kind == "images":
            # BatchNorm's statistics of a part are not those of the batch
            model.eval()
        losses.append(
            [
                training.step(t, batch).item()
                for t, batch in zip(range(1, 4), training.batches(), strict=False)
            ]
        )
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-6)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.fixture
def tiny(monkeypatch):
    """Runs of bbc-news and gsm8k train tiny tasks."""
    tasks = {"bbc-news": classification_task(), "gsm8k": generation_task(facts={"duplicates": 3})}
    monkeypatch.setattr(training_module, "get_task", lambda name, **_: tasks[name])
    return tasks


@pytest.mark.parametrize(
    ("name", "metric"),
    [("bbc-news", "accuracy"), ("bbc-news", "macro_f1"), ("gsm8k", "perplexity")],
)
@pytest.mark.usefixtures("tiny")
def test_the_same_run_gives_the_same_bits_and_all_metrics(name, metric):
    run = run_of(
        task=name,
        metric=metric,
        model="tiny",
        settings={"lr": 3e-2},
        steps=60,
        accumulate=2,
        evaluations=3,
    )
    first, second = train(run), train(run)
    assert numbers(first) == numbers(second)
    assert Record.from_json(json.loads(json.dumps(first.to_json(), allow_nan=False))) == first
    assert [point.step for point in first.curve] == [20, 40, 60]
    assert first.validation.metrics.keys() == TASKS[name].metrics.keys()
    assert first.curve[-1].train_loss < first.curve[0].train_loss
    assert first.data == ({"duplicates": 3} if name == "gsm8k" else None)


@pytest.mark.usefixtures("tiny")
def test_a_diverged_generation_counts_with_the_worst_perplexity():
    record = train(
        run_of(
            task="gsm8k",
            metric="perplexity",
            model="tiny",
            optimizer="SGD",
            settings={"lr": 1e12},
            steps=30,
        )
    )
    assert record.diverged
    assert record.test.score == TASKS["gsm8k"].metrics["perplexity"].worst


def test_flatness_weighs_batches_by_their_tokens():
    task = generation_task()
    sharpness = []
    for batch_size, accumulate in ((8, 1), (40, 1), (8, 2)):
        run = run_of(
            task="gsm8k",
            metric="perplexity",
            model="tiny",
            batch_size=batch_size,
            accumulate=accumulate,
            language=FineTuning("tiny"),
        )
        training = Training(run, task)
        batches = list(task.batches(batch_size // accumulate, seeded(), False))
        assert len({task.weight(batch) for batch in batches}) == len(batches) or batch_size == 40
        sharpness.append(measure_flatness(training).sam_sharpness)
    # the same 40 examples in batches of 8, 40 and 4; the difference of losses of 3 is rounded to
    # float32, hence 1e-3
    assert sharpness[1] == pytest.approx(sharpness[0], rel=1e-3)
    assert sharpness[2] == pytest.approx(sharpness[0], rel=1e-3)


def test_flatness_takes_smaller_parts_of_the_same_examples_when_memory_is_short(monkeypatch):
    task = generation_task()
    monkeypatch.setattr(measures, "FLATNESS_EXAMPLES", 16)
    run = run_of(
        task="gsm8k",
        metric="perplexity",
        model="tiny",
        optimizer="SGD",
        settings={"lr": 0.1},
        batch_size=8,
        language=FineTuning("tiny"),
    )
    training, loss, rows = Training(run, task), task.loss, []
    whole = measure_flatness(training)

    def limited(model, batch):
        rows.append(len(batch[0]))
        if rows[-1] > 2:
            raise torch.OutOfMemoryError("full")
        return loss(model, batch)

    monkeypatch.setattr(task, "loss", limited)
    found = measure_flatness(training)
    assert {2, 4, 8} == set(rows)
    assert astuple(found) == pytest.approx(astuple(whole), rel=1e-3)
    monkeypatch.setattr(
        task, "loss", lambda model, batch: limited(model, [part.repeat(3, 1) for part in batch])
    )
    with pytest.raises(torch.OutOfMemoryError):
        measure_flatness(training)
