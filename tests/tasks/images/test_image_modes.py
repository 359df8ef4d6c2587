"""No mode of an image loses its grey values when it is decoded: they are scaled, or refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from dualadam.errors import InvalidValueError
from dualadam.tasks.images.decode import decode

RAMP = np.arange(64, dtype=np.float64).reshape(8, 8) / 63  # black to white


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [("png", np.uint16), ("tif", np.uint16), ("tif", ">u2"), ("pgm", np.int32), ("png", np.uint8)],
)
def test_grey_values_of_8_and_16_bits_keep_their_range(tmp_path, suffix, kind):
    white = 255 if kind == np.uint8 else 65535
    file = tmp_path / f"grey.{suffix}"
    Image.fromarray((RAMP * white).round().astype(kind)).save(file)
    found = decode(file, 8).numpy()
    # two roundings, to the file's bits and to 8
    assert np.abs(found - RAMP * 255).max() <= 1


def test_grey_values_of_12_bits_keep_their_range(tmp_path):
    """Pillow reads TIFF files of 12 bits and writes none."""
    values = (RAMP * 4095).round().astype(int).reshape(-1, 2).tolist()
    pixels = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in values)
    # width, height, bits, no compression, black is 0, offset, samples, rows, length
    tags = {256: 8, 257: 8, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: len(pixels)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    head = b"II*\0" + struct.pack("<I", 8 + len(pixels))
    (tmp_path / "grey.tif").write_bytes(head + pixels + directory)
    found = decode(tmp_path / "grey.tif", 8).numpy()
    assert np.abs(found - RAMP * 255).max() <= 1


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_values_of_unknown_range_are_refused_with_the_file(tmp_path, kind):
    Image.fromarray((RAMP * 65535).astype(kind)).save(tmp_path / "grey.tif")
    with pytest.raises(InvalidValueError, match=r"grey\.tif must be an image of at most 16 bits"):
        decode(tmp_path / "grey.tif", 8)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_modes_of_8_bits_keep_their_range(tmp_path, mode):
    file = tmp_path / f"grey.{'tif' if mode in ('CMYK', 'YCbCr') else 'png'}"
    # Pillow before 13 cannot open its own YCbCr file without compression
    options = {"compression": "tiff_lzw"} if mode == "YCbCr" else {}
    Image.fromarray((RAMP * 255).round().astype(np.uint8)).convert(mode).save(file, **options)
    found = decode(file, 8).numpy()
    # a rounding each to YCbCr and back
    assert np.abs(found - RAMP * 255).max() <= 2
