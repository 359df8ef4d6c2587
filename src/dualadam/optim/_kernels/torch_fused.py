"""torch's own fused AdamW, for devices that have one but no kernel of this package.

With alpha the mixing weight, Adam's part is AdamW at lr (1 - alpha) with its decay divided by
(1 - alpha). InvAdam's part is added in three list-wise passes. After the hand-over torch's fused
AdamW works alone.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import torch
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices

from dualadam.optim._kernels import layout
from dualadam.optim._step.columns import Columns, TensorRow
from dualadam.optim._step.foreach import update_foreach
from dualadam.optim._step.settings import StepSettings

# state in other dtypes needs float32 copies, which foreach makes
STATE_DTYPES = {torch.float32: (torch.float32,), torch.float64: (torch.float64,)}


@cache
def device_types() -> frozenset[str]:
    """Return the device types where this is faster; on the CPU the loop is as fast."""
    return frozenset(_get_fused_kernels_supported_devices()) - {"cpu"}


def takes(row: TensorRow) -> bool:
    """Whether a row may go to torch's fused AdamW."""
    device = row.param.device.type
    if device not in device_types() or layout.switched_off():
        return False
    return layout.refuses(row, layout.Accepts(device, STATE_DTYPES, (torch.float32,))) is None


def update_torch_fused(columns: Columns, settings: StepSettings) -> None:
    """Advance all parameters and their state by one step, in place, where ``takes`` allows it.

    This reads the steps, and so waits for the device.
    """
    if settings.switch_rate == 0:  # InvAdam has no Adam part
        update_foreach(columns, settings)
        return
    counts = torch.stack([step.reshape(()) for step in columns.steps]).tolist()
    indices_at: dict[tuple[torch.device, torch.dtype, float], list[int]] = defaultdict(list)
    for i, (param, count) in enumerate(zip(columns.params, counts, strict=True)):
        indices_at[param.device, param.dtype, count + 1].append(i)
    for (_, _, step), indices in indices_at.items():
        chosen = columns.pick(indices)
        adam, inverse, root = settings.coefficients(step)
        share = adam / (adam + inverse) if inverse else 1.0  # 1 - alpha
        torch._foreach_add_(chosen.steps, 1)
        torch._fused_adamw_(
            chosen.params,
            chosen.grads,
            chosen.exp_avgs,
            chosen.exp_avg_sqs,
            [],
            chosen.steps,
            lr=settings.lr * share,
            beta1=settings.beta1,
            beta2=settings.beta2,
            weight_decay=settings.weight_decay / share,
            eps=settings.eps,
            amsgrad=False,
            maximize=settings.maximize,
        )
        if inverse:  # theta - lr alpha mh r, with r = (sqrt(v) + eps root) / root
            r = torch._foreach_sqrt(chosen.exp_avg_sqs)
            torch._foreach_add_(r, settings.eps * root)
            torch._foreach_addcmul_(chosen.params, chosen.exp_avgs, r, inverse / root)
