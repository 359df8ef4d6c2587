"""Pickles of arrays and lists, read without running code from them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from dualadam.tasks.files import damaged


class _SafeUnpickler(pickle.Unpickler):
    """Builds numpy arrays and Python's plain containers, and refuses anything else."""

    def find_class(self, module: str, name: str) -> Any:
        # the official archives have the module's name from before numpy 2
        module = module.replace("numpy.core", "numpy._core")
        if (module, name) == ("numpy", "dtype"):
            # Python 2 wrote the flags as 0 and 1
            return lambda code, align=False, copy=False: np.dtype(code, bool(align), bool(copy))
        if (module, name) in {
            ("numpy", "ndarray"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in it")


def read_pickle(file: Path, *keys: bytes) -> dict[bytes, Any]:
    """Read a pickled dictionary that has these keys.

    Raises:
        InvalidValueError: the file is damaged, lacks a key, or asks for something other than arrays
            and plain containers.
    """
    try:
        content = _SafeUnpickler(io.BytesIO(file.read_bytes()), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise damaged(file, f"not a complete pickle of arrays and lists: {error}") from error
    if not isinstance(content, dict) or not all(key in content for key in keys):
        raise damaged(file, f"no dictionary with {', '.join(key.decode() for key in keys)}")
    return content
