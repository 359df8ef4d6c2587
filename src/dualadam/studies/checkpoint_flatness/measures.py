"""What decides a measurement of flatness, and what comes out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dualadam.flatness import (
    PreconditionedSharpness,
    SpectralDensity,
    TopEigenvalues,
    TraceEstimate,
)
from dualadam.studies.checkpoint_flatness.slices import LossSlices


@dataclass(frozen=True)
class FlatnessSettings:
    """What decides the numbers beside model and data.

    Attributes:
        k: how many of the largest eigenvalues; fewer if the model has fewer parameters.
        rho, adaptive_rho: radii of the plain and of the adaptive sharpness.
        sharpness_steps: steps uphill of the sharpness by several steps.
        num_steps, max_density_samples: of the spectral density.
        density_rtol: bound on the error of the density's trace.
        max_samples, max_relative_samples: of the trace, and of the relative flatness.
        radius: largest distance of the slices of the loss.
        num_distances: points along a direction, and along each side of the grid; odd.
        seed: of all random vectors.
    """

    k: int = 5
    rho: float = 0.05
    adaptive_rho: float = 0.5
    sharpness_steps: int = 20
    num_steps: int = 25
    max_density_samples: int = 12
    density_rtol: float = 0.1
    max_samples: int = 200
    max_relative_samples: int = 50
    radius: float = 1.0
    num_distances: int = 15
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
        sharpness, adaptive_sharpness: see ``sam_sharpness``; one step.
        highest_sharpness, highest_adaptive_sharpness: likewise by several steps.
        batch_sharpness: see ``m_sam_sharpness``; one step.
        relative: see ``relative_flatness``; None for a model without a weight matrix.
        slices: the loss along and across two random directions.
        preconditioned: see ``preconditioned_sharpness``; None without an optimizer.
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
    highest_sharpness: float
    highest_adaptive_sharpness: float
    batch_sharpness: float
    relative: TraceEstimate | None
    slices: LossSlices
    preconditioned: PreconditionedSharpness | None
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
