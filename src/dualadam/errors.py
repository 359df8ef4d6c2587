"""The exceptions of what a user can mend. Anything else that is raised is a bug and keeps its traceback.

Each class is a Python exception too, so that ``except ValueError`` goes on working. The optimizers
raise torch's own exceptions, in torch's wording, and do not know this file.
"""


class DualAdamError(Exception):
    """The base: the message names what is wrong and the remedy."""

    exit_status = 2  # of the command line: 2 for bad input, 1 for failed runs


class InvalidValueError(DualAdamError, ValueError):
    """A value is out of its range."""


class InvalidTypeError(DualAdamError, TypeError):
    """A value has the wrong type."""


class MissingFileError(DualAdamError, FileNotFoundError):
    """A file or a folder is missing; the message says what is expected where."""


class MissingExtraError(DualAdamError, ImportError):
    """A library is not installed; the message names the extra that brings it."""


class UnreachableError(DualAdamError, OSError):
    """A service does not answer, or a file cannot be read or written."""


class FailedRunsError(DualAdamError, RuntimeError):
    """Runs failed. What finished is on disk, and a second start tries the others again."""

    exit_status = 1


class NotConvergedError(DualAdamError, RuntimeError):
    """An iteration ended before it met its tolerance."""

    exit_status = 1
