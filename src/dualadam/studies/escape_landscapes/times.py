"""The ratio of two escape times."""

from __future__ import annotations

import math
from typing import NamedTuple

from dualadam.studies.escape_landscapes.measurement import Measurement


class LogRatio(NamedTuple):
    """ln(tau one / tau other), simulated, with its standard error."""

    value: float
    error: float


def log_ratio(one: Measurement, other: Measurement) -> LogRatio:
    """Return the ratio of two simulated escape times; NaN if one of them was not seen."""
    return LogRatio(one.simulated - other.simulated, math.hypot(one.error, other.error))
