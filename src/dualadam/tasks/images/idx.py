"""The idx format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from dualadam.tasks.files import damaged, opened

LARGEST = 2**30  # bytes of content; the largest data set in this format has half of them


def read_idx(file: Path, num_dimensions: int) -> np.ndarray:
    """Read one idx file of unsigned bytes, compressed or not.

    The format: two zero bytes, the type 8, the number of dimensions, each dimension as a big-endian
    int32, then the bytes. The header decides how much is read.

    Raises:
        InvalidValueError: the file is damaged, truncated, too large, or of another type or number
            of dimensions.
    """
    with opened(file) as stream:
        head = stream.read(4)
        if len(head) < 4 or head[:3] != b"\0\0\x08":
            raise damaged(file, "no idx file of unsigned bytes")
        if head[3] != num_dimensions:
            raise damaged(file, f"{head[3]} dimensions instead of {num_dimensions}")
        sizes = stream.read(4 * num_dimensions)
        if len(sizes) < 4 * num_dimensions:
            raise damaged(file, "no idx file of unsigned bytes")
        shape = tuple(int(n) for n in np.frombuffer(sizes, ">i4"))
        size = math.prod(shape)
        if min(shape) < 1 or size > LARGEST:
            raise damaged(file, f"shape {shape}; at most {LARGEST:,} bytes are read")
        content = stream.read(size + 1)
    if len(content) != size:
        found = f"more than {size:,}" if len(content) > size else f"{len(content):,}"
        raise damaged(file, f"{found} bytes for shape {shape}")
    return np.frombuffer(bytearray(content), np.uint8).reshape(shape)
