"""A model with its optimizer and schedule, and the step that trains it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from dualadam.compare.optimizers import decay_of, decouples, optimizer_of, set_training
from dualadam.compare.run import Run
from dualadam.compare.schedule import LearningRateSchedule
from dualadam.compare.shadowing import Shadow
from dualadam.errors import InvalidValueError
from dualadam.optim import decay_groups
from dualadam.tasks import HERE, Scores, Source, Split, Task, get_task, split_rows


def seed_all(seed: int) -> None:
    """Seed torch, NumPy and Python, whichever the user's own code draws from."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def task_of(
    run: Run, *, data: str | None = None, device: str = "cpu", source: Source = HERE
) -> Task:
    """Return the task of a run; data, device and source are as for ``get_task``."""
    return get_task(
        run.task,
        data=data,
        subset=run.subset,
        device=device,
        precision=run.precision,
        language=run.language,
        evaluate_at_most=run.evaluate_at_most,
        # without gradients, twice the rows of a training pass need no more memory
        evaluation_batch_size=2 * run.part_size,
        source=source,
    )


def follow(run: Run, optimizer: Optimizer) -> Shadow | None:
    """Return the shadow of a run's optimizer; None where the run has none."""
    if not run.shadow:
        return None
    return Shadow(optimizer, every=None, decoupled=decouples(run.optimizer, optimizer))


class Training:
    """A model, its optimizer and its schedule, ready for step 1.

    The run's seed decides the initial weights.

    Raises:
        InvalidValueError: the training split is smaller than a batch.
    """

    def __init__(self, run: Run, task: Task) -> None:
        self.run, self.task = run, task
        steps_per_epoch = task.num_train // run.batch_size
        if not steps_per_epoch:
            raise InvalidValueError(
                f"batch_size must be at most the number of training examples, {task.num_train}, "
                f"got {run.batch_size}."
            )
        self.num_steps = run.steps or (run.epochs or 0) * steps_per_epoch
        seed_all(run.seed)
        self.model = task.make_model(run.model)
        groups = decay_groups(self.model, run.weight_decay)
        self.optimizer = optimizer_of(run, groups)
        self.decay = decay_of(run.optimizer, self.optimizer)
        self.shadow = follow(run, self.optimizer)
        self.schedule = LearningRateSchedule(
            self.optimizer, run.schedule, self.num_steps, run.final_fraction
        )
        self.model.train()
        set_training(self.optimizer, True)

    def batches(self) -> Iterator[Any]:
        """Yield batches epoch after epoch. Arms of one seed see the same batches."""
        order = torch.Generator().manual_seed(self.run.seed)
        while True:
            yield from self.task.batches(self.run.batch_size, order, self.run.augment)

    def step(self, step: int, batch: Any) -> Tensor:
        """Take step t = 1, 2, ... and return the batch's loss before it, detached.

        With accumulation each part counts by its weight, so that the gradient is the whole batch's
        up to rounding.
        """
        self.schedule.set(step)
        self.optimizer.zero_grad()
        parts = [batch] if self.run.accumulate == 1 else split_rows(batch, self.run.accumulate)
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
        """Return the model's scores on a split; training can go on afterwards."""
        set_training(self.optimizer, False)
        scores = self.task.evaluate(self.model, split)
        set_training(self.optimizer, True)
        return scores
