"""Training to an equal training loss; the score is the curvature there.

A run has a constant learning rate and ends at the first step where the running mean of its batches'
losses, over about 50 steps, is at most the target.  A run that does not reach the target counts as
diverged.  Curvature is measured on the first 512 training images of a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import images
import torch
from torch import nn

from dualadam.compare import Problem, Trial
from dualadam.compare.trial import TrialScores
from dualadam.flatness import MeanLoss, sam_sharpness, top_eigenvalues

NUM_MEASURED, BATCH = 512, 64
MEMORY = 0.98  # of the running mean of the loss
LARGEST = 1e9  # a score above every measure


def largest_eigenvalue(loss: MeanLoss) -> float:
    """Return the largest eigenvalue of the Hessian."""
    generator = torch.Generator().manual_seed(0)
    return float(top_eigenvalues(loss, 1, tol=1e-2, generator=generator).values[0])


def adaptive_sharpness(loss: MeanLoss) -> float:
    """Return the rise of the loss after 10 ascent steps, at a distance relative to the weights."""
    return sam_sharpness(loss, 0.5, adaptive=True, num_steps=10)


def train(
    run: Trial,
    *,
    make: Callable[[], Problem],
    target: float,
    measure: Callable[[MeanLoss], float],
) -> TrialScores:
    """Train to the target, and score log10 of the measure there."""
    problem = make()
    model: nn.Module = problem.model()
    inputs, labels = problem.train
    optimizer = run.optimizer(model)
    order = torch.Generator().manual_seed(run.seed)
    assert run.steps
    mean, step = math.inf, 0
    while mean > target and step < run.steps:
        for rows in torch.randperm(len(labels), generator=order).split(BATCH):
            step += 1
            loss = problem.loss(model, (inputs[rows], labels[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            value = float(loss.detach())
            mean = value if mean == math.inf else MEMORY * mean + (1 - MEMORY) * value
            if mean <= target or step == run.steps:
                break
    run.log(step, loss=mean)
    fixed = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:NUM_MEASURED]
    found = measure(MeanLoss(model, problem.loss, [(inputs[fixed], labels[fixed])]))
    score = math.log10(found) if mean <= target and found > 0 else math.nan
    return run.scores(validation=score, test=score)


FASHION = partial(train, make=images.fashion, target=0.4)
DIGITS = partial(train, make=images.digits, target=0.02)


def fashion_eigenvalue(run: Trial) -> TrialScores:
    """Fashion-MNIST, largest eigenvalue."""
    return FASHION(run, measure=largest_eigenvalue)


def fashion_sharpness(run: Trial) -> TrialScores:
    """Fashion-MNIST, adaptive sharpness."""
    return FASHION(run, measure=adaptive_sharpness)


def digits_eigenvalue(run: Trial) -> TrialScores:
    """Digits, largest eigenvalue."""
    return DIGITS(run, measure=largest_eigenvalue)


def digits_sharpness(run: Trial) -> TrialScores:
    """Digits, adaptive sharpness."""
    return DIGITS(run, measure=adaptive_sharpness)
