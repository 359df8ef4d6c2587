"""Exceptions for errors that a user can correct. Any other exception is a bug.

Each class is a built-in exception too, so that ``except ValueError`` works. The optimizers raise
torch's own exceptions, in torch's wording, and do not use this module.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

__all__ = [
    "DualAdamError",
    "FailedRunsError",
    "InvalidTypeError",
    "InvalidValueError",
    "MissingExtraError",
    "MissingFileError",
    "NotConvergedError",
    "UnreachableError",
]
MOST_CHARACTERS = 1000  # of a line of a message
MOST_PLACES = 3  # of a traceback in a message


class DualAdamError(Exception):
    """Base class. The message names the error and the remedy.

    Attributes:
        exit_status: of the command line; 2 for bad input, 1 for failed runs.
    """

    exit_status = 2

    def __str__(self) -> str:
        """Return the message; a line that repeats a very long value is cut in its middle."""
        return "\n".join(map(_cut, super().__str__().split("\n")))


class InvalidValueError(DualAdamError, ValueError):
    """A value is out of its range."""


class InvalidTypeError(DualAdamError, TypeError):
    """A value has the wrong type."""


class MissingFileError(DualAdamError, FileNotFoundError):
    """A file or a folder is missing. The message says what is expected where."""


class MissingExtraError(DualAdamError, ImportError):
    """A library is not installed. The message names the extra that installs it."""


class UnreachableError(DualAdamError, OSError):
    """A service does not answer, or a file cannot be read or written."""


class FailedRunsError(DualAdamError, RuntimeError):
    """Some runs failed. Finished runs are on disk; a second start tries the others again."""

    exit_status = 1


class NotConvergedError(DualAdamError, RuntimeError):
    """An iteration ended before it met its tolerance."""

    exit_status = 1


def last_line(error: BaseException, folder: Path | None = None) -> str:
    """Return an exception as text, with the places in the user's own files, the last one first.

    Args:
        error: what the user's code raised.
        folder: where the user's files are; None takes every place outside this package, Python
            and the installed packages.

    Example:
        >>> try:
        ...     1 / 0
        ... except ZeroDivisionError as error:
        ...     print(last_line(error))
        ZeroDivisionError: division by zero
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({place(error.filename, error.lineno or 0)})"
    text = f"{type(error).__name__}: {error}".rstrip(".").removesuffix(": ")
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in reversed(frames) if _is_own(frame.filename, folder)]
    places = [place(frame.filename, frame.lineno or 0) for frame in own[:MOST_PLACES]]
    return f"{text} ({', called from '.join(places)})" if places else text


def place(filename: str, line: int) -> str:
    """Return a place in the user's code; a cell of a notebook has no name.

    Example:
        >>> place("/home/me/train.py", 3), place("/tmp/ipykernel_77/4052.py", 3)
        ('/home/me/train.py, line 3', 'line 3 of a cell')
    """
    if Path(filename).parent.name.startswith("ipykernel_"):
        return f"line {line} of a cell"
    return f"{filename}, line {line}"


def _cut(line: str) -> str:
    if len(line) <= MOST_CHARACTERS:
        return line
    return f"{line[: MOST_CHARACTERS // 2]} ... {line[-MOST_CHARACTERS // 2 :]}"


def _is_own(filename: str, folder: Path | None) -> bool:
    path = Path(filename)
    if folder is not None:
        return path.is_relative_to(folder)
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    others = (Path(__file__).parent, Path(sys.base_prefix), Path(sys.prefix))
    outside = not any(path.is_relative_to(other) for other in others)
    return path.is_absolute() and outside and not installed
