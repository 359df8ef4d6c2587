"""Which parameters of a model decay."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

NO_DECAY = ("norm", "embedding", "bias or scale", "learned token or position")


class DecayGroups(list[dict[str, Any]]):
    """Two parameter groups for any torch optimizer; ``print`` shows each parameter and the reason.

    Attributes:
        reasons: by a parameter's name, the class of its module if it decays, else why it does not.
    """

    reasons: dict[str, str]

    def __str__(self) -> str:
        lines = []
        for group in self:
            count = sum(p.numel() for p in group["params"])
            lines.append(
                f"weight_decay {group['weight_decay']:g}: {len(group['params'])} tensors, "
                f"{count:,} parameters"
            )
            lines += [f"  {name:<50} {self.reasons[name]}" for name in group["names"]]
        return "\n".join(lines)


def decay_groups(model: nn.Module, weight_decay: float) -> DecayGroups:
    r"""Split a model's parameters into those that decay and those that do not.

    A parameter does not decay if one of these holds:

    * its module is a normalisation layer, by its type or by "Norm" in the name of its class;
    * its module is an embedding;
    * it has at most one dimension (biases and scales);
    * it is a learned token or position: its first dimension is 1 and its name is not ``weight``.

    A tensor that several modules share (tied embeddings) is listed once, and does not decay if this
    holds for any of them. Frozen parameters are left out.

    Args:
        model: any module.
        weight_decay: the decay of the first group per unit of lr, at least 0.

    Returns:
        Two dicts with the keys ``params``, ``names`` and ``weight_decay`` (the given one, then 0),
        ready for an optimizer.

    Raises:
        TypeError: model is not a module.
        ValueError: weight_decay is negative or not finite, or no parameter needs a gradient.

    Example:
        >>> from torch import nn
        >>> from dualadam import decay_groups
        >>> groups = decay_groups(nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8)), weight_decay=0.1)
        >>> [(group["weight_decay"], group["names"]) for group in groups]
        [(0.1, ['0.weight']), (0.0, ['0.bias', '1.weight', '1.bias'])]
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be a torch.nn.Module, got {type(model).__name__}; pass the model itself, "
            "not its parameters."
        )
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
    no_decay = {name for name, reason in reasons.items() if reason in NO_DECAY}
    decay = [name for name in params if name not in no_decay]
    groups = DecayGroups(
        {
            "params": [params[name] for name in names],
            "names": names,
            "weight_decay": value,
        }
        for names, value in (
            (decay, float(weight_decay)),
            ([name for name in params if name in no_decay], 0.0),
        )
    )
    groups.reasons = reasons
    return groups


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
