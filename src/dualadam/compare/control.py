"""The control of a block, and what the block takes from it."""

from __future__ import annotations

import math

from dualadam.compare.optimizers import OPTIMIZERS
from dualadam.compare.spec import Spec
from dualadam.compare.spec_tables import Arm, Block


def control_of(spec: Spec, block: Block) -> str:
    """Return the arm that the arms of a block are compared with.

    It is ``primary.against`` in the primary block. In other blocks it is the first warm-up control,
    or the first arm where there is none.
    """
    if block is spec.primary_block:
        return spec.primary.against
    return next((arm.name for arm in block.arm if is_warmed(arm)), block.arm[0].name)


def is_warmed(arm: Arm) -> bool:
    """Whether an arm is a warm-up control."""
    entry = OPTIMIZERS.get(arm.optimizer)
    return arm.warmup or (entry is not None and entry.warmup)


def reference_lr(spec: Spec, block: Block) -> float | None:
    """Return the learning rate at which a block's weight decay is meant; None for each run's own.

    It is the block's ``reference_lr``, else the control's fixed learning rate, else the geometric
    middle of the control's range, else that of the first arm that sets one. Extensions of a range
    do not move it.
    """
    if spec.decay != "independent" or not block.weight_decay:
        return None
    if block.reference_lr is not None:
        return block.reference_lr
    arms = [block.find(control_of(spec, block)), *block.arm]
    return next((lr for arm in arms if (lr := _middle_lr(arm)) is not None), None)


def _middle_lr(arm: Arm) -> float | None:
    if "lr" in arm.tune:
        low, high = arm.tune["lr"]
        return float(f"{math.sqrt(low * high):.4g}")
    lr = arm.args.get("lr")
    return float(lr) if isinstance(lr, int | float) and lr > 0 else None
