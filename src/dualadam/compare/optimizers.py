"""What can stand in an arm: name -> class, its fixed settings, and whether it is a warm-up control. Needs torch alone."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer

from dualadam.optim import DualAdam, InvAdam


@dataclass(frozen=True)
class Entry:
    """An optimizer as the comparison knows it."""

    cls: type[Optimizer]
    summary: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    warmup: bool = (
        False  # a linear warm-up of the learning rate, not of the decay, over 1 / switch_rate steps
    )
    decoupled: bool | None = (
        True  # whether weight_decay is decoupled from the gradient; None: the class alone knows
    )

    def arguments(self) -> list[str]:
        """Return the names that ``args`` and ``tune`` of a spec may set."""
        names = [
            n
            for n in inspect.signature(self.cls).parameters
            if n not in ("params", "weight_decay", *self.fixed)
        ]
        return names + ["switch_rate"] * self.warmup


DECOUPLED = {"decoupled_weight_decay": True}
OPTIMIZERS: dict[str, Entry] = {
    "Adam": Entry(
        torch.optim.Adam, "torch.optim.Adam; a weight decay is coupled (L2)", decoupled=False
    ),
    "AdamW": Entry(torch.optim.AdamW, "torch.optim.AdamW"),
    "NAdam": Entry(torch.optim.NAdam, "torch.optim.NAdam with decoupled decay", DECOUPLED),
    "RAdam": Entry(torch.optim.RAdam, "torch.optim.RAdam with decoupled decay", DECOUPLED),
    "SGD": Entry(
        torch.optim.SGD,
        "torch.optim.SGD with momentum 0.9; a weight decay is coupled (L2)",
        {"momentum": 0.9},
        decoupled=False,
    ),
    "InvAdam": Entry(
        InvAdam,
        "dualadam.InvAdam: the inverse part for ever; give it learning rates of its own range",
    ),
    "DualAdam": Entry(
        DualAdam, "dualadam.DualAdam: hands over to Adam within 1 / switch_rate steps"
    ),
    "Adam+warmup": Entry(
        torch.optim.Adam,
        "the control: Adam, learning rate x min(1, switch_rate t), decay not warmed",
        DECOUPLED,
        True,
    ),
    "AdamW+warmup": Entry(torch.optim.AdamW, "the control with AdamW", warmup=True),
}


def find_entry(name: str) -> Entry:
    """Return the entry of a known name, or one made from an importable class such as ``schedulefree.AdamWScheduleFree``.

    Raises:
        ValueError: the name has no dot and is not known, or does not lead to a torch optimizer.
    """
    if name in OPTIMIZERS:
        return OPTIMIZERS[name]
    module, _, attribute = name.rpartition(".")
    if not all(part.isidentifier() for part in name.split(".")) or not module:
        raise ValueError(f"{name!r} is not an optimizer of the comparison.")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (
        Exception
    ) as error:  # a module of the reader's own may raise anything while it is imported
        raise ValueError(f"the class {name!r} cannot be imported: {error}.") from error
    if not (isinstance(cls, type) and issubclass(cls, Optimizer)):
        raise ValueError(f"{name!r} must be a subclass of torch.optim.Optimizer, got {cls!r}.")
    return Entry(cls, f"the class {name}", decoupled=None)


def make_optimizer(
    name: str, params: Any, settings: Mapping[str, Any], weight_decay: float = 0.0
) -> Optimizer:
    """Build the optimizer of an arm. ``switch_rate`` of a control is not its own argument: the learning rate carries it."""
    entry = find_entry(name)
    arguments = {
        **entry.fixed,
        **{k: v for k, v in settings.items() if not (entry.warmup and k == "switch_rate")},
    }
    if isinstance(dtype := arguments.get("state_dtype"), str):  # as a spec writes it: "bfloat16"
        arguments["state_dtype"] = getattr(torch, dtype, dtype)
    if "weight_decay" in inspect.signature(entry.cls).parameters:
        arguments["weight_decay"] = weight_decay
    return entry.cls(params, **arguments)


def switch_mode(optimizer: Optimizer, mode: str) -> None:
    """Tell an optimizer that averages its weights (Schedule-Free) what they are wanted for: "train" or "eval"."""
    if callable(switch := getattr(optimizer, mode, None)):
        switch()


def take_a_step(name: str, settings: Mapping[str, Any]) -> None:
    """Build the optimizer of an arm and update one number with it; raises whatever the class has against the settings."""
    param = torch.nn.Parameter(torch.ones(1, 1))
    param.grad = torch.ones_like(param)
    optimizer = make_optimizer(name, [param], settings)
    switch_mode(optimizer, "train")
    optimizer.step()


def schedule_factor(kind: str, step: int, total: int, final_fraction: float) -> float:
    r"""Return s(t), by which the learning rate is multiplied at step t = 1 ... total.

    constant: 1. linear: from 1 to final_fraction. cosine: f + (1 - f) (1 + cos(pi (t - 1) / total)) / 2.

    Example:
        >>> [round(schedule_factor("cosine", t, 4, 0.0), 3) for t in (1, 3, 4)]
        [1.0, 0.5, 0.146]
    """
    done = (step - 1) / total
    if kind == "constant":
        return 1.0
    if kind == "linear":
        return 1.0 - (1.0 - final_fraction) * done
    if kind == "cosine":
        return final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + math.cos(math.pi * done))
    raise ValueError(f"schedule must be constant, linear or cosine, got {kind!r}.")


class LearningRate:
    r"""Sets lr and weight_decay of an optimizer's groups before each step.

    .. math:: \eta_t = \eta\, s(t)\, w_t, \quad \lambda_t = \lambda / w_t, \quad w_t = \min(1, \xi t)

    w_t is 1 but for the controls; dividing the decay by it keeps lr x decay at its unwarmed value.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        kind: str,
        total: int,
        final_fraction: float,
        warmup_rate: float | None,
    ) -> None:
        self.optimizer, self.kind, self.total, self.final_fraction, self.warmup_rate = (
            optimizer,
            kind,
            total,
            final_fraction,
            warmup_rate,
        )
        self.base = [(group["lr"], group.get("weight_decay")) for group in optimizer.param_groups]

    def set(self, step: int) -> None:
        """Prepare step t, counted from 1."""
        factor = schedule_factor(self.kind, step, self.total, self.final_fraction)
        warm = 1.0 if self.warmup_rate is None else min(1.0, self.warmup_rate * step)
        for group, (lr, decay) in zip(self.optimizer.param_groups, self.base, strict=True):
            group["lr"] = lr * factor * warm
            if decay:
                group["weight_decay"] = decay / warm
