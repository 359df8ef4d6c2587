"""Tasks of the user's own: a function that returns a `Problem`, by its file, module or itself."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from dualadam.errors import (
    DualAdamError,
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
    UnreachableError,
    last_line,
)
from dualadam.tasks.problem import Problem
from dualadam.tasks.problem_task import ProblemTask
from dualadam.tasks.protocol import FineTuning, LoadOptions, Task, TaskEntry


@dataclass(frozen=True)
class Source:
    """Where the names of a spec lead that are not built in.

    Args:
        folder: where relative paths start, as text; None is the current folder.
        pickled: a function itself, pickled; it goes before what a name leads to.
        fingerprint: of the pickled function's code.
    """

    folder: str | None = None
    pickled: bytes | None = None
    fingerprint: str | None = None


HERE = Source()


def is_reference(name: str) -> bool:
    """Whether a name has the form of a reference, "file.py:function" or "module:function"."""
    place, colon, function = name.rpartition(":")
    return bool(colon and place and function.isidentifier())


def load_function(name: str, source: Source = HERE) -> Callable[..., Any]:
    """Return the function that a reference leads to.

    Args:
        name: "file.py:function", or "package.module:function" for what can be imported.
        source: where a file is looked for.

    Raises:
        MissingFileError: there is no such file.
        InvalidValueError: its code raises while it is imported, or it has no such function.
    """
    if source.pickled is not None:
        function = pickle.loads(source.pickled)
    else:
        place, _, attribute = name.rpartition(":")
        module = _import_file(place, source) if place.endswith(".py") else _import_module(place)
        function = getattr(module, attribute, None)
        if function is None:
            own = vars(module).items()
            defined = [n for n, v in own if getattr(v, "__module__", "") == module.__name__]
            raise InvalidValueError(
                f"{name} must name a function: {place} has no {attribute!r}, "
                f"only {', '.join(defined) or 'no functions'}."
            )
    if not callable(function):
        raise InvalidTypeError(f"{name} must name a function, got {function!r}.")
    return function


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise InvalidValueError(f"{name} cannot be imported: {last_line(error)}.") from error


def _import_file(place: str, source: Source) -> ModuleType:
    try:
        path = (Path(source.folder or ".") / Path(place).expanduser()).resolve()
        is_file = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a zero byte, no such user
        raise UnreachableError(f"{place} cannot be read: {last_line(error)}.") from error
    if not is_file:
        raise MissingFileError(f"{place} must be a Python file; there is no {path}.")
    name = f"dualadam_own_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for the modules beside the file
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        del sys.modules[name]
        raise InvalidValueError(
            f"{place} cannot be imported: {last_line(error, path.parent)}."
        ) from error
    return module


@dataclass(frozen=True, kw_only=True)
class ProblemEntry(TaskEntry):
    """A problem as a task.

    Args:
        problem: what the user's function returned.
        fingerprint: of the user's file, which a later start is held against.
    """

    problem: Problem
    fingerprint: str | None = None

    def check(self, data: str | None, language: FineTuning | None) -> tuple[str, ...]:
        """Check nothing: the data is in the problem."""
        return ()

    def load(self, options: LoadOptions) -> Task:
        """Return the task. See ``get_task``."""
        task = ProblemTask(self.problem, options)
        if self.fingerprint:
            task.facts["made_of"] = {"problem": self.fingerprint}
        return task

    def synthetic(self, batch_size: int, options: LoadOptions) -> Task | None:
        """Return None: the shapes are only in the data."""
        return None


@functools.lru_cache(maxsize=4)
def own_task(name: str, source: Source = HERE) -> ProblemEntry:
    """Return the task that the user's function makes, once per process.

    Args:
        name: a reference, see ``load_function``.
        source: where it leads.

    Raises:
        DualAdamError: the function cannot be loaded, raises, or returns no `Problem`.
    """
    function = load_function(name, source)
    try:
        problem = function()
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise InvalidValueError(f"{name} raised {last_line(error)}.") from error
    if not isinstance(problem, Problem):
        raise InvalidTypeError(
            f"{name} must return a dualadam.compare.Problem, got {type(problem).__name__}. "
            "A function that trains by itself takes one argument, the run (a Trial)."
        )
    try:
        num_train = ProblemTask(problem, LoadOptions()).num_train
    except DualAdamError as error:
        raise InvalidValueError(f"{name}: {error}") from error
    return ProblemEntry(
        name=name,
        summary=problem.summary or name,
        models=("",),
        num_train=num_train,
        metrics=problem.all_metrics,
        problem=problem,
        fingerprint=fingerprint(name, source),
    )


def fingerprint(name: str, source: Source) -> str | None:
    """Return the first digits of the SHA-256 of the user's file or function; None for a module."""
    place = name.rpartition(":")[0]
    if source.pickled is not None:
        return source.fingerprint
    if not place.endswith(".py"):
        return None
    path = Path(source.folder or ".") / Path(place).expanduser()
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
