"""From random weights to converged minima, and the choice among them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from dualadam.errors import InvalidValueError
from dualadam.studies.escape_networks.geometry import Minimum
from dualadam.studies.escape_networks.network import NetworkProblem
from dualadam.studies.escape_networks.rows import Row

GRADIENT_TOLERANCE = 1e-9  # largest norm of the full-batch gradient at a converged minimum
TRAINING_STEPS = 300


@dataclass(frozen=True)
class Recipe:
    """How a start is trained by SGD before it is polished; scale is of the first weights."""

    lr: float
    batch_size: int
    scale: float


RECIPES = tuple(itertools.starmap(Recipe, itertools.product((0.1, 1.0), (8, 64), (0.5, 1.0, 2.0))))


@dataclass(frozen=True)
class StartRow(Row):
    """Where one start ended.

    Attributes:
        number: of the start, also its seed.
        recipe: how it was trained.
        loss, gradient_norm: of the full batch.
        curvature: the largest eigenvalue H of the Hessian.
        smallest_eigenvalue: of the Hessian.
        converged: whether the gradient is below GRADIENT_TOLERANCE and the Hessian positive
            definite.
        w: the flat vector, to 12 digits.
    """

    number: int
    recipe: Recipe
    loss: float
    gradient_norm: float
    curvature: float
    smallest_eigenvalue: float
    converged: bool
    w: tuple[float, ...]

    @property
    def key(self) -> str:
        """The name of the start."""
        return f"start/{self.number}"

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> StartRow:
        """Return the row of a line."""
        row = super().from_json(line)
        return replace(row, recipe=Recipe(**line["recipe"]))


@dataclass(frozen=True)
class Start:
    """The piece of the study that makes a StartRow."""

    problem: NetworkProblem
    number: int

    @property
    def key(self) -> str:
        """The key of its row."""
        return f"start/{self.number}"

    def run(self) -> StartRow:
        """Train by one of the recipes, polish with L-BFGS and Newton, and describe the minimum."""
        problem, recipe = self.problem, RECIPES[self.number % len(RECIPES)]
        generator = torch.Generator().manual_seed(1000 * problem.seed + self.number)
        inputs, labels = problem.data
        w = (
            torch.randn(1, problem.num_params, generator=generator, dtype=torch.float64)
            * recipe.scale
            / math.sqrt(problem.num_components)
        )
        for _ in range(TRAINING_STEPS):
            size = (recipe.batch_size,)
            batch = torch.randint(problem.num_examples, size, generator=generator)
            w = w - recipe.lr * problem.loss_and_gradient(w, inputs[batch], labels[batch])[1]
        minimum = Minimum(problem, polish(problem, w[0]))
        gradient = problem.loss_and_gradient(minimum.w[None], inputs, labels)[1]
        smallest = float(minimum.spectrum.values[-1])
        return StartRow(
            number=self.number,
            recipe=recipe,
            loss=minimum.loss,
            gradient_norm=float(gradient.norm()),
            curvature=minimum.curvature,
            smallest_eigenvalue=smallest,
            converged=float(gradient.norm()) < GRADIENT_TOLERANCE and smallest > 0,
            w=tuple(float(f"{x:.12g}") for x in minimum.w.tolist()),
        )


def polish(problem: NetworkProblem, w: Tensor) -> Tensor:
    """Return the minimum that L-BFGS finds from w, refined by a few Newton steps."""

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = problem.loss_and_gradient(torch.from_numpy(flat)[None], *problem.data)
        return float(loss), gradient[0].numpy()

    options = {"maxiter": 5000, "maxcor": 30, "ftol": 1e-15, "gtol": 1e-7}
    found = minimize(loss_and_gradient, w.numpy(), jac=True, method="L-BFGS-B", options=options)
    w = torch.from_numpy(found.x)
    for _ in range(6):
        gradient = problem.loss_and_gradient(w[None], *problem.data)[1][0]
        if gradient.norm() < GRADIENT_TOLERANCE / 100:
            break
        w = w - torch.from_numpy(np.linalg.solve(Minimum(problem, w).hessian, gradient.numpy()))
    return w


def choose_minima(starts: Sequence[StartRow], num_minima: int) -> list[StartRow]:
    """Return distinct converged minima whose ln H are spread evenly; only H decides.

    Copies by symmetry (hidden units permuted, signs flipped) have the same loss and curvature. One
    of them is kept.

    Raises:
        InvalidValueError: there are fewer distinct minima than num_minima.
    """
    distinct: list[StartRow] = []
    converged = [start for start in starts if start.converged]
    for start in sorted(converged, key=lambda start: (start.loss, start.curvature)):
        if not any(_is_copy(start, other) for other in distinct):
            distinct.append(start)
    if len(distinct) < num_minima:
        raise InvalidValueError(
            f"num_minima must be at most the {len(distinct)} distinct minima that {len(starts)} "
            f"starts converged to, got {num_minima}; raise num_starts."
        )
    logs = np.log([start.curvature for start in distinct])
    chosen: list[int] = []
    for goal in np.linspace(logs.min(), logs.max(), num_minima):
        free = set(range(len(distinct))) - set(chosen)
        chosen.append(min(free, key=np.abs(logs - goal).__getitem__))
    return sorted((distinct[i] for i in chosen), key=lambda start: start.curvature)


def _is_copy(one: StartRow, other: StartRow) -> bool:
    same_loss = abs(one.loss - other.loss) <= 1e-8
    return same_loss and abs(one.curvature / other.curvature - 1) <= 1e-6
