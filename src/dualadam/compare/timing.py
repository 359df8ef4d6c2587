"""What one run costs, from a part of it. Needs torch and NumPy alone, as a run does."""

from __future__ import annotations

import functools
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from dualadam.compare.measures import diagnose_all, measure_flatness
from dualadam.compare.own_loop import placeholders, train_own
from dualadam.compare.run import Run
from dualadam.compare.train import NUM_DIAGNOSES, train
from dualadam.compare.training import Training, task_of
from dualadam.optim import DualAdam, InvAdam
from dualadam.tasks import HERE, Source, Task, synthetic_task

NUM_WARMUP_STEPS, NUM_TIMED_STEPS = 3, 10
SECONDS = 2.0  # of steps in a row
SHORT, LONG = 20, 10  # a training of the user's own is timed at 1/20 and 1/10 of its steps
LEAST = 2 * SHORT  # steps of a run that can be shortened


class RunTime(NamedTuple):
    """Seconds of a step and of the two kinds of runs; None where they are not known."""

    step: float | None = None
    tuning: float | None = None
    judged: float | None = None


def worker_is_ready() -> None:
    """Return at once: a worker that has called it has imported what a run needs."""


def time_run(
    run: Run,
    *,
    total_steps: int | None,
    whole: bool,
    data: str | None = None,
    device: str = "cpu",
    source: Source = HERE,
    timeout: float | None = None,
) -> RunTime:
    """Return what a run costs.

    Args:
        run: of the arm; its phase does not matter.
        total_steps: of the run; None where it is only known from the data.
        whole: whether to time evaluations too, on the task's own data. Without it, batches are
            synthetic where the task's shapes are known, so that no data is needed, and evaluations
            do not count.
        data, device, source: as for ``train``.
        timeout: of a training of the user's own, which is always timed whole, see ``time_own``.
    """
    if run.own_loop is not None:
        seconds = time_own(run, device=device, source=source, timeout=timeout)
        return RunTime(None, seconds, seconds)
    if not whole:
        step = _step_seconds(run, _any_task(run, device, source))
        seconds_or_none = None if total_steps is None else step * total_steps
        return RunTime(step, seconds_or_none, seconds_or_none)
    task = task_of(run, data=data, device=device, source=source)
    step = _step_seconds(run, task)
    training = Training(run, task)
    # the mean over two seconds of steps counts what the median leaves out: a busy machine
    count = min(training.num_steps, max(NUM_TIMED_STEPS, int(SECONDS / step)))
    few = replace(run, phase="tune", epochs=None, steps=count)
    record, seconds = _timed(lambda: train(few, data=data, device=device, source=source))
    steps = record.seconds_per_step * record.steps
    # with one evaluation, and what a run costs beside its steps
    tuning = seconds - steps + record.seconds_per_step * training.num_steps
    return RunTime(step, tuning, tuning + _judging_seconds(training))


def _judging_seconds(training: Training) -> float:
    """Return what a judged run costs more than a tuning run."""
    run, optimizer = training.run, training.optimizer
    _, evaluation = _timed(lambda: training.evaluate("validation"))
    # the last point of the curve is the validation score; the test split comes once more
    seconds = run.evaluations * evaluation
    if isinstance(optimizer, DualAdam | InvAdam):
        batch = next(training.batches())
        _step(training, 1, batch)
        seconds += NUM_DIAGNOSES * _timed(lambda: diagnose_all(optimizer, 1))[1]
    if run.flatness:
        seconds += _timed(lambda: measure_flatness(training))[1]
    return seconds


def time_own(
    run: Run, *, device: str = "cpu", source: Source = HERE, timeout: float | None = None
) -> float:
    """Return the seconds of a training of the user's own, without its test score.

    Where the spec sets ``steps``, to 40 or more, three runs are cut to a twentieth, a twentieth and
    a tenth of them. The first loads what is loaded once; the line through the other two gives the
    whole. Code that does not look at ``steps`` takes the same time in both, which is then the
    answer. Else, and for a command without {steps}, one whole run is timed.
    """
    assert run.own_loop is not None
    command = run.own_loop.command
    run = replace(run, phase="tune")

    def seconds(steps: int | None) -> float:
        shorter = replace(run, steps=steps)
        return _timed(lambda: train_own(shorter, device=device, source=source, timeout=timeout))[1]

    if run.steps is None or run.steps < LEAST or (command and "steps" not in placeholders(command)):
        return seconds(run.steps)
    short, long = run.steps // SHORT, run.steps // LONG
    seconds(short)
    first, second = seconds(short), seconds(long)
    per_step = max(0.0, second - first) / (long - short)
    return first + per_step * (run.steps - short)


def _any_task(run: Run, device: str, source: Source) -> Task:
    """Return a task of noise, or the data of the user's own task."""
    task = synthetic_task(
        run.task, run.batch_size, device, run.precision, language=run.language, source=source
    )
    return task or task_of(run, device=device, source=source)


def _step_seconds(run: Run, task: Task) -> float:
    """Return the median of ten steps after three that do not count."""
    num_steps = NUM_WARMUP_STEPS + NUM_TIMED_STEPS
    training = Training(replace(run, epochs=None, steps=num_steps), task)
    times = []
    for step, batch in enumerate(itertools.islice(training.batches(), num_steps), start=1):
        times.append(_timed(functools.partial(_step, training, step, batch))[1])
    return statistics.median(times[NUM_WARMUP_STEPS:])


def _step(training: Training, step: int, batch: Any) -> None:
    training.step(step, batch).item()  # waits for the device


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = function()
    return result, time.perf_counter() - started
