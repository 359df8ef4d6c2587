"""Weight decay: the same decay per step in every arm of a block, at every point.

A decoupled decay shrinks the weights by eta lambda per step. With one lambda for all arms, an arm
whose learning rates are a thousand times higher decays a thousand times faster. By default the
block's ``weight_decay`` is therefore meant at one reference learning rate eta_ref, and a run at eta
gets

    lambda_run = lambda * eta_ref / eta,    so that    eta lambda_run = lambda * eta_ref.

The schedule multiplies eta alone, so the decay follows the schedule, as AdamW's does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from dualadam.compare.run import AppliedDecay


def weight_decay_at(weight_decay: float, reference: float | None, lr: float | None) -> float:
    """Return lambda eta_ref / eta, or lambda itself without a reference or a learning rate.

    Example:
        >>> round(weight_decay_at(0.05, 3e-3, 74.0) * 74.0, 9)  # as much a step as at 3e-3
        0.00015
    """
    return weight_decay * (reference / lr) if reference and lr else weight_decay


def lr_of(settings: Mapping[str, Any]) -> float | None:
    """Return the learning rate of settings; None where they have no number as such."""
    try:
        return float(settings["lr"])  # it may be a tensor
    except (KeyError, TypeError, ValueError):
        return None


def independent(group: Any, weight_decay: float, lr: float | None, reference: float) -> Any:
    """Return a parameter group with the weight decay of its learning rate.

    Args:
        group: as torch takes it; what is no dictionary stays as it is.
        weight_decay, lr: of the optimizer, where the group has none of its own.
        reference: the learning rate at which weight_decay is meant.
    """
    if not isinstance(group, dict):
        return group
    own_lr = lr_of(group) if "lr" in group else lr
    decay = weight_decay_at(group.get("weight_decay", weight_decay), reference, own_lr)
    return group | {"weight_decay": decay}


def applied_decay(optimizer: Optimizer, *, decoupled: bool) -> AppliedDecay:
    """Return the weight decay that a new optimizer applies, before any schedule."""
    groups = [group for group in optimizer.param_groups if "weight_decay" in group]
    if not groups or "weight_decay" not in optimizer.defaults:
        return AppliedDecay(None, None)
    group = max(groups, key=lambda group: group["weight_decay"])
    decay, lr = float(group["weight_decay"]), group.get("lr")
    return AppliedDecay(decay, decay * float(lr) if decoupled and lr is not None else None)
