"""Slopes of ln(exponent) against the logarithm of what is varied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_landscapes.measurement import Measurement
from dualadam.studies.escape_landscapes.row import TOLERANCE, Z95, Row, prediction


class Slope(NamedTuple):
    """A least-squares slope."""

    exact: float
    simulated: float
    error: float  # standard error of simulated


def fit_slope(measurements: Sequence[Measurement]) -> Slope:
    """Return the slope of ln(exponent) against ln(x), by quadrature and by simulation."""
    x = np.log([m.x for m in measurements])
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    exact = np.array([m.exact_exponent for m in measurements])
    simulated = np.array([m.simulated_exponent for m in measurements])
    error = np.array([m.error for m in measurements])
    return Slope(
        exact=float(weights @ np.log(exact)),
        simulated=float(weights @ np.log(simulated)),
        error=float(np.sqrt((weights**2) @ (error / simulated) ** 2)),
    )


def slope_row(label: str, theory: float, measurements: Sequence[Measurement]) -> Row:
    """Return the row of a slope.

    It is held within 4 % of the exact slope, and not decided if it lies beyond them but its 95 %
    interval reaches into them: more escapes would decide.
    """
    slope = fit_slope(measurements)
    away, allowed = slope.simulated - slope.exact, TOLERANCE * abs(slope.exact)
    relative = f"{100 * away / slope.exact:+.1f} %" if slope.exact else f"{away:+.3g}"
    row = prediction(
        label,
        abs(away) <= allowed,
        theory=theory,
        exact=slope.exact,
        simulated=slope.simulated,
        error=slope.error,
        note=f"{relative} from exact",
    )
    if row.verdict == Verdict.NOT_HELD and abs(away) - Z95 * slope.error <= allowed:
        return replace(row, verdict=Verdict.NOT_DECIDED)
    return row
