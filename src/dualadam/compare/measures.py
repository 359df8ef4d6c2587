"""What a run records beside its scores: flatness, diagnosis, memory."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from dualadam.compare.optimizers import set_training
from dualadam.compare.run import DiagnosisPoint, Flatness, finite_or_none
from dualadam.compare.training import Training
from dualadam.optim import DualAdam, InvAdam, diagnose
from dualadam.tasks import split_rows

FLATNESS_EXAMPLES = 512


def measure_flatness(training: Training) -> Flatness:
    """Measure flatness where a run ended, on the same training examples in every run of a task.

    A measure is None where it does not exist: an iteration did not converge, the gradient is
    exactly 0, the loss is infinite, or a part of the model has no second derivative.
    """
    # here, since it needs scipy, which a machine that only trains may lack
    from dualadam.flatness import MeanLoss, sam_sharpness, top_eigenvalues

    task = training.task
    wanted = 256 if training.run.language is None else training.run.part_size
    batch_size = min(wanted, task.num_train)
    num_batches = max(1, FLATNESS_EXAMPLES // batch_size)
    order = torch.Generator().manual_seed(0)
    batches = list(itertools.islice(task.batches(batch_size, order, False), num_batches))

    def largest_eigenvalue(loss: MeanLoss) -> float:
        generator = torch.Generator().manual_seed(0)
        return float(top_eigenvalues(loss, 1, tol=1e-2, generator=generator).values[0])

    def measured(measure: Callable[[MeanLoss], float], parts: int = 1) -> float | None:
        pieces = [piece for batch in batches for piece in split_rows(batch, parts)]
        try:
            loss = MeanLoss(training.model, task.loss, pieces, num_examples=task.weight)
            return finite_or_none(measure(loss))
        except torch.OutOfMemoryError:  # two backward passes need more memory than training
            if parts >= batch_size:
                raise
        except (RuntimeError, ValueError):
            return None
        # outside the handler: the exception no longer holds the tensors that filled the memory
        return measured(measure, 2 * parts)

    set_training(training.optimizer, False)
    found = Flatness(
        top_eigenvalue=measured(largest_eigenvalue),
        sam_sharpness=measured(lambda loss: sam_sharpness(loss, 0.05)),
        adaptive_sharpness=measured(lambda loss: sam_sharpness(loss, 0.5, adaptive=True)),
    )
    set_training(training.optimizer, True)
    return found


def diagnose_all(optimizer: DualAdam | InvAdam, step: int) -> DiagnosisPoint:
    """Return the diagnosis over all parameter groups, means weighted by coordinates."""
    groups = [g for g in diagnose(optimizer) if g.num_coordinates]
    total = sum(g.num_coordinates for g in groups)

    def mean(name: str) -> float | None:
        return finite_or_none(sum(getattr(g, name) * g.num_coordinates for g in groups) / total)

    adam = math.hypot(*(g.adam_norm for g in groups))
    inverse = math.hypot(*(g.inverse_norm for g in groups))
    return DiagnosisPoint(
        step=step,
        mixing_weight=mean("mixing_weight"),
        effective_weight=mean("effective_weight"),
        second_moment_mean=mean("second_moment_mean"),
        ratio=finite_or_none(inverse / adam) if adam else None,  # InvAdam has no Adam part
    )


def state_bytes(optimizer: Optimizer) -> int:
    """Return the bytes of an optimizer's state."""
    values = (value for state in optimizer.state.values() for value in state.values())
    return sum(value.nbytes for value in values if isinstance(value, Tensor))


def peak_bytes(device: str) -> int | None:
    """Return the peak memory of the device, or of this process on a CPU; None where unknown."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":  # Windows has no getrusage
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
