"""Which of an optimizer's tensors take the fused path, and why the others do not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from dualadam.optim._kernels import layout, torch_fused
from dualadam.optim._step.columns import TensorRow
from dualadam.optim._step.fused import KERNELS, unavailable, why_no_kernel
from dualadam.optim._step.sharded import local_row
from dualadam.optim.dualadam import unwrap
from dualadam.optim.state import moment_names

INSTEAD = "torch's fused AdamW (foreach added while mixing)"


@dataclass(frozen=True)
class FusedStatus:
    """What ``fused=True`` does on this machine; ``print`` shows it.

    Attributes:
        available: whether there is a kernel for the device type.
        reason: what the kernel runs on, or why there is none.
        paths: number of an optimizer's tensors by the path they take, with the reason where it is
            not the kernel.
    """

    available: bool
    reason: str
    paths: dict[str, int]

    def __str__(self) -> str:
        lines = [f"fused: {'' if self.available else 'not available: '}{self.reason}."]
        return "\n".join(
            lines + [f"{count:6,} tensors: {path}" for path, count in self.paths.items()]
        )


def fused_status(optimizer: Optimizer | None = None, device: str = "cpu") -> FusedStatus:
    """Say whether the fused path is available, and which tensors of an optimizer take it.

    Args:
        optimizer: an ``InvAdam`` or ``DualAdam`` after a ``step``, wrapped or not; None asks about
            the kernel alone.
        device: the device type, such as "cpu" or "cuda".

    Returns:
        A ``FusedStatus``. Its ``paths`` count the tensors that have a gradient and a state; they
        are empty without an optimizer.

    Raises:
        TypeError: ``optimizer`` is of another class.

    Example:
        >>> import torch
        >>> from dualadam import DualAdam, fused_status
        >>> real = torch.ones(3, requires_grad=True)
        >>> complex_ = torch.ones(2, dtype=torch.complex64, requires_grad=True)
        >>> optimizer = DualAdam([real, complex_], fused=fused_status().available)
        >>> ((real ** 2).sum() + complex_.abs().sum()).backward()
        >>> optimizer.step()
        >>> sum(fused_status(optimizer).paths.values())
        2
    """
    paths: Counter[str] = Counter()
    if optimizer is not None:
        optimizer = unwrap(optimizer)
        for group in optimizer.param_groups:
            for param in group["params"]:
                if param.grad is not None and (state := optimizer.state.get(param)):
                    paths[_path(param, state, group)] += 1
    if device not in KERNELS:
        return FusedStatus(False, f"there is no kernel for the device type {device}", dict(paths))
    if device == "cuda" and not torch.cuda.is_available():
        return FusedStatus(False, "torch finds no CUDA device", dict(paths))
    why_not = KERNELS[device].unavailable()
    if why_not and device in torch_fused.device_types() and not layout.switched_off():
        why_not += f"; {INSTEAD} does the step"
    return FusedStatus(why_not is None, why_not or KERNELS[device].describe(), dict(paths))


def _path(param: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> str:
    """Return the path of one parameter, in words."""
    if not group["fused"]:
        return "not fused: the setting of their group"
    assert param.grad is not None
    exp_avg, exp_avg_sq = (state[name] for name in moment_names(group))
    row = local_row(TensorRow(param, param.grad, exp_avg, exp_avg_sq, state["step"], place=0))
    why_not = why_no_kernel(row, unavailable())
    if why_not is None:
        return "fused"
    if not group["capturable"] and torch_fused.takes(row):
        return f"{INSTEAD}: {why_not}"
    return f"not fused: {why_not}"
