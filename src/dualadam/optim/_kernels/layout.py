"""Which tensors may be handed to a kernel as bare addresses. This is all that guards the memory."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter

import torch
from torch import Tensor

from dualadam.optim._step.rounding import is_dense, strides

PLAIN = {Tensor, torch.nn.Parameter}
DTYPE, SHAPE, DEVICE = attrgetter("dtype"), attrgetter("shape"), attrgetter("device")
StateDtypes = Mapping[torch.dtype, Collection[torch.dtype]]  # by the parameter's dtype


def switched_off() -> str | None:
    """Why no compiled step is taken, where the user wants none; asked at every step."""
    if os.environ.get("DUALADAM_DISABLE_FUSED", "0") not in ("", "0"):
        return "the environment variable DUALADAM_DISABLE_FUSED is set"
    return None


def refuses(
    row: Sequence[Tensor],
    device_type: str,
    state_dtypes: StateDtypes,
    step_dtypes: Collection[torch.dtype],
) -> str | None:
    """Why (param, grad, exp_avg, exp_avg_sq, step) must not reach a kernel; None if they may."""
    param, grad, exp_avg, exp_avg_sq, step = row
    tensors = row[:4]
    if any(type(t) not in PLAIN for t in tensors):
        return "tensor subclass"
    if param.device.type != device_type or any(t.device != param.device for t in row):
        return "state, gradient or step on another device"
    dtype = exp_avg.dtype
    if (
        param.dtype != grad.dtype
        or dtype != exp_avg_sq.dtype
        or dtype not in state_dtypes.get(param.dtype, ())
    ):
        return f"{param.dtype} with state in {dtype}".replace("torch.", "")
    if step.dtype not in step_dtypes or step.numel() != 1:
        return "step is not one floating-point number"
    if any(t.shape != param.shape for t in tensors):
        return "state or gradient of another shape"
    if not all(t.is_contiguous() for t in tensors):
        if not is_dense(param):
            return "not dense in memory"
        if any(strides(t) != strides(param) for t in tensors):
            return "state or gradient laid out in memory unlike the parameter"
    if param.is_neg() or grad.is_neg():
        return "lazily negated tensor"
    return None


def takes_all(
    columns: Sequence[Sequence[Tensor]],
    device_type: str,
    state_dtypes: StateDtypes,
    step_dtypes: Collection[torch.dtype],
) -> bool:
    """Whether all tensors are contiguous and alike in dtype and device, and ``refuses`` none: asked by columns, in a quarter of the time.

    Most groups are like that. False says nothing: ask ``refuses`` row by row.
    """
    params, grads, exp_avgs, exp_avg_sqs, steps = columns
    large = [*params, *grads, *exp_avgs, *exp_avg_sqs]
    dtypes = [set(map(DTYPE, column)) for column in columns]
    if set(map(type, large)) - PLAIN or any(len(of_column) != 1 for of_column in dtypes):
        return False
    (param,), (grad,), (exp_avg,), (exp_avg_sq,), (step,) = dtypes
    if (
        param != grad
        or exp_avg != exp_avg_sq
        or exp_avg not in state_dtypes.get(param, ())
        or step not in step_dtypes
    ):
        return False
    if device_type == "cpu":  # half the time of comparing devices
        if not all(map(attrgetter("is_cpu"), [*large, *steps])):
            return False
    elif (
        len(devices := set(map(DEVICE, [*large, *steps]))) != 1
        or next(iter(devices)).type != device_type
    ):
        return False
    shapes = list(map(SHAPE, params))
    return (
        all(map(Tensor.is_contiguous, large))
        and not any(map(Tensor.is_neg, [*params, *grads]))
        and all(list(map(SHAPE, column)) == shapes for column in (grads, exp_avgs, exp_avg_sqs))
        and set(map(Tensor.numel, steps)) == {1}
    )
