"""The only training loop. Needs torch and numpy alone, so that a run can be carried to a machine that has nothing else."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch.optim import Optimizer

from dualadam._version import __version__
from dualadam.bench.optimizers import LearningRate, find_entry, make_optimizer
from dualadam.bench.tasks import TASKS, Split, Task, get_task
from dualadam.optim import DualAdam, InvAdam, decay_groups, diagnose

NUM_EVALUATIONS = 20  # points of a learning curve
NUM_DIAGNOSES = 40
CHECK_EVERY = 100  # steps between two looks whether the loss is finite: each look waits for the device


@dataclass(frozen=True)
class Run:
    """One training: all that decides its numbers, and nothing else. Plain values: it travels as JSON."""

    phase: Literal["tune", "judge"]  # judged on the validation split, or on the test split
    block: str
    arm: str
    trial: int  # which of the shared points
    seed: int  # of the initial weights, the order of the examples and their augmentation
    task: str
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
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What the run is, as 16 hexadecimal digits: equal runs have equal keys on every machine."""
        canonical = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """A short name for a progress bar."""
        return f"{self.arm}, {f'point {self.trial}' if self.phase == 'tune' else f'seed {self.seed}'}"


def train(run: Run, *, data: str | None = None, device: str = "cpu") -> dict[str, Any]:
    """Train one model and judge it; the returned record is one line of ``runs.jsonl``.

    The seed decides the initial weights and the images of every batch alone, so that the arms of a seed are paired. A run whose loss
    is no longer finite ends at once with ``status`` "diverged" and counts as the task's worst score.

    Returns:
        The record: ``key``, ``run``, ``status`` ("finished" or "diverged"); ``validation`` and, when judged, ``test``, each {"score",
        "loss"}; ``correct``, the bits of the right test examples in hexadecimal; ``curve``, rows {"step", "train_loss", "score",
        "loss"} on the validation split; ``diagnosis``, rows {"step", "mixing_weight", "effective_weight", "second_moment_mean",
        "ratio"}; ``seconds_per_step``; ``state_bytes`` of the optimizer; ``environment``.
    """
    task = get_task(run.task, data=data, subset=run.subset, device=device, precision=run.precision)
    torch.manual_seed(run.seed)
    model = task.make_model(run.model)
    optimizer = make_optimizer(run.optimizer, decay_groups(model, run.weight_decay), run.settings, run.weight_decay)
    steps_per_epoch = task.num_train // run.batch_size
    total = run.steps or run.epochs * steps_per_epoch  # type: ignore[operator]
    if not total:
        raise ValueError(f"batch_size must be at most the number of training examples, {task.num_train}, got {run.batch_size}.")
    warmup_rate = run.settings["switch_rate"] if find_entry(run.optimizer).warmup else None
    learning_rate = LearningRate(optimizer, run.schedule, total, run.final_fraction, warmup_rate)
    judged = run.phase == "judge"
    evaluate_at = {round(total * (i + 1) / NUM_EVALUATIONS) for i in range(NUM_EVALUATIONS)} if judged else set()
    # denser at the beginning, where the hand-over is
    diagnose_at = {max(1, round(total * (i / NUM_DIAGNOSES) ** 2)) for i in range(1, NUM_DIAGNOSES + 1)} if judged else set()

    record: dict[str, Any] = {"key": run.key, "run": asdict(run), "status": "finished", "steps": total, "curve": [], "diagnosis": []}
    order = torch.Generator().manual_seed(run.seed)
    model.train()
    _switch_mode(optimizer, "train")
    step, seconds, losses, seen = 0, 0.0, torch.zeros((), device=device), 0
    batches = task.batches(run.batch_size, order, run.augment)
    while step < total:
        started = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            batches = task.batches(run.batch_size, order, run.augment)
            continue
        step += 1
        learning_rate.set(step)
        optimizer.zero_grad()
        loss = task.loss(model, batch)
        (loss * run.loss_scale if run.loss_scale != 1.0 else loss).backward()
        optimizer.step()
        losses += loss.detach()
        seen += 1
        pause = step in evaluate_at or step == total
        if pause or step % CHECK_EVERY == 0:
            finite = math.isfinite(losses.item())
            seconds += time.perf_counter() - started
            if not finite:
                record |= {"status": "diverged", "steps": step}
                break
        else:
            seconds += time.perf_counter() - started
        if step in diagnose_at and isinstance(optimizer, DualAdam | InvAdam):
            record["diagnosis"].append({"step": step, **_diagnose(optimizer)})
        if step in evaluate_at:
            _switch_mode(optimizer, "eval")
            scores = task.evaluate(model, "validation")
            _switch_mode(optimizer, "train")
            record["curve"].append({"step": step, "train_loss": losses.item() / seen, "score": scores.score, "loss": scores.loss})
            losses, seen = torch.zeros_like(losses), 0

    _judge(record, run, task, model, optimizer)
    record["seconds_per_step"] = seconds / record["steps"]
    record["state_bytes"] = sum(v.nbytes for s in optimizer.state.values() for v in s.values() if isinstance(v, torch.Tensor))
    record["environment"] = environment(device)
    return record


def _judge(record: dict[str, Any], run: Run, task: Task, model: torch.nn.Module, optimizer: Optimizer) -> None:
    """Add the final scores; the test split is looked at here and nowhere else, once, by judged runs."""
    _switch_mode(optimizer, "eval")
    splits: tuple[Split, ...] = ("validation", "test") if run.phase == "judge" else ("validation",)
    for split in splits:
        scores = task.evaluate(model, split)
        if record["status"] == "finished" and not math.isfinite(scores.loss):
            record["status"] = "diverged"
        diverged = record["status"] == "diverged"
        record[split] = {"score": TASKS[run.task].worst_score if diverged else scores.score, "loss": None if diverged else scores.loss}
        if split == "test" and scores.correct is not None:
            record["correct"] = np.packbits(scores.correct & (not diverged)).tobytes().hex()
            record["num_test"] = len(scores.correct)


def _switch_mode(optimizer: Optimizer, mode: str) -> None:
    """Tell optimizers that average their weights (Schedule-Free) what the weights are wanted for."""
    if callable(switch := getattr(optimizer, mode, None)):
        switch()


def _diagnose(optimizer: DualAdam | InvAdam) -> dict[str, float | None]:
    """Return the diagnosis over all groups as one row."""
    rows = [g for g in diagnose(optimizer) if g.num_coordinates]
    total = sum(g.num_coordinates for g in rows)
    adam, inverse = (math.hypot(*norms) for norms in zip(*((g.adam_norm, g.inverse_norm) for g in rows), strict=True))
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
