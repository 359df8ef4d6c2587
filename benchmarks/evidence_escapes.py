"""The rows of docs/evidence.md that come from recorded escape times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from evidence_rows import Row

from dualadam.compare import stats
from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_networks import Claim, Table
from dualadam.studies.escape_networks.claims import subject

SLOPE = "slope of ln(escape time)"


def escapes(folder: Path) -> Iterator[Row]:
    """Claim 5, on model landscapes: slopes, InvAdam's selectivity, its time at Adam's lr."""
    rows = json.loads((folder / "record.json").read_text())["rows"]
    slopes = [r for r in rows if r["table"] in ("slopes", "mixture")]
    held = sum(r["verdict"] == Verdict.HELD for r in slopes)
    verdict = Verdict.HELD if held == len(slopes) else Verdict.NOT_HELD
    yield Row(
        5,
        "escape",
        "slopes of the exponent within 4 % of quadrature",
        f"{held} of {len(slopes)}",
        verdict,
    )

    def one(label: str) -> tuple[float, float, float]:
        r = next(r for r in rows if r["label"] == label)
        return (
            r["simulated"],
            r["simulated"] - 1.96 * r["error"],
            r["simulated"] + 1.96 * r["error"],
        )

    slope, low, high = one("InvAdam against curvature H")
    result = f"{slope:.3f} [{low:.3f}, {high:.3f}] where theory has -1.5 and Adam -0.5"
    yield Row(
        5,
        "escape",
        "InvAdam's slope against curvature is steeper than Adam's",
        result,
        Verdict.HELD if high < -0.5 else Verdict.NOT_HELD,
        drawn=stats.Interval(slope, low, high, 0),
        unit=SLOPE,
    )
    (inverse, low, high), (adam, _, adam_high) = (
        one(f"{name}, ln(tau flat / tau sharp)") for name in ("InvAdam", "Adam")
    )
    result = f"ln(tau flat / tau sharp) {inverse:.2f} [{low:.2f}, {high:.2f}], Adam {adam:.2f}"
    yield Row(
        5,
        "escape",
        "InvAdam tells sharp from flat better than Adam",
        result,
        Verdict.HELD if low > adam_high else Verdict.NOT_HELD,
    )
    slower, low, high = one("v = 0.5, ln(tau InvAdam / tau Adam)")
    result = f"ln(tau InvAdam / tau Adam) {slower:+.2f} [{low:+.2f}, {high:+.2f}]"
    comparison = "InvAdam leaves sooner than Adam at equal learning rate, v = 0.5"
    yield Row(5, "escape", comparison, result, Verdict.HELD if high < 0 else Verdict.NOT_HELD)


def networks(folder: Path) -> Iterator[Row]:
    """Claim 5, on a real network: slopes of the exponent, and InvAdam - Adam, as recorded."""
    record = json.loads((folder / "claims.json").read_text())
    temperatures = record["settings"]["temperatures"]
    slopes = {(Table.EXPONENT_AGAINST_CURVATURE, subject("InvAdam", t)) for t in temperatures}
    differences = {(Table.DIFFERENCE, subject("InvAdam", t, minus="Adam")) for t in temperatures}
    for claim in map(Claim.from_json, record["claims"]):
        if (claim.table, claim.label) in slopes | differences:
            zero = "; contains 0" if claim.low <= 0 <= claim.high else ""
            interval = f"{claim.value:+.2f} [{claim.low:+.2f}, {claim.high:+.2f}]"
            result = f"{interval}{zero}; theory {claim.theory:+.1f}"
            yield Row(
                5,
                "network",
                f"{claim.table}, {claim.label}",
                result,
                claim.verdict,
                drawn=stats.Interval(claim.value, claim.low, claim.high, 0),
                unit=SLOPE,
            )
