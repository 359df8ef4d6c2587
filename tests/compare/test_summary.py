"""A summary is a pure function of the records, and refuses an unfinished study."""

import copy
import json
import random
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from compare_cases import TINY, drawn_records, finished, with_score, with_scores

from dualadam.compare.report import as_dict
from dualadam.compare.spec_file import BUILTIN, parse_spec
from dualadam.compare.summary import control_of, summarise
from dualadam.errors import InvalidValueError
from dualadam.tasks import TASKS, Metric


@pytest.fixture(scope="module")
def study():
    return parse_spec(TINY), finished()[1]


def test_the_same_records_in_any_order_give_the_same_summary_and_are_not_changed(study):
    spec, records = study
    before = copy.deepcopy(records)
    first = as_dict(summarise(spec, records))
    for seed in range(5):
        shuffled = random.Random(seed).sample(records, len(records))
        assert json.dumps(as_dict(summarise(spec, shuffled))) == json.dumps(first)
    assert records == before


def test_intervals_differences_and_p_values_are_those_of_the_scores(study):
    spec, records = study
    summary = summarise(spec, records)
    scores = {
        arm.name: [
            r.test.score for r in records if r.run.phase == "judge" and r.run.arm == arm.name
        ]
        for arm in spec.block[0].arm
    }
    assert [row.scores for row in summary.arms] == list(scores.values())
    control = scores["Adam + warm-up"]
    rows = {row.arm: row for row in summary.arms}
    for name in ("AdamW", "DualAdam"):
        low, high = scipy.stats.ttest_rel(scores[name], control).confidence_interval(0.95)
        assert (rows[name].difference.low, rows[name].difference.high) == pytest.approx((low, high))
    assert rows["Adam + warm-up"].difference is None
    assert np.isnan(summary.primary.difference.p_holm)  # the primary comparison stands alone
    # there is one secondary comparison, so its p value is not changed
    assert rows["AdamW"].difference.p_holm == pytest.approx(
        scipy.stats.ttest_rel(scores["AdamW"], control).pvalue
    )


def test_every_score_carries_its_signature(study):
    spec, records = study
    row = summarise(spec, records).primary
    environment, run = records[-1].environment, row.judged[0].run
    for part in (
        "task:digits",
        "model:small-cnn",
        "optimizer:DualAdam",
        f"lr:{run.settings['lr']}",
        f"switch_rate:{run.settings['switch_rate']}",
        "weight_decay:0.01",
        "steps:10",
        "batch:8",
        "schedule:cosine",
        "seeds:0-2",
        "threads:1",
        f"torch:{environment['torch']}",
        f"dualadam:{environment['dualadam']}",
    ):
        assert part in row.signature.split("|")


def test_an_unfinished_study_is_refused(study):
    spec, records = study
    for missing in range(1, 4):
        message = r"has \d judged runs of 3; start the study again to finish it\."
        with pytest.raises(InvalidValueError, match=message):
            summarise(spec, records[:-missing])


def test_a_secondary_comparison_is_decided_only_after_holms_adjustment():
    fourth_arm = 'name = "NAdam"\noptimizer = "NAdam"\ntune = { lr = [3e-4, 3e-2] }\n'
    text = f"{TINY}\n[[block.arm]]\n{fourth_arm}"
    spec, records = parse_spec(text), finished()[1]
    fourth = [replace(r, run=replace(r.run, arm="NAdam")) for r in records if r.run.arm == "AdamW"]
    scores = {"Adam + warm-up": [90.0, 91.0, 92.0], "NAdam": [90.0, 91.0, 95.0]}
    for adamw, decision in (([92.0, 93.1, 93.9], "better"), ([91.0, 93.0, 94.0], "not decided")):
        summary = summarise(*with_scores((spec, [*records, *fourth]), {**scores, "AdamW": adamw}))
        row = next(r for r in summary.arms if r.arm == "AdamW")
        assert row.difference.p_holm == pytest.approx(2 * row.difference.p)
        assert row.verdict == decision
    assert row.difference.low > 0  # by its own interval alone it would be better


def test_a_diverged_run_is_a_row_with_the_worst_score(study):
    spec, records = study
    lost = next(r for r in records if r.run.phase == "judge" and r.run.arm == "AdamW")
    diverged = with_score(lost, 0.0, status="diverged")
    row = summarise(spec, [diverged if r is lost else r for r in records]).arms[0]
    assert (row.diverged, len(row.scores), min(row.scores)) == (1, 3, 0.0)


def test_the_control_is_the_primary_comparisons_and_elsewhere_the_warm_up(study):
    spec, _ = study
    other = spec.block[0].model_copy(update={"name": "other"})
    no_warm_up = other.model_copy(update={"arm": [other.find("DualAdam"), other.find("AdamW")]})
    assert control_of(spec, spec.block[0]) == "Adam + warm-up"
    assert control_of(spec, other) == "Adam + warm-up"
    assert control_of(spec, no_warm_up) == "DualAdam"


def test_a_class_that_is_gone_does_not_matter(study):
    spec, records = study
    text = TINY.replace('optimizer = "AdamW"', 'optimizer = "no_such_module.Optimizer"')
    row = summarise(parse_spec(text), records).arms[0]
    assert (row.arm, row.decoupled_decay) == ("AdamW", None)
    assert row.scores == summarise(spec, records).arms[0].scores


def test_right_examples_are_resampled_only_for_a_metric_that_counts_them():
    text = (BUILTIN / "language-quick.toml").read_text()
    for metric, counts in (("accuracy", True), ("macro_f1", False)):
        spec = parse_spec(text.replace("points = 3", f'points = 3\nmetric = "{metric}"'))
        assert (summarise(spec, drawn_records(spec)).examples is not None) is counts


@pytest.mark.parametrize(("scale", "decimals"), [(1.0, 2), (1e-3, 4)])
def test_small_scores_that_are_no_percentages_keep_two_digits_of_their_interval(scale, decimals):
    spec = parse_spec(TINY.replace('task = "digits"', 'task = "own"'))
    spec = spec.with_task(replace(TASKS["digits"], metrics={"loss": Metric("", False)}))
    records = drawn_records(spec)
    scores = {arm.name: [0.08, 0.09, 0.1] for arm in spec.block[0].arm}
    scores["DualAdam"] = [0.08 + 2 * scale, 0.09 - scale, 0.1]
    assert summarise(*with_scores((spec, records), scores)).decimals == decimals


def test_percentages_have_two_decimals():
    spec = parse_spec(TINY)
    assert summarise(spec, drawn_records(spec)).decimals == 2
