"""The readable path: one parameter after the other. The other paths are tested against it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dualadam.optim._step.rounding import noise_keys, write_back
from dualadam.optim._step.settings import StepSettings, as_double, in_double
from dualadam.optim._step.slices import SHARE_OF_LARGEST, arithmetic_dtype, piece_size, pieces


def real_float32(param: Tensor, grad: Tensor, *moments: Tensor) -> list[Tensor]:
    """Return (p, g, m, v) as the arithmetic wants them: real and at least float32.

    What is stored in another dtype becomes a copy, which the caller writes back; the rest shares its memory.
    """
    if torch.is_complex(param):
        return [torch.view_as_real(t) for t in (param, grad.resolve_conj(), *moments)]
    dtype = arithmetic_dtype(param)
    return [t.to(dtype) for t in (param, grad, *moments)]


def update_loop(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    steps: list[Tensor],
    places: list[int],
    settings: StepSettings,
) -> None:
    """Advance every parameter and its state by one step, in place.

    ``places`` number the parameters for the noise of stochastic rounding.
    """
    settings = in_double(settings)
    largest: dict[torch.device, int] = {}
    for param in params:
        largest[param.device] = max(largest.get(param.device, 0), param.numel())
    size_on = {
        device: piece_size(numel // SHARE_OF_LARGEST, device) for device, numel in largest.items()
    }
    for *tensors, step, place in zip(
        params, grads, exp_avgs, exp_avg_sqs, steps, places, strict=True
    ):
        step += 1
        coefficients = settings.coefficients(as_double(step) if settings.on_device else step.item())
        keys = noise_keys(place, step, tensors) if settings.stochastic_rounding else None
        for first, piece in pieces(*tensors, size=size_on[tensors[0].device]):
            # no name for what is returned: it would lie beside the copies of the next piece
            write_back((piece[0], *piece[2:]), advance(piece, coefficients, settings), keys, first)


def advance(
    tensors: tuple[Tensor, ...], coefficients: tuple[Any, Any, Any], settings: StepSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the new (p, m, v) of (param, grad, exp_avg, exp_avg_sq) or a piece of them.

    They are the tensors themselves, updated in place, or float32 copies, which the caller writes back.
    """
    lr, beta1, beta2, eps, weight_decay = settings[:5]
    p, g, m, v = real_float32(*tensors)
    if settings.maximize:
        g = -g

    if weight_decay != 0:
        p.mul_(1 - (lr.to(p) if isinstance(lr, Tensor) else lr) * weight_decay)

    m.lerp_(g, (1 - beta1).to(m) if isinstance(beta1, Tensor) else 1 - beta1)
    if isinstance(beta2, Tensor):
        v.lerp_(g.square(), (1 - beta2).to(v))
    else:
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)

    if settings.on_device:
        c_adam, c_inv, root = (c.to(p) for c in coefficients)
        r = (v.sqrt() / root).add_(eps)
        if (
            torch.is_grad_enabled()
        ):  # a differentiated step needs m as it is here, which the next one changes in place
            m = m.clone()
        if settings.switch_rate != 0:  # InvAdam never divides by r, which may be 0
            p.addcmul_(m, c_adam / r)
        p.addcmul_(m, c_inv * r)
    else:
        c_adam, c_inv, root = coefficients
        r = v.sqrt().div_(root).add_(eps)
        if c_adam != 0:  # Adam's part:  theta - lr (1 - alpha) mh / r
            p.addcdiv_(m, r, value=c_adam)
        if c_inv != 0:  # InvAdam's part:  theta - lr alpha mh r
            p.addcmul_(m, r, value=c_inv)
    return p, m, v
