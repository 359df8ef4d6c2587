"""The state of a parameter: a count of updates and two moments, and the dtypes that they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import _get_scalar_dtype

from dualadam.optim._step.quantised import (
    is_quantised,
    numbers_of,
    quantised,
    shape_in_words,
    shape_of_moment,
)
from dualadam.optim._step.rounding import ROUNDED
from dualadam.optim._step.slices import arithmetic_dtype

MOMENTS = ("exp_avg", "exp_avg_sq")
# An optimizer that knows no such moments must not find them: torch's fused AdamW would take bytes
# for numbers.
MOMENTS_IN_8_BITS = ("exp_avg_8bit", "exp_avg_sq_8bit")
STATE_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "uint8": torch.uint8}


class Moments(NamedTuple):
    """The two moments of a parameter as numbers, each in its shape."""

    exp_avg: Tensor
    exp_avg_sq: Tensor


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
            "state_dtype must be None, torch.float32, torch.bfloat16 or torch.uint8, or the name "
            f"of one of them, got {state_dtype!r}."
        )
    return name


def new_state(param: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state of a parameter that has not been updated."""
    dtype = moment_dtype(param, group)
    moments = {name: new_moment(param, dtype) for name in moment_names(group)}
    return {"step": new_step(param, group), **moments}


def moment_names(group: Mapping[str, Any]) -> tuple[str, str]:
    """Return the keys of the moments of a group's parameters.

    Example:
        >>> moment_names({"state_dtype": None}), moment_names({"state_dtype": "uint8"})
        (('exp_avg', 'exp_avg_sq'), ('exp_avg_8bit', 'exp_avg_sq_8bit'))
    """
    return MOMENTS_IN_8_BITS if state_dtype_name(group["state_dtype"]) == "uint8" else MOMENTS


def with_plain_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state whose moments have torch's names, whatever they are stored in.

    Example:
        >>> with_plain_names({"step": 1, "exp_avg_8bit": 2, "exp_avg_sq_8bit": 3})
        {'step': 1, 'exp_avg': 2, 'exp_avg_sq': 3}
    """
    plain = dict(zip(MOMENTS_IN_8_BITS, MOMENTS, strict=True))
    return {plain.get(key, key): value for key, value in state.items()}


def new_moment(param: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a moment of no gradient."""
    if dtype == torch.uint8:
        return param.new_zeros(shape_of_moment(param, dtype), dtype=dtype, requires_grad=False)
    return torch.zeros_like(param, memory_format=torch.preserve_format, dtype=dtype)


def moments_of(state: Mapping[str, Tensor], param: Tensor) -> Moments:
    """Return the moments in the state of a parameter as numbers, whatever they are stored in.

    Args:
        state: ``optimizer.state[param]`` of an InvAdam or a DualAdam, or of torch's Adam.
        param: the parameter.

    Returns:
        ``exp_avg`` and ``exp_avg_sq`` in the shape of the parameter. A state in 8 bits is copied to
        float32, exactly; any other is returned as it is.

    Raises:
        ValueError: the state is empty, or that of another parameter.

    Example:
        >>> import torch
        >>> from dualadam import DualAdam, moments_of
        >>> w = torch.ones(2, 3, requires_grad=True)
        >>> optimizer = DualAdam([w], state_dtype=torch.uint8, stochastic_rounding=True)
        >>> w.grad = torch.ones(2, 3)
        >>> optimizer.step()
        >>> optimizer.state[w]["exp_avg_8bit"].shape
        torch.Size([7])
        >>> moments_of(optimizer.state[w], w).exp_avg.shape
        torch.Size([2, 3])
    """
    stored = with_plain_names(state)
    if not stored.keys() >= set(MOMENTS):
        raise ValueError(
            f"state must have the moments of a parameter, got {', '.join(stored) or 'none'}. "
            "A parameter has a state after its first step: pass optimizer.state[param] then."
        )
    for key in MOMENTS:
        if stored[key].shape != shape_of_moment(param, stored[key].dtype):
            raise ValueError(
                f"state must be that of param, {key} in its shape {tuple(param.shape)}, "
                f"got {shape_in_words(stored[key])}: pass optimizer.state[param] of the same param."
            )
    return Moments(*(numbers_of(stored[key], param, key == "exp_avg") for key in MOMENTS))


def converted(key: str, moment: Tensor, param: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a copy of a saved moment on the parameter's device, stored in another dtype.

    From 8 bits this is exact; to 8 bits and bfloat16 it rounds to nearest.
    """
    moment = moment.to(device=param.device, copy=True)
    if moment.dtype == dtype:
        return moment
    signed = key == "exp_avg"
    numbers = numbers_of(moment, param, signed)
    if dtype == torch.uint8:
        return quantised(numbers, signed)
    # in the parameter's order of memory, which torch's fused step takes for granted
    return new_moment(param, dtype).copy_(numbers) if is_quantised(moment) else numbers.to(dtype)


def moment_dtype(param: Tensor, group: Mapping[str, Any]) -> torch.dtype:
    """Return the dtype of both moments: the group's, or the parameter's but at least float32."""
    name = state_dtype_name(group["state_dtype"])
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
    rounded = group["stochastic_rounding"] and not ROUNDED.isdisjoint(stored)
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
