"""A program that a piece of work starts ends at its timeout, and with its worker."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from dualadam.errors import FailedRunsError
from dualadam.harness.executors import process_executor
from dualadam.harness.programs import run_program

pytestmark = pytest.mark.skipif(not hasattr(os, "setpgrp"), reason="needs process groups")
# a program that starts another one, as a shell script does, and waits for it
STARTS_ANOTHER = (
    "import subprocess, sys, pathlib\n"
    "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "pathlib.Path('part').write_text(str(other.pid))\n"
    "pathlib.Path('part').rename('pid')\n"
    "other.wait()\n"
)
PATIENCE = 60.0


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def pid_in(folder: Path) -> int:
    wait_for((folder / "pid").exists)
    return int((folder / "pid").read_text())


def test_what_it_prints_is_in_the_file_and_its_status_is_returned(tmp_path: Path):
    words = [sys.executable, "-c", "print('hello'); raise SystemExit('gone')"]
    assert run_program(words, tmp_path / "printed") == 1
    assert (tmp_path / "printed").read_text() == "hello\ngone\n"


def test_a_program_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FailedRunsError, match=r"^no-such-program cannot be started: No such file"):
        run_program(["no-such-program"], tmp_path / "printed")


def test_at_the_timeout_the_programs_that_it_started_end_too(tmp_path: Path):
    words = [sys.executable, "-c", STARTS_ANOTHER]
    with process_executor(1) as (executor, _):
        future = executor.submit(
            run_program, words, tmp_path / "printed", cwd=str(tmp_path), timeout=5.0
        )
        pid = pid_in(tmp_path)
        with pytest.raises(FailedRunsError, match="it took longer than timeout, 5 s"):
            future.result()
        wait_for(lambda: not is_alive(pid))
        assert executor.submit(abs, -1).result() == 1  # the worker lives on


def test_it_ends_with_the_study(tmp_path: Path):
    words = [sys.executable, "-c", STARTS_ANOTHER]
    with contextlib.suppress(KeyboardInterrupt), process_executor(1) as (executor, _):
        executor.submit(run_program, words, tmp_path / "printed", cwd=str(tmp_path))
        pid = pid_in(tmp_path)
        signal.raise_signal(signal.SIGINT)
    wait_for(lambda: not is_alive(pid))
