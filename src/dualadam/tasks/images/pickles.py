"""Pickles of arrays and lists, read without running code from them.

A pickle is a program that calls what it names. Here it can name only the stand-ins below. They make
arrays of plain numbers and nothing else: an array of objects would hold pointers, which a crafted
file could forge.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np

from dualadam.tasks.files import damaged

PLAIN_NUMBER = re.compile(r"[<>=|]?[biuf][1248]")


def read_pickle(file: Path, *keys: bytes) -> dict[bytes, Any]:
    """Read a pickled dictionary that has these keys.

    Raises:
        InvalidValueError: the file is damaged, lacks a key, or asks for something other than arrays
            of plain numbers and Python's plain containers.
    """
    try:
        content = _loaded(file.read_bytes())
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise damaged(file, f"not a complete pickle of arrays and lists: {error}") from error
    if not isinstance(content, dict) or not all(key in content for key in keys):
        raise damaged(file, f"no dictionary with {', '.join(key.decode() for key in keys)}")
    return content


def _loaded(content: bytes) -> Any:
    for opcode, argument, _ in pickletools.genops(content):
        # the unpickler would allocate a table of this length
        if "PUT" in opcode.name and isinstance(argument, int) and argument > len(content):
            raise pickle.UnpicklingError(f"the index {argument} of a memo is beyond its length")
    loaded = _SafeUnpickler(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(loaded, dict):
        return loaded
    return {key: v.numbers if isinstance(v, _Array) else v for key, v in loaded.items()}


class _SafeUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # the official archives have the module's name from before numpy 2
        match module.replace("numpy.core", "numpy._core"), name:
            case "numpy", "dtype":
                return _DType
            case "numpy", "ndarray":
                return _Array
            case "numpy._core.multiarray", "_reconstruct":
                return lambda *_: _Array()
            case "_codecs", "encode":
                return lambda text, _: str.encode(text, "latin1")
        raise pickle.UnpicklingError(f"{module}.{name} has no place in it")


class _DType:
    """Stands in for ``numpy.dtype``."""

    def __init__(self, code: bytes | str, align: bool = False, copy: bool = False) -> None:
        name = code.decode("latin1") if isinstance(code, bytes) else code
        if not PLAIN_NUMBER.fullmatch(name):
            raise pickle.UnpicklingError(f"an array of type {name!r} has no place in it")
        self.plain = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, subarray, names, fields, *_ = state
        if not subarray is names is fields is None:
            raise pickle.UnpicklingError("an array of records has no place in it")
        byte_order = order.decode("latin1") if isinstance(order, bytes) else order
        self.plain = np.dtype(f"{byte_order}{self.plain.str[1:]}")


class _Array:
    """Stands in for ``numpy.ndarray``."""

    numbers: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array of objects has no place in it")
        flat = np.frombuffer(bytearray(data), dtype.plain)
        self.numbers = flat.reshape(shape, order="F" if is_fortran else "C")
