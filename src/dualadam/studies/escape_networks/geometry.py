"""A minimum of the loss with its Hessian and gradient covariance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_continuous_lyapunov
from torch import Tensor

from dualadam.diffusion import Rule
from dualadam.flatness import hessian_operator
from dualadam.studies.escape_networks.network import NetworkProblem


class Spectrum(NamedTuple):
    """Eigenvalues in descending order, and eigenvectors as columns."""

    values: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True)
class Minimum:
    """A minimum in float64. C is the covariance of one example's gradient; a batch of B has C / B.

    Attributes:
        problem: the loss.
        w: flat vector, shape (num_params,).
    """

    problem: NetworkProblem
    w: Tensor

    @cached_property
    def loss(self) -> float:
        """The full-batch loss."""
        return float(self.problem.loss_and_gradient(self.w[None], *self.problem.data)[0])

    @cached_property
    def hessian(self) -> np.ndarray:
        """The full-batch Hessian, L2 included, shape (num_params, num_params)."""
        dense = hessian_operator(self.problem.mean_loss(self.w)) @ np.eye(self.problem.num_params)
        return (dense + dense.T) / 2

    @cached_property
    def covariance(self) -> np.ndarray:
        """C, exact: the examples are a finite population, drawn with replacement."""
        grads = self.problem.example_gradients(self.w)
        centred = (grads - grads.mean(0)).numpy()
        return centred.T @ centred / len(centred)

    @cached_property
    def spectrum(self) -> Spectrum:
        """The eigenvalues and eigenvectors of the Hessian."""
        values, vectors = np.linalg.eigh(self.hessian)
        return Spectrum(values[::-1], vectors[:, ::-1])

    @property
    def curvature(self) -> float:
        """The largest eigenvalue, H."""
        return float(self.spectrum.values[0])

    @property
    def top_vector(self) -> np.ndarray:
        """The eigenvector u of the largest eigenvalue."""
        return self.spectrum.vectors[:, 0]

    def noise(self, batch_size: int) -> float:
        """Return c, the variance of the mini-batch gradient along the top eigenvector."""
        return float(self.top_vector @ self.covariance @ self.top_vector) / batch_size

    def preconditioner(self, rule: Rule, batch_size: int) -> float:
        """Return p along the top eigenvector: sum_i u_i^2 p(C_ii / B)."""
        diagonal = rule.preconditioner(self.covariance.diagonal() / batch_size)
        return float(self.top_vector**2 @ diagonal)

    def temperature_per_lr(self, rule: Rule, batch_size: int) -> float:
        """Return T / lr = p c / 2 along the top eigenvector, in the unit of the loss."""
        return self.preconditioner(rule, batch_size) * self.noise(batch_size) / 2

    def equipartition_per_lr(self, rule: Rule, batch_size: int) -> float:
        """Return H Var(u . w) / lr of the stationary covariance.

        It equals T / lr where the preconditioner is diagonal along u.
        """
        p = np.diag(rule.preconditioner(self.covariance.diagonal() / batch_size))
        sigma = solve_continuous_lyapunov(p @ self.hessian, p @ self.covariance @ p / batch_size)
        return self.curvature * float(self.top_vector @ sigma @ self.top_vector)
