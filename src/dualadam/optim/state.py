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


def new_step(param: Tensor, group: Mapping[str, Any], value: float = 0.0) -> Tensor:
    """Return a count of updates.

    It lies on the parameter's device where a captured graph or a kernel reads it, else on the CPU,
    where reading it costs nothing.
    """
    on_device = group["capturable"] or group["fused"]
    return torch.tensor(
        value, dtype=_get_scalar_dtype(), device=param.device if on_device else "cpu"
    )


def moment_dtype(param: Tensor, group: Mapping[str, Any]) -> torch.dtype:
    """Return the dtype of both moments: the group's, or the parameter's but at least float32."""
    return group["state_dtype"] or arithmetic_dtype(param)


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
        restore_moments(optimizer, loaded[0])

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


def restore_moments(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Load moments again that torch has cast to the dtype of their parameter."""
    saved_ids = [i for group in saved["param_groups"] for i in group["params"]]
    params = [(param, group) for group in optimizer.param_groups for param in group["params"]]
    for saved_id, (param, group) in zip(saved_ids, params, strict=True):
        dtype = moment_dtype(param, group)
        if dtype == param.dtype or saved_id not in saved["state"]:
            continue
        for key in MOMENTS:
            value = saved["state"][saved_id][key]
            optimizer.state[param][key] = value.to(device=param.device, dtype=dtype, copy=True)
