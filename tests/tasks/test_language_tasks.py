"""Language tasks on models of plain torch: whose tokens count, what packing and accumulation change, what evaluation counts."""

import json
import math
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from compare_cases import numbers, run_of
from language_cases import classification_task, generation_task
from sklearn.metrics import f1_score
from torch.nn.functional import cross_entropy

from dualadam.compare import measures
from dualadam.compare import train as train_module
from dualadam.compare.measures import measure_flatness
from dualadam.compare.run import Record
from dualadam.compare.train import train
from dualadam.compare.training import Training
from dualadam.tasks import TASKS, FineTuning
from dualadam.tasks.language.answers import final_number, same_number
from dualadam.tasks.language.batches import lay_out
from dualadam.tasks.language.classification import macro_f1

ONE_ROUNDING = 1e-5  # of sums of some hundred float32 terms in another order


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def by_hand(model, sequences, indices):
    """The loss of each answer token, one sequence at a time, nothing filled up."""
    losses = []
    for k in indices:
        sequence, head = sequences[k], int(sequences.prompts[k])
        logits = model(sequence[None]).logits[0]
        losses += [cross_entropy(logits[t - 1], sequence[t]) for t in range(head, len(sequence))]
    return torch.stack(losses)


@pytest.mark.parametrize("row_length", [None, 20, 40])
def test_the_loss_is_the_mean_over_the_answers_tokens_alone_packed_or_not(row_length):
    task = generation_task(row_length=row_length)
    model = task.make_model("tiny")
    for batch, indices in (
        (task.batch("train", list(range(k, k + 8))), range(k, k + 8)) for k in (0, 8, 16)
    ):
        expected = by_hand(model, task.sequences["train"], indices)
        assert task.weight(batch) == len(expected)
        torch.testing.assert_close(
            task.loss(model, batch), expected.mean(), rtol=ONE_ROUNDING, atol=0
        )


def test_packing_gives_the_same_gradient_from_fewer_rows():
    gradients, rows = [], []
    for row_length in (None, 20):
        task = generation_task(row_length=row_length)
        model = task.make_model("tiny")
        batch = task.batch("train", list(range(16)))
        task.loss(model, batch).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        rows.append(len(batch.tokens))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)  # gradients of 1e-2, float32
    assert rows[1] < 0.6 * rows[0]


def test_a_model_that_mixes_the_documents_of_a_row_is_refused():
    with pytest.raises(
        ValueError,
        match=r"^packed must be false for this model: it mixes the documents of a row\.$",
    ):
        generation_task(row_length=20, leaky=True).make_model("tiny")
    generation_task(row_length=None, leaky=True).make_model("tiny")


@pytest.mark.parametrize("kind", ["images", "classification", "generation", "packed"])
@pytest.mark.parametrize("parts", [2, 3, 8, 50])
def test_parts_of_a_batch_give_the_step_of_the_whole_batch(monkeypatch, kind, parts):
    tasks = {
        "classification": classification_task,
        "generation": generation_task,
        "packed": lambda: generation_task(row_length=20),
    }
    task = tasks[kind]() if kind in tasks else train_module.get_task("digits")
    run = run_of(optimizer="SGD", settings={"lr": 0.1}, batch_size=11, steps=3)
    weights, losses = [], []
    for accumulate in (1, parts):
        training = Training(replace(run, accumulate=accumulate), task)
        model = training.model
        if kind == "images":
            model.eval()  # BatchNorm's statistics of a part are not those of the batch
        losses.append(
            [
                training.step(t, batch).item()
                for t, batch in zip(range(1, 4), training.batches(), strict=False)
            ]
        )
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-6)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_evaluation_sums_over_all_tokens_of_the_split_and_compares_every_answer():
    task = generation_task()
    model = task.make_model("tiny")
    task.responses["test"] = [
        str(int(s[h - 1])) if k % 2 else "no"
        for k, (s, h) in enumerate(pairs(task.sequences["test"]))
    ]
    scores = task.evaluate(model, "test")
    expected = by_hand(model, task.sequences["test"], range(10)).mean().item()
    assert scores.loss == pytest.approx(expected, rel=ONE_ROUNDING)
    assert scores.metrics["perplexity"] == pytest.approx(math.exp(expected), rel=1e-4)
    assert scores.correct.tolist() == [bool(k % 2) for k in range(10)]
    assert scores.metrics["exact_match"] == 50.0


def pairs(sequences):
    return [(sequences[k], int(sequences.prompts[k])) for k in range(len(sequences))]


