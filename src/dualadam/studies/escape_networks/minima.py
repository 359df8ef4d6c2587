"""What the theory needs to know of each chosen minimum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from dualadam.flatness import top_eigenvalues
from dualadam.studies.escape_networks.diagonals import DiagonalComparison, compare_diagonals
from dualadam.studies.escape_networks.geometry import Minimum
from dualadam.studies.escape_networks.network import NetworkProblem
from dualadam.studies.escape_networks.rows import Row
from dualadam.studies.escape_networks.settings import RULES


@dataclass(frozen=True)
class MinimumRow(Row):
    """One chosen minimum. Dictionaries have a value for each optimizer, by its name.

    Attributes:
        number: of the start that found it.
        loss: of the full batch.
        curvature: H, the largest eigenvalue of the Hessian.
        residual: bound on the error of H.
        smallest_eigenvalue: of the Hessian.
        noise: c, the variance of the mini-batch gradient along the top eigenvector.
        top_values: the ten largest eigenvalues.
        noise_ratios: B c / H along their eigenvectors, without L2's part of H.
        diagonal: C_ii against H_ii, without L2's part of H_ii.
        preconditioner: p along the top eigenvector.
        temperature_per_lr: T / lr along the top eigenvector.
        equipartition_per_lr: H Var(u . w) / lr of the stationary covariance.
    """

    JSON_NAMES: ClassVar[Mapping[str, str]] = {
        "curvature": "H",
        "noise": "c",
        "noise_ratios": "BC_over_H",
        "preconditioner": "p",
        "temperature_per_lr": "temperature",
        "equipartition_per_lr": "equipartition",
    }

    number: int
    loss: float
    curvature: float
    residual: float
    smallest_eigenvalue: float
    noise: float
    top_values: tuple[float, ...]
    noise_ratios: tuple[float, ...]
    diagonal: DiagonalComparison
    preconditioner: dict[str, float]
    temperature_per_lr: dict[str, float]
    equipartition_per_lr: dict[str, float]

    @property
    def key(self) -> str:
        """The name of the minimum."""
        return f"minimum/{self.number}"

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> MinimumRow:
        """Return the row of a line."""
        row = super().from_json(line)
        return replace(row, diagonal=DiagonalComparison(**line["diagonal"]))


@dataclass(frozen=True)
class MinimumDescription:
    """The piece of the study that makes a MinimumRow."""

    problem: NetworkProblem
    number: int
    w: tuple[float, ...]
    batch_size: int

    @property
    def key(self) -> str:
        """The key of its row."""
        return f"minimum/{self.number}"

    def run(self) -> MinimumRow:
        """Compute the Hessian, the gradient covariance and what follows from them."""
        problem, size = self.problem, self.batch_size
        minimum = Minimum(problem, torch.tensor(self.w, dtype=torch.float64))
        top = top_eigenvalues(problem.mean_loss(minimum.w), k=10, tol=1e-8)
        along = np.einsum("ik,ij,jk->k", top.vectors, minimum.covariance, top.vectors)
        # L2 adds to the Hessian and not to the noise
        diagonal = minimum.hessian.diagonal() - problem.l2
        return MinimumRow(
            number=self.number,
            loss=minimum.loss,
            curvature=float(top.values[0]),
            residual=float(top.residuals[0]),
            smallest_eigenvalue=float(minimum.spectrum.values[-1]),
            noise=minimum.noise(size),
            top_values=tuple(top.values.tolist()),
            noise_ratios=tuple((along / (top.values - problem.l2)).tolist()),
            diagonal=compare_diagonals(minimum.covariance.diagonal(), diagonal),
            preconditioner={r.name: minimum.preconditioner(r, size) for r in RULES},
            temperature_per_lr={r.name: minimum.temperature_per_lr(r, size) for r in RULES},
            equipartition_per_lr={r.name: minimum.equipartition_per_lr(r, size) for r in RULES},
        )
