"""The update in float64 NumPy, from the equations of arXiv:2603.07122 alone.

It shares no line with the package. Each parameter is an object with its own count of updates. A
complex parameter is its real and imaginary parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


def parts(values: Any) -> Array:
    """Return an array as float64, complex numbers as pairs in a new last dimension."""
    values = np.asarray(values)
    if np.iscomplexobj(values):
        return np.stack([values.real, values.imag], axis=-1).astype(np.float64)
    return values.astype(np.float64)


class Oracle:
    """theta, m, v and t of one parameter; ``stored`` rounds theta to its number format."""

    def __init__(self, theta: Any, stored: Callable[[Array], Array] = lambda theta: theta) -> None:
        self.theta = parts(theta)
        self.m = np.zeros_like(self.theta)
        self.v = np.zeros_like(self.theta)
        self.t = 0
        self.stored = stored

    def alpha(self, switch_rate: float) -> float:
        return max(0.0, 1.0 - switch_rate * self.t)

    def hats(self, betas: tuple[float, float]) -> tuple[Array, Array]:
        return self.m / (1 - betas[0] ** self.t), self.v / (1 - betas[1] ** self.t)

    def step(
        self,
        gradient: Any,
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        switch_rate: float = 0.0,
        maximize: bool = False,
    ) -> None:
        g = -parts(gradient) if maximize else parts(gradient)
        self.t += 1
        self.m = betas[0] * self.m + (1 - betas[0]) * g
        self.v = betas[1] * self.v + (1 - betas[1]) * g * g
        mh, vh = self.hats(betas)
        r = np.sqrt(vh) + eps
        alpha = self.alpha(switch_rate)
        theta = (1 - lr * weight_decay) * self.theta
        if alpha < 1:
            theta = theta - lr * (1 - alpha) * mh / r
        if alpha > 0:
            theta = theta - lr * alpha * mh * r
        self.theta = self.stored(theta)
