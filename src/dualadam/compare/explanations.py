"""Sentences for a first reader: what the optimizers are, and why an arm is not decided."""

from __future__ import annotations

from dualadam.compare.spec import Spec
from dualadam.compare.summary import Summary
from dualadam.harness.verdict import Verdict

DUALADAM = (
    "DualAdam begins as InvAdam and hands over to Adam within 1 / switch_rate steps. InvAdam "
    "multiplies the mean of the gradient by the root of its second moment, where Adam divides."
)
INVADAM = (
    "InvAdam multiplies the mean of the gradient by the root of its second moment, where Adam "
    "divides; its learning rates are about 100 to 1,000 times Adam's."
)
WARM_UP = (
    "With a warm-up, the learning rate rises in a line over 1 / switch_rate steps, which is what "
    "DualAdam does too where gradients are small."
)


def optimizer_sentences(spec: Spec) -> str:
    """Return what DualAdam, InvAdam and a warm-up are, of those that the study compares."""
    arms = [arm for block in spec.block for arm in block.arm]
    classes = {arm.optimizer.rpartition(".")[2] for arm in arms}
    said = [DUALADAM] if "DualAdam" in classes else [INVADAM] if "InvAdam" in classes else []
    if said and any(arm.warmup or arm.optimizer.endswith("+warmup") for arm in arms):
        said.append(WARM_UP)
    return " ".join(said)


def undecided_sentence(summary: Summary, block: str) -> str:
    """Return why arms whose interval excludes 0 are not decided; empty where there are none."""
    compared = [r for r in summary.arms if r.difference and r is not summary.primary]
    names = [
        row.arm
        for row in compared
        if row.block == block
        and row.difference
        and summary.verdict_of(row) is Verdict.NOT_DECIDED
        and not row.difference.contains_zero
    ]
    if not names:
        return ""
    interval = "intervals exclude" if len(names) > 1 else "interval excludes"
    return (
        f"Not decided although the {interval} 0: {', '.join(names)}. Of {len(compared)} intervals "
        "some exclude 0 by chance, so a verdict also needs a Holm-adjusted p below 0.05."
    )
