"""A small file that unpacks to more than memory holds is refused, with its name, before it does."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import warnings
import zlib

import pytest
from image_layouts import fashion_mnist as write_fashion_mnist
from image_layouts import read_images

from dualadam.errors import InvalidValueError
from dualadam.tasks import TASKS
from dualadam.tasks.images.decode import decode, shorter_side
from dualadam.tasks.images.idx import read_idx
from dualadam.tasks.language import jsonl

MEGABYTE = 2**20


@pytest.fixture
def peak():
    """The largest memory that Python's objects had during the test, in bytes."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def six_gigabytes(head: bytes, filling: bytes) -> bytes:
    """Return a gzip file of 6 MB that is 6 GiB long."""
    part = gzip.compress(filling * (64 * MEGABYTE // len(filling)))
    return gzip.compress(head) + part * 96


def write_idx(file, shape, filling=b"\0"):
    head = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}i", *shape)
    file.write_bytes(six_gigabytes(head, filling))


def test_an_idx_file_is_refused_by_its_header(tmp_path, peak):
    folder = write_fashion_mnist(tmp_path / "set")
    write_idx(folder / "train-images-idx3-ubyte.gz", (6 * 2**20, 32, 32))
    with pytest.raises(
        InvalidValueError, match=r"train-images-idx3-ubyte\.gz must .* at most 1,073,741,824 bytes"
    ):
        read_images(folder, "fashion-mnist")
    assert peak() < 200 * MEGABYTE


def test_an_idx_file_longer_than_its_header_says_is_not_read_to_its_end(tmp_path, peak):
    folder = write_fashion_mnist(tmp_path / "set")
    write_idx(folder / "t10k-images-idx3-ubyte.gz", (20, 28, 28))
    with pytest.raises(InvalidValueError, match=r"t10k.*got more than 15,680 bytes for shape"):
        read_images(folder, "fashion-mnist")
    assert peak() < 200 * MEGABYTE


@pytest.mark.parametrize("dimensions", [0, 1, 2, 4, 255])
def test_an_idx_file_of_another_number_of_dimensions_is_refused(tmp_path, dimensions):
    file = tmp_path / "images-idx3-ubyte"
    file.write_bytes(bytes([0, 0, 8, dimensions]) + struct.pack(">i", 1) * dimensions + b"\0")
    with pytest.raises(
        InvalidValueError, match=f"images-idx3-ubyte must .* {dimensions} dimensions instead of 3"
    ):
        read_idx(file, num_dimensions=3)


@pytest.mark.parametrize("shape", [(2**31 - 1,) * 3, (-1, 1, 1), (0, 28, 28)])
def test_an_idx_file_of_an_impossible_shape_is_refused(tmp_path, shape):
    file = tmp_path / "images"
    file.write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3i", *shape))
    with pytest.raises(InvalidValueError, match=r"images must .* got shape \("):
        read_idx(file, num_dimensions=3)


def test_a_json_line_is_refused_by_a_limit(tmp_path, peak):
    (tmp_path / "train.jsonl.gz").write_bytes(six_gigabytes(b"", b"a"))
    with pytest.raises(
        InvalidValueError, match=r"train\.jsonl\.gz, line 1 must have at most 16,777,216 bytes"
    ):
        TASKS["jsonl-classification"].corpus(tmp_path)
    assert peak() < 200 * MEGABYTE


@pytest.mark.parametrize("limit", ["LARGEST_COUNT", "LARGEST_FILE"])
def test_a_file_of_json_lines_is_refused_by_a_limit(tmp_path, peak, monkeypatch, limit):
    """The real limits, 5,000,000 lines and 1 GiB, would take a minute."""
    monkeypatch.setattr(jsonl, limit, 1000)
    (tmp_path / "train.jsonl.gz").write_bytes(six_gigabytes(b"", b" " * 1023 + b"\n"))
    with pytest.raises(InvalidValueError, match=r"train\.jsonl\.gz must have at most .* lines"):
        TASKS["jsonl-classification"].corpus(tmp_path)
    assert peak() < 200 * MEGABYTE


@pytest.mark.parametrize("brackets", ["[", '{"text":'])
def test_a_deeply_nested_line_is_named(tmp_path, brackets):
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": "b"}\n' + brackets * 100_000)
    with pytest.raises(InvalidValueError, match=r"train\.jsonl, line 2 must be a JSON object"):
        TASKS["jsonl-classification"].corpus(tmp_path)


def write_png(file, width, height):
    """Write a PNG file whose header promises an image of this size."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT": b""}
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks.items():
        check = struct.pack(">I", zlib.crc32(kind + data))
        content += struct.pack(">I", len(data)) + kind + data + check
    file.write_bytes(content)


@pytest.mark.parametrize("action", ["error", "ignore"])
@pytest.mark.parametrize("side", [10_000, 60_000])
def test_an_image_is_refused_by_its_header(tmp_path, side, action):
    """Pillow warns of the smaller size and refuses the larger one, without the file's name."""
    write_png(tmp_path / "a.png", side, side)
    for call in (
        lambda: decode(tmp_path / "a.png", 64),
        lambda: shorter_side(tmp_path / "a.png", 9),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            with pytest.raises(InvalidValueError, match=r"a\.png must .* more than 89,478,485"):
                call()
