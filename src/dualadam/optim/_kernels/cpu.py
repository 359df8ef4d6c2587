"""The compiled step on the CPU: finds the library and calls it with the addresses of tensors."""

from __future__ import annotations

import ctypes
import functools
import os
from array import array
from collections import defaultdict

import torch
from torch import Tensor

from dualadam.optim._kernels import layout
from dualadam.optim._kernels.library import LIBRARY, Call, load
from dualadam.optim._kernels.tables import (
    NUM_TENSORS,
    Tables,
    tables_if_alike,
    tables_of,
    torch_function,
)
from dualadam.optim._step.columns import Columns, TensorRow, tell_autograd
from dualadam.optim._step.settings import StepSettings

CODES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3, torch.uint8: 4}
STATE_DTYPES = {torch.float64: (torch.float64,)} | dict.fromkeys(
    (torch.float32, torch.float16, torch.bfloat16), (torch.float32, torch.bfloat16, torch.uint8)
)
ACCEPTS = layout.Accepts(
    "cpu", STATE_DTYPES, (torch.float32, torch.float64), permuted_with_8_bits=True
)
# enum InstructionSet of cpu.cpp. The bits do not depend on it; DUALADAM_INSTRUCTION_SET limits it
INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
SHARED_MEMORY = 4  # error of dualadam_step: two parameters share memory


@functools.cache
def parallel_for() -> int | None:
    """Return the address of torch's parallel loop, whose threads the kernel uses.

    None means one thread.
    """
    return torch_function("torch_parallel_for")


def instruction_set() -> int:
    """Return the number of the best instruction set that the user allows. Asked at every step."""
    name = os.environ.get("DUALADAM_INSTRUCTION_SET", "").lower() or INSTRUCTION_SETS[-1]
    if name not in INSTRUCTION_SETS:
        raise ValueError(
            f"The environment variable DUALADAM_INSTRUCTION_SET must be one of "
            f"{', '.join(INSTRUCTION_SETS)}, got {name!r}."
        )
    return INSTRUCTION_SETS.index(name)


def unavailable() -> str | None:
    """Return why no tensor can take this kernel, or None if it can be used."""
    if why_not := layout.switched_off():
        return why_not
    library = load()
    return library if isinstance(library, str) else None


def describe() -> str:
    """Say what the kernel runs on."""
    library = load()
    assert not isinstance(library, str)
    name = INSTRUCTION_SETS[min(instruction_set(), library.dualadam_instruction_set())]
    instructions = {"baseline": "baseline", "avx2": "AVX2", "avx512": "AVX-512"}[name]
    threads = f"{torch.get_num_threads()} of torch's threads" if parallel_for() else "one thread"
    return f"the compiled CPU kernel ({LIBRARY.name}, {instructions} instructions, {threads})"


def refuses(row: TensorRow) -> str | None:
    """Return why a row must not reach the kernel, or None if it may."""
    return layout.refuses(row, ACCEPTS)


def step_if_alike(columns: Columns, settings: StepSettings) -> bool:
    """Advance all tensors if they are alike and none is refused; False: nothing changed."""
    tables = tables_if_alike(columns, ACCEPTS)
    if tables is None:
        return False
    if not _is_skipped(settings):
        tell_autograd(columns)
        _call_library(columns, tables, settings)
    return True


def step_tensors(columns: Columns, settings: StepSettings) -> None:
    """Advance tensors that ``refuses`` lets through."""
    if _is_skipped(settings):
        return
    tell_autograd(columns)
    indices_of: dict[tuple[torch.dtype, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(columns.rows()):
        indices_of[row.param.dtype, row.exp_avg.dtype, row.step.dtype].append(i)
    for indices in indices_of.values():
        chosen = columns.pick(indices)
        _call_library(chosen, tables_of(chosen), settings)


def _is_skipped(settings: StepSettings) -> bool:
    """Whether GradScaler has found an inf, so that nothing may change."""
    return settings.found_inf is not None and bool(settings.found_inf.item())


def _call_library(columns: Columns, tables: Tables, settings: StepSettings) -> None:
    """Advance tensors whose parameters have one dtype, and so their moments and their steps."""
    num_tensors = len(columns.params)
    dtypes = (columns.params[0].dtype, columns.exp_avgs[0].dtype, columns.steps[0].dtype)
    param_dtype, state_dtype, step_dtype = dtypes
    grad_scale = 1.0 if settings.grad_scale is None else settings.grad_scale.item()
    call = Call(
        lr=float(settings.lr),
        beta1=float(settings.beta1),
        beta2=float(settings.beta2),
        eps=float(settings.eps),
        weight_decay=float(settings.weight_decay),
        switch_rate=float(settings.switch_rate),
        grad_factor=(-1.0 if settings.maximize else 1.0) / grad_scale,
        param_dtype=CODES[param_dtype],
        state_dtype=CODES[state_dtype],
        step_dtype=CODES[step_dtype],
        stochastic_rounding=settings.stochastic_rounding,
        instruction_set=instruction_set(),
    )
    places = array("q", columns.places)
    sizes, addresses, shapes, first_place = (
        table.buffer_info()[0] for table in (*tables[:3], places)
    )
    by_column = [addresses + 8 * num_tensors * column for column in range(NUM_TENSORS)]
    library = load()
    assert not isinstance(library, str)
    error = library.dualadam_step(
        num_tensors, sizes, shapes, *by_column, first_place, ctypes.byref(call), parallel_for()
    )
    if error == SHARED_MEMORY and num_tensors > 1:
        # such as a parameter that is listed twice: one after the other, as in the loop
        for i in range(num_tensors):
            chosen = columns.pick([i])
            _call_library(chosen, tables_of(chosen), settings)
    elif error:
        raise RuntimeError(
            f"The CPU kernel refused {num_tensors} tensors of {dtypes} (code {error}); "
            "they are unchanged."
        )


def memory_traffic(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> None:
    """Move the memory of one fused step without its arithmetic: b += a, c += a, d += a.

    A step reads four arrays (parameter, gradient, both moments) and writes three, 28 bytes per
    float32 element; so does this. Its time is the limit that the memory sets to a step.

    Args:
        a, b, c, d: contiguous float32 CPU tensors with one number of elements; the last three are
            changed.

    Raises:
        RuntimeError: the compiled kernel is missing.
        ValueError: the tensors are not as described.

    Example:
        >>> import torch
        >>> from dualadam.optim import fused_status, memory_traffic
        >>> a, b, c, d = (torch.full((1000,), float(i)) for i in range(1, 5))
        >>> if fused_status().available:
        ...     memory_traffic(a, b, c, d)
        ...     assert torch.equal(d, torch.full((1000,), 5.0))
    """
    library = load()
    if isinstance(library, str):
        raise RuntimeError(f"The memory limit cannot be measured: {library}.")
    tensors = (a, b, c, d)
    if any(
        t.dtype != torch.float32 or not t.is_cpu or not t.is_contiguous() or t.numel() != a.numel()
        for t in tensors
    ):
        raise ValueError(
            "memory_traffic needs four contiguous float32 CPU tensors with one number of elements."
        )
    torch.autograd.graph.increment_version([b, c, d])
    library.dualadam_stream(a.numel(), *(t.data_ptr() for t in tensors), parallel_for())
