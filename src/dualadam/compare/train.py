"""The only training loop. Needs torch and numpy alone, so that a run can be carried to a machine that has nothing else."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dualadam._version import __version__
from dualadam.compare.optimizers import LearningRate, find_entry, make_optimizer, switch_mode
from dualadam.optim import DualAdam, InvAdam, decay_groups, diagnose
from dualadam.tasks import TASKS, FineTuning, Scores, Split, Task, get_task, synthetic_task

NUM_DIAGNOSES = 40
FLATNESS_EXAMPLES = 512
CHECK_EVERY = (
    100  # steps between two looks whether the loss is finite: each look waits for the device
)


@dataclass(frozen=True)
class Run:
    """One training: all that decides its numbers, and nothing else. Plain values: it travels as JSON."""

    phase: Literal["tune", "judge"]  # judged on the validation split, or on the test split
    block: str
    arm: str
    trial: int  # which of the shared points
    seed: int  # of the initial weights, the order of the examples and their augmentation
    task: str
    metric: str
    model: str
    optimizer: str
    settings: dict[str, Any]  # lr, switch_rate and whatever else the spec sets or tunes
    weight_decay: float
    epochs: int | None  # either this
    steps: int | None  # or this
    batch_size: int
    schedule: str
    final_fraction: float
    precision: str = "float32"
    augment: bool = False
    subset: int | None = None
    loss_scale: float = 1.0
    flatness: bool = False  # measured at the end of a judged run
    accumulate: int = 1  # parts that a batch's gradient is summed over
    evaluations: int = 20  # points of the learning curve
    evaluate_at_most: int | None = None  # examples of the validation and test splits
    language: dict[str, Any] | None = None  # the fields of a `FineTuning` but its model

    @property
    def key(self) -> str:
        """What the run is, as 16 hexadecimal digits: equal runs have equal keys on every machine."""
        later = {
            f.name: f.default
            for f in fields(self)
            if f.name in ("accumulate", "evaluations", "evaluate_at_most", "language")
        }
        content = {
            k: v for k, v in asdict(self).items() if k not in later or v != later[k]
        }  # so that older runs keep their keys
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def fine_tuning(self) -> FineTuning | None:
        """How a language model is trained; None for other tasks."""
        return None if self.language is None else FineTuning(model=self.model, **self.language)

    @property
    def part_size(self) -> int:
        """Examples of one forward and backward pass: a batch, or its largest part."""
        return -(-self.batch_size // self.accumulate)

    @property
    def label(self) -> str:
        """A short name for a progress bar."""
        return (
            f"{self.arm}, {f'point {self.trial}' if self.phase == 'tune' else f'seed {self.seed}'}"
        )


class Training:
    """A model with its optimizer and learning rate, ready for step 1. The run's seed decides the initial weights."""

    def __init__(self, run: Run, task: Task) -> None:
        self.run, self.task = run, task
        steps_per_epoch = task.num_train // run.batch_size
        self.total = run.steps or (run.epochs or 0) * steps_per_epoch
        if not steps_per_epoch:  # no batch would ever come
            raise ValueError(
                f"batch_size must be at most the number of training examples, {task.num_train}, got {run.batch_size}."
            )
        torch.manual_seed(run.seed)
        self.model = task.make_model(run.model)
        self.optimizer = make_optimizer(
            run.optimizer,
            decay_groups(self.model, run.weight_decay),
            run.settings,
            run.weight_decay,
        )
        warmup_rate = run.settings["switch_rate"] if find_entry(run.optimizer).warmup else None
        self.learning_rate = LearningRate(
            self.optimizer, run.schedule, self.total, run.final_fraction, warmup_rate
        )
        self.model.train()
        switch_mode(self.optimizer, "train")

    def batches(self) -> Iterator[Any]:
        """Yield batches epoch after epoch; the seed alone decides which, so that the arms of a seed see the same."""
        order = torch.Generator().manual_seed(self.run.seed)
        while True:
            yield from self.task.batches(self.run.batch_size, order, self.run.augment)

    def step(self, step: int, batch: Any) -> Tensor:
        """Take step t = 1, 2, ... and return the batch's loss before it, detached.

        The gradient of a batch in several parts is the whole batch's but for rounding: each part counts by its weight.
        """
        self.learning_rate.set(step)
        self.optimizer.zero_grad()
        parts = [batch] if self.run.accumulate == 1 else split_batch(batch, self.run.accumulate)
        shares = [1.0]
        if len(parts) > 1:
            weights = [self.task.weight(part) for part in parts]
            shares = [weight / max(1, sum(weights)) for weight in weights]
        losses = []
        for part, share in zip(parts, shares, strict=True):
            loss = self.task.loss(self.model, part)
            if share != 1.0:
                loss = loss * share
            (loss * self.run.loss_scale if self.run.loss_scale != 1.0 else loss).backward()
            losses.append(loss.detach())
        self.optimizer.step()
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def evaluate(self, split: Split) -> Scores:
        """Judge the model as it is, and be ready to train on."""
        switch_mode(self.optimizer, "eval")
        scores = self.task.evaluate(self.model, split)
        switch_mode(self.optimizer, "train")
        return scores


