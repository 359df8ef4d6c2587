"""The fused path: each tensor takes the kernel of its device, and what no kernel takes goes the way it would go without.

A kernel is a module with ``unavailable()``, ``describe()``, ``takes_all(...)``, ``refuses(...)`` and ``step_tensors(...)`` as in
_kernels/cpu.py; ``KERNELS`` names the one of each device type.
"""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor

from dualadam.optim._kernels import cpu as cpu_kernel
from dualadam.optim._kernels import torch_fused as _fused_torch
from dualadam.optim._kernels import triton as triton_kernel
from dualadam.optim._kernels.torch_fused import update_torch_fused
from dualadam.optim._step.foreach import update_foreach
from dualadam.optim._step.loop import update_loop
from dualadam.optim._step.settings import Columns, StepSettings

KERNELS: dict[str, ModuleType] = {"cpu": cpu_kernel, "cuda": triton_kernel}


def unavailable() -> dict[str, str | None]:
    """Return, by device type, why its kernel cannot be used; None where it can."""
    return {device: kernel.unavailable() for device, kernel in KERNELS.items()}


def choose_kernel(
    row: Sequence[Any], why_unavailable: dict[str, str | None]
) -> tuple[ModuleType | None, str]:
    """Return the kernel that takes (param, grad, exp_avg, exp_avg_sq, step, ...), or None and the reason why none does."""
    device = row[0].device.type
    if device not in KERNELS:
        return None, f"there is no kernel for the device type {device}"
    why_not = why_unavailable[device] or KERNELS[device].refuses(*local_parts(row)[:5])
    return (None, why_not) if why_not else (KERNELS[device], "")


def local_parts(row: Sequence[Any]) -> tuple[Any, ...]:
    """Return a row with its DTensors replaced by what this process holds of them, where all four are sharded alike.

    The step is element by element: a shard steps as it would in the whole. The noise of stochastic rounding counts the shard's elements.
    """
    module = sys.modules.get("torch.distributed.tensor")  # who has a DTensor has imported it
    if module is None or not all(isinstance(t, module.DTensor) for t in row[:4]):
        return tuple(row)
    specs = {(t.device_mesh, t.placements) for t in row[:4]}
    if len(specs) != 1 or any(placement.is_partial() for placement in row[0].placements):
        return tuple(row)
    return (*(t.to_local() for t in row[:4]), *row[4:])


def require_fused(params: Iterable[Tensor]) -> None:
    """Refuse fused=True where the installation lacks the kernel that these parameters would take.

    Raises:
        RuntimeError: with the reason. A kernel that was switched off on purpose only warns: the step falls back.
    """
    why_unavailable = unavailable()
    for device in {param.device.type for param in params} & KERNELS.keys():
        if why_not := why_unavailable[device]:
            if device in _fused_torch.device_types():
                continue
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
    settings: StepSettings,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
) -> None:
    """Advance all parameters and their state by one step, in place; arguments as for ``update_loop``.

    Gradients count divided by ``grad_scale`` and are left as they are. Where ``found_inf`` is not 0, neither parameters nor state nor
    step change. torch.compile sees one operator: what happens inside is the same.
    """
    columns = (params, grads, exp_avgs, exp_avg_sqs, steps, places)
    if torch.compiler.is_compiling():
        numbers = (
            n.double() if isinstance(n, Tensor) else torch.full((), n, dtype=torch.float64)
            for n in settings[:3]
        )
        torch.ops.dualadam.fused_step(*columns, *numbers, *settings[3:], grad_scale, found_inf)
    else:
        advance_by_kernels(columns, settings, grad_scale, found_inf)


def advance_by_kernels(
    columns: Sequence[Sequence[Any]],
    settings: StepSettings,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
) -> None:
    """Hand every row of (params, grads, exp_avgs, exp_avg_sqs, steps, places) to the path that takes it."""
    why_unavailable = unavailable()
    device = columns[0][0].device.type if columns[0] else ""
    if (
        device in KERNELS
        and not why_unavailable[device]
        and KERNELS[device].takes_all(*columns[:5])
    ):
        KERNELS[device].step_tensors(*columns, settings, grad_scale, found_inf)
        return
    rows_of: dict[ModuleType | None, list[tuple]] = defaultdict(list)
    for row in zip(*columns, strict=True):
        kernel, _ = choose_kernel(row, why_unavailable)
        parts = local_parts(row) if kernel else row
        if (
            parts[0] is not row[0]
        ):  # autograd saved the whole, whose version is another than its part's
            torch.autograd.graph.increment_version([row[0], row[2], row[3]])
        rows_of[kernel].append(parts)
    rest = rows_of.pop(None, [])
    for kernel, rows in rows_of.items():
        assert kernel is not None
        kernel.step_tensors(*zip(*rows, strict=True), settings, grad_scale, found_inf)
    if not rest or (found_inf is not None and found_inf.item()):
        return
    if grad_scale is not None:
        rest = [(row[0], row[1] / grad_scale.to(row[1].device), *row[2:]) for row in rest]
    if not settings.on_device:
        lr, beta1, beta2 = settings[:3]
        settings = StepSettings(float(lr), float(beta1), float(beta2), *settings[3:])
    by_torch: list[tuple] = []
    usual: list[tuple] = []
    for row in rest:
        (by_torch if not settings.on_device and _fused_torch.takes(row) else usual).append(row)
    update_usual = update_foreach if all(row[0].is_cuda for row in usual) else update_loop
    for update, rows in ((update_torch_fused, by_torch), (update_usual, usual)):
        if rows:
            update(*cast(Columns, tuple(map(list, zip(*rows, strict=True)))), settings)


def _fused_step(*args: Any) -> None:
    """What ``fused_step`` does: its arguments are six columns, the fields of StepSettings, grad_scale and found_inf."""
    advance_by_kernels(args[:6], StepSettings(*args[6:-2]), *args[-2:])


_LIBRARY = torch.library.Library("dualadam", "FRAGMENT")
if not hasattr(torch.ops.dualadam, "fused_step"):
    # not custom_op: it would bump every version counter once more, in Python, a tensor at a time
    _LIBRARY.define(
        "fused_step(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] exp_avgs, Tensor(c!)[] exp_avg_sqs, Tensor(d!)[] steps, "
        "int[] places, Tensor lr, Tensor beta1, Tensor beta2, float eps, float weight_decay, float switch_rate, bool maximize, "
        "bool on_device, bool stochastic_rounding, Tensor? grad_scale, Tensor? found_inf) -> ()",
    )
    _LIBRARY.impl("fused_step", _fused_step, "CompositeExplicitAutograd")
    torch.library.register_fake("dualadam::fused_step", lambda *args: None, lib=_LIBRARY)
