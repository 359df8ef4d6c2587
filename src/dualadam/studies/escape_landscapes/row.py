"""A row of the tables: a claim of the theory, three values and a verdict."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_landscapes.measurement import to_json_number

# Allowed deviation: of the exact value for slopes, of the exponent for logarithms of times.
TOLERANCE = 0.04
Z95 = 1.959964


@dataclass(frozen=True)
class Row:
    """One row of a table. A value that does not apply is None.

    Attributes:
        label: what the row is about.
        verdict: HELD, NOT_HELD or NOT_DECIDED for a prediction of the theory; FAILS, HELD or
            FAILURE_NOT_SEEN where one of its assumptions does not hold.
        theory: by the closed form.
        exact: by quadrature, with Kramers' factor for momentum where times are compared.
        simulated: by the shipped optimizers.
        error: standard error of simulated.
        note: what is compared, or why it does not hold.
    """

    label: str
    verdict: Verdict
    theory: float | None = None
    exact: float | None = None
    simulated: float | None = None
    error: float | None = None
    note: str = ""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the simulated value."""
        if self.simulated is None or self.error is None:
            return None
        return self.simulated - Z95 * self.error, self.simulated + Z95 * self.error

    def to_json(self) -> dict[str, Any]:
        """Return the row as ``record.json`` holds it."""
        return {name: to_json_number(value) for name, value in asdict(self).items()}


def prediction(
    label: str,
    held: bool,
    *,
    theory: float,
    exact: float | None,
    simulated: float,
    error: float,
    note: str,
) -> Row:
    """Return the row of a prediction. One that could not be measured (NaN) is not held."""
    if math.isnan(simulated):
        unseen = "walkers diverged or none escaped"
        return Row(label, Verdict.NOT_HELD, theory, exact, note=unseen)
    verdict = Verdict.HELD if held else Verdict.NOT_HELD
    return Row(label, verdict, theory, exact, simulated, error, note)


def limit(
    label: str,
    verdict: Verdict,
    *,
    theory: float,
    exact: float,
    simulated: float,
    error: float,
    note: str,
) -> Row:
    """Return a row outside the theory's assumptions. Its simulated value may be missing (NaN)."""
    if math.isnan(simulated):
        return Row(label, verdict, theory, exact, note=note)
    return Row(label, verdict, theory, exact, simulated, error, note)
