"""The state of a parameter: how it is created, checked and loaded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import _get_scalar_dtype

from dualadam.optim._step.slices import arithmetic_dtype

MOMENTS = ("exp_avg", "exp_avg_sq")


def new_state(param: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state of a parameter that has not been updated."""
    dtype = moment_dtype(param, group)
    exp_avg, exp_avg_sq = (
        torch.zeros_like(param, memory_format=torch.preserve_format, dtype=dtype) for _ in MOMENTS
    )
    return {"step": new_step(param, group), "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}


def new_step(param: Tensor, group: Mapping[str, Any]) -> Tensor:
    """Return a count of no updates.

    It lies on the parameter's device where a captured graph or a kernel reads it, else on the CPU,
    where reading it costs nothing.
    """
    on_device = group["capturable"] or group["fused"]
    device = param.device if on_device else torch.device("cpu")
    return torch.zeros((), dtype=step_dtype(param, group), device=device)


def step_dtype(param: Tensor, group: Mapping[str, Any]) -> torch.dtype:
    """Return the dtype of a count: torch's float32, or float64 where the count must pass 2^24.

    There float32 stops. A hand-over that lasts longer would never end, and the noise of stochastic
    rounding would repeat at every step.
    """
    stored = (param.dtype, moment_dtype(param, group))
    rounded = group["stochastic_rounding"] and torch.bfloat16 in stored
    lasting = 0.0 < group.get("switch_rate", 0.0) < 2**-24
    has_float64 = param.device.type != "mps"
    return torch.float64 if (rounded or lasting) and has_float64 else _get_scalar_dtype()


def moment_dtype(param: Tensor, group: Mapping[str, Any]) -> torch.dtype:
    """Return the dtype of both moments: the group's, or the parameter's but at least float32."""
    return group["state_dtype"] or arithmetic_dtype(param)


def restored_step(value: Tensor | float, param: Tensor, group: Mapping[str, Any]) -> Tensor:
    """Return a saved count with the device of a new one and its dtype, or as float64.

    A count that was cast to another dtype would stop early (bfloat16 stops at 256).
    """
    new = new_step(param, group)
    if not isinstance(value, Tensor):
        return new.fill_(value)
    dtype = torch.float64 if value.dtype == torch.float64 else new.dtype
    return value.to(device=new.device, dtype=dtype)


@contextmanager
def completed_loading(optimizer: Optimizer) -> Iterator[None]:
    """Check and complete what ``Optimizer.load_state_dict`` loads within this context.

    The hooks are registered here and not in the constructor, so that the first runs after the
    user's own hooks, and the second before them.
    """
    loaded: list[dict[str, Any]] = []

    def complete(_: Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
        check_saved(saved)
        loaded.append({**saved, "param_groups": completed_groups(optimizer, saved)})
        return loaded[0]

    def restore(_: Optimizer) -> None:
        restore_state(optimizer, loaded[0])

    hooks = [
        optimizer.register_load_state_dict_pre_hook(complete),
        optimizer.register_load_state_dict_post_hook(restore, prepend=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def check_saved(saved: Mapping[str, Any]) -> None:
    """Refuse a state_dict that cannot be continued; warn where it is continued differently."""
    for state in saved["state"].values():
        if not {"step", *MOMENTS} <= state.keys():
            raise ValueError(
                "The state of a parameter must have the keys step, exp_avg and exp_avg_sq, "
                f"got {', '.join(state) or 'none'}."
            )
    if any(group.get("amsgrad") for group in saved["param_groups"]) or any(
        "max_exp_avg_sq" in state for state in saved["state"].values()
    ):
        raise ValueError(
            "The state was made with amsgrad=True, which has no counterpart here; "
            "load a state made without it."
        )
    for group in saved["param_groups"]:
        if group.get("weight_decay") and group.get("decoupled_weight_decay") is False:
            warnings.warn(
                f"The coupled weight_decay {group['weight_decay']} of torch.optim.Adam "
                "is decoupled here.",
                stacklevel=6,
            )


def completed_groups(optimizer: Optimizer, saved: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the saved groups with the optimizer's own value for every setting that they lack."""
    settings = [
        {k: v for k, v in group.items() if k not in ("params", "param_names")}
        for group in optimizer.param_groups
    ]
    # torch reports a wrong number of groups itself
    settings += [{}] * (len(saved["param_groups"]) - len(settings))
    groups = [
        {**mine, **theirs} for mine, theirs in zip(settings, saved["param_groups"], strict=False)
    ]
    if "switch_rate" not in optimizer.defaults:  # InvAdam continues a state of DualAdam
        groups = [{k: v for k, v in group.items() if k != "switch_rate"} for group in groups]
    return groups


def restore_state(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Load again what torch casts: moments to their parameter's dtype, steps of fused groups."""
    saved_ids = [i for group in saved["param_groups"] for i in group["params"]]
    params = [(param, group) for group in optimizer.param_groups for param in group["params"]]
    for saved_id, (param, group) in zip(saved_ids, params, strict=True):
        if saved_id not in saved["state"]:
            continue
        loaded, state = saved["state"][saved_id], optimizer.state[param]
        dtype = moment_dtype(param, group)
        if dtype != param.dtype:
            for key in MOMENTS:
                state[key] = loaded[key].to(device=param.device, dtype=dtype, copy=True)
        state["step"] = restored_step(loaded["step"], param, group)
