"""The compiled library: where it is, its interface, and why it may be missing."""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path

QUESTIONS = ("data_ptr", "dtype", "device_type", "device_index", "dim", "sizes", "strides")
ABI_VERSION = 7  # dualadam_abi_version() in cpu.cpp
LIBRARY = Path(__file__).with_name(
    "libdualadam_cpu" + (".pyd" if sys.platform == "win32" else ".so")
)


class Torch(ctypes.Structure):
    """``struct Torch`` of tensors.h: functions of torch's stable C interface."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in QUESTIONS)


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
    pointers = [ctypes.c_void_p] * 8
    library.dualadam_step.argtypes = [
        ctypes.c_int64,
        *pointers,
        ctypes.POINTER(Call),
        ctypes.c_void_p,
    ]
    library.dualadam_read_alike.argtypes = [
        ctypes.c_int64,
        *pointers[:3],
        ctypes.POINTER(Torch),
        ctypes.c_int32,
    ]
    library.dualadam_stream.argtypes = [ctypes.c_int64, *pointers[:4], ctypes.c_void_p]
    library.dualadam_stream.restype = None
    return library