def split_batch(batch: Any, parts: int) -> list[Any]:
    """Return a batch, a tuple of tensors with as many rows, in at most so many parts of rows.

    Example:
        >>> split_batch((torch.arange(5), torch.arange(5) * 10), 2)
        [(tensor([0, 1, 2]), tensor([ 0, 10, 20])), (tensor([3, 4]), tensor([30, 40]))]
    """
    return list(zip(*(tensor.chunk(parts) for tensor in batch), strict=True))


def train(run: Run, *, data: str | None = None, device: str = "cpu") -> dict[str, Any]:
    """Train one model and judge it; the returned record is one line of ``runs.jsonl``.

    Arms of the same seed start from the same weights and see the same batches. A run whose loss is no longer finite ends at once with
    ``status`` "diverged" and counts as the metric's worst value.

    Returns:
        The record: ``key``, ``run``, ``status`` ("finished" or "diverged"); ``validation`` and, when judged, ``test``, each {"score",
        "loss", "metrics"}; ``correct``, the bits of the right test examples in hexadecimal; ``curve``, rows {"step", "train_loss",
        "score", "loss"} on the validation split; ``diagnosis``, rows {"step", "mixing_weight", "effective_weight", "second_moment_mean",
        "ratio"}; ``flatness`` where the run asks for it; ``data``, a language task's counts; ``seconds_per_step``; ``state_bytes`` of the
        optimizer; ``peak_bytes`` of the device, or of the process on a CPU; ``environment``.
    """
    # twice the rows of a training pass: without gradients they take no more memory
    task = get_task(
        run.task,
        data,
        run.subset,
        device,
        run.precision,
        run.fine_tuning,
        run.evaluate_at_most,
        at_once=2 * run.part_size,
    )
    training = Training(run, task)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(
            device
        )  # or a run would inherit the peak of those before
    total, judged = training.total, run.phase == "judge"
    evaluate_at = (
        {round(total * (i + 1) / run.evaluations) for i in range(run.evaluations)}
        if judged
        else set()
    )
    # denser at the beginning, where the hand-over is
    diagnose_at = (
        {max(1, round(total * (i / NUM_DIAGNOSES) ** 2)) for i in range(1, NUM_DIAGNOSES + 1)}
        if judged
        else set()
    )
    record: dict[str, Any] = {
        "key": run.key,
        "run": asdict(run),
        "status": "finished",
        "steps": total,
        "curve": [],
        "diagnosis": [],
    }

    seconds, paused = 0.0, time.perf_counter()
    losses, seen, scores = torch.zeros((), device=device), 0, None
    for step, batch in enumerate(training.batches(), start=1):
        losses += training.step(step, batch)
        seen += 1
        if (
            step % CHECK_EVERY
            and step not in evaluate_at
            and step not in diagnose_at
            and step != total
        ):
            continue
        mean_loss = losses.item() / seen  # waits for the device, so that the clock sees the steps
        seconds += time.perf_counter() - paused
        if not math.isfinite(mean_loss):
            record |= {"status": "diverged", "steps": step}
            scores = None
            break
        if step in diagnose_at and isinstance(training.optimizer, DualAdam | InvAdam):
            record["diagnosis"].append({"step": step, **_diagnose(training.optimizer)})
        if step in evaluate_at:
            scores = training.evaluate("validation")
            record["curve"].append(
                {
                    "step": step,
                    "train_loss": mean_loss,
                    "score": scores.metrics[run.metric],
                    "loss": scores.loss,
                }
            )
            losses, seen = torch.zeros_like(losses), 0
        if step == total:
            break
        paused = time.perf_counter()

    _judge(record, training, scores if step == total else None)
    if facts := getattr(task, "facts", None):
        record["data"] = facts
    if run.flatness and record["status"] == "finished":
        record["flatness"] = measure_flatness(training)
    record["seconds_per_step"] = seconds / record["steps"]
    state = (v for s in training.optimizer.state.values() for v in s.values())
    record["state_bytes"] = sum(v.nbytes for v in state if isinstance(v, Tensor))
    record["peak_bytes"] = _peak_bytes(device)
    record["environment"] = environment(device)
    return strict(record)


