"""Where data sets are found, and the errors for files that are missing or damaged."""

from __future__ import annotations

import gzip
import importlib.util
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dualadam.errors import (
    InvalidValueError,
    MissingExtraError,
    MissingFileError,
    UnreachableError,
)

DATA_VARIABLE, CACHE_VARIABLE = "DUALADAM_DATA", "DUALADAM_CACHE"


def given_folder(data: str | Path | None) -> Path | None:
    """Return the user's data folder: the argument, else DUALADAM_DATA, else None.

    Raises:
        UnreachableError: the folder cannot be looked into.
    """
    given = data or os.environ.get(DATA_VARIABLE)
    if not given:
        return None
    try:
        os.stat(given)
    except FileNotFoundError:
        pass  # what is missing is said with the name of the file
    except (OSError, ValueError) as error:
        raise UnreachableError(f"data cannot be read: {given}: {error}.") from error
    return Path(given)


def data_not_found(
    name: str, wanted: str, data: str | Path | None, remedy: str
) -> MissingFileError:
    """Return the error for a data set that the user's folder does not hold."""
    got = given_folder(data) or f"none (give --data FOLDER or set {DATA_VARIABLE})"
    sentence = f"data must be a folder with {wanted} for {name}, got {got}."
    return MissingFileError(f"{sentence} {remedy}".rstrip())


def existing(folder: Path, *names: str) -> Path:
    """Return the first of these files that the folder holds.

    Raises:
        MissingFileError: it holds none of them.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise MissingFileError(f"{folder} must hold the file {' or '.join(names)}, got none.")


def damaged(file: Path, reason: str) -> InvalidValueError:
    """Return the error for a file whose content is not what it should be."""
    return InvalidValueError(
        f"{file} must be a whole file of the data set, got {reason}. Fetch it again."
    )


@contextmanager
def opened(file: Path) -> Iterator[gzip.GzipFile | io.BufferedReader]:
    """Open a file for reading, decompressed where its name ends in ``.gz``.

    Raises:
        InvalidValueError: the compressed file is damaged, here or where it is read.
    """
    compressed = file.suffix == ".gz"
    try:
        with gzip.open(file) if compressed else file.open("rb") as stream:
            yield stream
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged(file, "not a complete gzip file") from error


class PackageFile(NamedTuple):
    """A file or folder inside an installed Python package."""

    module: str
    path: str  # below the module's folder
    requirement: str  # the arguments of pip install

    def find(self, what: str) -> Path:
        """Return its path, without importing the package.

        Args:
            what: the beginning of the error's sentence.

        Raises:
            MissingFileError: the package is not installed.
        """
        try:
            spec = importlib.util.find_spec(self.module)
        except ModuleNotFoundError:  # the parent of a dotted name
            spec = None
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (path := Path(folder) / self.path).exists():
                return path
        raise MissingFileError(
            f"{what} must be installed: pip install {self.requirement} "
            "(make setup-llm installs all models and data)."
        )


def cache_folder() -> Path:
    """Return the folder for what takes long to make: DUALADAM_CACHE, or the user's cache."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    try:
        from platformdirs import user_cache_path
    except ImportError as error:
        raise MissingExtraError(
            "The cache needs platformdirs: pip install 'dualadam[llm]', or set "
            f"{CACHE_VARIABLE} to a folder."
        ) from error
    return user_cache_path("dualadam", appauthor=False)
