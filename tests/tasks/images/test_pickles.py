"""Pickles of every protocol are read, and none runs code."""

from __future__ import annotations

import os
import pickle

import image_layouts as layouts
import numpy as np
import pytest
from image_layouts import read_images

from dualadam.errors import InvalidValueError


def test_a_pickle_that_python_2_wrote_is_read(tmp_path):
    def short(text):
        return b"U" + bytes([len(text)]) + text

    # a dictionary with labels [3] and an array as numpy 1 under Python 2 reduced it: names are
    # str, the flags of dtype 0 and 1, the module numpy.core
    head = (
        b"\x80\x02}("
        + short(b"labels")
        + b"]K\x03a"
        + short(b"data")
        + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
    )
    kind = (
        b"cnumpy\ndtype\n("
        + short(b"u1")
        + b"K\x00K\x01tR(K\x03"
        + short(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    body = (
        short(b"b")
        + b"\x87R(K\x01K\x01M\x00\x0c\x86"
        + kind
        + b"\x89T\x00\x0c\x00\x00"
        + bytes(range(256)) * 12
        + b"tbu."
    )
    folder = layouts.cifar10(tmp_path / "set")
    (folder / "test_batch").write_bytes(head + body)
    data = read_images(folder, "cifar10")
    assert data.test_labels.tolist() == [3]
    assert data.test_images.flatten().tolist() == list(range(256)) * 12


def test_pickles_of_this_python_are_read_in_every_protocol(tmp_path):
    folder = layouts.cifar10(tmp_path / "set")
    content = {b"labels": [1], b"data": np.full((1, 3072), 7, np.uint8)}
    for protocol in range(2, 5):
        (folder / "test_batch").write_bytes(pickle.dumps(content, protocol=protocol))
        assert read_images(folder, "cifar10").test_images.unique().tolist() == [7]


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = layouts.cifar10(tmp_path / "set")
    layouts.write_pickle(folder / "data_batch_2", {b"labels": [0], b"data": RunsCode()})
    with pytest.raises(
        ValueError, match=r"data_batch_2 must be a whole file.*mkdir has no place in it"
    ):
        read_images(folder, "cifar10")
    assert not (tmp_path / "ran").exists()


POINTER = b"\x10" * 8
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
VOID = b"cnumpy\ndtype\n(X\x02\x00\x00\x00V8K\x00K\x01tR"
OBJECT = b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8K\x00K\x01tR"
BYTE = b"cnumpy\ndtype\n(X\x02\x00\x00\x00u1K\x00K\x01tR"
BYTES = b"C\x08" + POINTER
END = b"N" * 3 + b"J\xff\xff\xff\xff" * 2 + b"K\x00"
# a dtype's state with one field, an object; it turns the array that has the dtype into pointers
FIELD = (
    b"(K\x03X\x01\x00\x00\x00|N(X\x01\x00\x00\x00at}X\x01\x00\x00\x00a("
    + OBJECT
    + b"K\x00tsK\x08K\x01K\x1btb"
)
FORGED = {
    "an array of objects": RECONSTRUCT + b"(K\x01(K\x01t" + OBJECT + b"\x89](K\x01etb",
    "objects from a buffer": b"cnumpy\nndarray\n((K\x01t" + OBJECT + BYTES + b"tR",
    "bytes that become records": RECONSTRUCT
    + b"(K\x01(K\x01t"
    + VOID
    + b"q\x01\x89"
    + BYTES
    + b"tbh\x01"
    + FIELD
    + b"0",
    "a plain type that becomes a record": RECONSTRUCT
    + b"(K\x01(K\x08t"
    + BYTE
    + b"q\x01\x89"
    + BYTES
    + b"tbh\x01"
    + FIELD
    + b"0",
    "a longer array than its bytes": RECONSTRUCT
    + b"(K\x01(M\xff\xfft"
    + BYTE
    + b"\x89"
    + BYTES
    + b"tb",
    "an array without content": RECONSTRUCT,
    "a huge memo": b"Nr\xff\xff\xff\xff",
    "another codec": b"c_codecs\nencode\n(C\x01aX\x03\x00\x00\x00zip" + b"tR",
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_array_is_refused_whatever_the_pickle_builds(tmp_path, forged):
    folder = layouts.cifar10(tmp_path / "set")
    content = b"\x80\x03}(C\x06labels](K\x01eC\x04data" + FORGED[forged] + b"u."
    (folder / "data_batch_2").write_bytes(content)
    with pytest.raises(InvalidValueError, match="data_batch_2 must be a whole file of the data"):
        read_images(folder, "cifar10")


def test_labels_may_be_an_array_of_either_byte_order(tmp_path):
    folder = layouts.cifar10(tmp_path / "set")
    for order in "<>":
        labels = np.array([3, 1], f"{order}i8")
        data = np.asfortranarray(np.arange(2 * 3072).reshape(2, 3072) % 251, np.uint8)
        layouts.write_pickle(folder / "test_batch", {b"labels": labels, b"data": data})
        found = read_images(folder, "cifar10")
        assert found.test_labels.tolist() == [3, 1]
        assert found.test_images.flatten().tolist() == data.flatten().tolist()