def strict(value: Any) -> Any:
    """Return a record with None for every number that is not finite: JSON has no others, and a diverging run makes them anywhere."""
    if isinstance(value, dict):
        return {k: strict(v) for k, v in value.items()}
    if isinstance(value, list):
        return [strict(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _judge(record: dict[str, Any], training: Training, known: Scores | None) -> None:
    """Add the final scores; the test split is looked at here and nowhere else, once, by judged runs.

    known: those on the validation split, where the learning curve ends in them.
    """
    splits: tuple[Split, ...] = (
        ("validation", "test") if training.run.phase == "judge" else ("validation",)
    )
    for split in splits:
        scores = known if known and split == "validation" else training.evaluate(split)
        if not math.isfinite(scores.loss):
            record["status"] = "diverged"
        diverged = record["status"] == "diverged"
        worst = {name: metric.worst for name, metric in TASKS[training.run.task].metrics.items()}
        metrics = worst if diverged else scores.metrics
        record[split] = {
            "score": metrics[training.run.metric],
            "loss": None if diverged else scores.loss,
            "metrics": metrics,
        }
        if split == "test" and scores.correct is not None:
            record["correct"] = np.packbits(scores.correct & (not diverged)).tobytes().hex()
            record["num_test"] = len(scores.correct)


def measure_flatness(training: Training) -> dict[str, float | None]:
    """Return the largest eigenvalue of the Hessian and both SAM sharpnesses, over the same training examples in every run of a task.

    None stands for a measure that does not exist here: an iteration that did not converge, a gradient of exactly 0, an infinite loss.
    """
    from dualadam.flatness import (
        MeanLoss,
        sam_sharpness,
        top_eigenvalues,
    )  # needs scipy, which a machine that only trains may lack

    task = training.task
    wanted = 256 if training.run.language is None else training.run.part_size
    batch_size = min(wanted, task.num_train)
    num_batches = max(1, FLATNESS_EXAMPLES // batch_size)
    batches = list(
        itertools.islice(
            task.batches(batch_size, torch.Generator().manual_seed(0), False), num_batches
        )
    )
    measures: dict[str, Callable[[MeanLoss], float]] = {
        "top_eigenvalue": lambda loss: float(
            top_eigenvalues(loss, 1, tol=1e-2, generator=torch.Generator().manual_seed(0)).values[0]
        ),
        "sam_sharpness": lambda loss: sam_sharpness(loss, 0.05),
        "adaptive_sharpness": lambda loss: sam_sharpness(loss, 0.5, adaptive=True),
    }

    def measured(measure: Callable[[MeanLoss], float], parts: int = 1) -> float | None:
        pieces = [piece for batch in batches for piece in split_batch(batch, parts)]
        try:
            return measure(MeanLoss(training.model, task.loss, pieces, num_examples=task.weight))
        except torch.OutOfMemoryError:  # two backward passes take more than training
            if parts >= batch_size:
                raise
        except (RuntimeError, ValueError):
            return None
        return measured(
            measure, 2 * parts
        )  # here, where the exception no longer holds the tensors that filled the memory

    switch_mode(training.optimizer, "eval")
    found = {name: measured(measure) for name, measure in measures.items()}
    switch_mode(training.optimizer, "train")
    return found


def time_step(run: Run, *, device: str = "cpu") -> float:
    """Return the seconds of one step on synthetic batches, the median of ten after three that do not count; needs no data."""
    options: dict[str, Any] = {
        "device": device,
        "precision": run.precision,
        "language": run.fine_tuning,
    }
    task = synthetic_task(run.task, run.batch_size, **options) or get_task(run.task, **options)
    training = Training(replace(run, epochs=None, steps=13), task)
    times = []
    for step, batch in zip(range(1, 14), training.batches(), strict=False):
        started = time.perf_counter()
        training.step(step, batch).item()
        times.append(time.perf_counter() - started)
    return statistics.median(times[3:])


def _peak_bytes(device: str) -> int | None:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":  # has no getrusage
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def _diagnose(optimizer: DualAdam | InvAdam) -> dict[str, float | None]:
    """Return the diagnosis over all groups as one row."""
    rows = [g for g in diagnose(optimizer) if g.num_coordinates]
    total = sum(g.num_coordinates for g in rows)
    adam, inverse = (
        math.hypot(*norms)
        for norms in zip(*((g.adam_norm, g.inverse_norm) for g in rows), strict=True)
    )
    means = ("mixing_weight", "effective_weight", "second_moment_mean")
    mean = {key: sum(getattr(g, key) * g.num_coordinates for g in rows) / total for key in means}
    return {**mean, "ratio": inverse / adam if adam else None}  # InvAdam has no Adam part


def environment(device: str = "cpu") -> dict[str, Any]:
    """Return what a number depends on beside its run: versions, machine, threads."""
    return {
        "dualadam": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "threads": torch.get_num_threads(),
    }
