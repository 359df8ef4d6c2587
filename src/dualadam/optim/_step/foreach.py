"""The same step over lists of tensors, one launch for many: torch's default on CUDA."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dualadam.optim._step.loop import real_float32
from dualadam.optim._step.rounding import noise_keys, write_back
from dualadam.optim._step.settings import StepSettings, in_double
from dualadam.optim._step.slices import batches


def update_foreach(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    steps: list[Tensor],
    places: list[int],
    settings: StepSettings,
) -> None:
    """Advance all parameters and their state by one step, in place; arguments as for ``update_loop``.

    Allocates one temporary of the parameters' size, and for what is stored in fewer bits than it is computed in copies of a bounded number
    of elements at a time.
    """
    if not params:
        return
    for t in by_device_and_dtype(steps):
        if t[0].is_cpu and not torch.compiler.is_compiling():
            torch._foreach_add_(
                t, torch.tensor(1.0), alpha=1.0
            )  # wrapped once, not once per tensor
        else:
            torch._foreach_add_(t, 1)

    settings = in_double(settings)
    keys: dict[int, Any] = {}  # the last parameter's, for all its pieces
    for batch in batches(zip(params, grads, exp_avgs, exp_avg_sqs, steps, places, strict=True)):
        updated = advance_all(
            [piece for _, piece, _, _ in batch], [step for _, _, step, _ in batch], settings
        )[::-1]
        for first, (param, _, *moments), step, place in batch:
            if settings.stochastic_rounding and place not in keys:
                keys = {place: noise_keys(place, step, (param, *moments))}
            # popped, and without a name: it would lie beside the copies of the next batch
            write_back((param, *moments), updated.pop(), keys.get(place), first)


def advance_all(
    tensors: list[tuple[Tensor, ...]], steps: list[Tensor], settings: StepSettings
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return the new (p, m, v) of every (param, grad, exp_avg, exp_avg_sq), all of one device and dtype: ``_loop.advance`` of many."""
    lr, beta1, beta2, eps, weight_decay = settings[:5]
    p, g, m, v = (
        list(column) for column in zip(*[real_float32(*row) for row in tensors], strict=True)
    )
    if settings.maximize:
        g = list(torch._foreach_neg(g))
    if weight_decay != 0:
        torch._foreach_mul_(p, 1 - (lr.to(p[0]) if isinstance(lr, Tensor) else lr) * weight_decay)

    if isinstance(beta1, Tensor) or isinstance(beta2, Tensor):
        torch._foreach_lerp_(m, g, [(1 - beta1).to(m[0])] * len(m))
        torch._foreach_lerp_(v, torch._foreach_mul(g, g), [(1 - beta2).to(v[0])] * len(v))
    else:
        torch._foreach_lerp_(m, g, 1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, g, g, 1 - beta2)

    del g  # negated, it need not lie beside r

    if settings.on_device:
        counts = as_double_vector(steps)
        c_adam, c_inv, root = (list(c.to(p[0]).unbind()) for c in settings.coefficients(counts))
        if settings.switch_rate != 0:  # InvAdam never divides by r, which may be 0
            r = root_of(v, root, eps)
            torch._foreach_reciprocal_(r)
            torch._foreach_mul_(r, c_adam)
            torch._foreach_addcmul_(p, m, r)
            del r  # formed twice: both would be more than torch.optim.AdamW allocates
        r = root_of(v, root, eps)
        torch._foreach_mul_(r, c_inv)
        torch._foreach_addcmul_(p, m, r)
    else:
        numbers = [settings.coefficients(s.item()) for s in steps]
        r = root_of(v, [root for *_, root in numbers], eps)
        # Adam's part, then InvAdam's: a parameter in which a part is over is left out of it, so that 0 x inf cannot arise
        for column, add_part in ((0, torch._foreach_addcdiv_), (1, torch._foreach_addcmul_)):
            if chosen := [i for i, row in enumerate(numbers) if row[column] != 0]:
                add_part(
                    pick(p, chosen),
                    pick(m, chosen),
                    pick(r, chosen),
                    [numbers[i][column] for i in chosen],
                )
    return list(zip(p, m, v, strict=True))


def root_of(v: list[Tensor], root: list[Any], eps: float) -> list[Tensor]:
    """Return r = sqrt(v) / root + eps of every tensor."""
    r = list(torch._foreach_sqrt(v))
    torch._foreach_div_(r, root)
    torch._foreach_add_(r, eps)
    return r


def by_device_and_dtype(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Split a list into those that share a device and a dtype."""
    alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        alike.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return list(alike.values())


def as_double_vector(steps: list[Tensor]) -> Tensor:
    """Return the counts as one float64 vector (float32 where the device has no float64)."""
    counts = torch.stack(steps)
    return counts if counts.device.type == "mps" else counts.double()


def pick(tensors: list[Tensor], indices: list[int]) -> list[Tensor]:
    """Return the tensors at these indices."""
    return [tensors[i] for i in indices]
