"""Losses and scores of language tasks, on models of plain torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from language_cases import classification_task, generation_task
from sklearn.metrics import f1_score
from torch.nn.functional import cross_entropy

from dualadam.tasks.language.batches import lay_out
from dualadam.tasks.language.classification import macro_f1

ONE_ROUNDING = 1e-5  # of sums of some hundred float32 terms in another order


def by_hand(model, sequences, indices):
    """The loss of each answer token, one sequence at a time, nothing filled up."""
    losses = []
    for k in indices:
        sequence, head = sequences[k], int(sequences.prompts[k])
        logits = model(sequence[None]).logits[0]
        losses += [cross_entropy(logits[t - 1], sequence[t]) for t in range(head, len(sequence))]
    return torch.stack(losses)


def pairs(sequences):
    return [(sequences[k], int(sequences.prompts[k])) for k in range(len(sequences))]


@pytest.mark.parametrize("row_length", [None, 20, 40])
def test_the_loss_is_the_mean_over_the_tokens_of_the_answers_alone_packed_or_not(row_length):
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


def test_prompts_have_no_token_of_the_answer_and_are_padded_on_the_left():
    task = generation_task()
    tokens, mask = task.prompts("test", range(10))
    for row, on, (sequence, head) in zip(tokens, mask, pairs(task.sequences["test"]), strict=True):
        assert row[on.bool()].tolist() == sequence[:head].tolist()
        assert on.tolist() == sorted(on.tolist())


def test_classes_are_scored_in_the_order_of_the_split_whatever_the_lengths():
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


@pytest.mark.parametrize(
    ("labels", "predicted", "expected"),
    [
        ([0, 0, 1, 2], [0, 1, 1, 1], (2 / 3 + 2 / 4 + 0) / 3),
        ([0, 0], [5, 5], 0.0),  # 5 occurs among the predictions alone
        ([3], [3], 1.0),
    ],
)
def test_macro_f1_is_the_mean_over_the_classes_that_occur(labels, predicted, expected):
    assert macro_f1(torch.tensor(labels), torch.tensor(predicted)) == pytest.approx(expected)


def test_a_sample_is_evaluated_and_training_has_all_examples():
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
        # not the first ones: files are often sorted by class
        assert kept == sorted(kept) != [0, 1, 2, 3]
        assert task.evaluate(model, "test").correct.tolist() == whole.correct[kept].tolist()
        assert task.num_train == len(task.sequences["train"]) == before


def test_the_size_of_evaluation_batches_does_not_change_the_scores():
    scores = []
    for evaluation_batch_size in (None, 4, 100):
        task = generation_task(evaluation_batch_size=evaluation_batch_size)
        batches = list(task.evaluation_batches("test"))
        assert max(map(len, batches)) == min(evaluation_batch_size or 32, 10)
        scores.append(task.evaluate(task.make_model("tiny"), "test"))
    assert scores[1].loss == pytest.approx(scores[0].loss, rel=ONE_ROUNDING)
    assert (scores[1].correct == scores[0].correct).all()
