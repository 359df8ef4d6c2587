"""A problem of the user's own is a task like any other."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from dualadam.compare import Metric, Problem
from dualadam.tasks.problem_task import ProblemTask
from dualadam.tasks.protocol import LoadOptions

X = torch.arange(40.0).reshape(20, 2)
Y = X.sum(1, keepdim=True)


def squared(model: nn.Module, batch) -> torch.Tensor:
    x, y = (batch["x"], batch["y"]) if isinstance(batch, dict) else batch
    return (model(x) - y).square().mean()


def epoch(generator: torch.Generator):
    order = torch.randperm(20, generator=generator)
    return [(X[part], Y[part]) for part in order.split(5)]


FORMS = {
    "tensors": (X, Y),
    "dictionary": {"x": X, "y": Y},
    "dataset": TensorDataset(X, Y),
    "list": list(zip(X, Y, strict=True)),
}
PROBLEM = Problem(model=lambda: nn.Linear(2, 1), loss=squared, train=(X, Y))


def task_of(problem: Problem = PROBLEM, **options) -> ProblemTask:
    return ProblemTask(problem, LoadOptions(**options))


def inputs(batch) -> torch.Tensor:
    return batch["x"] if isinstance(batch, dict) else batch[0]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_gives_each_example_once_an_epoch(form: str):
    task = task_of(replace(PROBLEM, train=FORMS[form], validation=(X, Y), test=(X, Y)))
    batches = list(task.batches(5, torch.Generator().manual_seed(0), False))
    assert sorted(torch.cat([inputs(b)[:, 0] for b in batches]).tolist()) == X[:, 0].tolist()


@pytest.mark.parametrize("form", FORMS)
def test_the_generator_alone_decides_the_order(form: str):
    task = task_of(replace(PROBLEM, train=FORMS[form], validation=(X, Y), test=(X, Y)))
    first, again, other = (
        [inputs(b).tolist() for b in task.batches(5, torch.Generator().manual_seed(s), False)]
        for s in (0, 0, 1)
    )
    assert first == again != other


def test_a_function_yields_its_own_batches():
    task = task_of(replace(PROBLEM, train=epoch, validation=(X, Y), test=(X, Y)))
    assert task.num_train == 20
    assert len(list(task.batches(5, torch.Generator().manual_seed(0), False))) == 4
    with pytest.raises(ValueError, match="batch_size must be 5, which train yields, got 4"):
        next(task.batches(4, torch.Generator(), False))


def test_a_missing_validation_split_is_held_out_and_a_missing_test_split_is_the_validation():
    task = task_of()
    assert [task.splits[s].count for s in ("train", "validation", "test")] == [14, 3, 3]
    task = task_of(replace(PROBLEM, validation=(X + 100, Y)))
    assert [task.splits[s].count for s in ("train", "validation", "test")] == [17, 3, 20]
    judged = next(iter(task.splits["test"].batches(20, None)))
    assert torch.equal(judged[0], X + 100)
    assert task.facts["own_test_split"] is False


def test_held_out_examples_are_never_trained_on():
    task = task_of()
    seen = {
        split: {x for batch in examples.batches(1, None) for x in batch[0][:, 0].tolist()}
        for split, examples in task.splits.items()
    }
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]


def test_without_evaluate_the_mean_loss_over_all_examples_is_the_score():
    task = task_of(replace(PROBLEM, validation=(X, Y), test=(X, Y)), evaluation_batch_size=3)
    model = task.make_model("")
    scores = task.evaluate(model, "test")
    assert scores.loss == pytest.approx(squared(model, (X, Y)).item(), rel=1e-6)
    assert scores.metrics == {"loss": scores.loss}


def test_evaluate_gets_the_model_in_evaluation_mode_and_batches_of_the_split():
    def evaluate(model, batches):
        assert not model.training
        assert not torch.is_grad_enabled()
        return {"rows": sum(len(batch[0]) for batch in batches)}

    problem = replace(
        PROBLEM, validation=(X, Y), test=(X, Y), evaluate=evaluate, metrics={"rows": Metric()}
    )
    model = task_of(problem).make_model("")
    assert task_of(problem).evaluate(model, "test").metrics == {"rows": 20.0}
    assert model.training


WRONG = [
    ({"model": nn.Linear(2, 1)}, "model must be a function that returns a new model"),
    ({"loss": 3}, "loss must be a function, got 3."),
    ({"train": None}, "train must be the training data, got None."),
    ({"evaluate": lambda m, b: {}}, "metrics must name what evaluate returns"),
    ({"metrics": {"accuracy": Metric()}}, "metrics must be {'loss': Metric(...)} or None"),
    ({"metrics": {"loss": "%"}}, "metrics['loss'] must be a Metric, got '%'."),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_wrong_argument_is_refused_when_the_problem_is_made(changes, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        replace(PROBLEM, **changes)


EMPTY = [
    ({"train": (X[:0], Y[:0])}, "train must not be empty"),
    ({"train": (X, Y[:3])}, "share a number of rows, got [3, 20]"),
    ({"test": []}, "test must not be empty"),
    ({"train": 7}, "train must be a Dataset, tensors with the same number of rows, or a function"),
    ({"train": lambda generator: []}, "train must yield batches, got none in an epoch."),
    ({"train": lambda: []}, "train must be a function of one argument, the torch.Generator"),
    ({"train": lambda generator: 1 / 0}, "train raised ZeroDivisionError: division by zero ("),
    ({"train": lambda generator: [object()]}, "of tensors with the same number of rows, got obj"),
    ({"train": epoch}, "train is a function, of which no part can be held out"),
]


@pytest.mark.parametrize(("changes", "message"), EMPTY)
def test_data_that_cannot_be_trained_on_is_refused_when_it_is_loaded(changes, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        task_of(replace(PROBLEM, **changes))
