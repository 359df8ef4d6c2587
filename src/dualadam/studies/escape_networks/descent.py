"""Which minimum does full-batch gradient descent lead to?"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

from dualadam.studies.escape_networks.geometry import Minimum

# at home: the gradient differs from that of the minimum's quadratic by at most this share
AGREEMENT = 0.2
# elsewhere: the loss is lower than the minimum's by this much, which descent cannot undo
LOWER = 1e-5
# elsewhere: the descent has ended, at a gradient norm below this, and is not at home
AT_REST = 1e-5
# on the floor of a valley, below this gradient norm, descent gains momentum
VALLEY, MOMENTUM = 3e-3, 0.95
MAX_STEPS = 4000
CHECK_EVERY = 10  # steps


class Basin(IntEnum):
    """Where a descent ended; UNDECIDED after MAX_STEPS."""

    UNDECIDED = 0
    HOME = 1
    ELSEWHERE = 2


def find_basins(minimum: Minimum, w: Tensor) -> Tensor:
    """Follow full-batch gradient descent with step 1 / H from every vector.

    Momentum shortens the way along a valley's floor, where plain descent would take thousands of
    steps. It does not change where the descent ends.

    Args:
        minimum: home.
        w: shape (walkers, num_params), finite.

    Returns:
        A ``Basin`` for every vector, shape (walkers,).
    """
    problem, dtype = minimum.problem, w.dtype
    inputs, labels = problem.data.inputs.to(dtype), problem.data.labels
    centre, hessian = minimum.w.to(dtype), torch.from_numpy(minimum.hessian).to(dtype)
    basins = torch.full((len(w),), Basin.UNDECIDED)
    moving = torch.arange(len(w))  # indices of the vectors still in motion
    velocity = torch.zeros_like(w)
    for step in range(MAX_STEPS):
        loss, gradient = problem.loss_and_gradient(w, inputs, labels)
        norm = gradient.norm(dim=1)
        if step % CHECK_EVERY == 0:
            quadratic = (w - centre) @ hessian
            home = (gradient - quadratic).norm(dim=1) <= AGREEMENT * quadratic.norm(dim=1)
            elsewhere = ~home & ((loss < minimum.loss - LOWER) | (norm < AT_REST))
            basins[moving[home]], basins[moving[elsewhere]] = Basin.HOME, Basin.ELSEWHERE
            on = ~(home | elsewhere)
            moving, w, velocity = moving[on], w[on], velocity[on]
            gradient, norm = gradient[on], norm[on]
            if not len(moving):
                break
        velocity = torch.where((norm < VALLEY)[:, None], MOMENTUM * velocity, 0.0) + gradient
        w = w - velocity / minimum.curvature
    return basins
