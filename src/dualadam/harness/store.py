"""The only JSON-lines store: a folder that one process writes, one line per finished piece."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock, Timeout

from dualadam.errors import FailedRunsError, InvalidValueError, UnreachableError

R = TypeVar("R")
Json = dict[str, Any]


class Store(Generic[R]):
    """The finished pieces of a study, by key. The file is the only truth.

    Every record is written at once and flushed to the disk itself. A last line that a killed
    process left half-written is cut off when the store is opened.

    Args:
        path: the JSON-lines file; made with the first record.
        encode: turns a record into what JSON can hold, without NaN or infinity.
        decode: the inverse of encode.
        key: names a record; a second record with the same key replaces the first.

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
        InvalidValueError: a whole line is not a record.
    """
    if not path.exists():
        return
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            record = decode(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidValueError(
                f"{path}, line {number} is damaged ({error}). "
                "Remove the line; its run will be repeated."
            ) from error
        yield record


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Lock an output folder, which is made if missing, against other processes.

    Raises:
        InvalidValueError: another process writes into the folder, or it is a file.
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
    """Write what decides a study's numbers into its folder, or check it against what is there.

    Args:
        file: a JSON file in the output folder.
        identity: what JSON can hold; equal for a study that goes on.
        defaults: values of keys that an older file may lack.
        has_records: whether the folder holds finished records.

    Raises:
        InvalidValueError: the folder holds records of another study.
    """
    mine = json.loads(json.dumps(identity))
    if file.exists():
        theirs = json.loads(file.read_text(encoding="utf-8"))
        keys = sorted(
            k
            for k in mine.keys() | theirs.keys()
            if mine.get(k, defaults.get(k)) != theirs.get(k, defaults.get(k))
        )
        if not keys:
            return
        if has_records:
            raise InvalidValueError(
                f"{file.parent} holds a study with other settings ({', '.join(keys)} differ). "
                "Choose another --out."
            )
    elif has_records:
        raise InvalidValueError(
            f"{file.parent} holds records but no {file.name}, which says whose they are. "
            "Choose another --out."
        )
    write_whole(file, json.dumps(mine, indent=1) + "\n")


def make_folder(folder: Path) -> None:
    """Make an output folder where there is none.

    Raises:
        InvalidValueError: the path is a file. UnreachableError: the folder cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidValueError(f"--out must be a folder, but {folder} is a file.")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a killed process leaves either the old file or the new one."""
    part = path.with_name(path.name + ".part")
    with writing(path):
        part.write_text(text, encoding="utf-8")
        part.replace(path)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the errors of a disk into a sentence.

    Raises:
        UnreachableError: the path could not be written.
    """
    try:
        yield
    except Timeout:  # an OSError too, but not the disk's
        raise
    except OSError as error:
        raise UnreachableError(f"{path} cannot be written: {error.strerror or error}.") from error
