"""What the settings of a parameter group may be; checked once, before any step.

The messages are torch's own where torch has them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

from torch import Tensor, nn

from dualadam.optim._step.rounding import ROUNDED
from dualadam.optim._step.sharded import sharding_of
from dualadam.optim._warn import warn
from dualadam.optim.state import moment_dtype, state_dtype_name

OPTIONAL_FLAGS = ("foreach", "fused")  # None leaves the choice to torch's rule
FLAGS = (*OPTIONAL_FLAGS, "maximize", "capturable", "differentiable", "stochastic_rounding")
ROUNDING = 1e-12  # schedules that end at 0 by repeated multiplication end this far below it
TORCHS_NAMES = {"eps": "epsilon", "weight_decay": "weight_decay"}


def check_params(params: Any) -> None:
    """Refuse a model where its parameters are wanted."""
    if isinstance(params, nn.Module):
        raise TypeError(
            f"params must be parameters or groups of them, got the module {type(params).__name__}; "
            "pass model.parameters()."
        )


def check_settings(settings: Mapping[str, Any], known: Iterable[str]) -> None:
    """Check the settings of a group.

    Args:
        settings: every setting of the group, and keys that users and schedulers have added.
        known: names of the settings that the optimizer has.

    Raises:
        ValueError: a value is out of range, or a key looks like a misspelt setting.
        TypeError: a value has the wrong type.
        RuntimeError: two settings exclude each other.
    """
    known = list(known)
    _check_names(settings, known)
    _check_numbers(settings, known)
    _check_flags(settings)
    _check_combinations(settings)


def _check_names(settings: Mapping[str, Any], known: list[str]) -> None:
    """Refuse what looks misspelt, or belongs to another optimizer."""
    for key in settings:
        if key in known:
            continue
        close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.8)
        if close:
            raise ValueError(
                f"Unknown setting {key!r} in a parameter group; did you mean {close[0]!r}?"
            )
    for key in ("switch_rate", "total_steps"):
        if key in settings and key not in known:
            raise ValueError(f"InvAdam has no {key}; use DualAdam.")
    if settings.get("amsgrad"):  # a group written for torch.optim.AdamW
        raise ValueError(
            f"amsgrad must be False, got {settings['amsgrad']}: it has no counterpart here."
        )


def _check_numbers(settings: Mapping[str, Any], known: list[str]) -> None:
    """Refuse numbers out of range."""
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
    for name, torchs_name in TORCHS_NAMES.items():
        _require_number(name, settings[name])
        if not 0.0 <= settings[name] < math.inf:
            raise ValueError(f"Invalid {torchs_name} value: {settings[name]}")
    if "switch_rate" in known:
        switch_rate = settings["switch_rate"]
        _require_number("switch_rate", switch_rate)
        if not 0.0 <= switch_rate <= 1.0:
            raise ValueError(
                f"switch_rate must be in [0, 1], got {switch_rate}. "
                "switch_rate_for(total_steps) gives one."
            )


def check_groups(groups: Iterable[Mapping[str, Any]]) -> None:
    """Refuse a learning rate that a schedule has made negative or nan, before anything changes.

    So are 8 bits without stochastic rounding, set by hand. A tensor on another device is not read,
    because that would wait for the device.
    """
    for index, group in enumerate(groups):
        require_rounding(group)
        lr = group["lr"]
        if isinstance(lr, Tensor):
            if group["capturable"] or lr.device.type != "cpu":
                continue
            lr = lr.item()
        if not lr >= -ROUNDING:
            raise ValueError(
                f"lr must be at least 0, got {lr} in parameter group {index}. Its schedule has "
                "left the range: end the training or the schedule where lr is 0."
            )


def _require_number(name: str, value: Any, *, tensor: bool = False) -> None:
    """Refuse anything but a real number, or where allowed a 1-element tensor."""
    if isinstance(value, Tensor) and tensor:
        if value.numel() != 1:
            raise ValueError(f"Tensor {name} must be 1-element")
    elif isinstance(value, bool) or not isinstance(value, Real):
        kinds = "a number or a 1-element tensor" if tensor else "a number"
        raise TypeError(f"{name} must be {kinds}, got {type(value).__name__} {value!r}.")


def _check_flags(settings: Mapping[str, Any]) -> None:
    """Refuse flags that are not booleans, and other state dtypes and seeds."""
    for name in FLAGS:
        value, optional = settings[name], name in OPTIONAL_FLAGS
        if not isinstance(value, bool) and not (value is None and optional):
            choices = "True or False or None" if optional else "True or False"
            raise TypeError(f"{name} must be {choices}, got {value!r}.")
    state_dtype_name(settings["state_dtype"])
    seed = settings["rounding_seed"]
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise TypeError(f"rounding_seed must be an integer or None, got {seed!r}.")
    if seed is not None and not 0 <= seed < 2**32:
        raise ValueError(f"rounding_seed must be in [0, 2^32), got {seed}.")


def _check_combinations(settings: Mapping[str, Any]) -> None:
    """Refuse settings that exclude each other."""
    if settings["fused"]:
        if settings["differentiable"]:
            raise RuntimeError("`fused` does not support `differentiable`")
        if settings["foreach"]:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
    if settings["stochastic_rounding"] and settings["differentiable"]:
        raise RuntimeError("`stochastic_rounding` does not support `differentiable`")
    if not settings["foreach"]:
        return
    if settings["differentiable"]:
        raise RuntimeError("`foreach` does not support `differentiable`; leave foreach=None.")
    if settings["capturable"]:
        return
    beta1, beta2 = settings["betas"]
    for name, value in (("lr", settings["lr"]), ("betas[0]", beta1), ("betas[1]", beta2)):
        if isinstance(value, Tensor):
            raise ValueError(
                f"{name} as a Tensor is not supported for capturable=False and foreach=True"
            )


def require_rounding(group: Mapping[str, Any]) -> None:
    """Refuse a state in 8 bits without stochastic rounding."""
    if not group["stochastic_rounding"] and state_dtype_name(group["state_dtype"]) == "uint8":
        raise ValueError(
            "state_dtype='uint8' needs stochastic_rounding=True: rounded to nearest, a second "
            "moment in 8 bits would not change."
        )


def require_storable(group: Mapping[str, Any]) -> None:
    """Refuse a group whose parameters have no state of its dtype."""
    require_rounding(group)
    state_dtype, params = state_dtype_name(group["state_dtype"]), group["params"]
    if state_dtype == "uint8" and any(sharding_of(p) for p in params):
        raise ValueError(
            "state_dtype='uint8' is not for sharded parameters (DTensor), whose blocks would "
            "differ with the number of processes; use 'bfloat16'."
        )
    if state_dtype is not None and any(p.is_complex() for p in params):
        raise ValueError(f"state_dtype must be None for complex parameters, got {state_dtype}.")


def state_dtype_changed(group: Mapping[str, Any]) -> RuntimeError:
    """Return the error of a group whose state_dtype was set by hand after a step."""
    return RuntimeError(
        f"state_dtype of a group is now {group['state_dtype']!r}, and was another one when "
        "its parameters took their first step. Change it in the groups of state_dict(), "
        "and load that: the moments are converted."
    )


def check_storage(group: Mapping[str, Any]) -> None:
    """Refuse what no state can be stored in; warn if nothing is rounded stochastically."""
    require_storable(group)
    params = group["params"]
    stored = {p.dtype for p in params} | {moment_dtype(p, group) for p in params}
    if group["stochastic_rounding"] and params and ROUNDED.isdisjoint(stored):
        warn(
            "stochastic_rounding=True has no effect: neither the parameters nor their state are "
            "bfloat16 or in 8 bits. state_dtype='bfloat16' or 'uint8' stores the state so."
        )


def check_decay(group: Mapping[str, Any]) -> None:
    """Warn if one step decays all weights to 0 or beyond: the decay is per unit of lr."""
    lr = group["lr"]
    decay = float(lr.detach() if isinstance(lr, Tensor) else lr) * group["weight_decay"]
    if decay >= 1.0:
        warn(
            f"lr * weight_decay is {decay:g}: one step multiplies the weights by {1 - decay:g}. "
            "weight_decay is per unit of lr; an lr as large as InvAdam's needs a smaller one."
        )
