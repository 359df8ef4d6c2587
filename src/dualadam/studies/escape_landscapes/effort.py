"""How much a study spends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Effort:
    """How much is spent on a study.

    Attributes:
        num_points: points of every slope.
        largest: largest exponent of a slope; the smallest is 3.
        num_escapes: escapes aimed at for every point.
        shortest: fewest steps of a walker. It relaxes within about 150 steps, less than a per cent
            of 20,000.
        longest: most steps of a walker; a point that needs more is censored.
        speed_steps: steps of a timing of the simulation.
    """

    num_points: int = 5
    largest: float = 7.4
    num_escapes: int = 4000
    shortest: int = 20_000
    longest: int = 2_000_000
    speed_steps: int = 2000

    @property
    def exponents(self) -> list[float]:
        """The exponents of the points of a slope, spaced geometrically from 3 to the largest."""
        return [float(e) for e in np.geomspace(3, self.largest, self.num_points)]


FULL = Effort()
QUICK = Effort(num_points=3, largest=5.5, num_escapes=650, shortest=7000)
