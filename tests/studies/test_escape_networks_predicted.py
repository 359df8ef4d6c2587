"""What the recorded preconditioners predict is what the theory page says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dualadam.studies.escape_networks import Settings, read_rows
from dualadam.studies.escape_networks.network import NetworkProblem
from dualadam.studies.escape_networks.recorded_preconditioner import (
    compare_ratios,
    predicted_log_ratios,
)
from dualadam.studies.escape_networks.samples import escape_samples

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "benchmarks/records/2026-11-24_escape-networks"
PAGE = (ROOT / "docs/theory.md").read_text()


@pytest.fixture(scope="module")
def study():
    stored = json.loads((RECORD / "claims.json").read_text())["settings"]
    settings = Settings(
        **{
            **stored,
            "problem": NetworkProblem(**stored["problem"]),
            "temperatures": tuple(stored["temperatures"]),
        }
    )
    rows = read_rows(RECORD)
    return rows, escape_samples(rows.minima, rows.escapes, settings)


@pytest.fixture(scope="module")
def comparisons(study):
    rows, samples = study
    return compare_ratios(rows.minima, samples)


def test_the_predicted_differences_on_the_theory_page_are_those_of_the_record(comparisons):
    for comparison in comparisons:
        value, low, high = comparison.predicted
        shown = f"{value:+.2f} [{low:.2f}, {high:.2f}]"
        label = f"| {comparison.pair.first} - {comparison.pair.second} |"
        (row,) = (line for line in PAGE.splitlines() if line.startswith(label))
        assert shown in row


def test_the_correlations_on_the_theory_page_are_those_of_the_record(comparisons):
    found = [r for comparison in comparisons for r in comparison.correlations.values()]
    (said,) = re.findall(r"log ratios correlate at (-?[\d.]+) to ([\d.]+)\.", PAGE)
    assert said == (f"{min(found):.2f}", f"{max(found):.2f}")
    assert len(found) == 6


def test_measured_ratios_that_follow_the_prediction_would_be_seen(study):
    """With lifetimes made by the theory itself, the correlation is near 1."""
    rows, samples = study
    (comparison,) = (
        c
        for c in compare_ratios(rows.minima, _theory_made(rows.minima, samples))
        if c.pair.second == "Adam"
    )
    assert min(comparison.correlations.values()) > 0.9


def _theory_made(minima, samples):
    """Return samples whose E is 2 / (ratio of p), so that ln E differs as the theory says."""
    made = []
    for sample in samples:
        p = np.array([minimum.preconditioner[sample.optimizer] for minimum in minima])
        exponents = 2.0 * np.median(p) / p
        times = np.exp(sample.log_prefactor + exponents)[:, None] * np.ones((1, 40))
        made.append(replace(sample, last_home=times * 0.999, first_elsewhere=times * 1.001))
    return made


def test_the_prediction_is_the_ratio_of_the_preconditioners(study):
    rows, _ = study
    minimum = rows.minima[0]
    pair = ("InvAdam", "Adam")
    expected = np.log(minimum.preconditioner["Adam"] / minimum.preconditioner["InvAdam"])
    assert predicted_log_ratios(rows.minima, pair)[0] == pytest.approx(expected)
