"""What is measured: one escape time of one optimizer on one landscape."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dualadam.diffusion import (
    SGD,
    ConstantNoise,
    DoubleWell,
    Landscape,
    Noise,
    Rule,
    mean_first_passage_time,
    rotated_variances,
    spread_over,
)
from dualadam.studies.escape_landscapes.effort import Effort

# ln tau is assumed to be this in several dimensions, where the quadrature does not apply.
ASSUMED_LOG_TIME = 11.0
LARGEST_LOG_TIME = 30.0  # beyond it every affordable simulation is censored


class Size(NamedTuple):
    """Size of a simulation."""

    num_walkers: int
    num_steps: int

    @property
    def walker_steps(self) -> int:
        """Cost of the simulation."""
        return self.num_walkers * self.num_steps


@dataclass(frozen=True)
class Point:
    """One escape time to measure.

    Attributes:
        key: names the point in points.jsonl and seeds its walkers, so it must never change.
        x: the value of what the experiment varies, such as a curvature or a learning rate.
        landscape, noise, rule, lr, betas: as for ``simulate``.
        longest: most steps of a walker at this point.
        is_spread: whether the optimizer's coordinates are rotated, such that the escape direction
            is spread evenly over all of them.
    """

    key: str
    x: float
    landscape: Landscape
    noise: Noise
    rule: Rule
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    longest: int = 2_000_000
    is_spread: bool = False

    @property
    def seed(self) -> int:
        """Seed of the walkers: the CRC-32 of the key, equal in all studies."""
        return zlib.crc32(self.key.encode())

    def size(self, effort: Effort) -> Size:
        """Return the size at which effort.num_escapes escapes are expected."""
        tau = math.exp(min(self._expected_log_time(), LARGEST_LOG_TIME))
        num_escapes, longest = effort.num_escapes, min(self.longest, effort.longest)
        num_walkers = int(min(16_384, max(256, num_escapes * tau / effort.shortest)))
        if num_walkers * longest < num_escapes * tau:  # censored in any case
            num_walkers = min(2048, max(256, num_escapes))
        needed = max(effort.shortest, num_escapes * tau / num_walkers)
        return Size(num_walkers, int(min(longest, needed)))

    @property
    def rotation(self) -> np.ndarray | None:
        """The optimizer's coordinates, as ``simulate`` takes them."""
        return spread_over(self.landscape.dim) if self.is_spread else None

    @property
    def theory_place(self) -> tuple[Landscape, Noise, Rule, float]:
        """Where closed form and quadrature are taken: landscape, noise, rule and lr.

        At a spread point all coordinates have the same preconditioner p, so the escape is that of
        SGD at lr p along the first axis.
        """
        if not self.is_spread:
            return self.landscape, self.noise, self.rule, self.lr
        landscape, at = self.landscape, self.landscape.minimum
        seen = rotated_variances(self.noise, at, spread_over(landscape.dim))
        well = DoubleWell(float(landscape.hessian_at_minimum[0]), landscape.barrier)
        along = ConstantNoise(float(self.noise.variance(at)[0]))
        return well, along, SGD, self.lr * float(self.rule.preconditioner(seen[0]))

    def _expected_log_time(self) -> float:
        place = self.theory_place
        if place[0].dim > 1:
            return ASSUMED_LOG_TIME
        return mean_first_passage_time(*place, frozen=True)
