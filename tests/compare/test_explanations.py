"""A report says what the optimizers are, and why an arm is not decided."""

from dataclasses import replace

import pytest
from compare_cases import TINY, finished

from dualadam.compare.explanations import (
    DUALADAM,
    INVADAM,
    WARM_UP,
    optimizer_sentences,
    undecided_sentence,
)
from dualadam.compare.report_tables import common_rate_table
from dualadam.compare.spec_file import parse_spec
from dualadam.compare.summary import summarise
from dualadam.harness.verdict import Verdict


@pytest.mark.parametrize(
    ("optimizers", "said"),
    [
        (("DualAdam", "AdamW+warmup"), [DUALADAM, WARM_UP]),
        (("DualAdam", "InvAdam"), [DUALADAM]),
        (("dualadam.InvAdam", "AdamW"), [INVADAM]),
        (("AdamW", "AdamW+warmup"), []),
    ],
)
def test_a_report_says_what_the_optimizers_are_that_it_compares(optimizers, said):
    spec = parse_spec(TINY)
    arms = [spec.block[0].arm[0].model_copy(update={"optimizer": name}) for name in optimizers]
    block = spec.block[0].model_copy(update={"arm": arms})
    assert optimizer_sentences(spec.model_copy(update={"block": [block]})) == " ".join(said)


def decided(summary, verdict, low, high, arm="AdamW"):
    """Return a summary with 30 seeds in which one arm has this verdict and interval."""
    rows = [
        replace(
            row, verdict=verdict, difference=replace(row.difference, mean=low, low=low, high=high)
        )
        if row.arm == arm
        else row
        for row in summary.arms
    ]
    return replace(summary, arms=rows, spec=summary.spec.model_copy(update={"seeds": 30}))


def test_an_arm_whose_interval_excludes_0_and_is_not_decided_is_explained():
    summary = summarise(parse_spec(TINY), finished()[1])
    secondary = next(r.arm for r in summary.arms if r.difference and r is not summary.primary)
    block = summary.spec.block[0].name

    def sentence(verdict, low, high):
        return undecided_sentence(decided(summary, verdict, low, high, secondary), block)

    told = sentence(Verdict.NOT_DECIDED, 0.1, 0.9)
    assert secondary in told
    assert "Holm-adjusted p below 0.05" in told
    assert sentence(Verdict.NOT_DECIDED, -0.1, 0.9) == ""
    assert sentence(Verdict.BETTER, 0.1, 0.9) == ""


def test_a_common_learning_rate_stands_beside_the_switch_rates_of_both_arms():
    summary = summarise(parse_spec(TINY), finished()[1])
    table = common_rate_table(summary)
    with_rate = [column for column in table.columns if column.startswith("switch_rate of ")]
    assert with_rate
    for row in table.rows:
        for column, cell in zip(table.columns, row, strict=True):
            if column in with_rate:
                arm = next(r for r in summary.arms if column.endswith(f" of {r.arm}"))
                (setting,) = (p.setting for p in arm.tuning if f"{p.setting['lr']:.4g}" == row[0])
                assert cell == f"{setting['switch_rate']:.4g}"
