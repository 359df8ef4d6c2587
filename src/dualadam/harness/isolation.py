"""One piece of work in a worker: what it raises becomes text, what it prints goes to a file."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from dualadam.errors import DualAdamError, last_line

R = TypeVar("R")


class PieceError(RuntimeError):
    """What a piece raised, as text: in this form any exception can leave its process."""


def call_isolated(
    function: Callable[..., R], *args: Any, log: Path | None = None, **kwargs: Any
) -> R:
    """Call a function whose code, or the code that it calls, may be the user's.

    Args:
        function: called with the other arguments.
        log: in a worker process, the file for everything that is printed; None prints as usual.

    Raises:
        PieceError: the function raised. SystemExit and KeyboardInterrupt count too: the user's code
            ends its own piece, never the study.
    """
    with printing_to(log):
        try:
            return function(*args, **kwargs)
        except DualAdamError as error:
            raise PieceError(str(error)) from None
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            raise PieceError(last_line(error)) from None


@contextlib.contextmanager
def printing_to(log: Path | None) -> Iterator[None]:
    """Send standard output and error of a worker process to a file, also those of C code.

    Nothing is redirected outside a worker process, or where the file's folder does not exist. A
    file that stays empty is removed.
    """
    in_worker = multiprocessing.parent_process() is not None
    if log is None or not in_worker or not log.parent.is_dir():
        yield
        return
    saved = os.dup(1), os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        yield
    finally:
        for stream, number, kept in zip((sys.stdout, sys.stderr), (1, 2), saved, strict=True):
            stream.flush()
            os.dup2(kept, number)
            os.close(kept)
        if log.exists() and not log.stat().st_size:
            log.unlink()
