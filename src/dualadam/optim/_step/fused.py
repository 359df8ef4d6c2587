"""The fused path: each tensor takes the kernel of its device; the rest takes another path."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol

from torch import Tensor

from dualadam.optim._kernels import cpu as cpu_kernel
from dualadam.optim._kernels import torch_fused
from dualadam.optim._kernels import triton as triton_kernel
from dualadam.optim._kernels.torch_fused import update_torch_fused
from dualadam.optim._step.columns import Columns, TensorRow, has_repeats, require_same_shapes
from dualadam.optim._step.foreach import update_foreach
from dualadam.optim._step.loop import update_loop
from dualadam.optim._step.settings import StepSettings
from dualadam.optim._warn import warn


class Kernel(Protocol):
    """What a module of _kernels offers to be the kernel of a device type."""

    def unavailable(self) -> str | None:
        """Return why no tensor can take this kernel, or None if it can be used."""

    def describe(self) -> str:
        """Say what the kernel runs on."""

    def refuses(self, row: TensorRow) -> str | None:
        """Return why a row must not reach the kernel, or None if it may."""

    def step_if_alike(self, columns: Columns, settings: StepSettings) -> bool:
        """Advance all tensors if they are alike and none is refused; False: nothing changed."""

    def step_tensors(self, columns: Columns, settings: StepSettings) -> None:
        """Advance tensors that ``refuses`` lets through."""


KERNELS: dict[str, Kernel] = {"cpu": cpu_kernel, "cuda": triton_kernel}


def unavailable() -> dict[str, str | None]:
    """Return why each device type's kernel cannot be used, or None where it can."""
    return {device: kernel.unavailable() for device, kernel in KERNELS.items()}


def why_no_kernel(row: TensorRow, why_unavailable: dict[str, str | None]) -> str | None:
    """Return why no kernel takes a row, or None if the kernel of its device does."""
    device = row.param.device.type
    if device not in KERNELS:
        return f"there is no kernel for the device type {device}"
    return why_unavailable[device] or KERNELS[device].refuses(row)


def require_fused(params: Iterable[Tensor]) -> None:
    """Refuse fused=True where these parameters' devices have no kernel, or its library is missing.

    A kernel that was switched off on purpose only warns: the step falls back.

    Raises:
        RuntimeError: with the reason.
    """
    why_unavailable = unavailable()
    for device in sorted({param.device.type for param in params} - torch_fused.device_types()):
        if device not in KERNELS:
            raise RuntimeError(
                f"fused=True is not available: there is no kernel for the device type {device}. "
                "Move the parameters before you make the optimizer, or leave fused=None."
            )
        why_not = why_unavailable[device]
        if why_not and "environment variable" in why_not:
            warn(f"fused=True has no effect: {why_not}.")
        elif why_not:
            raise RuntimeError(f"fused=True is not available: {why_not}, or leave fused=None.")


def update_fused(columns: Columns, settings: StepSettings) -> None:
    """Advance all parameters and their state by one step, in place: each by the path that takes it.

    Gradients count divided by ``settings.grad_scale`` and are not changed. Where
    ``settings.found_inf`` is not 0, neither parameters nor state nor step change.
    """
    if not columns.params:
        return
    kernel = KERNELS.get(columns.params[0].device.type)
    if kernel and not kernel.unavailable() and kernel.step_if_alike(columns, settings):
        return
    require_same_shapes(columns)
    why_unavailable = unavailable()
    indices_on: dict[str, list[int]] = defaultdict(list)
    rest: list[int] = []
    for i, row in enumerate(columns.rows()):
        if why_no_kernel(row, why_unavailable):
            rest.append(i)
        else:
            indices_on[row.param.device.type].append(i)
    for device, indices in indices_on.items():
        KERNELS[device].step_tensors(columns.pick(indices), settings)
    if rest and not (settings.found_inf is not None and settings.found_inf.item()):
        advance_without_kernel(columns.pick(rest), settings)


def advance_without_kernel(columns: Columns, settings: StepSettings) -> None:
    """Step what no kernel takes: by torch's fused AdamW where possible, else by foreach or loop."""
    if settings.grad_scale is not None:
        grad_scale = settings.grad_scale
        columns = columns._replace(grads=[g / grad_scale.to(g.device) for g in columns.grads])
    by_torch: list[int] = []
    usual: list[int] = []
    one_by_one = settings.on_device or has_repeats(columns.params)
    for i, row in enumerate(columns.rows()):
        by_torch_fused = not one_by_one and torch_fused.takes(row)
        (by_torch if by_torch_fused else usual).append(i)
    if not settings.on_device:
        settings = settings.as_numbers()
    if by_torch:
        update_torch_fused(columns.pick(by_torch), settings)
    if usual:
        chosen = columns.pick(usual)
        listwise = all(p.is_cuda for p in chosen.params) and not has_repeats(chosen.params)
        update = update_foreach if listwise else update_loop
        update(chosen, settings)
