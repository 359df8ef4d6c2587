"""The margin of equivalence where the spec gives none: from the tuning runs, before judging."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dualadam.compare.run import Record
from dualadam.compare.spec import Spec


def margin_of(spec: Spec, records: Sequence[Record]) -> float:
    """Return the margin of equivalence of the primary comparison.

    Without ``primary.margin`` it is the standard deviation between the tuning seeds of one point,
    pooled over the points of both primary arms. With one tuning seed it is the standard deviation
    of the better half of the control's points. Diverged runs are left out. Tuning runs end before
    any judged run starts, so the judged scores have no influence.
    """
    if spec.primary.margin is not None:
        return spec.primary.margin
    tuned = [
        record
        for record in records
        if record.run.phase == "tune"
        and record.run.block == spec.primary_block.name
        and not record.diverged
    ]
    if spec.tuning_seeds > 1:
        groups: dict[tuple[str, int], list[float]] = {}
        for record in tuned:
            if record.run.arm in (spec.primary.arm, spec.primary.against):
                scores = groups.setdefault((record.run.arm, record.run.trial), [])
                scores.append(record.validation.score)
        variances = [np.var(scores, ddof=1) for scores in groups.values() if len(scores) > 1]
        return _rounded(math.sqrt(np.mean(variances))) if variances else 0.0
    sign = spec.judged_by.metric.sign
    control = [r.validation.score for r in tuned if r.run.arm == spec.primary.against]
    better = sorted(control, key=lambda score: -sign * score)[: max(2, -(-len(control) // 2))]
    return _rounded(np.std(better, ddof=1)) if len(better) > 1 else 0.0


def _rounded(margin: float | np.floating) -> float:
    """Return a margin with three significant digits, as the report shows it."""
    return float(f"{margin:.3g}")


def margin_source(spec: Spec) -> str:
    """Return where a margin comes from that the spec does not give, as a sentence; else nothing."""
    if spec.primary.margin is not None:
        return ""
    if spec.tuning_seeds > 1:
        return "The margin is the standard deviation between tuning seeds, fixed before judging."
    return (
        "The margin is the standard deviation over the better half of the control's tuned points, "
        "fixed before judging."
    )
