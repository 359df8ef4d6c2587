"""What the settings of a parameter group may be: checked once, before any step, in torch's own words where torch has them."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor


def _require_number(name: str, value: Any, *, tensor: bool = False) -> None:
    if isinstance(value, Tensor) and tensor:
        if value.numel() != 1:
            raise ValueError(f"Tensor {name} must be 1-element")
    elif isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"{name} must be a number{' or a 1-element tensor' if tensor else ''}, got {type(value).__name__} {value!r}."
        )


def check_settings(settings: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse settings out of range, of the wrong type, in conflict with each other, or with a key that looks misspelt."""
    known = list(known)
    for key in settings:
        if key not in known and (
            close := difflib.get_close_matches(str(key), known, n=1, cutoff=0.8)
        ):
            raise ValueError(
                f"Unknown setting {key!r} in a parameter group; did you mean {close[0]!r}?"
            )

    lr, betas = settings["lr"], settings["betas"]
    _require_number("lr", lr, tensor=True)
    if not 0.0 <= lr < math.inf:
        raise ValueError(f"Invalid learning rate: {lr}")
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise TypeError(f"betas must be a pair, got {betas!r}.")
    for i, beta in enumerate(betas):
        _require_number(f"betas[{i}]", beta, tensor=True)
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
    if isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
        raise ValueError("betas must be either both floats or both Tensors")
    for name, words in (("eps", "epsilon"), ("weight_decay", "weight_decay")):
        _require_number(name, settings[name])
        if not 0.0 <= settings[name] < math.inf:
            raise ValueError(f"Invalid {words} value: {settings[name]}")
    if "switch_rate" in settings:
        if "switch_rate" not in known:
            raise ValueError("InvAdam has no switch_rate; use DualAdam.")
        _require_number("switch_rate", settings["switch_rate"])
        if not 0.0 <= settings["switch_rate"] <= 1.0:
            raise ValueError(
                f"switch_rate must be in [0, 1], got {settings['switch_rate']}. switch_rate_for(total_steps) gives one."
            )

    if settings.get("amsgrad"):  # a group written for torch.optim.AdamW
        raise ValueError(
            f"amsgrad must be False, got {settings['amsgrad']}: it has no counterpart here."
        )
    for name in (
        "foreach",
        "fused",
        "maximize",
        "capturable",
        "differentiable",
        "stochastic_rounding",
    ):
        if not isinstance(settings[name], bool) and not (
            settings[name] is None and name in ("foreach", "fused")
        ):
            raise TypeError(
                f"{name} must be True or False{' or None' if name in ('foreach', 'fused') else ''}, got {settings[name]!r}."
            )
    if settings["state_dtype"] not in (None, torch.float32, torch.bfloat16):
        raise ValueError(
            f"state_dtype must be None, torch.float32 or torch.bfloat16, got {settings['state_dtype']!r}."
        )
    if settings["fused"]:
        if settings["differentiable"]:
            raise RuntimeError("`fused` does not support `differentiable`")
        if settings["foreach"]:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
    if settings["stochastic_rounding"] and settings["differentiable"]:
        raise RuntimeError("`stochastic_rounding` does not support `differentiable`")
    if settings["foreach"]:
        if settings["differentiable"]:
            raise RuntimeError("`foreach` does not support `differentiable`; leave foreach=None.")
        if not settings["capturable"]:
            for name, value in (("lr", lr), ("betas[0]", betas[0]), ("betas[1]", betas[1])):
                if isinstance(value, Tensor):
                    raise ValueError(
                        f"{name} as a Tensor is not supported for capturable=False and foreach=True"
                    )


def check_saved(saved: Mapping[str, Any]) -> None:
    """Refuse a state_dict that this optimizer cannot continue, and say where it continues otherwise than it was begun."""
    needed = {"step", "exp_avg", "exp_avg_sq"}
    for state in saved["state"].values():
        if not needed <= state.keys():
            raise ValueError(
                f"The state of a parameter must have the keys step, exp_avg and exp_avg_sq, got {', '.join(state) or 'none'}."
            )
    if any(g.get("amsgrad") for g in saved["param_groups"]) or any(
        "max_exp_avg_sq" in s for s in saved["state"].values()
    ):
        raise ValueError(
            "The state was made with amsgrad=True, which has no counterpart here; load a state made without it."
        )
    for group in saved["param_groups"]:
        if group.get("weight_decay") and group.get("decoupled_weight_decay") is False:
            warnings.warn(
                f"The coupled weight_decay {group['weight_decay']} of torch.optim.Adam is decoupled here.",
                stacklevel=4,
            )
