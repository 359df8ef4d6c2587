"""The only JSON-lines store: a folder that one process writes, one line per finished piece."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock, Timeout

from dualadam.errors import DualAdamError, FailedRunsError, InvalidValueError, UnreachableError

R = TypeVar("R")
Json = dict[str, Any]


class Store(Generic[R]):
    """The finished pieces of a study, by key. The file is the only source.

    Every record is written and flushed to the disk before ``add`` returns. When the store is
    opened, it cuts off a last line that a killed process left half-written.

    Args:
        path: the JSON-lines file; created with the first record.
        encode: turns a record into what JSON can hold, without NaN or infinity.
        decode: the inverse of encode.
        key: names a record; a second record with the same key replaces the first.

    Attributes:
        records: the finished pieces by key, in the order of the file.

    Raises:
        InvalidValueError: a line of the file is not a record.
        UnreachableError: the file cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        *,
        encode: Callable[[R], Json],
        decode: Callable[[Json], R],
        key: Callable[[R], str],
    ) -> None:
        self.path, self._encode, self._key = path, encode, key
        self.records: dict[str, R] = {key(r): r for r in read_lines(path, decode)}
        if path.exists():
            with writing(path), path.open("r+b") as file:
                file.truncate(file.read().rfind(b"\n") + 1)

    def __contains__(self, key: str) -> bool:
        return key in self.records

    def add(self, record: R) -> None:
        """Append a finished record.

        Raises:
            FailedRunsError: the line could not be written, as on a full disk.
        """
        line = json.dumps(self._encode(record), allow_nan=False).encode() + b"\n"
        try:
            with self.path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise FailedRunsError(
                f"{self.path} could not be written ({error}). "
                "Make room and start again; finished runs are kept."
            ) from error
        self.records[self._key(record)] = record


def read_lines(path: Path, decode: Callable[[Json], R]) -> Iterator[R]:
    """Yield the records of a JSON-lines file; a last line without its newline is left out.

    Raises:
        InvalidValueError: a complete line is not a record.
        UnreachableError: the file cannot be read.
    """
    if not path.exists():
        return
    with reading(path):
        lines = path.read_bytes().split(b"\n")[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            record = decode(json.loads(line))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InvalidValueError(
                f"{path}, line {number} is damaged ({error}). "
                "Remove the line; its run will be repeated."
            ) from error
        yield record


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Lock an output folder against other processes. The folder is created if it is missing.

    Raises:
        InvalidValueError: another process writes into the folder, or it is a file.
        UnreachableError: the folder cannot be created or written.
    """
    make_folder(folder)
    lock = FileLock(folder / ".lock")
    try:
        with writing(folder):
            lock.acquire(blocking=False)
    except Timeout:
        raise InvalidValueError(
            f"Another process writes into {folder}. Wait for it, or choose another --out."
        ) from None
    try:
        yield
    finally:
        lock.release()


def check_identity(
    file: Path, identity: Mapping[str, Any], *, defaults: Mapping[str, Any], has_records: bool
) -> None:
    """Store the settings that decide a study's numbers, or compare them with the stored ones.

    Settings without records are replaced.

    Args:
        file: a JSON file in the output folder.
        identity: the settings, as JSON can hold them.
        defaults: values of the keys that an older file may lack.
        has_records: whether the folder holds finished records.

    Raises:
        InvalidValueError: the folder holds records of another study, or a damaged file.
        UnreachableError: the file cannot be read or written.
    """
    mine = json.loads(json.dumps(identity))
    if has_records:
        if not file.exists():
            raise InvalidValueError(
                f"{file.parent} holds records but no {file.name}, which says whose they are. "
                "Choose another --out."
            )
        theirs = _read_object(file)
        keys = sorted(mine.keys() | theirs.keys())
        if changed := [k for k in keys if _get(mine, k, defaults) != _get(theirs, k, defaults)]:
            raise InvalidValueError(
                f"{file.parent} holds a study with other settings ({', '.join(changed)} differ). "
                "Choose another --out."
            )
    else:
        write_whole(file, json.dumps(mine, indent=1) + "\n")


def _get(settings: Json, key: str, defaults: Mapping[str, Any]) -> Any:
    return settings.get(key, defaults.get(key))


def _read_object(file: Path) -> Json:
    try:
        with reading(file):
            content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(f"{file} is damaged ({error}). Choose another --out.") from error
    if not isinstance(content, dict):
        raise InvalidValueError(f"{file} is damaged (not an object). Choose another --out.")
    return content


def make_folder(folder: Path) -> None:
    """Create an output folder if it is missing.

    Raises:
        InvalidValueError: the path is a file.
        UnreachableError: the folder cannot be created.
    """
    with writing(folder):
        if folder.exists() and not folder.is_dir():
            raise InvalidValueError(f"--out must be a folder, but {folder} is a file.")
        folder.mkdir(parents=True, exist_ok=True)


def check_output_file(path: Path) -> None:
    """Check that a file can be written, before the work that it will hold; create its folder.

    Raises:
        InvalidValueError: the path is a folder.
        UnreachableError: the file cannot be written.
    """
    with writing(path):
        if path.is_dir():
            raise InvalidValueError(f"{path} must be a file, but it is a folder.")
        if path.parent.exists() and not path.parent.is_dir():
            raise InvalidValueError(f"{path.parent} must be a folder, but it is a file.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.exists():
            path.open("ab").close()


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a killed process leaves either the old file or the new one.

    Raises:
        UnreachableError: the file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    with writing(path):
        part.write_text(text, encoding="utf-8")
        part.replace(path)


def reading(path: Path) -> AbstractContextManager[None]:
    """Turn the errors of a file system into one message.

    Raises:
        UnreachableError: the path could not be read.
    """
    return _access(path, "read")


def writing(path: Path) -> AbstractContextManager[None]:
    """Turn the errors of a file system into one message.

    Raises:
        UnreachableError: the path could not be written.
    """
    return _access(path, "written")


@contextlib.contextmanager
def _access(path: Path, participle: str) -> Iterator[None]:
    try:
        yield
    except (Timeout, DualAdamError):  # may be an OSError too, but says what is wrong
        raise
    except OSError as error:
        reason = error.strerror or error
        raise UnreachableError(f"{path} cannot be {participle}: {reason}.") from error
