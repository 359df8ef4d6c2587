"""fused=True on a device that torch has a fused AdamW for and this package no kernel: torch's own, and foreach while mixing.

With alpha the mixing weight, Adam's part is AdamW at lr (1 - alpha), its decay divided by (1 - alpha); InvAdam's part is added in
three list-wise passes. After the hand-over torch's fused AdamW works alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices

from dualadam.optim._kernels import layout as _layout
from dualadam.optim._step.foreach import pick, update_foreach
from dualadam.optim._step.settings import StepSettings

STATE_DTYPES = {
    torch.float32: (torch.float32,),
    torch.float64: (torch.float64,),
}  # other state takes float32 copies: foreach makes them


@cache
def device_types() -> frozenset[str]:
    """Return the device types on which this is of use: on the CPU the loop is as good."""
    return frozenset(_get_fused_kernels_supported_devices()) - {"cpu"}


def takes(row: Sequence[Tensor]) -> bool:
    """Whether (param, grad, exp_avg, exp_avg_sq, step) may go to torch's fused AdamW."""
    kind = row[0].device.type
    return (
        kind in device_types()
        and not _layout.switched_off()
        and _layout.refuses(row, kind, STATE_DTYPES, (torch.float32,)) is None
    )


def update_torch_fused(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    steps: list[Tensor],
    places: list[int],
    settings: StepSettings,
) -> None:
    """Advance all parameters and their state by one step, in place; arguments as for ``update_loop``, all tensors as ``takes`` says.

    Reads the steps, and so waits for the device.
    """
    lists = (params, grads, exp_avgs, exp_avg_sqs, steps)
    if settings.switch_rate == 0:  # InvAdam has no part of Adam
        update_foreach(*lists, places, settings)
        return
    rows_at: dict[tuple[torch.device, torch.dtype, float], list[int]] = defaultdict(list)
    for i, (param, count) in enumerate(
        zip(params, torch.stack([s.reshape(()) for s in steps]).tolist(), strict=True)
    ):
        rows_at[param.device, param.dtype, count + 1].append(i)
    for (_, _, step), rows in rows_at.items():
        p, g, m, v, t = (pick(column, rows) for column in lists)
        c_adam, c_inv, root = settings.coefficients(step)
        share = c_adam / (c_adam + c_inv) if c_inv else 1.0  # 1 - alpha
        torch._foreach_add_(t, 1)
        torch._fused_adamw_(
            p,
            g,
            m,
            v,
            [],
            t,
            lr=settings.lr * share,
            beta1=settings.beta1,
            beta2=settings.beta2,
            weight_decay=settings.weight_decay / share,
            eps=settings.eps,
            amsgrad=False,
            maximize=settings.maximize,
        )
        if c_inv:  # theta - lr alpha mh r, with r = (sqrt(v) + eps root) / root
            r = torch._foreach_sqrt(v)
            torch._foreach_add_(r, settings.eps * root)
            torch._foreach_addcmul_(p, m, r, c_inv / root)
