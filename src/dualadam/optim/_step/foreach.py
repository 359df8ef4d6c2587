"""The step over lists of tensors, with one launch for many of them: torch's default on CUDA."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dualadam.optim._step.columns import Columns, TensorRow, Updated, require_same_shapes
from dualadam.optim._step.loop import in_arithmetic_dtype
from dualadam.optim._step.rounding import noise_key, write_back
from dualadam.optim._step.settings import StepSettings
from dualadam.optim._step.slices import batches


def update_foreach(columns: Columns, settings: StepSettings) -> None:
    """Advance all parameters and their state by one step, in place.

    This allocates one temporary of the parameters' size. What is stored in fewer bits than it is
    computed in is copied a bounded number of elements at a time.
    """
    if not columns.params:
        return
    if not torch.compiler.is_compiling():
        require_same_shapes(columns)
    for steps in by_device_and_dtype(columns.steps):
        if steps[0].is_cpu and not torch.compiler.is_compiling():
            # a tensor is wrapped once, a number once per count
            torch._foreach_add_(steps, torch.tensor(1.0, device="cpu"), alpha=1.0)
        else:
            torch._foreach_add_(steps, 1)

    settings = settings.in_double()
    keys: dict[int, int | Tensor | None] = {}  # of the last parameter, for all its pieces
    for batch in batches(columns.rows()):
        updated = advance_all([piece.row for piece in batch], settings)[::-1]
        for first, row in batch:
            if settings.stochastic_rounding and row.place not in keys:
                keys = {row.place: noise_key(row)}
            # popped and without a name: it would lie beside the copies of the next batch
            write_back(row, updated.pop(), keys.get(row.place), first)


def advance_all(rows: list[TensorRow], settings: StepSettings) -> list[Updated]:
    """Return the new values of rows that share a device and a dtype: ``advance`` for many."""
    p, g, m, v = (
        list(column) for column in zip(*[in_arithmetic_dtype(row) for row in rows], strict=True)
    )
    lr, beta1, beta2 = settings.lr, settings.beta1, settings.beta2
    if settings.maximize:
        g = list(torch._foreach_neg(g))
    if settings.weight_decay != 0:
        decay = (lr.to(p[0]) if isinstance(lr, Tensor) else lr) * settings.weight_decay
        if torch.compiler.is_compiling():
            decay = p[0].new_zeros(()) + decay  # a list-wise operator keeps a number as a constant
        torch._foreach_mul_(p, 1 - decay)

    if isinstance(beta1, Tensor) or isinstance(beta2, Tensor):
        torch._foreach_lerp_(m, g, [(1 - beta1).to(m[0])] * len(m))
        torch._foreach_lerp_(v, torch._foreach_mul(g, g), [(1 - beta2).to(v[0])] * len(v))
    else:
        torch._foreach_lerp_(m, g, 1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, g, g, 1 - beta2)

    del g  # a negated copy need not lie beside r

    steps = [row.step for row in rows]
    if settings.on_device:
        coefficients = settings.coefficients(as_double_vector(steps))
        adam, inverse, root = (list(c.to(p[0]).unbind()) for c in coefficients)
        if settings.switch_rate != 0:  # InvAdam never divides by r, which may be 0
            r = root_of(v, root, settings.eps)
            torch._foreach_reciprocal_(r)
            torch._foreach_mul_(r, adam)
            torch._foreach_addcmul_(p, m, r)
            del r  # formed twice: to keep both would be more than torch.optim.AdamW allocates
        r = root_of(v, root, settings.eps)
        torch._foreach_mul_(r, inverse)
        torch._foreach_addcmul_(p, m, r)
    else:
        numbers = [settings.coefficients(step.item()) for step in steps]
        r = root_of(v, [number.root for number in numbers], settings.eps)
        add_part(torch._foreach_addcdiv_, p, m, r, [number.adam for number in numbers])
        add_part(torch._foreach_addcmul_, p, m, r, [number.inverse for number in numbers])
    return [Updated(*row) for row in zip(p, m, v, strict=True)]


def add_part(
    add: Callable[..., None], p: list[Tensor], m: list[Tensor], r: list[Tensor], scale: list[float]
) -> None:
    """Add one part of the step to the parameters whose scale is not 0: 0 x inf cannot arise."""
    chosen = [i for i, number in enumerate(scale) if number != 0]
    if chosen:
        add(
            [p[i] for i in chosen],
            [m[i] for i in chosen],
            [r[i] for i in chosen],
            [scale[i] for i in chosen],
        )


def root_of(v: list[Tensor], root: list[Any], eps: float) -> list[Tensor]:
    """Return r = sqrt(v) / root + eps of every tensor."""
    r = list(torch._foreach_sqrt(v))
    torch._foreach_div_(r, root)
    torch._foreach_add_(r, eps)
    return r


def by_device_and_dtype(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Split a list into those that share a device and a dtype."""
    alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        alike[tensor.device, tensor.dtype].append(tensor)
    return list(alike.values())


def as_double_vector(steps: list[Tensor]) -> Tensor:
    """Return the counts as one float64 vector, or float32 on MPS, which has no float64."""
    counts = torch.stack(steps)
    return counts if counts.device.type == "mps" else counts.double()
