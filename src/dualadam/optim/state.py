"""The state of a parameter: a count of updates and two moments, and the dtypes that they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import _get_scalar_dtype

from dualadam.optim._step.slices import arithmetic_dtype

MOMENTS = ("exp_avg", "exp_avg_sq")
STATE_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def state_dtype_name(state_dtype: torch.dtype | str | None) -> str | None:
    """Return the name of a state dtype, which a group keeps: checkpoints carry no torch.dtype.

    Raises:
        ValueError: there is no state of this dtype.

    Example:
        >>> state_dtype_name(torch.bfloat16), state_dtype_name("bfloat16")
        ('bfloat16', 'bfloat16')
    """
    if state_dtype is None:
        return None
    name = str(state_dtype).removeprefix("torch.")
    if not isinstance(state_dtype, torch.dtype | str) or name not in STATE_DTYPES:
        raise ValueError(
            "state_dtype must be None, torch.float32 or torch.bfloat16, or the name of one of "
            f"them, got {state_dtype!r}."
        )
    return name


def new_state(param: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state of a parameter that has not been updated."""
    dtype = moment_dtype(param, group)
    exp_avg, exp_avg_sq = (
        torch.zeros_like(param, memory_format=torch.preserve_format, dtype=dtype) for _ in MOMENTS
    )
    return {"step": new_step(param, group), "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}


def moment_dtype(param: Tensor, group: Mapping[str, Any]) -> torch.dtype:
    """Return the dtype of both moments: the group's, or the parameter's but at least float32."""
    name = group["state_dtype"]
    return arithmetic_dtype(param) if name is None else STATE_DTYPES[name]


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


def restored_step(value: Tensor | float, param: Tensor, group: Mapping[str, Any]) -> Tensor:
    """Return a saved count with the device of a new one and its dtype, or as float64.

    A count that was cast to another dtype would stop early (bfloat16 stops at 256).
    """
    new = new_step(param, group)
    if not isinstance(value, Tensor):
        return new.fill_(value)
    dtype = torch.float64 if value.dtype == torch.float64 else new.dtype
    return value.to(device=new.device, dtype=dtype)
