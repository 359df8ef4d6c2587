"""From measured points to tables: every row with theory, exact value, simulation, interval and verdict. Pure: results in, rows out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dualadam.diffusion.rules import mixture
from dualadam.studies.escape_landscapes.plan import FLIP_V, MIXING_WEIGHTS, MIXTURE_V, RULES

TOLERANCE = 0.04  # of the exact value, for slopes; of the exponent, for logarithms of times
Z95 = 1.959964
Results = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """One line of a table; None where a column does not apply.

    Attributes:
        table, label: where it stands, and what it is about.
        verdict: "held", "not held", "not decided" (a slope whose interval reaches into the tolerance),
            "fails" (theory fails here, as the page says) or "failure not seen".
        theory: the closed form's value.
        exact: the value of the exact quadrature (with Kramers' factor for momentum where times are compared).
        simulated, error: the value that the shipped optimizers gave, and its standard error.
        note: what is compared, or why it does not hold.
    """

    table: str
    label: str
    verdict: str
    theory: float | None = None
    exact: float | str | None = None
    simulated: float | None = None
    error: float | None = None
    note: str = ""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the simulated value."""
        if self.simulated is None or self.error is None:
            return None
        return self.simulated - Z95 * self.error, self.simulated + Z95 * self.error


def judged(
    table: str,
    label: str,
    held: bool,
    theory: float,
    exact: float | None,
    simulated: float,
    error: float,
    note: str,
) -> Row:
    """Return a row that must hold; a value that could not be measured is None, and does not hold."""
    if math.isnan(simulated):
        return Row(table, label, "not held", theory, exact, note="walkers diverged or none escaped")
    return Row(table, label, "held" if held else "not held", theory, exact, simulated, error, note)


def tables(results: Results) -> list[Row]:
    """Return the rows of what the theory says, table after table; where it fails is in ``failures``."""
    return [
        *_slopes(results),
        *_mixtures(results),
        *_order_flip(results),
        *_selectivity(results),
        *_several_dimensions(results),
    ]


def series(results: Results, prefix: str) -> list[dict[str, Any]]:
    """Return the points whose key is the prefix and one more part, in the order of what is varied."""
    found = [r for key, r in results.items() if key.rpartition("/")[0] == prefix]
    return sorted(found, key=lambda r: r["x"])


def seen(result: dict[str, Any]) -> tuple[float, float]:
    """Return the simulated ln tau and its standard error; NaN where walkers diverged or none escaped."""
    return (
        (math.nan, math.nan)
        if result["simulated"] is None
        else (result["simulated"], result["error"])
    )


def exponents(result: dict[str, Any]) -> tuple[float, float, float, float]:
    """Return the exponent by the closed form, by quadrature and by simulation, and the standard error of the last.

    The exponent of a time is ln tau less Kramers' prefactor: the overdamped one for the quadrature, that with momentum for the simulation.
    """
    e = result["exponent"]
    log_time, error = seen(result)
    return e, result["exact"] - (result["overdamped"] - e), log_time - (result["theory"] - e), error


def slope(points: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Return the least-squares slopes of ln(exponent) against ln(x): exact, simulated, standard error of the latter."""
    x = np.log([p["x"] for p in points])
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    _, exact, simulated, error = np.array([exponents(p) for p in points]).T
    return (
        float(weights @ np.log(exact)),
        float(weights @ np.log(simulated)),
        float(np.sqrt((weights**2) @ (error / simulated) ** 2)),
    )


def with_momentum(result: dict[str, Any]) -> float:
    """Return the exact ln tau with Kramers' factor for momentum."""
    return result["exact"] + result["theory"] - result["overdamped"]


def _slope(table: str, label: str, theory: float, points: list[dict[str, Any]]) -> Row:
    exact, simulated, error = slope(points)
    deviation = simulated / exact - 1
    row = judged(
        table,
        label,
        abs(deviation) <= TOLERANCE,
        theory,
        exact,
        simulated,
        error,
        f"{100 * deviation:+.1f} % from exact",
    )
    if row.verdict == "not held" and abs(deviation) - Z95 * error / abs(exact) <= TOLERANCE:
        return replace(row, verdict="not decided")  # more escapes would tell
    return row


def _slopes(results: Results) -> list[Row]:
    rows = []
    for rule in RULES:
        power = rule.local_exponent(1.0)
        for key, name, theory in (
            ("H", "curvature H", -power),
            ("B", "batch size B", power),
            ("lr", "learning rate", -1.0),
        ):
            rows.append(
                _slope(
                    "slopes",
                    f"{rule.name} against {name}",
                    theory,
                    series(results, f"slope/{rule.name}/{key}"),
                )
            )
    return rows


def _mixtures(results: Results) -> list[Row]:
    """Theory is the local exponent at v = 0.02; exact and simulated are slopes over the range of H."""
    return [
        _slope(
            "mixture",
            f"alpha = {a:g}",
            -mixture(a).local_exponent(MIXTURE_V),
            series(results, f"mixture/{a:g}/H"),
        )
        for a in MIXING_WEIGHTS
    ]


def _order_flip(results: Results) -> list[Row]:
    rows, table = [], "order flip"
    for v in FLIP_V:
        at_v = {rule.name: results[f"flip/{rule.name}/{v:g}"] for rule in RULES}
        for name, r in at_v.items():
            (log_time, error), exact = seen(r), with_momentum(r)
            deviation = (log_time - exact) / r["exponent"]
            note = f"{100 * deviation:+.1f} % of the exponent from exact"
            rows.append(
                judged(
                    table,
                    f"v = {v:g}, {name}: ln tau",
                    abs(deviation) <= TOLERANCE,
                    r["theory"],
                    exact,
                    log_time,
                    error,
                    note,
                )
            )
        adam, inverse = at_v["Adam"], at_v["InvAdam"]
        gap, error = _difference(inverse, adam)
        small = TOLERANCE * adam["exponent"]
        held, what = (
            (abs(gap) <= small, "equal")
            if v == 1
            else (gap > small, "slower")
            if v < 1
            else (gap < -small, "faster")
        )
        exact, theory = inverse["exact"] - adam["exact"], inverse["theory"] - adam["theory"]
        rows.append(
            judged(
                table,
                f"v = {v:g}, ln(tau InvAdam / tau Adam)",
                held,
                theory,
                exact,
                gap,
                error,
                f"expected: InvAdam {what}",
            )
        )
    return rows


def _difference(one: dict[str, Any], other: dict[str, Any]) -> tuple[float, float]:
    (a, error_a), (b, error_b) = seen(one), seen(other)
    return a - b, math.hypot(error_a, error_b)


def _selectivity(results: Results) -> list[Row]:
    rows = []
    for rule in RULES:
        flat, sharp = (results[f"selectivity/{rule.name}/{name}"] for name in ("flat", "sharp"))
        exact, theory = (
            with_momentum(flat) - with_momentum(sharp),
            flat["overdamped"] - sharp["overdamped"],
        )
        ratio, error = _difference(flat, sharp)
        allowed = TOLERANCE * flat["exponent"]
        note = f"{ratio - exact:+.2f} from exact, allowed {allowed:.2f} (4 % of the flat exponent); theory without momentum"
        label = f"{rule.name}, ln(tau flat / tau sharp)"
        rows.append(
            judged(
                "selectivity",
                label,
                abs(ratio - exact) <= allowed,
                theory,
                exact,
                ratio,
                error,
                note,
            )
        )
    return rows


def _several_dimensions(results: Results) -> list[Row]:
    rows = []
    for rule in RULES:
        narrow, straight = (results[f"dimensions/{rule.name}/{r}"] for r in (2, 1))
        theory = narrow["theory"] - straight["theory"]
        ratio, error = _difference(narrow, straight)
        allowed = TOLERANCE * narrow["exponent"]
        note = f"a pass twice as stiff in 2 directions, ln 2 expected; {ratio - theory:+.2f}, allowed {allowed:.2f}"
        label = f"{rule.name}, ln(tau narrow / tau straight)"
        rows.append(
            judged(
                "several dimensions",
                label,
                abs(ratio - theory) <= allowed,
                theory,
                None,
                ratio,
                error,
                note,
            )
        )
    return rows
