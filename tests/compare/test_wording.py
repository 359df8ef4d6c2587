"""The sentences of a report say what its numbers say."""

from dataclasses import replace

import pytest
from compare_cases import TINY, drawn_records, finished, with_scores

from dualadam.compare.spec_file import BUILTIN, parse_spec
from dualadam.compare.summary import summarise
from dualadam.compare.wording import (
    data_sentences,
    edge_sentence,
    power_sentence,
    shortcomings,
    verdict_sentence,
)

CONTROL = [90.0, 91.0, 92.0]
ZERO = " The interval contains 0."
LANGUAGE = (BUILTIN / "language-quick.toml").read_text()
# scores of DualAdam, those of the control being 90, 91, 92 -> verdict at a margin of 0.5, sentence
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
        "DualAdam and Adam + warm-up are equivalent within 0.5 points: "
        f"+0.00 points [-0.25, +0.25], 3 paired seeds.{ZERO}",
    ),
    (
        [91.0, 91.0, 92.0],
        "not decided",
        "Not decided between DualAdam and Adam + warm-up: "
        f"+0.33 points [-1.10, +1.77], 3 paired seeds.{ZERO}",
    ),
]


def summary_of(scores, **changes):
    """The summary of the tiny study with these scores of DualAdam, and changes of its spec."""
    study = parse_spec(TINY), finished()[1]
    spec, records = with_scores(study, {"DualAdam": scores, "Adam + warm-up": CONTROL})
    return summarise(spec.model_copy(update=changes), records)


@pytest.mark.parametrize(("scores", "verdict", "sentence"), SENTENCES)
def test_the_verdict_is_one_sentence_with_its_numbers(scores, verdict, sentence):
    summary = summary_of(scores)
    assert summary.primary.verdict == verdict
    assert verdict_sentence(summary) == sentence + edge_sentence(summary)


def test_a_margin_of_1_is_one_point():
    primary = parse_spec(TINY).primary.model_copy(update={"margin": 1.0})
    sentence = verdict_sentence(summary_of(CONTROL, primary=primary))
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
    found = "\n".join(shortcomings(summary_of([91.0, 91.0, 92.0])))
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
