"""All measures of flatness of one model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dualadam.flatness import (
    MeanLoss,
    SpectralDensity,
    TopEigenvalues,
    TraceEstimate,
    sam_sharpness,
    spectral_density,
    top_eigenvalues,
    trace,
)
from dualadam.harness.progress import Progress
from dualadam.studies.checkpoint_flatness.checkpoint import Checkpoint
from dualadam.tasks import TASKS, check_device, get_task


@dataclass(frozen=True)
class FlatnessSettings:
    """What decides the numbers beside model and data.

    Attributes:
        k: how many of the largest eigenvalues; fewer if the model has fewer parameters.
        rho, adaptive_rho: radii of the plain and of the adaptive sharpness.
        num_steps, num_samples: of the spectral density.
        max_samples: of the trace.
        seed: of all random vectors.
    """

    k: int = 5
    rho: float = 0.05
    adaptive_rho: float = 0.5
    num_steps: int = 40
    num_samples: int = 3
    max_samples: int = 200
    seed: int = 0


@dataclass(frozen=True)
class FlatnessMeasures:
    """Every measure of one model, in the unit of the loss where nothing else is said.

    Attributes:
        loss: the mean loss.
        gradient_norm: per unit of the weights.
        top: the largest eigenvalues of the Hessian.
        trace: of the Hessian.
        density: of the Hessian's eigenvalues.
        sharpness, adaptive_sharpness: see ``sam_sharpness``.
        num_params: of the model, those that need a gradient.
        num_examples: that the loss is a mean of; tokens for a generator.
    """

    loss: float
    gradient_norm: float
    top: TopEigenvalues
    trace: TraceEstimate
    density: SpectralDensity
    sharpness: float
    adaptive_sharpness: float
    num_params: int
    num_examples: int

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, without the eigenvectors."""

        def plain(items: list[tuple[str, Any]]) -> dict[str, Any]:
            return {
                name: value.tolist() if isinstance(value, np.ndarray) else value
                for name, value in items
                if name != "vectors"
            }

        return asdict(self, dict_factory=plain)


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
    progress: Progress | None = None,
) -> FlatnessMeasures:
    """Take every measure of a model.

    Args:
        model, loss_fn, batches, dtype, num_examples: as for ``MeanLoss``.
        settings: None takes the defaults.
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
    stages = _Stages(batches, progress)
    stages.start("loss and gradient", at_most=4)
    loss = MeanLoss(model, loss_fn, stages, dtype=dtype, num_examples=num_examples)
    count = sum(map(loss.num_examples, batches))
    s = replace(s, k=min(s.k, loss.num_params))
    value, gradient_norm = loss.value(), torch.linalg.vector_norm(loss.gradient()).item()
    stages.start("sharpness", at_most=6)
    sharpness = sam_sharpness(loss, s.rho)
    adaptive_sharpness = sam_sharpness(loss, s.adaptive_rho, adaptive=True)
    stages.start("top eigenvalues")
    top = top_eigenvalues(loss, s.k, generator=_seeded(s.seed))
    stages.start("trace", at_most=s.max_samples)
    estimate = trace(loss, max_samples=s.max_samples, generator=_seeded(s.seed + 1))
    stages.start("spectral density", at_most=s.num_samples * s.num_steps)
    density = spectral_density(
        loss,
        num_steps=s.num_steps,
        num_samples=s.num_samples,
        generator=_seeded(s.seed + 2),
    )
    stages.finish()
    return FlatnessMeasures(
        loss=value,
        gradient_norm=gradient_norm,
        top=top,
        trace=estimate,
        density=density,
        sharpness=sharpness,
        adaptive_sharpness=adaptive_sharpness,
        num_params=loss.num_params,
        num_examples=count,
    )


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class _Stages:
    """The batches; they report the measure being taken and count the passes over them."""

    NUM_STAGES = 5

    def __init__(self, batches: Sequence[Any], progress: Progress) -> None:
        self.batches, self.progress = batches, progress
        self.stage: str | None = None
        progress.start(self.NUM_STAGES, 0)

    def start(self, stage: str, at_most: int | None = None) -> None:
        """Begin a measure of at most this many passes."""
        self.finish()
        self.stage, self.num_passes = stage, 0
        self.limit = "" if at_most is None else f" of at most {at_most}"
        self.progress.running([stage])

    def finish(self) -> None:
        """End the present measure."""
        if self.stage is not None:
            self.progress.finished(self.stage)

    def __iter__(self) -> Iterator[Any]:
        self.num_passes += 1
        self.progress.running([f"{self.stage}, pass {self.num_passes}{self.limit}"])
        yield from self.batches
