"""Pearson's r of ln tau with a power of 1 / H, which is high for every power."""

from __future__ import annotations

import math

import numpy as np

from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.experiment import LIMITS, Experiment, Results, in_order
from dualadam.studies.escape_landscapes.experiments.slopes import Quantity, Series, Slopes
from dualadam.studies.escape_landscapes.row import Row

POWERS = (0.5, 1.0, 1.5)  # of Adam, SGD and InvAdam
CONVINCING = 0.95


class Correlation(Experiment):
    """The points of the slopes against curvature, judged by correlation."""

    name = "correlation"
    table = LIMITS
    claim = "a high correlation as evidence for an exponent"

    def __init__(self, effort: Effort) -> None:
        self.series = [s for s in Slopes(effort).series if s.quantity == Quantity.CURVATURE]
        self.points = tuple(point for series in self.series for point in series.points)

    def rows(self, results: Results) -> list[Row]:
        """Return a row for each rule."""
        return [_row(series, results) for series in self.series]


def _row(series: Series, results: Results) -> Row:
    rule = series.rule
    measured = in_order(series.points, results)
    x = np.array([m.x for m in measured])
    log_times = np.array([m.simulated for m in measured])
    r = {power: float(np.corrcoef(x**-power, log_times)[0, 1]) for power in POWERS}
    smallest = min(value for power, value in r.items() if power != rule.local_exponent(1.0))
    values = ", ".join(f"{value:.4f}" for value in r.values())
    return Row(
        f"Pearson r as evidence, {rule.name}: smallest r of a wrong power",
        Verdict.FAILS if smallest > CONVINCING else Verdict.FAILURE_NOT_SEEN,
        simulated=None if math.isnan(smallest) else smallest,
        note=f"r with H^-1/2, H^-1, H^-3/2: {values}; a wrong power looks right too: report slopes",
    )
