"""The sentences of a report say what its numbers say."""

from dataclasses import replace

import pytest
from compare_cases import TINY, drawn_records, with_score, with_scores

from dualadam.compare.report_tables import score_rows
from dualadam.compare.spec_file import BUILTIN, parse_spec
from dualadam.compare.summary import summarise
from dualadam.compare.verdict_wording import interval_sentence, verdict_sentence
from dualadam.compare.wording import (
    data_sentences,
    edge_sentence,
    power_sentence,
    shortcomings,
)

CONTROL = [90.0, 91.0, 92.0]
ZERO = " The interval contains 0."
LANGUAGE = (BUILTIN / "language-quick.toml").read_text()
# scores of DualAdam in each third seed, those of the control being 90, 91, 92 -> verdict at a
# margin of 0.5, sentence
SENTENCES = [
    (
        [92.0, 93.1, 93.9],
        "better",
        "DualAdam is better than Adam + warm-up: +2.00 points [+1.95, +2.05], 12 paired seeds.",
    ),
    (
        [88.0, 89.1, 89.9],
        "worse",
        "DualAdam is worse than Adam + warm-up: -2.00 points [-2.05, -1.95], 12 paired seeds.",
    ),
    (
        [90.1, 91.0, 91.9],
        "equivalent",
        "DualAdam and Adam + warm-up are equivalent within 0.5 points: "
        f"+0.00 points [-0.05, +0.05], 12 paired seeds.{ZERO}",
    ),
    (
        [91.0, 90.2, 92.0],
        "not decided",
        "Not decided between DualAdam and Adam + warm-up: "
        f"+0.07 points [-0.42, +0.56], 12 paired seeds.{ZERO}",
    ),
]


def summary_of(scores, **changes):
    """The summary of a study with these scores of DualAdam, each four times, and changed keys."""
    spec = parse_spec(TINY).model_copy(update={"seeds": 4 * len(scores), **changes})
    given = {"DualAdam": 4 * scores, "Adam + warm-up": 4 * CONTROL}
    return summarise(*with_scores((spec, drawn_records(spec)), given))


@pytest.mark.parametrize(("scores", "verdict", "sentence"), SENTENCES)
def test_the_verdict_is_one_sentence_with_its_numbers(scores, verdict, sentence):
    summary = summary_of(scores)
    assert summary.primary.verdict == verdict
    assert verdict_sentence(summary) == sentence + edge_sentence(summary)


def test_a_margin_of_1_is_one_point():
    primary = parse_spec(TINY).primary.model_copy(update={"margin": 1.0})
    sentence = verdict_sentence(summary_of([90.1, 91.0, 91.9], primary=primary))
    assert "are equivalent within 1 point: +0.00 points" in sentence


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"demonstration": True}, "demonstration"),
        ({"demonstration": True, "smoke": True}, "smoke test"),
    ],
)
def test_a_demonstration_has_no_verdict(changes, kind):
    sentence = verdict_sentence(summary_of([92.0, 93.1, 93.9], **changes))
    start = f"A {kind}, no verdict. DualAdam - (Adam + warm-up): +2.00 points"
    assert sentence.startswith(start)


def test_fewer_than_ten_seeds_are_a_demonstration_whatever_the_interval_says():
    spec = parse_spec(TINY)
    for seeds, word in ((9, "demonstration"), (10, "better")):
        small = spec.model_copy(update={"seeds": seeds})
        control = [90.0 + 0.1 * seed for seed in range(seeds)]
        better = [score + 1 + 0.01 * (seed % 2) for seed, score in enumerate(control)]
        scores = {"DualAdam": better, "Adam + warm-up": control}
        summary = summarise(*with_scores((small, drawn_records(small)), scores))
        assert summary.primary.verdict == "better"
        assert summary.verdict == word
        shown = [row.verdict for row in score_rows(summary, small.block[0])]
        assert (f"{word} (primary)") in shown
        start = "A demonstration, no verdict, which needs 10 seeds or more. DualAdam - "
        assert verdict_sentence(summary).startswith(start) is (seeds == 9)


def test_identical_runs_of_both_arms_give_no_verdict_and_the_likely_reasons():
    spec = parse_spec(TINY).model_copy(update={"seeds": 12})
    control = {r.run.seed: r for r in judged(spec, "Adam + warm-up")}
    copied = [
        replace(control[r.run.seed], run=r.run) if r in judged(spec, "DualAdam") else r
        for r in drawn_records(spec)
    ]
    summary = summarise(spec, copied)
    assert summary.verdict == summary.primary.verdict == "no verdict"
    assert verdict_sentence(summary) == (
        "No verdict between DualAdam and Adam + warm-up: their 12 pairs of runs have identical "
        "scores. Either the training does not use the optimizer that it is given, or both arms do "
        f"the same, or the metric is constant.{edge_sentence(summary)}"
    )
    other_curve = [replace(r, curve=()) if r.run.arm == "DualAdam" else r for r in copied]
    assert summarise(spec, other_curve).verdict == "equivalent"


def judged(spec, arm):
    return [r for r in drawn_records(spec) if (r.run.phase, r.run.arm) == ("judge", arm)]


