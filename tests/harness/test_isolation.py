"""A piece's exceptions leave its process as text, and what it prints goes to its own file."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dualadam.errors import InvalidValueError
from dualadam.harness.executors import process_executor
from dualadam.harness.isolation import PieceError, call_isolated


class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError("cannot be pickled")


class Stubborn(Exception):
    """Can be pickled, but not unpickled."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def raise_it(error: BaseException) -> None:
    raise error


RAISED = [
    (ArithmeticError("stumbled"), "ArithmeticError: stumbled ("),
    (Unpicklable("odd"), "Unpicklable: odd ("),
    (Stubborn(1, 2), "Stubborn: 1 2 ("),
    (SystemExit(0), "SystemExit: 0 ("),
    (KeyboardInterrupt(), "KeyboardInterrupt ("),
]


@pytest.mark.parametrize(("error", "text"), RAISED, ids=lambda value: str(value)[:20])
def test_whatever_a_piece_raises_becomes_text_with_its_place(error, text):
    with pytest.raises(PieceError, match="^" + re.escape(text)) as caught:
        call_isolated(raise_it, error)
    assert f"{__file__}, line " in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


def test_the_place_is_in_the_users_files_wherever_libraries_are_installed(tmp_path: Path):
    library = tmp_path / "dist-packages" / "library.py"
    names: dict = {}
    exec(compile("def fail(): raise KeyError('lost')", str(library), "exec"), names)
    with pytest.raises(PieceError) as caught:
        call_isolated(lambda: names["fail"]())
    assert f"KeyError: 'lost' ({__file__}, line " in str(caught.value)
    assert "library.py" not in str(caught.value)


def test_an_error_of_this_package_is_its_sentence_alone():
    with pytest.raises(PieceError, match=r"^lr must be at least 0, got -1\.$"):
        call_isolated(raise_it, InvalidValueError("lr must be at least 0, got -1."))


def test_in_this_process_printing_goes_where_it_went(tmp_path: Path, capfd):
    call_isolated(print, "hello", log=tmp_path / "run.log")
    assert capfd.readouterr().out == "hello\n"
    assert not list(tmp_path.iterdir())


def test_in_a_worker_printing_goes_to_the_file_also_that_of_other_programs(tmp_path: Path, capfd):
    log, silent = tmp_path / "run.log", tmp_path / "silent.log"
    command = [sys.executable, "-c", "print('from a program')"]
    with process_executor(1) as (executor, _):
        executor.submit(call_isolated, print, "hello", log=log).result(timeout=60)
        executor.submit(call_isolated, subprocess.run, command, log=log).result(timeout=60)
        assert executor.submit(call_isolated, os.getpid, log=silent).result(timeout=60)
    assert log.read_text() == "hello\nfrom a program\n"
    assert not silent.exists()
    assert capfd.readouterr() == ("", "")
