"""Programs that a piece of work starts: they end at their timeout, and with the study."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from dualadam.errors import FailedRunsError


def run_program(
    words: Sequence[str], printed: Path, *, cwd: str | None = None, timeout: float | None = None
) -> int:
    """Run a program to its end and return its exit status.

    Args:
        words: the program and its arguments.
        printed: the file for its standard output and error.
        cwd: the folder in which it runs; None is the current one.
        timeout: seconds after which it is killed, with the programs that it started.

    Raises:
        FailedRunsError: it cannot be started, or the time is over.
    """
    with printed.open("wb") as output:
        try:
            process = subprocess.Popen(
                words, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise FailedRunsError(f"{words[0]} cannot be started: {error.strerror}.") from error
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise FailedRunsError(f"it took longer than timeout, {timeout:g} s.") from error
        finally:
            if process.poll() is None:
                _end_group()
                process.kill()
                process.wait()


def lead_group() -> None:
    """Make this worker the leader of a process group, to which the programs it starts belong."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()


def kill_group(leader: int) -> bool:
    """Kill a worker's group; False where the process leads none, or the system has no groups."""
    if not hasattr(os, "killpg"):
        return False
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _end_group() -> None:
    """End what this worker's programs started; in any other process the group is not ours."""
    in_worker = multiprocessing.parent_process() is not None
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_worker or not in_main_thread or not hasattr(os, "getpgrp"):
        return
    if os.getpgrp() == os.getpid():
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
