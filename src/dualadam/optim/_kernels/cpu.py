"""The compiled step on the CPU: finds the library, checks every tensor that it gets an address of, and calls it."""

from __future__ import annotations

import ctypes
import functools
import sys
from array import array
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dualadam.optim._kernels import layout as _layout
from dualadam.optim._kernels.layout import DTYPE
from dualadam.optim._step.settings import StepSettings

ABI_VERSION = 1  # dualadam_abi_version() in cpu.cpp
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
STEP_DTYPES = (torch.float32, torch.float64)
ALLOW_AVX2 = True  # tests turn it off: the bits must not change


class Call(ctypes.Structure):
    """``struct Settings`` of cpu.cpp."""

    _fields_ = (
        *(
            (name, ctypes.c_double)
            for name in (
                "lr",
                "beta1",
                "beta2",
                "eps",
                "weight_decay",
                "switch_rate",
                "grad_factor",
            )
        ),
        *(
            (name, ctypes.c_int32)
            for name in (
                "param_dtype",
                "state_dtype",
                "step_dtype",
                "stochastic_rounding",
                "allow_avx2",
            )
        ),
    )


@functools.cache
def load() -> ctypes.CDLL | str:
    """Return the library, or a sentence that says why there is none."""
    if not LIBRARY.exists():
        return "the CPU kernel was not compiled when dualadam was installed; install a C++ compiler and reinstall dualadam"
    try:
        library = ctypes.CDLL(str(LIBRARY))
        version = library.dualadam_abi_version()
    except (OSError, AttributeError) as error:
        return f"the CPU kernel could not be loaded ({error}); reinstall dualadam"
    if version != ABI_VERSION:
        return f"the CPU kernel belongs to another version of dualadam (interface {version}, not {ABI_VERSION}); reinstall dualadam"
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
    """Return the address of torch's own parallel loop, whose threads the kernel borrows; None is one thread."""
    name = {"win32": "torch_cpu.dll", "darwin": "libtorch_cpu.dylib"}.get(
        sys.platform, "libtorch_cpu.so"
    )
    try:
        function = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name)).torch_parallel_for
    except (OSError, AttributeError):
        return None
    return ctypes.cast(function, ctypes.c_void_p).value


def unavailable() -> str | None:
    """Why no tensor can take this kernel; None if it is there."""
    if why_not := _layout.switched_off():
        return why_not
    library = load()
    return library if isinstance(library, str) else None


def describe() -> str:
    """Say what the kernel runs on."""
    library = load()
    assert not isinstance(library, str)
    instructions = "AVX2" if ALLOW_AVX2 and library.dualadam_has_avx2() else "baseline"
    threads = f"{torch.get_num_threads()} of torch's threads" if parallel_for() else "one thread"
    return f"the compiled CPU kernel ({LIBRARY.name}, {instructions} instructions, {threads})"


def refuses(*row: Tensor) -> str | None:
    """Why (param, grad, exp_avg, exp_avg_sq, step) must not reach the kernel; None if they may."""
    return _layout.refuses(row, "cpu", STATE_DTYPES, STEP_DTYPES)


def takes_all(*columns: Sequence[Tensor]) -> bool:
    """Whether no tensor of these columns is refused and all are alike; False says nothing."""
    return _layout.takes_all(columns, "cpu", STATE_DTYPES, STEP_DTYPES)


def step_tensors(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    places: Sequence[int],
    settings: StepSettings,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
) -> None:
    """Advance tensors that ``refuses`` let through; arguments as for ``update_fused``."""
    if found_inf is not None and found_inf.item():
        return
    grad_factor = (-1.0 if settings.maximize else 1.0) / (
        1.0 if grad_scale is None else grad_scale.item()
    )
    numbers = (*map(float, settings[:6]), grad_factor)  # lr ... switch_rate
    library = load()
    assert not isinstance(library, str)
    # autograd is told before the memory changes: what it refuses (inference tensors) is then still untouched
    torch.autograd.graph.increment_version([*params, *exp_avgs, *exp_avg_sqs, *steps])
    columns_of: dict[tuple[torch.dtype, ...], Sequence[Sequence[Any]]] = {}
    dtypes_of = list(zip(map(DTYPE, params), map(DTYPE, exp_avgs), map(DTYPE, steps), strict=True))
    if len(set(dtypes_of)) == 1:
        columns_of[dtypes_of[0]] = (params, grads, exp_avgs, exp_avg_sqs, steps, places)
    else:
        rows_of: dict[tuple[torch.dtype, ...], list[tuple]] = defaultdict(list)
        for key, row in zip(
            dtypes_of,
            zip(params, grads, exp_avgs, exp_avg_sqs, steps, places, strict=True),
            strict=True,
        ):
            rows_of[key].append(row)
        columns_of = {key: list(zip(*rows, strict=True)) for key, rows in rows_of.items()}
    for dtypes, (*columns, column_of_places) in columns_of.items():
        call = Call(
            *numbers, *(CODES[dtype] for dtype in dtypes), settings.stochastic_rounding, ALLOW_AVX2
        )
        sizes = array("q", list(map(Tensor.numel, columns[0])))
        tables = [
            sizes,
            *(array("Q", list(map(Tensor.data_ptr, column))) for column in columns),
            array("q", column_of_places),
        ]
        addresses = [table.buffer_info()[0] for table in tables]
        error = library.dualadam_step(len(sizes), *addresses, ctypes.byref(call), parallel_for())
        if error:
            raise RuntimeError(
                f"The CPU kernel refused {len(sizes)} tensors of {dtypes} (code {error}); they are unchanged."
            )


def stream(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> None:
    """Read four contiguous float32 tensors of one size and add the first to the three others: the memory traffic of a step."""
    library = load()
    if isinstance(library, str):
        raise RuntimeError(f"The memory limit cannot be measured: {library}.")
    tensors = (a, b, c, d)
    if any(
        t.dtype != torch.float32 or not t.is_cpu or not t.is_contiguous() or t.numel() != a.numel()
        for t in tensors
    ):
        raise ValueError("stream needs four contiguous float32 CPU tensors of one size.")
    torch.autograd.graph.increment_version([b, c, d])
    library.dualadam_stream(a.numel(), *(t.data_ptr() for t in tensors), parallel_for())
