"""What a simulation observes: how long walkers stayed, and whether they escaped."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FirstPassages:
    """First-passage times, some of them censored by the end of the simulation.

    Attributes:
        durations: steps from a start at the minimum to the escape or to the end of the simulation,
            shape (num_starts,), float64.
        escaped: whether the duration ended by an escape, shape (num_starts,). The others are
            censored: they count as time at risk.
        counts: number of escapes of every walker, shape (num_walkers,).
    """

    durations: np.ndarray
    escaped: np.ndarray
    counts: np.ndarray

    @property
    def num_escapes(self) -> int:
        """Number of observed escapes."""
        return int(self.counts.sum())

    @property
    def walker_steps(self) -> float:
        """Time at risk: the sum of all durations, censored ones included."""
        return float(self.durations.sum())

    @property
    def escape_time(self) -> float:
        """Mean escape time in steps, walker_steps / num_escapes; inf without an escape.

        This is the maximum likelihood estimate under censoring. It is unbiased to first order for a
        constant escape rate. A walker needs a few relaxation times before it can escape, which
        raises the estimate by about that lag over the length of the simulation. Simulate for an
        escape time or longer.
        """
        return self.walker_steps / self.num_escapes if self.num_escapes else math.inf

    @property
    def log_time(self) -> float:
        """The logarithm of escape_time."""
        return math.log(self.escape_time)

    @property
    def log_time_error(self) -> float:
        """Standard error of log_time, 1 / sqrt(num_escapes); inf without an escape.

        It assumes independent, exponentially distributed durations.
        """
        return self.num_escapes**-0.5 if self.num_escapes else math.inf
