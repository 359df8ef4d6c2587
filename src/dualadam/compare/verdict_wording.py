"""The sentences of a verdict: what it says, and what its interval contains."""

from __future__ import annotations

from dualadam.compare.choice import MIN_TUNING_SEEDS
from dualadam.compare.summary import MIN_SEEDS, Summary
from dualadam.compare.wording import edge_sentence, minus, with_unit
from dualadam.harness.verdict import Verdict


def verdict_sentence(summary: Summary) -> str:
    """Return the verdict on the primary comparison, with its numbers."""
    spec, row = summary.spec, summary.primary
    metric, d = spec.judged_by.metric, row.difference
    assert d is not None, "the primary arm is not the control"
    arm, against, k = spec.primary.arm, spec.primary.against, summary.decimals
    if summary.verdict is Verdict.NO_VERDICT:
        reason = _why_nothing_differs(summary)
        return f"No verdict between {arm} and {against}: {reason}{edge_sentence(summary)}"
    mean = with_unit(f"{d.mean:+.{k}f}", metric)
    numbers = f"{mean} {d.ends(f'+.{k}f')}".rstrip() + f", {d.n} paired seeds"
    if metric.sign < 0:
        numbers += ", sign-flipped so that positive is better"
    if summary.is_demonstration:
        claim = f"{_demonstration(summary)} {minus(arm, against)}"
    else:
        margin = with_unit(f"{summary.margin:g}", metric)
        claim = {
            Verdict.BETTER: f"{arm} is better than {against}",
            Verdict.WORSE: f"{arm} is worse than {against}",
            Verdict.EQUIVALENT: f"{arm} and {against} are equivalent within {margin}",
        }.get(row.verdict, f"Not decided between {arm} and {against}")
    zero = " The interval contains 0." if d.contains_zero else ""
    return f"{claim}: {numbers}.{zero}{edge_sentence(summary)}"


def _demonstration(summary: Summary) -> str:
    if summary.spec.demonstration:
        return f"A {'smoke test' if summary.spec.smoke else 'demonstration'}, no verdict."
    return f"A demonstration, no verdict, which needs {MIN_SEEDS} seeds or more."


def _why_nothing_differs(summary: Summary) -> str:
    """Return the likely reasons why both arms have the same scores."""
    spec, first = summary.spec, summary.primary
    against = next(r for r in summary.arms if r.key == (first.block, spec.primary.against))
    n = len(first.scores)
    if first.diverged == against.diverged == n:
        return f"all {n} runs of both arms diverged. Lower the learning rates."
    if first.judged_alike(against):
        return (
            f"their {n} pairs of runs have identical scores. Either the training does not use "
            "the optimizer that it is given, or both arms do the same, or the metric is constant."
        )
    if len({*first.scores, *against.scores}) > 1:
        return (
            f"each has the same score in all {n} seeds, so nothing says how much chance changes "
            "it. Either the training sets a seed of its own, or the metric is too coarse."
        )
    return (
        f"all {2 * n} runs have the score {first.scores[0]:g}. The metric is constant: choose "
        "one that tells models apart, a harder task, or more test examples."
    )


def _interval(ends: tuple[float, float], decimals: int) -> str:
    return f"[{ends[0]:+.{decimals}f}, {ends[1]:+.{decimals}f}]"


def interval_sentence(summary: Summary) -> str:
    """Return what the interval that decides contains, and the other one beside it."""
    d, k = summary.primary.difference, summary.decimals
    assert d is not None, "the primary arm is not the control"
    if not d.ends(""):
        return "There is no interval: it needs 3 seeds."
    if not summary.spec.points:
        return "Nothing was tuned, so the interval is over the paired seeds alone."
    if d.with_choice is None:
        return (
            "The interval is over the paired seeds alone: it does not contain the noise of the "
            f"choice of settings, which {MIN_TUNING_SEEDS} tuning seeds or more would show."
        )
    if (d.low, d.high) == d.with_choice:
        return (
            "The interval contains the noise of the choice of settings, which was repeated on "
            f"resampled tuning runs; over the judged seeds alone it is {_interval(d.judged, k)}."
        )
    return (
        "The interval is over the paired seeds alone, the rule of this study; with the noise of "
        f"the choice of settings, from resampled tuning runs, it is {_interval(d.with_choice, k)}."
    )
