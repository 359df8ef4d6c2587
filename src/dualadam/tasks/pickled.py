"""Functions of a script or a notebook: how they travel, and how a change of their code shows."""

from __future__ import annotations

import hashlib
import inspect
import io
from collections import ChainMap
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from dualadam.errors import InvalidValueError, MissingExtraError
from dualadam.tasks.own import Source

DYNAMIC = "<dynamic-code>"  # what cloudpickle 3.1.3 and later writes for the name of a file


def pickled_source(function: Callable[..., Any]) -> Source:
    """Return a source that carries a function itself.

    Raises:
        InvalidValueError: the function holds something that cannot be pickled.
        MissingExtraError: cloudpickle is not installed.
    """
    try:
        import cloudpickle
    except ImportError as error:
        raise MissingExtraError(
            "A function travels by cloudpickle: pip install 'dualadam[bench]'."
        ) from error
    file = io.BytesIO()
    try:
        _pickler(cloudpickle.Pickler)(file).dump(function)
    except Exception as error:  # a user's object may raise anything
        name = getattr(function, "__qualname__", repr(function))
        raise InvalidValueError(
            f"{name} must be picklable, to reach the worker processes: {error}. "
            "Make such objects inside the function."
        ) from error
    return Source(pickled=file.getvalue(), fingerprint=code_fingerprint(function))


def _pickler(base: Any) -> Any:
    """Return cloudpickle's pickler, which keeps the files' names for the places in errors."""
    reduce_code = base.dispatch_table[CodeType]

    def with_file(code: CodeType) -> tuple[Any, ...]:
        made, arguments = reduce_code(code)
        return made, tuple(code.co_filename if a == DYNAMIC else a for a in arguments)

    table = ChainMap({CodeType: with_file}, base.dispatch_table)
    return type("Pickler", (base,), {"dispatch_table": table})


def code_fingerprint(function: Callable[..., Any]) -> str:
    """Return a fingerprint of a function's code and of what it calls in its own module.

    Names of files, lines and the data that it refers to have no influence.

    Example:
        >>> a, b, c = (lambda: 1), (lambda: 1), (lambda: 2)
        >>> code_fingerprint(a) == code_fingerprint(b), code_fingerprint(a) == code_fingerprint(c)
        (True, False)
    """
    digest = hashlib.sha256()
    for part in _parts(function, set()):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


def _parts(value: Any, seen: set[int]) -> Iterator[str]:
    """Yield the code of a function, class or object, and of what it refers to in its module."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, CodeType):
        yield f"{value.co_code.hex()}{value.co_names}{value.co_varnames}"
        for const in value.co_consts:
            if isinstance(const, CodeType):
                yield from _parts(const, seen)
            else:
                yield repr(sorted(const, key=repr) if isinstance(const, frozenset) else const)
    elif isinstance(value, FunctionType):
        yield repr([d for d in value.__defaults__ or () if isinstance(d, int | float | str)])
        yield from _parts(value.__code__, seen)
        closure = inspect.getclosurevars(value)
        for name, used in sorted({**closure.globals, **closure.nonlocals}.items()):
            yield name
            yield from _used(used, value.__module__, seen)
    elif isinstance(value, type):
        for name, member in sorted(vars(value).items()):
            member = getattr(member, "__func__", member)
            if isinstance(member, FunctionType):
                yield name
                yield from _parts(member, seen)
    else:
        yield type(value).__qualname__
        for name, member in sorted(getattr(value, "__dict__", {}).items()):
            yield name
            yield from _used(member, getattr(member, "__module__", None), seen)


def _used(value: Any, module: str | None, seen: set[int]) -> Iterator[str]:
    if isinstance(value, bool | int | float | str):
        yield repr(value)
    elif isinstance(value, FunctionType | type) and value.__module__ == module:
        yield from _parts(value, seen)
