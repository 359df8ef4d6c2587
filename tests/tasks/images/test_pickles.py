"""Pickles of every protocol are read, and none runs code."""

from __future__ import annotations

import os
import pickle

import image_layouts as layouts
import numpy as np
import pytest
from image_layouts import read_images


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
