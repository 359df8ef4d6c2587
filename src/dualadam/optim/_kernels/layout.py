"""Which tensors a kernel may get as bare addresses. Nothing else guards the memory."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Mapping
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import Tensor

from dualadam.optim._step.columns import Columns, TensorRow
from dualadam.optim._step.memory import is_dense, strides
from dualadam.optim._step.quantised import is_quantised, shape_of_moment

PLAIN = {Tensor, torch.nn.Parameter}
DTYPE, SHAPE, DEVICE = attrgetter("dtype"), attrgetter("shape"), attrgetter("device")


class Accepts(NamedTuple):
    """What a kernel is written for."""

    device_type: str
    state_dtypes: Mapping[torch.dtype, Collection[torch.dtype]]  # by the parameter's dtype
    step_dtypes: Collection[torch.dtype]
    permuted_with_8_bits: bool = False  # parameters not in the order of their indices


def switched_off() -> str | None:
    """Return why no compiled step is taken where the user wants none. It is asked at every step."""
    if os.environ.get("DUALADAM_DISABLE_FUSED", "0") not in ("", "0"):
        return "the environment variable DUALADAM_DISABLE_FUSED is set"
    return None


def refuses(row: TensorRow, accepts: Accepts) -> str | None:
    """Return why a row must not reach a kernel, or None if it may."""
    param, grad = row.param, row.grad
    tensors = (param, grad, row.exp_avg, row.exp_avg_sq)
    if any(type(t) not in PLAIN for t in tensors):
        return "tensor subclass"
    if param.device.type != accepts.device_type or any(
        t.device != param.device for t in (*tensors, row.step)
    ):
        return "state, gradient or step on another device"
    dtype = row.exp_avg.dtype
    if (
        param.dtype != grad.dtype
        or dtype != row.exp_avg_sq.dtype
        or dtype not in accepts.state_dtypes.get(param.dtype, ())
    ):
        return f"{param.dtype} with state in {dtype}".replace("torch.", "")
    if row.step.dtype not in accepts.step_dtypes or row.step.numel() != 1:
        return "step is not one floating-point number"
    if any(t.shape != shape_of_moment(param, t.dtype) for t in tensors):
        return "state or gradient of another shape"
    if why_not := _laid_out_unlike(*tensors, accepts.permuted_with_8_bits):
        return why_not
    if param.is_neg() or grad.is_neg():
        return "lazily negated tensor"
    if not all(map(_has_memory, tensors)):
        return "without memory: zeros that torch does not store, or inside torch.func"
    return None


def _has_memory(tensor: Tensor) -> bool:
    """Whether the elements of a tensor are stored; torch.func refuses to say where."""
    try:
        return tensor.data_ptr() != 0 or tensor.numel() == 0
    except RuntimeError:
        return False


def _laid_out_unlike(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    permuted_with_8_bits: bool,
) -> str | None:
    """Return why the elements of a row are not at the places where a kernel looks for them."""
    tensors = [param, grad, exp_avg, exp_avg_sq]
    if all(map(Tensor.is_contiguous, tensors)):
        return None
    if is_quantised(exp_avg):
        if not permuted_with_8_bits:
            return "state in 8 bits with a parameter or gradient that is not contiguous"
        if exp_avg.is_contiguous() and exp_avg_sq.is_contiguous():
            tensors = [grad]
    if not is_dense(param):
        return "not dense in memory"
    if any(strides(t) != strides(param) for t in tensors):
        return "state or gradient laid out in memory unlike the parameter"
    return None


def takes_all(columns: Columns, accepts: Accepts) -> bool:
    """Whether all tensors are alike in dtype and device, and ``refuses`` none.

    This asks column by column, in a quarter of the time. Most groups pass it. False does not mean
    that a row is refused: ask ``refuses`` row by row.
    """
    params, grads, exp_avgs, exp_avg_sqs, steps, _ = columns
    large = [*params, *grads, *exp_avgs, *exp_avg_sqs]
    dtypes = [set(map(DTYPE, column)) for column in (params, grads, exp_avgs, exp_avg_sqs, steps)]
    if set(map(type, large)) - PLAIN or any(len(of_column) != 1 for of_column in dtypes):
        return False
    (param,), (grad,), (exp_avg,), (exp_avg_sq,), (step,) = dtypes
    if (
        param != grad
        or exp_avg != exp_avg_sq
        or exp_avg not in accepts.state_dtypes.get(param, ())
        or step not in accepts.step_dtypes
    ):
        return False
    if accepts.device_type == "cpu":
        # half the time of comparing devices
        if not all(map(attrgetter("is_cpu"), [*large, *steps])):
            return False
    else:
        devices = set(map(DEVICE, [*large, *steps]))
        if len(devices) != 1 or next(iter(devices)).type != accepts.device_type:
            return False
    shapes = list(map(SHAPE, params))
    of_state = shapes
    if exp_avg == torch.uint8:
        of_state = [shape_of_moment(p, exp_avg) for p in params]
    return (
        not any(map(Tensor.is_neg, [*params, *grads]))
        and not any(map(Tensor._is_zerotensor, grads))
        and list(map(SHAPE, grads)) == shapes
        and all(list(map(SHAPE, column)) == of_state for column in (exp_avgs, exp_avg_sqs))
        and set(map(Tensor.numel, steps)) == {1}
        and not any(
            map(
                _laid_out_unlike,
                params,
                grads,
                exp_avgs,
                exp_avg_sqs,
                itertools.repeat(accepts.permuted_with_8_bits),
            )
        )
    )
