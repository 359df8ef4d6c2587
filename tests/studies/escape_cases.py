"""The smallest study of escape times, and measurements that were never simulated."""

from __future__ import annotations

import math
from dataclasses import replace

from dualadam.studies.escape_landscapes import Effort
from dualadam.studies.escape_landscapes.measurement import Measurement

TINY = Effort(num_points=2, largest=3.5, num_escapes=10, shortest=200, longest=400, speed_steps=5)

SEEN = Measurement(
    key="slope/SGD/H/0",
    x=1.0,
    lr=0.04,
    betas=(0.9, 0.999),
    theory=5.0,
    exponent=5.0,
    broken=(),
    overdamped=5.0,
    paper=5.0,
    exact=5.0,
    exact_frozen=5.0,
    simulated=5.0,
    error=0.01,
    num_escapes=10_000,
    diverged=None,
    num_walkers=256,
    num_steps=1000,
    seed=1,
    seconds=0.5,
)
DIVERGED = replace(
    SEEN,
    simulated=math.nan,
    error=math.nan,
    num_escapes=None,
    diverged="3 of 256 walkers diverged by step 1000; take a smaller lr than 0.04.",
)


def power_law(power: float, *, error: float = 0.01) -> list[Measurement]:
    """Return measurements of exact exponent 5 / x and simulated exponent 5 x^power."""
    return [
        replace(
            SEEN,
            x=x,
            exponent=5 / x,
            theory=5 / x,
            overdamped=5 / x,
            exact=5 / x,
            simulated=5 * x**power,
            error=error,
        )
        for x in (0.8, 1.0, 1.3)
    ]
