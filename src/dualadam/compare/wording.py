"""The sentences of a report that depend on its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dualadam.compare.arm_summary import ArmSummary
from dualadam.compare.control import reference_lr
from dualadam.compare.edges import Edge, edges_of
from dualadam.compare.spec import Spec
from dualadam.compare.spec_tables import Block
from dualadam.compare.summary import Summary
from dualadam.harness.verdict import Verdict
from dualadam.tasks import Metric


def minus(first: str, second: str) -> str:
    """Return a difference of two arms as text.

    Example:
        >>> minus("DualAdam", "Adam"), minus("DualAdam", "Adam + warm-up")
        ('DualAdam - Adam', 'DualAdam - (Adam + warm-up)')
    """
    names = (f"({n})" if {"+", "-"} & set(n.split()) else n for n in (first, second))
    return " - ".join(names)


def edge_sentence(summary: Summary) -> str:
    """Return the arms whose best point lies on the edge of what was tried, or nothing."""
    ends = {"low": "lowest", "high": "highest"}
    arms = [
        f"{summary.label(row)} ({', '.join(f'{ends[e.side]} {e.setting}' for e in edges)})"
        for row in summary.arms
        if (edges := _edges(row))
    ]
    return f" On the edge of the range: {', '.join(arms)}." if arms else ""


def _edges(row: ArmSummary) -> list[Edge]:
    return edges_of(row.setting, [point.setting for point in row.tuning]) if row.tuning else []


def power_sentence(summary: Summary) -> str:
    """Return which true difference the primary comparison could have detected."""
    if summary.detectable == 0:
        return "Both arms have the same score in every seed, so the power of the study is unknown."
    size = with_unit(f"{summary.detectable:.{summary.decimals}f}", summary.spec.judged_by.metric)
    return f"With this spread, the study detects a true difference of {size} with 80 % power."


def with_unit(number: str, metric: Metric) -> str:
    """Write a difference of scores with its unit; that of two percentages is in points."""
    if metric.unit == "%":
        return f"{number} point{'' if number == '1' else 's'}"
    return f"{number} {metric.unit}".rstrip()


def data_sentences(data: Mapping[str, Any] | None, evaluate_at_most: int | None = None) -> str:
    """Return what a language task counted in its data.

    Example:
        >>> counted = {"examples": {"test": 531}, "truncated": {"test": 0}, "duplicates": 9}
        >>> print(data_sentences(counted | {"max_length": 64}))
        Examples: test 531. 9 duplicates were removed before the split. Cut at 64 tokens: test 0.
    """
    if data and "own_loop" in data:
        return _own_loop_sentences(data["own_loop"])
    sentences = []
    if data:
        sentences += [
            f"Examples: {_counts(data['examples'])}.",
        ]
    if data and "duplicates" in data:
        sentences += [
            f"{data['duplicates']:,} duplicates were removed before the split.",
            f"Cut at {data['max_length']} tokens: {_counts(data['truncated'])}.",
        ]
    if data and not data.get("own_test_split", True):
        sentences.append(
            "There is no test split: judged runs were scored on the validation split, and settings "
            "were chosen on training examples that were held out."
        )
    if data:
        empty = {split: n for split, n in data.get("without_answer", {}).items() if n}
        if empty:
            sentences.append(
                f"No answer was left after the cut: {_counts(empty)}; these examples count neither "
                "for training nor for perplexity."
            )
    if evaluate_at_most:
        sentences.append(
            f"At most {evaluate_at_most:,} examples of the validation and the test split were "
            "evaluated, the same for every arm."
        )
    return " ".join(sentences)


def _own_loop_sentences(found: Mapping[str, Any]) -> str:
    """Return what is missing where the user's own code trained."""
    sentences = []
    if not found["test"]:
        sentences.append(
            "No test score was returned: judged runs were scored on the validation data that the "
            "settings were chosen with, on other seeds."
        )
    if not found["curve"]:
        sentences.append("No learning curve was logged.")
    if found["steps"] is None:
        sentences.append("Steps were not counted: the time per step is that of a whole run.")
    return " ".join(sentences)


def _counts(by_split: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {n:,}" for split, n in by_split.items())


def decay_sentence(spec: Spec, block: Block, without: Sequence[str] = ()) -> str:
    """Return the rule of a block's weight decay, and the arms whose optimizer takes none."""
    rule = _decay_rule(spec, block, "other " if without else "")
    if not without or not block.weight_decay:
        return rule
    plural = len(without) > 1
    lack = "optimizers take" if plural else "optimizer takes"
    return f"{rule} {' and '.join(without)} decayed nothing: the {lack} no weight_decay."


def _decay_rule(spec: Spec, block: Block, other: str) -> str:
    reference = reference_lr(spec, block)
    if reference is None:
        also = ", multiplied by each arm's own learning rate" if block.weight_decay else ""
        return f"Weight decay: {block.weight_decay:g} in every {other}arm{also}."
    return (
        f"Weight decay: {block.weight_decay:g} at a learning rate of {reference:g}. A decoupled "
        f"weight_decay is divided by the run's own rate over this one, so that every {other}arm "
        f"with one decays by {block.weight_decay * reference:.3g} per step, times the schedule."
    )


def shortcomings(summary: Summary) -> Iterator[str]:
    """Yield what the study does not show, a sentence each."""
    spec = summary.spec
    yield "One data set, one model and one length of training: nothing is known about others."
    if spec.points:
        yield (
            f"{spec.num_points} points per arm are a coarse search, whose noise is part of every "
            "difference; settings that were not tuned may matter."
        )
    if at_edge := [
        f"{summary.label(row)} ({edge.setting} {edge.value:.3g})"
        for row in summary.arms
        for edge in _edges(row)
    ]:
        yield (
            f"The best point lies at the edge of its range for {', '.join(at_edge)}; "
            "better settings may lie outside. --extend widens the ranges, for all arms alike, "
            "before any judged run."
        )
    if unmeasured := [summary.label(row) for row in summary.arms if not row.flatness]:
        everywhere = len(unmeasured) == len(summary.arms)
        yield f"Flatness was not measured{'' if everywhere else ' for ' + ', '.join(unmeasured)}."
    open_ones = [row for row in summary.arms if row.verdict is Verdict.NOT_DECIDED]
    if open_ones:
        yield f"Not decided against the control: {', '.join(map(summary.label, open_ones))}."
