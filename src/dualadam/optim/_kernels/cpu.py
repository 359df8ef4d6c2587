"""The compiled step on the CPU: finds the library and calls it with the addresses of tensors."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from array import array
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from dualadam.optim._kernels import layout
from dualadam.optim._kernels.layout import DTYPE
from dualadam.optim._step.columns import Columns, TensorRow
from dualadam.optim._step.settings import StepSettings

ABI_VERSION = 2  # dualadam_abi_version() in cpu.cpp
LIBRARY = Path(__file__).with_name(
    "libdualadam_cpu" + (".pyd" if sys.platform == "win32" else ".so")
)
CODES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
STATE_DTYPES = {
    torch.float32: (torch.float32, torch.bfloat16),
    torch.float64: (torch.float64,),
    torch.float16: (torch.float32, torch.bfloat16),
    torch.bfloat16: (torch.float32, torch.bfloat16),
}
ACCEPTS = layout.Accepts("cpu", STATE_DTYPES, (torch.float32, torch.float64))
# enum InstructionSet of cpu.cpp. The bits do not depend on it; DUALADAM_INSTRUCTION_SET limits it
INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
SHARED_MEMORY = 4  # error of dualadam_step: two parameters share memory


class Call(ctypes.Structure):
    """``struct Settings`` of cpu.cpp."""

    _fields_ = (
        ("lr", ctypes.c_double),
        ("beta1", ctypes.c_double),
        ("beta2", ctypes.c_double),
        ("eps", ctypes.c_double),
        ("weight_decay", ctypes.c_double),
        ("switch_rate", ctypes.c_double),
        ("grad_factor", ctypes.c_double),
        ("param_dtype", ctypes.c_int32),
        ("state_dtype", ctypes.c_int32),
        ("step_dtype", ctypes.c_int32),
        ("stochastic_rounding", ctypes.c_int32),
        ("instruction_set", ctypes.c_int32),
    )


@functools.cache
def load() -> ctypes.CDLL | str:
    """Return the library, or a clause that says why there is none."""
    if not LIBRARY.exists():
        return (
            "the CPU kernel was not compiled when dualadam was installed; "
            "install a C++ compiler and reinstall dualadam"
        )
    try:
        library = ctypes.CDLL(str(LIBRARY))
        version = library.dualadam_abi_version()
    except (OSError, AttributeError) as error:
        return f"the CPU kernel could not be loaded ({error}); reinstall dualadam"
    if version != ABI_VERSION:
        return (
            "the CPU kernel belongs to another version of dualadam "
            f"(interface {version}, not {ABI_VERSION}); reinstall dualadam"
        )
    pointers = [ctypes.c_void_p] * 7
    library.dualadam_step.argtypes = [
        ctypes.c_int64,
        *pointers,
        ctypes.POINTER(Call),
        ctypes.c_void_p,
    ]
    library.dualadam_stream.argtypes = [ctypes.c_int64, *pointers[:4], ctypes.c_void_p]
    library.dualadam_stream.restype = None
    return library


@functools.cache
def parallel_for() -> int | None:
    """Return the address of torch's parallel loop, whose threads the kernel uses.

    None means one thread.
    """
    name = {"win32": "torch_cpu.dll", "darwin": "libtorch_cpu.dylib"}.get(
        sys.platform, "libtorch_cpu.so"
    )
    try:
        function = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name)).torch_parallel_for
    except (OSError, AttributeError):
        return None
    return ctypes.cast(function, ctypes.c_void_p).value


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


def takes_all(columns: Columns) -> bool:
    """Whether all tensors are alike and none is refused; False decides nothing."""
    return layout.takes_all(columns, ACCEPTS)


def step_tensors(columns: Columns, settings: StepSettings) -> None:
    """Advance tensors that ``refuses`` lets through."""
    if settings.found_inf is not None and settings.found_inf.item():
        return
    # autograd is told before the memory changes: what it refuses (inference tensors) stays as it is
    torch.autograd.graph.increment_version(
        [*columns.params, *columns.exp_avgs, *columns.exp_avg_sqs, *columns.steps]
    )
    dtypes_of = list(
        zip(
            map(DTYPE, columns.params),
            map(DTYPE, columns.exp_avgs),
            map(DTYPE, columns.steps),
            strict=True,
        )
    )
    if len(set(dtypes_of)) == 1:
        _call_library(columns, settings, dtypes_of[0])
        return
    indices_of: dict[tuple[torch.dtype, ...], list[int]] = defaultdict(list)
    for i, of_tensor in enumerate(dtypes_of):
        indices_of[of_tensor].append(i)
    for dtypes, indices in indices_of.items():
        _call_library(columns.pick(indices), settings, dtypes)


def _call_library(
    columns: Columns, settings: StepSettings, dtypes: tuple[torch.dtype, ...]
) -> None:
    """Advance tensors whose parameters, moments and steps have these dtypes."""
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
    params, grads, exp_avgs, exp_avg_sqs, steps, places = columns
    tables = [
        array("q", list(map(Tensor.numel, params))),
        *(
            array("Q", list(map(Tensor.data_ptr, tensors)))
            for tensors in (params, grads, exp_avgs, exp_avg_sqs, steps)
        ),
        array("q", places),
    ]
    addresses = [table.buffer_info()[0] for table in tables]
    library = load()
    assert not isinstance(library, str)
    error = library.dualadam_step(len(params), *addresses, ctypes.byref(call), parallel_for())
    if error == SHARED_MEMORY and len(params) > 1:
        # such as a parameter that is listed twice: one after the other, as in the loop
        for i in range(len(params)):
            _call_library(columns.pick([i]), settings, dtypes)
    elif error:
        raise RuntimeError(
            f"The CPU kernel refused {len(params)} tensors of {dtypes} (code {error}); "
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
