"""All measures of flatness of one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dualadam.flatness import (
    MeanLoss,
    m_sam_sharpness,
    preconditioned_sharpness,
    relative_flatness,
    sam_sharpness,
    spectral_density,
    top_eigenvalues,
    trace,
)
from dualadam.harness.progress import Progress
from dualadam.studies.checkpoint_flatness.checkpoint import Checkpoint
from dualadam.studies.checkpoint_flatness.measures import FlatnessMeasures, FlatnessSettings
from dualadam.studies.checkpoint_flatness.slices import slice_loss
from dualadam.studies.checkpoint_flatness.stages import Stages
from dualadam.tasks import TASKS, check_device, get_task


@dataclass(frozen=True)
class CheckpointFlatness:
    """The measures of a checkpoint, and how many training examples they are taken on."""

    checkpoint: Checkpoint
    measures: FlatnessMeasures
    num_examples: int


def measure_checkpoint(
    checkpoint: Checkpoint,
    settings: FlatnessSettings,
    *,
    data: str | None = None,
    device: str = "cpu",
    examples: int | None = None,
    batch_size: int = 250,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> CheckpointFlatness:
    """Measure a checkpoint on training examples of its task, without augmentation.

    Args:
        checkpoint: what is measured.
        settings: what decides the numbers.
        data: the folder with the data sets; None takes the environment variable DUALADAM_DATA.
        device: where the model and the data live.
        examples: how many training examples, a fixed stratified sample; None takes all.
        batch_size: changes memory and speed only. Examples beyond the last full batch are left out.
        dtype: torch.float64 for double precision; None is the model's precision.
        progress: is told the measure, and the passes over the data.

    Raises:
        InvalidValueError: an argument is out of range, or the weights do not fit.
        MissingFileError: the data is not there.
        NotConvergedError: the eigenvalues did not converge.
    """
    check_device(device)
    entry, language = TASKS[checkpoint.task], checkpoint.language
    subset = examples
    if subset is not None:
        available = entry.num_train
        if available is None:
            whole = get_task(checkpoint.task, data=data, device=device, language=language)
            available = whole.num_train
        subset = None if subset >= available else subset
    task = get_task(checkpoint.task, data=data, subset=subset, device=device, language=language)
    model = checkpoint.make_model(task)
    batch_size = min(batch_size, task.num_train)
    generator = torch.Generator().manual_seed(settings.seed)
    batches = list(task.batches(batch_size, generator, augment=False))
    measures = measure_all(
        model,
        task.loss,
        batches,
        settings,
        dtype=dtype,
        num_examples=task.weight,
        optimizer=checkpoint.make_optimizer(model),
        progress=progress,
    )
    return CheckpointFlatness(checkpoint, measures, batch_size * len(batches))


def measure_all(
    model: nn.Module,
    loss_fn: Callable[[Any, Any], Tensor],
    batches: Sequence[Any],
    settings: FlatnessSettings | None = None,
    *,
    dtype: torch.dtype | None = None,
    num_examples: Callable[[Any], int] | None = None,
    optimizer: Optimizer | None = None,
    progress: Progress | None = None,
) -> FlatnessMeasures:
    """Take every measure of a model.

    Args:
        model, loss_fn, batches, dtype, num_examples: as for ``MeanLoss``.
        settings: None takes the defaults.
        optimizer: for the preconditioned sharpness, as ``preconditioner`` takes it.
        progress: is told the measure, and the passes over the data.

    Raises:
        InvalidValueError: an argument is out of range.
        NotConvergedError: the eigenvalues did not converge.

    Example:
        >>> import torch
        >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
        >>> half_square = lambda model, batch: model(batch).square().mean() / 2
        >>> found = measure_all(torch.nn.Linear(3, 1), half_square, [x[:40], x[40:]])
        >>> exact = x.square().sum().item() / 64 + 1  # the trace of the second moment of (x, 1)
        >>> bool(abs(found.top.values.sum() - exact) < 1e-4)  # all four eigenvalues
        True
        >>> found.num_params, found.num_examples
        (4, 64)
    """
    s, progress = settings or FlatnessSettings(), progress or Progress()
    stages = Stages(batches, progress, num_stages=8 if optimizer is None else 9)
    stages.start("loss and gradient", at_most=4)
    loss = MeanLoss(model, loss_fn, stages, dtype=dtype, num_examples=num_examples)
    count = sum(map(loss.num_examples, batches))
    s = replace(s, k=min(s.k, loss.num_params))
    value, gradient_norm = loss.value(), torch.linalg.vector_norm(loss.gradient()).item()
    stages.start("sharpness", at_most=8 + 4 * s.sharpness_steps)
    sharpness = sam_sharpness(loss, s.rho)
    adaptive_sharpness = sam_sharpness(loss, s.adaptive_rho, adaptive=True)
    highest = sam_sharpness(loss, s.rho, num_steps=s.sharpness_steps)
    highest_adaptive = sam_sharpness(
        loss, s.adaptive_rho, adaptive=True, num_steps=s.sharpness_steps
    )
    stages.start("sharpness batch by batch")
    batch_sharpness = m_sam_sharpness(loss, s.rho)
    stages.start("top eigenvalues")
    top = top_eigenvalues(loss, s.k, generator=_seeded(s.seed))
    stages.start("trace", at_most=s.max_samples)
    estimate = trace(loss, max_samples=s.max_samples, generator=_seeded(s.seed + 1))
    stages.start("relative flatness", at_most=s.max_relative_samples)
    relative = None
    if any(p.ndim >= 2 for p in loss.params):
        relative = relative_flatness(
            loss, max_samples=s.max_relative_samples, generator=_seeded(s.seed + 3)
        )
    stages.start("spectral density", at_most=s.max_density_samples * s.num_steps)
    density = spectral_density(
        loss,
        num_steps=s.num_steps,
        rtol=s.density_rtol,
        min_samples=min(10, s.max_density_samples),
        max_samples=s.max_density_samples,
        generator=_seeded(s.seed + 2),
    )
    stages.start("slices of the loss", at_most=s.num_distances * (s.num_distances + 2))
    slices = slice_loss(loss, s.radius, s.num_distances, _seeded(s.seed + 4))
    preconditioned = None
    if optimizer is not None:
        stages.start("preconditioned sharpness")
        preconditioned = preconditioned_sharpness(loss, optimizer, generator=_seeded(s.seed + 5))
    stages.finish()
    return FlatnessMeasures(
        loss=value,
        gradient_norm=gradient_norm,
        top=top,
        trace=estimate,
        density=density,
        sharpness=sharpness,
        adaptive_sharpness=adaptive_sharpness,
        highest_sharpness=highest,
        highest_adaptive_sharpness=highest_adaptive,
        batch_sharpness=batch_sharpness,
        relative=relative,
        slices=slices,
        preconditioned=preconditioned,
        num_params=loss.num_params,
        num_examples=count,
    )


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
