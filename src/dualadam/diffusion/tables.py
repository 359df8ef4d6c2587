"""From measured points to tables: every row with theory, exact value, simulation, interval and verdict. Pure: results in, rows out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualadam.diffusion.plan import FLIP_V, MIXING_WEIGHTS, MIXTURE_V, RULES
from dualadam.diffusion.rules import mixture

TOLERANCE = 0.04  # of the exact value, for slopes; of the exponent, for logarithms of times
Z95 = 1.959964
Results = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """One line of a table; None where a column does not apply.

    Attributes:
        table, label: where it stands, and what it is about.
        theory: the closed form's value.
        exact: the value of the exact quadrature (with Kramers' factor for momentum where times are compared).
        simulated, low, high: the value that the shipped optimizers gave, with its 95 % interval.
        verdict: "held", "not held", "fails" (theory fails here, as the page says) or "failure not seen".
        note: what is compared, or why it does not hold.
    """

    table: str
    label: str
    theory: float | str | None
    exact: float | str | None
    simulated: float | str | None
    low: float | None
    high: float | None
    verdict: str
    note: str = ""


def tables(results: Results) -> list[Row]:
    """Return the rows of what the theory says, table after table; where it fails is in ``failures``."""
    return [*_slope_rows(results), *_mixture_rows(results), *_flip_rows(results), *_selectivity_rows(results), *_dimension_rows(results)]


def series(results: Results, prefix: str) -> list[dict[str, Any]]:
    """Return the points whose key is the prefix and a number, in order."""
    found = [r for key, r in results.items() if key.rpartition("/")[0] == prefix]
    return sorted(found, key=lambda r: r["x"])


def exponents(result: dict[str, Any]) -> tuple[float, float, float, float]:
    """Return the exponent by the closed form, by quadrature and by simulation, and the standard error of the last.

    The exponent of a time is ln tau less Kramers' prefactor: the overdamped one for the quadrature, that with momentum for the simulation.
    """
    e = result["exponent"]
    return e, result["exact"] - (result["overdamped"] - e), result["simulated"] - (result["theory"] - e), result["error"]


def slope(points: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Return the least-squares slopes of ln(exponent) against ln(x): exact, simulated, standard error of the latter."""
    x = np.log([p["x"] for p in points])
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    _, exact, seen, error = np.array([exponents(p) for p in points]).T
    return float(weights @ np.log(exact)), float(weights @ np.log(seen)), float(np.sqrt((weights**2) @ (error / seen) ** 2))


def _slope_row(table: str, label: str, theory: float, points: list[dict[str, Any]], note: str = "") -> Row:
    exact, seen, error = slope(points)
    deviation = seen / exact - 1
    verdict = "held" if abs(deviation) <= TOLERANCE else "not held"
    text = f"{100 * deviation:+.1f} % from exact" + (f"; {note}" if note else "")
    return Row(table, label, theory, exact, seen, seen - Z95 * error, seen + Z95 * error, verdict, text)


def _slope_rows(results: Results) -> list[Row]:
    signs = (("H", -1, "curvature H"), ("B", 1, "batch size B"), ("lr", None, "learning rate"))
    return [
        _slope_row(
            "slopes",
            f"{rule.name} against {name}",
            -1.0 if sign is None else sign * rule.local_exponent(1.0),
            series(results, f"slope/{rule.name}/{key}"),
        )
        for rule in RULES
        for key, sign, name in signs
    ]


def _mixture_rows(results: Results) -> list[Row]:
    rows = []
    for a in MIXING_WEIGHTS:
        note = "theory is the local exponent at v = 0.02, the others the slope over the range" if 0 < a < 1 else ""
        rows.append(
            _slope_row("mixture", f"alpha = {a:g}", -mixture(a).local_exponent(MIXTURE_V), series(results, f"mixture/{a:g}/H"), note)
        )
    return rows


def with_momentum(result: dict[str, Any]) -> float:
    """Exact ln tau times Kramers' factor for momentum."""
    return result["exact"] + result["theory"] - result["overdamped"]


def _time_row(table: str, label: str, result: dict[str, Any], note: str = "") -> Row:
    exact, seen, error = with_momentum(result), result["simulated"], result["error"]
    verdict = "held" if abs(seen - exact) <= TOLERANCE * result["exponent"] else "not held"
    text = f"{100 * (seen - exact) / result['exponent']:+.1f} % of the exponent from exact" + (f"; {note}" if note else "")
    return Row(table, label, result["theory"], exact, seen, seen - Z95 * error, seen + Z95 * error, verdict, text)


def _flip_rows(results: Results) -> list[Row]:
    rows = []
    for v in FLIP_V:
        at_v = {rule.name: results[f"flip/{rule.name}/{v:g}"] for rule in RULES}
        rows += [_time_row("order flip", f"v = {v:g}, {name}", r) for name, r in at_v.items()]
        adam, inv = at_v["Adam"], at_v["InvAdam"]
        gap, error = inv["simulated"] - adam["simulated"], math.hypot(inv["error"], adam["error"])
        exact = inv["exact"] - adam["exact"]
        small = TOLERANCE * adam["exponent"]
        held = abs(gap) <= small if v == 1 else math.copysign(1, gap) == math.copysign(1, exact) and abs(gap) > small
        what = "equal" if v == 1 else "InvAdam slower" if v < 1 else "InvAdam faster"
        rows.append(
            Row(
                "order flip",
                f"v = {v:g}, ln(tau InvAdam / tau Adam)",
                inv["theory"] - adam["theory"],
                exact,
                gap,
                gap - Z95 * error,
                gap + Z95 * error,
                "held" if held else "not held",
                f"expected: {what}",
            )
        )
    return rows


def _ratio_row(
    table: str,
    label: str,
    numerator: dict[str, Any],
    denominator: dict[str, Any],
    allowed: float,
    exact: Callable[[dict[str, Any]], float] | None,
) -> Row:
    theory = numerator["overdamped"] - denominator["overdamped"]
    reference = theory if exact is None else exact(numerator) - exact(denominator)
    seen, error = numerator["simulated"] - denominator["simulated"], math.hypot(numerator["error"], denominator["error"])
    verdict = "held" if abs(seen - reference) <= allowed else "not held"
    return Row(
        table,
        label,
        theory,
        None if exact is None else reference,
        seen,
        seen - Z95 * error,
        seen + Z95 * error,
        verdict,
        f"{seen - reference:+.2f}, allowed {allowed:.2f}",
    )


def _selectivity_rows(results: Results) -> list[Row]:
    rows = []
    for rule in RULES:
        flat, sharp = (results[f"selectivity/{rule.name}/{name}"] for name in ("flat", "sharp"))
        rows.append(
            _ratio_row("selectivity", f"{rule.name}, ln(tau flat / tau sharp)", flat, sharp, TOLERANCE * flat["exponent"], with_momentum)
        )
    return rows


def _dimension_rows(results: Results) -> list[Row]:
    rows = []
    for rule in RULES:
        narrow, straight = (results[f"dimensions/{rule.name}/{r}"] for r in (2, 1))
        rows.append(
            _ratio_row(
                "several dimensions",
                f"{rule.name}, ln(tau narrow / tau straight) = ln 2",
                narrow,
                straight,
                TOLERANCE * narrow["exponent"],
                None,
            )
        )
    return rows
