"""Which parameters decay."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn


class DecayGroups(list[dict[str, Any]]):
    """Two parameter groups for any torch optimizer; ``print`` shows which parameter is in which, and why."""

    reasons: dict[str, str]

    def __str__(self) -> str:
        lines = []
        for group in self:
            count = sum(p.numel() for p in group["params"])
            lines.append(
                f"weight_decay {group['weight_decay']:g}: {len(group['params'])} tensors, {count:,} parameters"
            )
            lines += [f"  {name:<50} {self.reasons[name]}" for name in group["names"]]
        return "\n".join(lines)


def decay_groups(model: nn.Module, weight_decay: float) -> DecayGroups:
    r"""Split a model's parameters into those that decay and those that do not: norms, biases and embeddings.

    A parameter does not decay if its module is a normalisation layer (by type, or by a class name with "Norm" in it, as in many
    language models) or an embedding, if it has at most one dimension, or if it is a learned token or position: a tensor held by a module
    under another name than ``weight`` whose first dimension is 1. A tensor shared by several modules (tied embeddings) is
    listed once and does not decay if any of them says so. Frozen parameters are left out.

    Args:
        model: any module.
        weight_decay: the decay of the first group, at least 0, per unit of lr.

    Returns:
        A list of two dicts with the keys ``params``, ``names`` and ``weight_decay`` (the given one, then 0), ready for an optimizer.

    Raises:
        ValueError: weight_decay is negative or not finite, or no parameter needs a gradient.

    Example:
        >>> from torch import nn
        >>> from dualadam import decay_groups
        >>> groups = decay_groups(nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8)), weight_decay=0.1)
        >>> [(group["weight_decay"], group["names"]) for group in groups]
        [(0.1, ['0.weight']), (0.0, ['0.bias', '1.weight', '1.bias'])]
    """
    if not 0.0 <= weight_decay < math.inf:
        raise ValueError(f"Invalid weight_decay value: {weight_decay}")
    params: dict[str, Tensor] = {}
    first_name: dict[Tensor, str] = {}
    reasons: dict[str, str] = {}
    for prefix, module in model.named_modules():
        for local_name, param in module.named_parameters(recurse=False):
            if not param.requires_grad:
                continue
            name = first_name.setdefault(param, f"{prefix}.{local_name}" if prefix else local_name)
            params[name] = param
            reason = _why_no_decay(module, local_name, param)
            if reason or name not in reasons:
                reasons[name] = reason or type(module).__name__
    if not params:
        raise ValueError(
            "No parameter of the model needs a gradient; unfreeze some before making groups."
        )
    stays = {name for name, why in reasons.items() if why in NO_DECAY}
    groups = DecayGroups(
        {
            "params": [p for n, p in params.items() if (n in stays) == no_decay],
            "names": [n for n in params if (n in stays) == no_decay],
            "weight_decay": decay,
        }
        for no_decay, decay in ((False, float(weight_decay)), (True, 0.0))
    )
    groups.reasons = reasons
    return groups


NO_DECAY = ("norm", "embedding", "bias or scale", "learned token or position")


def _why_no_decay(module: nn.Module, local_name: str, param: Tensor) -> str | None:
    """Return the entry of NO_DECAY that holds for a parameter of this module, or None."""
    norms = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    if isinstance(module, norms) or "Norm" in type(module).__name__:
        return "norm"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return "embedding"
    if param.ndim <= 1:
        return "bias or scale"
    if local_name != "weight" and param.shape[0] == 1:
        return "learned token or position"
    return None
