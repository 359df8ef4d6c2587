"""Binding a spec to the user's own task, and the checks of that task before any run."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dualadam.compare.loop_entry import LoopEntry
from dualadam.compare.own_loop import COMMAND
from dualadam.compare.spec import Spec
from dualadam.compare.spec_text import Mistake, SpecText
from dualadam.errors import DualAdamError, InvalidTypeError, InvalidValueError, last_line
from dualadam.tasks import (
    HERE,
    LoadOptions,
    ProblemEntry,
    Source,
    Task,
    find_task,
    fingerprint,
    is_reference,
    load_function,
    num_rows,
)


def bind_task(spec: Spec, source: Source = HERE, text: SpecText | None = None) -> Spec:
    """Return the spec with the task that its reference leads to; a built-in task stays.

    Raises:
        SpecError: the function cannot be loaded, raises, or returns no `Problem`.
    """
    if spec.train == COMMAND:
        return spec
    if source.pickled is None and not is_reference(spec.task) and spec.train is None:
        return spec
    try:
        if spec.train is not None:
            return spec.with_task(loop_entry(spec, source))
        return spec.with_task(find_task(spec.task, source))
    except DualAdamError as error:
        mistake = Mistake(("train" if spec.train else "task",), f"cannot be used: {error}")
        raise (text or SpecText()).error([mistake]) from error


def loop_entry(spec: Spec, source: Source) -> LoopEntry:
    """Return the entry of the user's training function, which is loaded but not called.

    Raises:
        DualAdamError: it cannot be loaded, or does not take one argument.
    """
    if source.pickled is None and not is_reference(spec.task):
        raise InvalidValueError(
            f'train must be FILE.py:FUNCTION, package.module:FUNCTION or "command", '
            f"got {spec.task!r}."
        )
    function = load_function(spec.task, source)
    if not takes_one_argument(function):
        raise InvalidTypeError(f"{spec.task} must take one argument, the run (a Trial).")
    name, metric = spec.judged_by
    return LoopEntry.of(spec.task, name, metric, fingerprint(spec.task, source))


def is_training_function(name: str, source: Source) -> bool:
    """Whether a reference leads to a function that trains, which takes a `Trial`.

    Raises:
        DualAdamError: the function cannot be loaded.
    """
    if source.pickled is None and not is_reference(name):
        return False
    return takes_one_argument(load_function(name, source))


def takes_one_argument(function: Callable[..., Any]) -> bool:
    """Whether a function can be called with one argument, and needs one."""
    try:
        signature = inspect.signature(function)
        signature.bind(None)
    except (TypeError, ValueError):
        return False
    try:
        signature.bind()
    except TypeError:
        return True
    return False


def check_own_task(spec: Spec, text: SpecText | None = None) -> None:
    """Try the user's task: two models, one loss, one evaluation. Built-in tasks pass.

    Raises:
        SpecError: something in it would fail in a run, or would make the comparison unfair.
    """
    if not isinstance(spec.entry, ProblemEntry):
        return
    task = spec.entry.load(LoadOptions(subset=spec.subset, precision=spec.precision))
    for find in (_model_mistakes, _loss_mistakes, _evaluation_mistakes):
        if mistakes := [Mistake(("task",), f"{spec.task}: {m}") for m in find(spec, task)]:
            raise (text or SpecText()).error(mistakes)


def _attempt(what: str, function: Callable[[], Any]) -> tuple[Any, str | None]:
    """Return a result, or a sentence about what the user's code raised."""
    try:
        return function(), None
    except DualAdamError as error:
        return None, str(error)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        return None, f"{what} raised {last_line(error)}"


def _seeded_model(task: Task, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return task.make_model("")


def _model_mistakes(spec: Spec, task: Task) -> Iterator[str]:
    models = []
    for seed in (0, 0, 1):
        model, mistake = _attempt("model", partial(_seeded_model, task, seed))
        if mistake:
            yield mistake
            return
        models.append(model)
    first, again, other = ([p.detach() for p in model.parameters()] for model in models)
    if not any(p.requires_grad for p in models[0].parameters()):
        yield "the model must have parameters to train, got none"
    elif {p.data_ptr() for p in first} & {p.data_ptr() for p in other if p.numel()}:
        yield "model must return a new model at each call: two of its models share parameters"
    elif not _equal(first, again):
        yield (
            "the run's seed must decide the initial weights: two models of one seed differ. "
            "Draw them from torch's global generator"
        )
    elif _equal(first, other):
        yield (
            "the run's seed must decide the initial weights: two models of different seeds are "
            "equal. Remove torch.manual_seed from model"
        )


def _equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def _loss_mistakes(spec: Spec, task: Task) -> Iterator[str]:
    model = _seeded_model(task, 0)
    order = torch.Generator().manual_seed(0)
    batches = task.batches(spec.batch_size, order, False)
    batch, mistake = _attempt("train", lambda: next(batches, None))
    if mistake:
        yield mistake
        return
    if batch is None:
        yield (
            f"batch_size must be at most the number of training examples, {task.num_train}, "
            f"got {spec.batch_size}"
        )
        return
    if spec.accumulate > 1:
        try:
            num_rows(batch)
        except ValueError as error:
            yield f"accumulate needs batches that can be cut by rows: {error}"
            return
    loss, mistake = _attempt("loss", lambda: task.loss(model, batch))
    if mistake:
        yield mistake
    elif not isinstance(loss, Tensor) or loss.dim() != 0:
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        yield f"loss must return a 0-d tensor, the mean over the batch, got {got}"
    elif not loss.requires_grad:
        yield "loss must depend on the model's parameters: it has no gradient"
    else:
        _, mistake = _attempt("the backward pass", loss.backward)
        if mistake:
            yield mistake
        elif all(p.grad is None for p in model.parameters()):
            yield "loss must depend on the model's parameters: none of them has a gradient"


def _evaluation_mistakes(spec: Spec, task: Task) -> Iterator[str]:
    model = _seeded_model(task, 0)
    with contextlib.suppress(DualAdamError):  # a function that yields batches has no sample
        task.limit_evaluation(4)
    _, mistake = _attempt("evaluate", lambda: task.evaluate(model, "validation"))
    if mistake:
        yield mistake
    elif any(p.grad is not None for p in model.parameters()):
        yield "evaluate must not compute gradients of the model"