def test_prompts_to_be_answered_hold_no_token_of_the_answer_and_end_at_the_right():
    task = generation_task()
    tokens, mask = task.prompts("test", range(10))
    for row, on, (sequence, head) in zip(tokens, mask, pairs(task.sequences["test"]), strict=True):
        assert row[on.bool()].tolist() == sequence[:head].tolist()
        assert on.tolist() == sorted(on.tolist())


def test_classes_are_judged_in_the_order_of_the_split_whatever_the_order_of_lengths():
    task = classification_task()
    model = task.make_model("tiny")
    scores = task.evaluate(model, "test")
    found = []
    for k in range(75):
        batch = lay_out(task.sequences["test"], [k], 0)
        found.append(model(batch.tokens, torch.ones_like(batch.tokens)).logits.argmax().item())
    labels = task.labels["test"].numpy()
    assert scores.correct.tolist() == (np.array(found) == labels).tolist()
    assert scores.metrics["accuracy"] == 100 * np.mean(found == labels)
    assert scores.metrics["macro_f1"] == pytest.approx(
        100 * f1_score(labels, found, average="macro", zero_division=0)
    )


def test_macro_f1_is_scikit_learns():
    rng = np.random.default_rng(0)
    for size in (1, 5, 200):
        labels, found = rng.integers(0, 7, size), rng.integers(0, 7, size)
        assert macro_f1(torch.from_numpy(labels), torch.from_numpy(found)) == pytest.approx(
            f1_score(labels, found, average="macro", zero_division=0)
        )


@pytest.mark.parametrize(("text", "number"), [
    ("#### 72", 72), ("so 5\n####72\n#### 73", 72), ("#### 1,234", 1234), ("#### -3.50", -3.5), ("#### $18", 18), ("#### .5", 0.5),
    ("#### 18.", 18), ("72", None), ("", None), ("#### seven", None), ("### 72", None),
])  # fmt: skip
def test_the_answer_is_the_number_after_the_first_mark(text, number):
    assert final_number(text) == number


def test_two_answers_without_a_number_are_not_the_same():
    assert not same_number("none", "none")
    assert same_number("it is #### 1,000.0", "#### 1000")


@pytest.fixture
def tiny(monkeypatch):
    """Runs of the name bbc-news, gsm8k train the tiny tasks."""
    tasks = {"bbc-news": classification_task(), "gsm8k": generation_task(facts={"duplicates": 3})}
    monkeypatch.setattr(train_module, "get_task", lambda name, **_: tasks[name])
    return tasks


@pytest.mark.parametrize(
    ("name", "metric"),
    [("bbc-news", "accuracy"), ("bbc-news", "macro_f1"), ("gsm8k", "perplexity")],
)
@pytest.mark.usefixtures("tiny")
def test_the_training_loop_is_the_images_one_and_the_same_run_gives_the_same_bits(name, metric):
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
    # the same 40 examples in batches of 8, 40 and 4: 1e-3 is float32 rounding of a difference of losses of 3
    assert sharpness[1] == pytest.approx(sharpness[0], rel=1e-3)
    assert sharpness[2] == pytest.approx(sharpness[0], rel=1e-3)


def test_only_so_many_examples_are_judged_and_training_has_all():
    for task in (generation_task(), classification_task()):
        model, before = task.make_model("tiny"), task.num_train
        whole = task.evaluate(model, "test")
        texts = [task.sequences["test"][k].tolist() for k in range(len(task.sequences["test"]))]
        task.limit_evaluation(4)
        kept = [
            texts.index(task.sequences["test"][k].tolist())
            for k in range(len(task.sequences["test"]))
        ]
        assert len(kept) == 4
        assert (
            kept == sorted(kept) != [0, 1, 2, 3]
        )  # files are sorted: the first would be of one kind
        assert task.evaluate(model, "test").correct.tolist() == whole.correct[kept].tolist()
        assert task.num_train == len(task.sequences["train"]) == before


def test_flatness_takes_smaller_parts_of_the_same_examples_where_memory_ends(monkeypatch):
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


def test_so_many_examples_are_judged_at_once_and_the_scores_are_the_same():
    scores = []
    for at_once in (None, 4, 100):
        task = generation_task(at_once=at_once)
        batches = list(task.evaluation_batches("test"))
        assert max(map(len, batches)) == min(at_once or 32, 10)
        scores.append(task.evaluate(task.make_model("tiny"), "test"))
    assert scores[1].loss == pytest.approx(scores[0].loss, rel=ONE_ROUNDING)
    assert (scores[1].correct == scores[0].correct).all()
