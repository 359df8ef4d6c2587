"""docs/evidence.md follows from the records by the rules that were fixed beforehand."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dualadam.compare import stats
from dualadam.compare.run import Flatness

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import evidence
import evidence_comparisons as comparisons


@pytest.fixture(scope="module")
def digits():
    """Return the summary of the recorded default comparison."""
    return comparisons.load(evidence.find("digits"))


def with_scores(summary, change):
    """Return a summary in which DualAdam's scores are its control's plus a change per seed."""
    control = next(row for row in summary.arms if row.arm == "Adam + warm-up")
    arms = [
        replace(row, scores=[a + b for a, b in zip(control.scores, change, strict=True)])
        if row.arm == "DualAdam"
        else row
        for row in summary.arms
    ]
    return replace(summary, arms=arms)


def test_the_page_follows_from_the_records():
    assert evidence.PAGE.read_text() == evidence.render(), "run: python benchmarks/evidence.py"


def test_every_claim_has_a_section_and_one_without_a_study_says_not_run():
    page = evidence.render()
    rows = evidence.rows_and_studies()[0]
    for claim, text in evidence.CLAIMS.items():
        section = page.split(f"## {claim}. {text}")[1].split("\n## ")[0]
        assert ("**not run**" in section) == (claim not in {row.claim for row in rows})


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ([1.0, 1.1, 0.9, 1.0, 1.05], "held"),
        ([-1.0, -1.1, -0.9, -1.0, -1.05], "not held"),
        ([0.1, -0.1, 0.0, 0.05, -0.05], "equivalent"),
        ([3.0, -3.0, 2.0, -2.0, 0.5], "not decided"),
    ],
)
def test_the_control_decides_claim_3_by_its_interval(digits, change, verdict):
    (row,) = (
        row for row in comparisons.controls("digits", with_scores(digits, change)) if row.claim == 3
    )
    assert row.verdict == verdict
    assert ("contains 0" in row.result) == (verdict in ("equivalent", "not decided"))


def test_plain_optimizers_are_compared_with_dualadam_and_holm_adjusted_together(digits):
    rows = list(comparisons.rivals("digits", with_scores(digits, [1.0, 1.1, 0.9, 1.0, 1.05])))
    assert [(row.claim, row.comparison.split(",")[0]) for row in rows] == [
        (1, "DualAdam - Adam"),
        (2, "DualAdam - NAdam"),
        (2, "DualAdam - RAdam"),
    ]
    raw = [
        float(comparisons.difference(digits.primary, row).p)
        for row in digits.arms
        if row.optimizer in ("Adam", "NAdam", "RAdam")
    ]
    shown = [
        float(row.result.split("Holm p = ")[1]) for row in comparisons.rivals("digits", digits)
    ]
    assert shown == [pytest.approx(p, abs=5e-4) for p in stats.holm(raw)]


def test_flatness_is_compared_in_ratios_over_the_seeds_that_have_both(digits):
    def measured(row, values):
        return replace(
            row,
            flatness={"top_eigenvalue": None},
            judged=[
                replace(record, flatness=None if value is None else Flatness(value, None, None))
                for record, value in zip(row.judged, values, strict=True)
            ],
        )

    flat = [1.0, 1.1, 0.9, 1.0, None]
    sharp = [2.0, 2.2, 1.8, 2.0, 14.0]
    arms = [measured(row, flat if row.arm == "DualAdam" else sharp) for row in digits.arms]
    rows = list(comparisons.flatter("digits", replace(digits, arms=arms)))
    assert [row.comparison.split(",")[0] for row in rows] == ["largest eigenvalue"] * 2
    for row in rows:
        assert row.result == "0.50 [0.50, 0.50], n = 4"
        assert row.verdict == "held"


def test_one_ratio_below_1_holds_no_claim_while_another_is_above_1():
    summary = comparisons.load(evidence.find("digits_study"))
    rows = [row for row in comparisons.flatter("digits", summary) if "below 1 alone" in row.result]
    assert [(row.comparison.split(",")[1].strip(), row.verdict) for row in rows] == [
        ("DualAdam / (Adam + warm-up)", "not held")
    ]


def test_nadam_is_compared_with_the_control_as_in_the_report_of_the_study():
    folder = evidence.find("cifar10_study")
    (row,) = comparisons.nadam("CIFAR-10", comparisons.load(folder))
    interval = row.result.split(" points ")[1].split(", n = ")[0]
    assert interval in (folder / "report.md").read_text()
    assert row.verdict == "better"
