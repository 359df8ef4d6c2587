"""Which of an optimizer's tensors take the fused path, and why the others do not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer

from dualadam.optim._kernels import torch_fused as _fused_torch
from dualadam.optim._kernels.layout import switched_off
from dualadam.optim._step.fused import KERNELS, choose_kernel, unavailable
from dualadam.optim.dualadam import unwrap

INSTEAD = "torch's fused AdamW (foreach added while mixing)"


@dataclass(frozen=True)
class FusedStatus:
    """What ``fused=True`` does here: ``print`` it."""

    available: bool  # whether there is a kernel for the device type
    reason: str  # what it runs on, or why there is none
    paths: dict[
        str, int
    ]  # number of an optimizer's tensors by the path they take, with the reason where it is not the kernel

    def __str__(self) -> str:
        lines = [f"fused: {'' if self.available else 'not available: '}{self.reason}."]
        return "\n".join(
            lines + [f"{count:6,} tensors: {path}" for path, count in self.paths.items()]
        )


def fused_status(optimizer: Optimizer | None = None, device: str = "cpu") -> FusedStatus:
    """Say whether the fused path is there, why not, and which tensors of an optimizer take it.

    Args:
        optimizer: an ``InvAdam`` or ``DualAdam`` after a ``step``, wrapped or not; None asks about the kernel alone.
        device: the type of device to ask about, such as "cpu".

    Returns:
        A ``FusedStatus``. Its ``paths`` count the optimizer's tensors with a gradient and a state, and are empty without an optimizer.

    Raises:
        TypeError: optimizer is something else.

    Example:
        >>> import torch
        >>> from dualadam import DualAdam
        >>> from dualadam.optim import fused_status
        >>> plain, complex_ = torch.ones(3, requires_grad=True), torch.ones(2, dtype=torch.complex64, requires_grad=True)
        >>> optimizer = DualAdam([plain, complex_], fused=fused_status().available)
        >>> ((plain ** 2).sum() + complex_.abs().sum()).backward(); optimizer.step()
        >>> sum(fused_status(optimizer).paths.values())
        2
    """
    paths: Counter[str] = Counter()
    if optimizer is not None:
        optimizer = unwrap(optimizer)
        for group in optimizer.param_groups:
            for param in group["params"]:
                if param.grad is not None and (state := optimizer.state.get(param)):
                    paths[_path(param, state, group["fused"], group["capturable"])] += 1
    if device not in KERNELS:
        return FusedStatus(False, f"there is no kernel for the device type {device}", dict(paths))
    if device == "cuda" and not torch.cuda.is_available():
        return FusedStatus(False, "torch finds no CUDA device", dict(paths))
    why_not = KERNELS[device].unavailable()
    if why_not and device in _fused_torch.device_types() and not switched_off():
        why_not += f"; {INSTEAD} does the step"
    return FusedStatus(why_not is None, why_not or KERNELS[device].describe(), dict(paths))


def _path(param: Any, state: dict[str, Any], fused: bool | None, capturable: bool) -> str:
    if not fused:
        return "not fused: the setting of their group"
    row = (param, param.grad, state["exp_avg"], state["exp_avg_sq"], state["step"])
    kernel, why_not = choose_kernel(row, unavailable())
    if kernel:
        return "fused"
    return (
        f"{INSTEAD}: {why_not}"
        if not capturable and _fused_torch.takes(row)
        else f"not fused: {why_not}"
    )
