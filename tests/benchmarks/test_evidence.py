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
import evidence_figures as figures
import evidence_readme as readme
import evidence_studies as studies
from evidence_flatness import with_both_measures
from evidence_rows import Row, shown_verdict


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


@pytest.fixture(scope="module")
def found():
    """Return the rows, summaries and folders of all records."""
    return evidence.rows_and_studies()


def test_the_page_the_readme_and_the_gallery_follow_from_the_records(found):
    remedy = "run: python benchmarks/evidence.py"
    assert evidence.PAGE.read_text() == evidence.render(*found), remedy
    for page, part in (
        (evidence.README, evidence.readme_part(found[0])),
        (evidence.GALLERY, evidence.gallery(found[0])),
    ):
        text = page.read_text()
        assert text == evidence.with_part(text, part), remedy


def test_every_claim_has_a_section_and_one_without_a_study_says_not_run(found):
    page, rows = evidence.render(*found), found[0]
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


def test_the_primary_rows_of_the_regimes_are_adjusted_together():
    def row(study, p):
        d = stats.Difference(1.0, 0.5, 1.5, 20, p, float("nan"), (0, 0), 0.5, (0.5, 1.5))
        return Row(8, study, "DualAdam - control", "+1.00; primary", "held", drawn=d)

    rows = [row("a", 0.03), row("b", 0.02), row("other", 0.03)]
    first, second, other = studies.adjusted_together(rows, {"a", "b"})
    assert [first.verdict, second.verdict] == ["held", "held"]
    assert first.result.endswith("Holm p over the regimes = 0.040")
    assert other == rows[2]
    alone = studies.adjusted_together([row("a", 0.03), row("b", 0.9)], {"a", "b"})
    assert [found.verdict for found in alone] == ["not decided", "not decided"]


def test_a_ratio_is_equivalent_within_its_margin_and_else_held_below_1():
    def verdict(low, high, margin=1.1):
        mean = (low + high) / 2
        return comparisons.flatness(
            4, "a", "b", stats.Interval(mean, low, high, 20), margin
        ).verdict

    assert verdict(0.95, 0.99) == "equivalent"
    assert verdict(0.85, 0.99) == verdict(0.95, 0.99, margin=None) == "held"
    assert verdict(1.01, 1.2) == "not held"
    assert verdict(0.9, 1.2) == "not decided"


@pytest.mark.parametrize(
    ("arm", "eigenvalue", "sharpness", "verdict"),
    [
        ("MixLong", "lower", "lower", "flatter"),
        ("MixLong", "higher", "higher", "sharper"),
        ("DualAdam", "lower", "lower", "held"),
        ("DualAdam", "higher", "higher", "not held"),
        ("DualAdam", "equivalent", "equivalent", "equivalent"),
        ("DualAdam", "equivalent", "lower", "not decided"),
        ("MixLong", "lower", "higher", "not decided"),
    ],
)
def test_two_measures_of_flatness_decide_together(arm, eigenvalue, sharpness, verdict):
    pair = f"{arm} / (Adam + warm-up)"
    of = Row(4, "equal loss, eigenvalue", f"largest eigenvalue, {pair}", "", eigenvalue)
    other = Row(4, "equal loss, sharpness", f"adaptive SAM sharpness, {pair}", "", sharpness)
    parts = [replace(row, decides=False) for row in (of, other)]
    *same, both = with_both_measures(parts)
    assert same == parts
    assert (both.verdict, both.comparison) == (verdict, f"both measures, {pair}")
    assert shown_verdict(both) == f"**{verdict}**"
    assert shown_verdict(parts[0]) == eigenvalue
    assert with_both_measures(parts[1:]) == parts[1:]  # the other study is not finished


def test_few_seeds_are_a_demonstration_also_without_an_interval():
    row = Row(8, "a", "b", "", "held", seeds=5)
    assert shown_verdict(row) == "demonstration (held)"
    assert shown_verdict(replace(row, seeds=20)) == "**held**"


def test_a_worse_invadam_is_behind():
    summary = comparisons.load(evidence.find("regime-summed_fashion-mnist"))
    for claim, verdict in ((8, "not held"), (6, "behind")):
        row = studies.difference(claim, "summed loss", summary, summary.primary)
        assert (summary.primary.arm, row.verdict) == ("DualAdam", verdict)


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("regime-wrong-labels-20_fashion-mnist", "it does not replicate"),  # contains 0
        ("mix_cifar10", "it replicates"),
    ],
)
def test_a_lead_replicates_if_its_interval_is_above_0(name, outcome):
    rows = list(studies.again(8)("again", evidence.find(name)))
    assert [row for row in rows if "primary" in row.result] == [
        row for row in rows if row.result.endswith(f"; {outcome}")
    ]


@pytest.mark.parametrize("replicates", [True, False])
def test_the_direction_of_the_mixed_form_decides_only_after_its_gain(monkeypatch, replicates):
    monkeypatch.setattr(studies, "replicates", lambda summary: replicates)
    *_, second = studies.mixed_again("again", evidence.find("mix-again_cifar10"))
    assert second.comparison.startswith("MixLong - MixLongSize")
    assert ("decides nothing" in second.result) == (not replicates)
    assert second.decides == replicates


def test_the_figure_of_a_claim_draws_every_interval(found):
    rows = [row for row in found[0] if row.claim == 4]
    figure = figures.forest(rows)
    drawn = sum(len(ax.containers) for ax in figure.axes)
    assert drawn == sum(row.drawn is not None for row in rows) > 0
    assert figures.forest([replace(row, drawn=None) for row in rows]) is None


def test_the_readme_names_only_rows_that_its_studies_have(found):
    rows = found[0]
    studied = {row.study for row in rows}
    for claim, wanted in readme.SHOWN.items():
        for which in wanted:
            assert (which.study in studied) == (readme.short(rows, claim, which) is not None)
