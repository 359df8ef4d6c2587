"""A `Problem` as a task of the comparison's loop."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dualadam.errors import InvalidTypeError, InvalidValueError
from dualadam.tasks.examples import Examples, examples_of
from dualadam.tasks.problem import Problem
from dualadam.tasks.protocol import LoadOptions, Scores, Split
from dualadam.tasks.structure import map_tensors, num_rows

HELD_OUT = 0.15  # share of the training examples that stands in for a split that is not given
EVALUATION_BATCH = 256


class ProblemTask:
    """A problem's data, model and loss on one device; see ``Task``.

    Raises:
        InvalidTypeError, InvalidValueError: a split is empty or has an unknown type.
    """

    def __init__(self, problem: Problem, options: LoadOptions) -> None:
        self.problem, self.device, self.precision = problem, options.device, options.precision
        self.splits = split_examples(problem)
        if options.subset is not None:
            if options.subset > self.splits["train"].count:
                raise InvalidValueError(
                    f"subset must be at most the {self.splits['train'].count} training examples, "
                    f"got {options.subset}."
                )
            self.splits["train"] = self.splits["train"].sample(options.subset)
        self.num_train = self.splits["train"].count
        self.evaluation_batch = min(
            options.evaluation_batch_size or EVALUATION_BATCH, EVALUATION_BATCH
        )
        self.facts: dict[str, Any] = {
            "examples": {split: examples.count for split, examples in self.splits.items()},
            "own_test_split": problem.test is not None,
        }

    def make_model(self, name: str) -> nn.Module:
        """Return a freshly initialised model on the task's device; the name is not used."""
        model = self.problem.model()
        if not isinstance(model, nn.Module):
            raise InvalidTypeError(
                f"model must return a torch.nn.Module, got {type(model).__name__}."
            )
        return model.to(self.device)

    def batches(self, batch_size: int, generator: torch.Generator, augment: bool) -> Iterator[Any]:
        """Yield one epoch of the training split in random order, in full batches."""
        for batch in self.splits["train"].batches(batch_size, generator):
            yield self._on_device(batch)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the problem's loss, under autocast where the precision asks for it."""
        with self._autocast():
            return self.problem.loss(model, batch)

    def weight(self, batch: Any) -> int:
        """Return the number of terms in the mean loss of a batch."""
        weigh = self.problem.batch_weight or num_rows
        return int(weigh(batch))

    @torch.no_grad()
    def evaluate(self, model: nn.Module, split: Split) -> Scores:
        """Score the model, in evaluation mode, on a split."""
        was_training = model.training
        model.eval()
        total, weights = 0.0, 0
        for batch in self._all(split):
            weight = self.weight(batch)
            total += float(self.loss(model, batch)) * weight
            weights += weight
        loss = total / weights if weights else math.nan
        metrics = {"loss": loss}
        if self.problem.evaluate is not None:
            with self._autocast():
                found = self.problem.evaluate(model, self._all(split))
            metrics = check_scores(found, self.problem)
        model.train(was_training)
        return Scores(metrics, loss)

    def limit_evaluation(self, count: int) -> None:
        """Score at most ``count`` examples of the validation and of the test split from now on."""
        splits: tuple[Split, ...] = ("validation", "test")
        for split in splits:
            self.splits[split] = self.splits[split].sample(count)

    def _all(self, split: Split) -> Iterator[Any]:
        for batch in self.splits[split].batches(self.evaluation_batch, None):
            yield self._on_device(batch)

    def _on_device(self, batch: Any) -> Any:
        return map_tensors(batch, lambda tensor: tensor.to(self.device, non_blocking=True))

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision != "bfloat16":  # a disabled autocast takes microseconds of every step
            return contextlib.nullcontext()
        return torch.autocast(self.device.split(":")[0], torch.bfloat16)


def split_examples(problem: Problem) -> dict[Split, Examples]:
    """Return the three splits, those that are not given held out from the training examples."""
    given = {
        name: None if data is None else examples_of(name, data, problem.collate)
        for name, data in (
            ("train", problem.train),
            ("validation", problem.validation),
            ("test", problem.test),
        )
    }
    train, validation, test = given["train"], given["validation"], given["test"]
    assert train is not None
    if test is None:  # judged on the validation split, which tuning does not see
        if validation is None:
            train, test = train.hold_out(HELD_OUT)
        else:
            test, validation = validation, None
    if validation is None:
        train, validation = train.hold_out(HELD_OUT)
    return {"train": train, "validation": validation, "test": test}


def check_scores(found: Any, problem: Problem) -> dict[str, float]:
    """Return what ``evaluate`` returned as floats.

    Raises:
        InvalidTypeError: it is not a dictionary of numbers.
        InvalidValueError: a metric of the problem is missing.
    """
    if not isinstance(found, dict) or not found:
        raise InvalidTypeError(f"evaluate must return a dictionary of scores, got {found!r}.")
    missing = [name for name in problem.all_metrics if name not in found]
    if missing:
        raise InvalidValueError(
            f"evaluate must return a score for every metric: {missing[0]!r} is missing, "
            f"got {', '.join(map(str, found))}."
        )
    try:
        return {str(name): float(value) for name, value in found.items()}
    except (TypeError, ValueError) as error:
        raise InvalidTypeError(f"evaluate must return numbers, got {found!r}.") from error
