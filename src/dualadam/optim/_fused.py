"""The fused path: each tensor takes the kernel of its device, and what no kernel takes goes the way it would go without.

A kernel is a module with ``unavailable()``, ``describe()``, ``takes_all(...)``, ``refuses(...)`` and ``step_tensors(...)`` as in
_kernel_cpu.py; ``KERNELS`` names the one of each device type.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dualadam.optim import _kernel_cpu
from dualadam.optim._foreach import update_foreach
from dualadam.optim._loop import update_loop

KERNELS: dict[str, ModuleType] = {"cpu": _kernel_cpu}


def unavailable() -> dict[str, str | None]:
    """Return, by device type, why its kernel cannot be used; None where it can."""
    return {device: kernel.unavailable() for device, kernel in KERNELS.items()}


def choose_kernel(row: Sequence[Any], why_unavailable: dict[str, str | None]) -> tuple[ModuleType | None, str]:
    """Return the kernel that takes (param, grad, exp_avg, exp_avg_sq, step, ...), or None and the reason why none does."""
    device = row[0].device.type
    if device not in KERNELS:
        return None, f"there is no kernel for the device type {device}"
    why_not = why_unavailable[device] or KERNELS[device].refuses(*row[:5])
    return (None, why_not) if why_not else (KERNELS[device], "")


def require_fused(params: Iterable[Tensor]) -> None:
    """Refuse fused=True where the installation lacks the kernel that these parameters would take.

    Raises:
        RuntimeError: with the reason. A kernel that was switched off on purpose only warns: the step falls back.
    """
    why_unavailable = unavailable()
    for device in {param.device.type for param in params} & KERNELS.keys():
        if why_not := why_unavailable[device]:
            if "environment variable" in why_not:
                warnings.warn(f"fused=True has no effect: {why_not}.", stacklevel=2)
            else:
                raise RuntimeError(f"fused=True is not available: {why_not}, or leave fused=None.")


def update_fused(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    steps: list[Tensor],
    places: list[int],
    *,
    lr: float | Tensor,
    betas: tuple[float | Tensor, float | Tensor],
    eps: float,
    weight_decay: float,
    switch_rate: float,
    maximize: bool,
    on_device: bool,
    stochastic_rounding: bool,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
) -> None:
    """Advance all parameters and their state by one step, in place; arguments as for ``update_loop``.

    Gradients count divided by ``grad_scale`` and are left as they are. Where ``found_inf`` is not 0, neither parameters nor state nor
    step change. torch.compile sees one operator: what happens inside is the same.
    """
    flags: Any = (eps, weight_decay, switch_rate, maximize, on_device, stochastic_rounding, grad_scale, found_inf)
    if torch.compiler.is_compiling():
        numbers = (n.double() if isinstance(n, Tensor) else torch.full((), n, dtype=torch.float64) for n in (lr, *betas))
        torch.ops.dualadam.fused_step(params, grads, exp_avgs, exp_avg_sqs, steps, places, *numbers, *flags)
    else:
        _advance(params, grads, exp_avgs, exp_avg_sqs, steps, places, lr, *betas, *flags)


def _advance(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    places: Sequence[int],
    lr: Any,
    beta1: Any,
    beta2: Any,
    eps: float,
    weight_decay: float,
    switch_rate: float,
    maximize: bool,
    on_device: bool,
    stochastic_rounding: bool,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
) -> None:
    columns = (params, grads, exp_avgs, exp_avg_sqs, steps, places)
    common = {"lr": lr, "betas": (beta1, beta2), "eps": eps, "weight_decay": weight_decay, "switch_rate": switch_rate}
    common |= {"maximize": maximize, "stochastic_rounding": stochastic_rounding}
    why_unavailable = unavailable()
    device = params[0].device.type if params else ""
    if device in KERNELS and not why_unavailable[device] and KERNELS[device].takes_all(*columns[:5]):
        KERNELS[device].step_tensors(*columns, **common, grad_scale=grad_scale, found_inf=found_inf)
        return
    rows_of: dict[ModuleType | None, list[tuple]] = defaultdict(list)
    for row in zip(*columns, strict=True):
        rows_of[choose_kernel(row, why_unavailable)[0]].append(row)
    rest = rows_of.pop(None, [])
    for kernel, rows in rows_of.items():
        assert kernel is not None
        kernel.step_tensors(*zip(*rows, strict=True), **common, grad_scale=grad_scale, found_inf=found_inf)
    if rest and not (found_inf is not None and found_inf.item()):
        lists = [list(column) for column in zip(*rest, strict=True)]
        if grad_scale is not None:
            lists[1] = [g / grad_scale.to(g.device) for g in lists[1]]
        on_cuda = all(p.is_cuda for p in lists[0])
        (update_foreach if on_cuda else update_loop)(*lists, **common, on_device=on_device)


_LIBRARY = torch.library.Library("dualadam", "FRAGMENT")
if not hasattr(torch.ops.dualadam, "fused_step"):
    # not custom_op: it would bump every version counter once more, in Python, a tensor at a time
    _LIBRARY.define(
        "fused_step(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] exp_avgs, Tensor(c!)[] exp_avg_sqs, Tensor(d!)[] steps, "
        "int[] places, Tensor lr, Tensor beta1, Tensor beta2, float eps, float weight_decay, float switch_rate, bool maximize, "
        "bool on_device, bool stochastic_rounding, Tensor? grad_scale, Tensor? found_inf) -> ()",
    )
    _LIBRARY.impl("fused_step", _advance, "CompositeExplicitAutograd")
    torch.library.register_fake("dualadam::fused_step", lambda *args: None, lib=_LIBRARY)
