"""The idx format of MNIST and Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dualadam.tasks.files import damaged, read_bytes


def read_idx(file: Path) -> np.ndarray:
    """Read one idx file of unsigned bytes, compressed or not.

    The format: two zero bytes, the type 8, the number of dimensions, each dimension as a big-endian
    int32, then the bytes.

    Raises:
        InvalidValueError: the file is damaged, truncated or of another type.
    """
    content = read_bytes(file)
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise damaged(file, "no idx file of unsigned bytes")
    start = 4 + 4 * content[3]
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], ">i4"))
    if min(shape, default=0) < 1 or len(content) - start != np.prod(shape, dtype=np.int64):
        raise damaged(file, f"{len(content) - start} bytes for shape {shape}")
    return np.frombuffer(bytearray(content), np.uint8, offset=start).reshape(shape)
