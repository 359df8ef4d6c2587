"""Exceptions for errors that a user can correct. Any other exception is a bug.

Each class is a built-in exception too, so that ``except ValueError`` works. The optimizers raise
torch's own exceptions, in torch's wording, and do not use this module.
"""


class DualAdamError(Exception):
    """Base class. The message names the error and the remedy.

    Attributes:
        exit_status: of the command line; 2 for bad input, 1 for failed runs.
    """

    exit_status = 2


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