def test_a_seed_without_effect_gives_no_verdict_though_the_arms_differ():
    spec = parse_spec(TINY).model_copy(update={"seeds": 12})
    scores = {"DualAdam": [90.0] * 12, "Adam + warm-up": [80.0] * 12}
    summary = summarise(*with_scores((spec, drawn_records(spec)), scores))
    assert summary.verdict == "no verdict"
    assert (
        "each has the same score in all 12 seeds, so nothing says how much chance changes it."
        in verdict_sentence(summary)
    )
    varied = {"DualAdam": [90.0] * 12, "Adam + warm-up": [80.0] * 11 + [80.1]}
    assert summarise(*with_scores((spec, drawn_records(spec)), varied)).verdict == "better"


def test_a_constant_metric_gives_no_verdict():
    spec = parse_spec(TINY).model_copy(update={"seeds": 12})
    scores = {"DualAdam": [100.0] * 12, "Adam + warm-up": [100.0] * 12}
    summary = summarise(*with_scores((spec, drawn_records(spec)), scores))
    assert summary.verdict == "no verdict"
    assert "all 24 runs have the score 100. The metric is constant" in verdict_sentence(summary)


def test_where_every_run_diverged_the_sentence_says_so():
    spec = parse_spec(TINY).model_copy(update={"seeds": 12})
    lost = [
        with_score(r, 0.0, status="diverged") if r.run.phase == "judge" else r
        for r in drawn_records(spec)
    ]
    assert "all 12 runs of both arms diverged" in verdict_sentence(summarise(spec, lost))


# tuning seeds, what decides -> the part of the sentence that names the interval
INTERVALS = [
    (1, "with choice", "it does not contain the noise of the choice of settings, which 3 tuning"),
    (3, "with choice", "contains the noise of the choice of settings"),
    (3, "judged seeds", "is over the paired seeds alone, the rule of this study; with the noise"),
]


@pytest.mark.parametrize(("tuning_seeds", "interval", "said"), INTERVALS)
def test_both_intervals_are_told(tuning_seeds, interval, said):
    spec = parse_spec(TINY)
    changes = {"tuning_seeds": tuning_seeds, "interval": interval, "seeds": 12}
    spec = spec.model_copy(update=changes)
    summary = summarise(spec, drawn_records(spec))
    d = summary.primary.difference
    sentence = interval_sentence(summary)
    assert said in sentence
    shown = score_rows(summary, spec.block[0])[-1].difference
    if tuning_seeds < 3:
        assert ";" not in shown
        assert d.with_choice is None
        return
    assert d.choice > 0
    assert d.with_choice[0] < d.judged[0] < d.judged[1] < d.with_choice[1]
    decides, other = d.with_choice, d.judged
    if interval == "judged seeds":
        decides, other = other, decides
    assert (d.low, d.high) == decides
    beside = f"[{other[0]:+.2f}, {other[1]:+.2f}]"
    assert beside in sentence
    assert shown.endswith(beside)


def test_a_metric_where_less_is_better_and_without_a_unit_is_worded_for_it():
    text = LANGUAGE.replace("minilm-l6", "smollm2-135m-instruct").replace("bbc-news", "gsm8k")
    spec = parse_spec(text.replace("points = 3", 'points = 3\nmetric = "perplexity"'))
    sentence = verdict_sentence(summarise(spec, drawn_records(spec)))
    assert "DualAdam - (Adam + warm-up): " in sentence
    assert "3 paired seeds, sign-flipped so that positive is better." in sentence
    assert "  " not in sentence
    assert "point" not in sentence


def test_the_verdict_names_every_arm_whose_best_point_lies_on_the_edge_of_its_range():
    """The records are in the order of the points; with two points, each lies on an edge."""
    summary = summary_of(CONTROL)
    ends = {row.arm: row for row in summary.arms}
    sentence = edge_sentence(summary)
    for name, row in ends.items():
        others = [p.setting["lr"] for p in row.tuning if p.setting["lr"] != row.setting["lr"]]
        end = "highest" if row.setting["lr"] > min(others) else "lowest"
        assert f"{name} ({end} lr" in sentence
    inside = replace(summary, arms=[replace(row, tuning=[]) for row in summary.arms])
    assert edge_sentence(inside) == ""
    assert verdict_sentence(summary).endswith(f"The interval contains 0.{sentence}")


def test_power_is_what_the_spread_allows_and_unknown_without_spread():
    assert power_sentence(summary_of(CONTROL)).startswith("Both arms have the same score")
    summary = summary_of([90.1, 91.0, 91.9])
    assert f"detects a true difference of {summary.detectable:.2f} points with 80 %" in (
        power_sentence(summary)
    )


def test_shortcomings_name_the_arms_that_they_are_about():
    found = "\n".join(shortcomings(summary_of([91.0, 90.2, 92.0])))
    assert "2 points per arm are a coarse search" in found
    assert "at the edge of its range for AdamW (lr " in found  # of two points each is at an edge
    assert "Flatness was not measured." in found
    assert "DualAdam" in found.partition("Not decided against the control: ")[2]


def test_the_data_of_a_language_task_is_told_in_full():
    data = {
        "examples": {"train": 1275, "test": 531},
        "duplicates": 100,
        "max_length": 64,
        "truncated": {"train": 9, "test": 0},
        "without_answer": {"train": 2, "test": 0},
    }
    assert data_sentences(data, evaluate_at_most=100) == (
        "Examples: train 1,275, test 531. 100 duplicates were removed before the split. "
        "Cut at 64 tokens: train 9, test 0. No answer was left after the cut: train 2; these "
        "examples count neither for training nor for perplexity. At most 100 examples of the "
        "validation and the test split were evaluated, the same for every arm."
    )
    assert data_sentences(None) == ""
