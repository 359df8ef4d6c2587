"""A summary is a pure function of the records, says what was measured with what, and refuses half a study."""

import copy
import json
import random
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from compare_cases import TINY, drawn_records, finished

from dualadam.compare.figures import curves
from dualadam.compare.report import as_dict
from dualadam.compare.spec_file import BUILTIN, parse_spec
from dualadam.compare.summary import control_of, summarise


@pytest.fixture(scope="module")
def study():
    return parse_spec(TINY), finished()[1]


def test_the_same_records_in_any_order_give_the_same_summary_and_stay_as_they_are(study):
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
    assert rows["AdamW"].difference.p_holm == pytest.approx(
        scipy.stats.ttest_rel(scores["AdamW"], control).pvalue
    )  # one alone: as it is


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


def test_half_a_study_is_refused(study):
    spec, records = study
    for missing in range(1, 4):
        with pytest.raises(
            ValueError, match=r"has \d judged runs of 3; start the study again to finish it\."
        ):
            summarise(spec, records[:-missing])


def with_scores(study, scores):
    """The records with other scores of the judged runs, by arm."""
    spec, records = study
    return spec, [
        with_score(record, scores[record.run.arm][record.run.seed])
        if record.run.phase == "judge" and record.run.arm in scores
        else record
        for record in records
    ]


def with_score(record, score, **changes):
    return replace(record, test=replace(record.test, score=score), **changes)


# scores of DualAdam over three seeds, the control's being 90, 91, 92 -> the decision at a margin of 0.5, and how its sentence begins
SENTENCES = [
    (
        [92.0, 93.1, 93.9],
        "better",
        "DualAdam is better than Adam + warm-up: +2.00 points [+1.75, +2.25], 3 paired seeds.",
    ),
    (
        [88.0, 89.1, 89.9],
        "worse",
        "DualAdam is worse than Adam + warm-up: -2.00 points [-2.25, -1.75], 3 paired seeds.",
    ),
    (
        [90.1, 91.0, 91.9],
        "equivalent",
        "DualAdam and Adam + warm-up are equivalent within 0.5 points: +0.00 points [-0.25, +0.25], 3 paired seeds."
        " The interval contains 0.",
    ),
    (
        [91.0, 91.0, 92.0],
        "not decided",
        "Not decided between DualAdam and Adam + warm-up: +0.33 points [-1.10, +1.77], 3 paired seeds. The interval contains 0.",
    ),
]


@pytest.mark.parametrize(("scores", "decision", "sentence"), SENTENCES)
def test_the_verdict_is_one_sentence(study, scores, decision, sentence):
    summary = summarise(
        *with_scores(study, {"DualAdam": scores, "Adam + warm-up": [90.0, 91.0, 92.0]})
    )
    assert summary.primary.verdict == decision
    assert summary.sentence == sentence


def test_equal_scores_say_nothing_of_power(study):
    equal = [90.0, 91.0, 92.0]
    assert summarise(
        *with_scores(study, {"DualAdam": equal, "Adam + warm-up": equal})
    ).power.startswith("Both arms had the same score")
    spread = summarise(
        *with_scores(study, {"DualAdam": [90.1, 91.0, 91.9], "Adam + warm-up": equal})
    )
    assert (
        spread.power
        == f"With this spread, the study finds a true difference of {spread.detectable:.2f} with 80 % power."
    )


def test_a_demonstration_has_no_verdict(study):
    spec, records = with_scores(
        study, {"DualAdam": [92.0, 93.1, 93.9], "Adam + warm-up": [90.0, 91.0, 92.0]}
    )
    sentence = summarise(spec.model_copy(update={"demonstration": True}), records).sentence
    assert sentence.startswith(
        "A demonstration, no verdict. DualAdam less Adam + warm-up: +2.00 points"
    )


def test_a_secondary_comparison_is_decided_only_after_holms_adjustment():
    text = (
        TINY
        + '\n[[block.arm]]\nname = "NAdam"\noptimizer = "NAdam"\ntune = { lr = [3e-4, 3e-2] }\n'
    )
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
    other = replace_arms(spec.block[0], name="other")
    assert control_of(spec, spec.block[0]) == "Adam + warm-up"
    assert control_of(spec, other) == "Adam + warm-up"
    assert (
        control_of(spec, replace_arms(other, arm=[spec.block[0].arm[2], spec.block[0].arm[0]]))
        == "DualAdam"
    )


def replace_arms(block, **changes):
    return block.model_copy(update=changes)


def test_right_examples_are_resampled_only_for_a_metric_that_counts_them():
    text = (BUILTIN / "language-quick.toml").read_text()
    for metric, counts in (("accuracy", True), ("macro_f1", False)):
        spec = parse_spec(text.replace("points = 3", f'points = 3\nmetric = "{metric}"'))
        assert (summarise(spec, drawn_records(spec)).examples is not None) is counts


def test_a_metric_without_unit_leaves_no_gap_in_the_sentence():
    text = (
        (BUILTIN / "language-quick.toml")
        .read_text()
        .replace("minilm-l6", "smollm2-135m-instruct")
        .replace("bbc-news", "gsm8k")
    )
    spec = parse_spec(text.replace("points = 3", 'points = 3\nmetric = "perplexity"'))
    sentence = summarise(spec, drawn_records(spec)).sentence
    assert " less Adam + warm-up: " in sentence
    assert "  " not in sentence


@pytest.mark.parametrize("points", [1, 2])
def test_a_learning_curve_of_one_point_is_seen(study, points):
    spec, records = study
    short = [replace(record, curve=record.curve[-points:]) for record in records]
    above, below = curves(summarise(spec, short)).figure.axes
    assert {line.get_marker() for ax in (above, below) for line in ax.lines} == {
        "o" if points == 1 else "None"
    }
