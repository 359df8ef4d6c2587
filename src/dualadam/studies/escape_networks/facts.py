"""What a reader must know beside the claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualadam.studies.escape_networks.claims import subject
from dualadam.studies.escape_networks.samples import EscapeSample
from dualadam.studies.escape_networks.settings import RULES
from dualadam.studies.escape_networks.study import StudyRows


@dataclass(frozen=True)
class Facts:
    """The facts of a study. The names are those of claims.json and of the table.

    Attributes:
        starts, starts_that_converged: numbers of starts.
        largest_eigenvalue_H: its range over the minima.
        smallest_eigenvalue: of the Hessian at any minimum.
        correlation_of_ln_H_and_loss: over the minima.
        stationary_H_Var_over_T: median over the minima, by optimizer; 1 where T describes the
            stationary variance along the top eigenvector.
        largest_lr_p_H: over the minima, by optimizer and temperature.
        lives: number of walkers.
        escapes, diverged: numbers of walkers.
        descents, undecided_descents: from the walkers' positions at the checks.
        processor_minutes_of_lives: of all simulations.
    """

    starts: int
    starts_that_converged: int
    largest_eigenvalue_H: tuple[float, float]
    smallest_eigenvalue: float
    correlation_of_ln_H_and_loss: float
    stationary_H_Var_over_T: dict[str, float]
    largest_lr_p_H: dict[str, float]
    lives: int
    escapes: int
    diverged: int
    descents: int
    undecided_descents: int
    processor_minutes_of_lives: float


def collect_facts(rows: StudyRows, samples: Sequence[EscapeSample]) -> Facts:
    """Return the facts of a finished study."""
    minima = rows.minima
    h = np.array([m.curvature for m in minima])
    elsewhere = [step for row in rows.escapes for step in row.first_elsewhere]
    return Facts(
        starts=len(rows.starts),
        starts_that_converged=sum(start.converged for start in rows.starts),
        largest_eigenvalue_H=(float(h.min()), float(h.max())),
        smallest_eigenvalue=float(min(m.smallest_eigenvalue for m in minima)),
        correlation_of_ln_H_and_loss=float(np.corrcoef(np.log(h), [m.loss for m in minima])[0, 1]),
        stationary_H_Var_over_T={rule.name: _stationary_ratio(rows, rule.name) for rule in RULES},
        largest_lr_p_H={
            subject(s.optimizer, s.temperature): float(
                s.lr * max(m.preconditioner[s.optimizer] * m.curvature for m in minima)
            )
            for s in samples
        },
        lives=len(elsewhere),
        escapes=sum(step is not None for step in elsewhere),
        diverged=sum(row.num_diverged for row in rows.escapes),
        descents=sum(row.num_descents for row in rows.escapes),
        undecided_descents=sum(row.num_undecided for row in rows.escapes),
        processor_minutes_of_lives=round(sum(row.cpu_seconds for row in rows.escapes) / 60, 1),
    )


def _stationary_ratio(rows: StudyRows, optimizer: str) -> float:
    ratios = [
        m.equipartition_per_lr[optimizer] / m.temperature_per_lr[optimizer] for m in rows.minima
    ]
    return float(np.median(ratios))
