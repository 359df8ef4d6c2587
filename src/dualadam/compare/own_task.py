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
from dualadam.errors import DualAdamError, InvalidTypeError, InvalidValueError, last_line, place
from dualadam.tasks import (
    HERE,
    LoadOptions,
    ProblemEntry,
    Source,
    Split,
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
    entry = spec.entry
    if not isinstance(entry, ProblemEntry):
        return
    task = entry.load(LoadOptions(subset=spec.subset, precision=spec.precision))
    for find in (_model_mistakes, _loss_mistakes, _evaluation_mistakes):
        if mistakes := [Mistake(("task",), f"{spec.task}: {m}") for m in find(entry, spec, task)]:
            raise (text or SpecText()).error(mistakes)


def _at(function: Callable[..., Any] | None) -> str:
    """Return where a function of the user's begins, in brackets; empty where it is no function."""
    code = getattr(function, "__code__", None)
    return f" ({place(code.co_filename, code.co_firstlineno)})" if code else ""


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


def _model_mistakes(entry: ProblemEntry, spec: Spec, task: Task) -> Iterator[str]:
    models, after = [], []
    for seed in (0, 0, 1):
        model, mistake = _attempt("model", partial(_seeded_model, task, seed))
        if mistake:
            yield mistake
            return
        models.append(model)
        after.append(torch.get_rng_state())
    first, again, other = ([p.detach() for p in model.parameters()] for model in models)
    at = _at(entry.problem.model)
    if not any(p.requires_grad for p in models[0].parameters()):
        yield f"the model must have parameters to train, got none{at}"
    elif {p.data_ptr() for p in first} & {p.data_ptr() for p in other if p.numel()}:
        yield f"model must return a new model at each call: two of its models share parameters{at}"
    elif not _equal(first, again):
        yield (
            "the run's seed must decide the initial weights: two models of one seed differ. "
            f"Draw them from torch's global generator{at}"
        )
    elif torch.equal(after[0], after[2]):  # weights may be equal: pretrained, or zeros
        yield (
            "the run's seed must decide the initial weights: after model, torch's generator is in "
            f"the same state for two seeds. Remove torch.manual_seed from model{at}"
        )


def _equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


def _loss_mistakes(entry: ProblemEntry, spec: Spec, task: Task) -> Iterator[str]:
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
    at = _at(entry.problem.loss)
    loss, mistake = _attempt("loss", lambda: task.loss(model, batch))
    if mistake:
        yield mistake
    elif not isinstance(loss, Tensor) or loss.dim() != 0:
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        yield f"loss must return a 0-d tensor, the mean over the batch, got {got}{at}"
    elif not loss.requires_grad:
        yield f"loss must depend on the model's parameters: it has no gradient{at}"
    elif not loss.isfinite():
        yield f"loss must be finite for a new model, got {loss.item()}{at}"
    else:
        _, mistake = _attempt("the backward pass", loss.backward)
        if mistake:
            yield mistake
        elif all(p.grad is None for p in model.parameters()):
            yield f"loss must depend on the model's parameters: none of them has a gradient{at}"


def _evaluation_mistakes(entry: ProblemEntry, spec: Spec, task: Task) -> Iterator[str]:
    model = _seeded_model(task, 0)
    with contextlib.suppress(DualAdamError):  # a function that yields batches has no sample
        task.limit_evaluation(4)
    at = _at(entry.problem.evaluate)
    splits: tuple[Split, ...] = ("validation", "test")  # a fault in the test split shows now
    for split in splits:
        _, mistake = _attempt(f"evaluate, on {split},", partial(task.evaluate, model, split))
        if mistake:
            yield mistake if "raised" in mistake else f"{mistake.rstrip('.')}{at}"
            return
    if any(p.grad is not None for p in model.parameters()):
        yield f"evaluate must not compute gradients of the model{at}"
