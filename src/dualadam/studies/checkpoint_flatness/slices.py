"""The loss along and across two filter-normalised random directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dualadam.flatness import MeanLoss, filter_normalised_direction, loss_across, loss_along


@dataclass(frozen=True)
class LossSlices:
    """Losses at distances along two directions; a distance of 1 is as long as the weights.

    Attributes:
        distances: shape (num_distances,), from -radius to radius.
        along: along the first and the second direction, shape (2, num_distances).
        across: on the grid that both span, shape (num_distances, num_distances), the first
            direction along the rows' index.
    """

    distances: NDArray[np.float64]
    along: NDArray[np.float64]
    across: NDArray[np.float64]


def slice_loss(
    loss: MeanLoss, radius: float, num_distances: int, generator: torch.Generator
) -> LossSlices:
    """Return the losses along and across two random directions."""
    first, second = (filter_normalised_direction(loss, generator=generator) for _ in range(2))
    distances = np.linspace(-radius, radius, num_distances)
    along = np.array([loss_along(loss, d, distances) for d in (first, second)])
    return LossSlices(distances, along, loss_across(loss, first, second, distances))
