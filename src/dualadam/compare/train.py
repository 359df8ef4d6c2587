"""One run from its first step to its record.

Needs torch and NumPy alone, so that a run can travel to a machine that has nothing else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from dualadam.compare.measures import diagnose_all, measure_flatness, peak_bytes, state_bytes
from dualadam.compare.optimizers import is_fused
from dualadam.compare.run import (
    CurvePoint,
    DiagnosisPoint,
    Record,
    Run,
    SplitScore,
    Status,
    finite_or_none,
)
from dualadam.compare.training import Training, task_of
from dualadam.harness.environment import environment
from dualadam.optim import DualAdam, InvAdam
from dualadam.tasks import (
    HERE,
    Metric,
    Scores,
    Source,
    Split,
    find_task,
)

NUM_DIAGNOSES = 40
CHECK_EVERY = 100  # steps between two checks of the loss; each check waits for the device


@dataclass
class Trace:
    """What the training loop observed."""

    status: Status = "finished"
    steps: int = 0
    seconds: float = 0.0  # without evaluations
    curve: list[CurvePoint] = field(default_factory=list)
    diagnosis: list[DiagnosisPoint] = field(default_factory=list)
    final: Scores | None = None  # on the validation split, where the curve ends with the run


def train(
    run: Run, *, data: str | None = None, device: str = "cpu", source: Source = HERE
) -> Record:
    """Train one model and score it.

    Arms of one seed start from the same weights and see the same batches. A run whose loss becomes
    infinite or NaN ends at once, has the status "diverged" and gets its metrics' worst values.

    Args:
        run: what to train.
        data: the folder that holds the data sets, as for ``get_task``.
        device: where model and data live.
        source: where the name of a task of the user's own leads.
    """
    task = task_of(run, data=data, device=device, source=source)
    training = Training(run, task)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)  # or the peak of earlier runs would count
    trace = train_loop(training, device)

    metrics = find_task(run.task, source).metrics
    validation, _ = final_score(training, trace, "validation", metrics)
    test, right = (
        final_score(training, trace, "test", metrics) if run.phase == "judge" else (None, None)
    )
    finished = trace.status == "finished"
    return Record(
        run=run,
        status=trace.status,
        steps=trace.steps,
        validation=validation,
        test=test,
        correct=None if right is None else np.packbits(right).tobytes().hex(),
        num_test=None if right is None else len(right),
        curve=tuple(trace.curve),
        diagnosis=tuple(trace.diagnosis),
        flatness=measure_flatness(training) if run.flatness and finished else None,
        data=getattr(task, "facts", None) or None,
        seconds_per_step=trace.seconds / trace.steps,
        state_bytes=state_bytes(training.optimizer),
        peak_bytes=peak_bytes(device),
        environment=environment(device),
        decay=training.decay,
        shadow=training.shadow.result() if training.shadow else None,
        fused=is_fused(training.optimizer),
    )


def train_loop(training: Training, device: str) -> Trace:
    """Train to the last step, or until the loss is no longer finite."""
    run, total = training.run, training.num_steps
    evaluate_at: set[int] = set()
    diagnose_at: set[int] = set()
    if run.phase == "judge":
        evaluate_at = {round(total * i / run.evaluations) for i in range(1, run.evaluations + 1)}
        # denser at the beginning, where the hand-over is
        squares = ((i / NUM_DIAGNOSES) ** 2 for i in range(1, NUM_DIAGNOSES + 1))
        diagnose_at = {max(1, round(total * square)) for square in squares}

    trace = Trace()
    losses, num_losses = torch.zeros((), device=device), 0  # since the last point of the curve
    started = time.perf_counter()
    for step, batch in enumerate(training.batches(), start=1):
        losses += training.step(step, batch)
        num_losses += 1
        due = step in evaluate_at or step in diagnose_at or step == total
        if step % CHECK_EVERY and not due:
            continue
        mean_loss = losses.item() / num_losses  # waits for the device: the clock sees the steps
        trace.seconds += time.perf_counter() - started
        trace.steps = step
        if not math.isfinite(mean_loss):
            trace.status, trace.final = "diverged", None
            break
        if step in diagnose_at and isinstance(training.optimizer, DualAdam | InvAdam):
            trace.diagnosis.append(diagnose_all(training.optimizer, step))
        if step in evaluate_at:
            scores = training.evaluate("validation")
            score = scores.metrics[run.metric]
            loss = finite_or_none(scores.loss)
            trace.curve.append(CurvePoint(step, mean_loss, finite_or_none(score), loss))
            trace.final = scores if step == total else None
            losses, num_losses = torch.zeros_like(losses), 0
        if step == total:
            break
        started = time.perf_counter()
    return trace


def final_score(
    training: Training, trace: Trace, split: Split, known: Mapping[str, Metric]
) -> tuple[SplitScore, np.ndarray | None]:
    """Return the final score on a split, and which test examples were right.

    The test split is evaluated here and nowhere else, once, by judged runs. A loss that is not
    finite marks the run as diverged.
    """
    at_end = trace.final if split == "validation" else None
    scores = at_end or training.evaluate(split)
    if not math.isfinite(scores.loss):
        trace.status = "diverged"
    diverged = trace.status == "diverged"
    worst = {name: metric.worst for name, metric in known.items()}
    metrics = worst if diverged else scores.metrics
    score = SplitScore(metrics[training.run.metric], None if diverged else scores.loss, metrics)
    return score, None if scores.correct is None else scores.correct & (not diverged)
