"""Converged minima of one loss, found in different ways, and what the theory needs to know of each: Hessian and gradient noise."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.linalg import solve_continuous_lyapunov
from scipy.optimize import minimize
from torch import Tensor

from dualadam.diffusion import Rule
from dualadam.flatness import hessian_operator, top_eigenvalues
from dualadam.studies.escape_networks.problem import Problem

GRADIENT_TOLERANCE = 1e-9  # of the full-batch gradient's norm at what counts as a minimum
# how a start is trained before it is polished: learning rate of SGD, its batch size, scale of the first weights
RECIPES = tuple(itertools.product((0.1, 1.0), (8, 64), (0.5, 1.0, 2.0)))
TRAINING_STEPS = 300


@dataclass(frozen=True)
class Minimum:
    """A minimum and its surroundings, float64; C is the covariance of one example's gradient, so that a batch of B has C / B."""

    problem: Problem
    w: Tensor

    @cached_property
    def loss(self) -> float:
        """The full-batch loss."""
        return float(self.problem.loss_and_gradient(self.w[None], *self.problem.data)[0])

    @cached_property
    def hessian(self) -> np.ndarray:
        """The full-batch Hessian with L2, (num_params, num_params)."""
        dense = hessian_operator(self.problem.mean_loss(self.w)) @ np.eye(self.problem.num_params)
        return (dense + dense.T) / 2

    @cached_property
    def covariance(self) -> np.ndarray:
        """C, exact: the examples are a finite population, drawn with replacement."""
        grads = self.problem.example_gradients(self.w)
        centred = (grads - grads.mean(0)).numpy()
        return centred.T @ centred / len(centred)

    @cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues, descending, and eigenvectors as columns."""
        values, vectors = np.linalg.eigh(self.hessian)
        return values[::-1], vectors[:, ::-1]

    @property
    def curvature(self) -> float:
        """The largest eigenvalue, H."""
        return float(self.spectrum[0][0])

    def noise(self, batch_size: int) -> float:
        """Return c, the variance of the mini-batch gradient along the top eigenvector."""
        top = self.spectrum[1][:, 0]
        return float(top @ self.covariance @ top) / batch_size

    def preconditioner(self, rule: Rule, batch_size: int) -> float:
        """Return p along the top eigenvector: sum_i u_i^2 p(C_ii / B)."""
        diagonal = rule.preconditioner(self.covariance.diagonal() / batch_size)
        return float(self.spectrum[1][:, 0] ** 2 @ diagonal)

    def temperature(self, rule: Rule, batch_size: int, lr: float = 1.0) -> float:
        """Return T = lr p c / 2 along the top eigenvector, in the unit of the loss."""
        return lr * self.preconditioner(rule, batch_size) * self.noise(batch_size) / 2

    def equipartition(self, rule: Rule, batch_size: int) -> float:
        """Return H Var(u . w) / lr from the stationary covariance, which knows that P is not diagonal along u; T / lr if it is."""
        p = np.diag(rule.preconditioner(self.covariance.diagonal() / batch_size))
        sigma = solve_continuous_lyapunov(p @ self.hessian, p @ self.covariance @ p / batch_size)
        top = self.spectrum[1][:, 0]
        return self.curvature * float(top @ sigma @ top)


def find_minimum(problem: Problem, number: int) -> dict[str, Any]:
    """Train by one of the recipes, polish with L-BFGS and Newton, and describe the minimum; a JSON-ready row."""
    lr, batch_size, scale = RECIPES[number % len(RECIPES)]
    generator = torch.Generator().manual_seed(1000 * problem.seed + number)
    inputs, labels = problem.data
    w = (
        torch.randn(1, problem.num_params, generator=generator, dtype=torch.float64)
        * scale
        / math.sqrt(problem.num_components)
    )
    for _ in range(TRAINING_STEPS):
        batch = torch.randint(problem.num_examples, (batch_size,), generator=generator)
        w = w - lr * problem.loss_and_gradient(w, inputs[batch], labels[batch])[1]
    minimum = Minimum(problem, polish(problem, w[0]))
    gradient = problem.loss_and_gradient(minimum.w[None], inputs, labels)[1]
    flattest = float(minimum.spectrum[0][-1])
    return {
        "number": number,
        "recipe": {"lr": lr, "batch_size": batch_size, "scale": scale},
        "loss": minimum.loss,
        "gradient_norm": float(gradient.norm()),
        "curvature": minimum.curvature,
        "smallest_eigenvalue": flattest,
        "converged": float(gradient.norm()) < GRADIENT_TOLERANCE and flattest > 0,
        "w": [float(f"{x:.12g}") for x in minimum.w.tolist()],
    }


def polish(problem: Problem, w: Tensor) -> Tensor:
    """Return the minimum that L-BFGS finds from w, made exact by a few Newton steps."""

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = problem.loss_and_gradient(torch.from_numpy(flat)[None], *problem.data)
        return float(loss), gradient[0].numpy()

    options = {"maxiter": 5000, "maxcor": 30, "ftol": 1e-15, "gtol": 1e-7}
    w = torch.from_numpy(minimize(value, w.numpy(), jac=True, method="L-BFGS-B", options=options).x)
    for _ in range(6):
        gradient = problem.loss_and_gradient(w[None], *problem.data)[1][0]
        if gradient.norm() < GRADIENT_TOLERANCE / 100:
            break
        w = w - torch.from_numpy(np.linalg.solve(Minimum(problem, w).hessian, gradient.numpy()))
    return w


def select(rows: list[dict[str, Any]], num_minima: int) -> list[dict[str, Any]]:
    """Return distinct converged minima whose ln H are spread as evenly as there are minima for; nothing but H is looked at.

    Copies by symmetry (hidden units permuted, signs flipped) have the same loss and curvature: one of them is kept.
    """
    distinct: list[dict[str, Any]] = []
    for row in sorted(
        (r for r in rows if r["converged"]), key=lambda r: (r["loss"], r["curvature"])
    ):
        if all(
            abs(row["loss"] - d["loss"]) > 1e-8 or abs(row["curvature"] / d["curvature"] - 1) > 1e-6
            for d in distinct
        ):
            distinct.append(row)
    if len(distinct) < num_minima:
        raise RuntimeError(
            f"Only {len(distinct)} distinct minima converged, {num_minima} are needed; give more starts."
        )
    logs = np.log([d["curvature"] for d in distinct])
    chosen: list[int] = []
    for goal in np.linspace(logs.min(), logs.max(), num_minima):
        chosen.append(
            min(set(range(len(distinct))) - set(chosen), key=lambda i: abs(logs[i] - goal))
        )
    return sorted((distinct[i] for i in chosen), key=lambda d: d["curvature"])


def describe(
    problem: Problem, row: dict[str, Any], rules: tuple[Rule, ...], batch_size: int
) -> dict[str, Any]:
    """Return what is compared at a minimum: C against H element by element and along eigenvectors, and each rule's T per lr."""
    minimum = Minimum(problem, torch.tensor(row["w"], dtype=torch.float64))
    top = top_eigenvalues(problem.mean_loss(minimum.w), k=10, tol=1e-8)
    along = np.einsum("ik,ij,jk->k", top.vectors, minimum.covariance, top.vectors)
    return {
        "number": row["number"],
        "loss": minimum.loss,
        "H": float(top.values[0]),
        "residual": float(top.residuals[0]),
        "smallest_eigenvalue": float(minimum.spectrum[0][-1]),
        "c": minimum.noise(batch_size),
        "top_values": top.values.tolist(),
        "BC_over_H": (
            along / (top.values - problem.l2)
        ).tolist(),  # L2 adds to the Hessian and not to the noise
        "diagonal": compare_diagonals(
            minimum.covariance.diagonal(), minimum.hessian.diagonal() - problem.l2
        ),
        "p": {rule.name: minimum.preconditioner(rule, batch_size) for rule in rules},
        "temperature": {rule.name: minimum.temperature(rule, batch_size) for rule in rules},
        "equipartition": {rule.name: minimum.equipartition(rule, batch_size) for rule in rules},
    }


def compare_diagonals(covariance: np.ndarray, hessian: np.ndarray) -> dict[str, Any]:
    """Compare ln C_ii with ln H_ii over the positive elements.

    Returns:
        Their slope ``gamma`` and correlation ``r``, None where the H_ii are all alike; the median ``ratio`` C_ii / H_ii; and how many
        elements are ``left_out``.
    """
    positive = (hessian > 0) & (covariance > 0)
    x, y = np.log(hessian[positive]), np.log(covariance[positive])
    row: dict[str, Any] = {
        "gamma": None,
        "r": None,
        "ratio": float(np.exp(np.median(y - x))),
        "left_out": int((~positive).sum()),
    }
    if x.std() > 0.05:
        row |= {"gamma": float(np.polyfit(x, y, 1)[0]), "r": float(np.corrcoef(x, y)[0, 1])}
    return row
