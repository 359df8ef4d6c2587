"""Where tensors lie in memory: tables for the library, and torch's interface that fills them."""

from __future__ import annotations

import ctypes
import functools
import sys
from array import array
from operator import attrgetter, or_
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from dualadam.optim._kernels import layout
from dualadam.optim._kernels.library import QUESTIONS, Torch, load
from dualadam.optim._step.columns import Columns
from dualadam.optim._step.quantised import is_quantised

IMPLEMENTATION = attrgetter("_cdata")  # address of what torch's C interface calls a tensor
NUM_TENSORS = len(Columns._fields) - 1  # of a row
ALIKE_AND_ALIGNED = 2  # of dualadam_read_alike


class Tables(NamedTuple):
    """Where the tensors of a call lie, in the order of Columns."""

    sizes: array[int]
    addresses: array[int]  # of all parameters, then of all gradients, ...
    shapes: array[int]  # struct Shape of permuted.h for each parameter, or 0 for a contiguous one
    aligned: bool  # all tensors but the steps lie at multiples of 16 bytes
    kept: tuple[array[int], ...] = ()  # what the shapes point to


def tables_of(columns: Columns) -> Tables:
    """Return the tables of tensors that may reach the library."""
    shapes: list[int] = []
    kept: list[array[int]] = []
    for param, moment in zip(columns.params, columns.exp_avgs, strict=True):
        if param.is_contiguous() or not is_quantised(moment):
            shapes += (0, 0, 0)
        else:
            kept += (array("q", param.shape), array("q", param.stride()))
            shapes += (param.dim(), *(numbers.buffer_info()[0] for numbers in kept[-2:]))
    addresses = array("Q", [t.data_ptr() for column in columns[:-1] for t in column])
    without_steps = addresses[: -len(columns.steps)]
    return Tables(
        sizes=array("q", [param.numel() for param in columns.params]),
        addresses=addresses,
        shapes=array("q", shapes),
        aligned=not functools.reduce(or_, without_steps, 0) % 16,
        kept=tuple(kept),
    )


def tables_of_implementations(tensors: list[Tensor]) -> Tables:
    """Return tables that the library completes: sizes and shapes of 0, and in place of addresses
    what torch's C interface calls the tensors, column by column.
    """
    num_rows = len(tensors) // NUM_TENSORS
    return Tables(
        sizes=array("q", bytes(8 * num_rows)),
        addresses=array("Q", list(map(IMPLEMENTATION, tensors))),
        shapes=array("q", bytes(8 * 3 * num_rows)),
        aligned=False,
    )


def tables_if_alike(columns: Columns, accepts: layout.Accepts) -> Tables | None:
    """Return the tables of tensors that are alike, none of which ``refuses`` stops, else None.

    The library asks torch what Python would ask it: device, dtype, shape, strides and address of
    each tensor. That takes a third of the time.
    """
    interface, library = torch_interface(), load()
    if interface is None or isinstance(library, str):
        return tables_of(columns) if layout.takes_all(columns, accepts) else None
    params, grads, exp_avgs, exp_avg_sqs, steps, _ = columns
    large = [*params, *grads, *exp_avgs, *exp_avg_sqs]
    if (
        layout.refuses(columns.pick([0]).rows()[0], accepts)
        or not set(map(type, large)) <= layout.PLAIN
        or any(map(Tensor.is_neg, [*params, *grads]))
    ):
        return None
    tables = tables_of_implementations([*large, *steps])
    sizes, tensors, shapes = (table.buffer_info()[0] for table in tables[:3])
    found = library.dualadam_read_alike(
        len(params),
        tensors,
        sizes,
        shapes,
        ctypes.byref(interface),
        accepts.permuted_with_8_bits,
    )
    return tables._replace(aligned=found == ALIKE_AND_ALIGNED) if found else None


@functools.cache
def torch_library() -> ctypes.CDLL | None:
    """Return the library of torch that has its stable C interface."""
    name = {"win32": "torch_cpu.dll", "darwin": "libtorch_cpu.dylib"}.get(
        sys.platform, "libtorch_cpu.so"
    )
    try:
        return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name))
    except OSError:
        return None


def torch_function(name: str) -> int | None:
    """Return the address of a function of torch's stable C interface, or None without it."""
    function = getattr(torch_library(), name, None)
    return None if function is None else ctypes.cast(function, ctypes.c_void_p).value


@functools.cache
def torch_interface() -> Torch | None:
    """Return torch's functions that describe a tensor.

    None where one is missing, or where it does not find the address of a tensor that Python names.
    """
    functions = [torch_function(f"aoti_torch_get_{name}") for name in QUESTIONS]
    if not all(functions):
        return None
    interface = Torch(*functions)
    return interface if _finds(interface, torch.empty(3, device="cpu")) else None


def _finds(interface: Torch, tensor: Tensor) -> bool:
    ask = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)(interface.data_ptr)
    handle, found = array("Q", [IMPLEMENTATION(tensor)]), ctypes.c_void_p()
    error = ask(handle.buffer_info()[0], ctypes.addressof(found))
    return error == 0 and found.value == tensor.data_ptr()
