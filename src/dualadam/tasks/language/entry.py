"""What is known of a text data set, whatever its rows become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dualadam.tasks.files import PackageFile
from dualadam.tasks.language.corpus import Corpus, Pieces, split_corpus
from dualadam.tasks.language.pretrained import check_model
from dualadam.tasks.protocol import FineTuning, TaskEntry


class Source(Protocol):
    """Where a data set is, and its reader."""

    def find(self, name: str, data: str | Path | None) -> Path:
        """Return the file or folder, without reading it.

        Raises:
            MissingFileError: it is not there.
        """

    def read(self, path: Path) -> Pieces:
        """Return its rows."""


@dataclass(frozen=True)
class PackagedTexts:
    """A data set inside an installed Python package.

    Args:
        package: where the data set is.
        read: returns its rows.
    """

    package: PackageFile
    read: Callable[[Path], Pieces]

    def find(self, name: str, data: str | Path | None) -> Path:
        """Return the file or folder in the package. ``data`` is not used."""
        return self.package.find(f"The data of {name!r}")


@dataclass(frozen=True, kw_only=True)
class LanguageEntry(TaskEntry):
    """A text data set.

    Args:
        source: where the data set is, and its reader.
    """

    source: Source

    def corpus(self, data: str | Path | None) -> Corpus:
        """Read the data set and split it; the same files give the same splits everywhere.

        Raises:
            MissingFileError: the data is not there.
            InvalidValueError: a line is not what it must be; the message names file and line.
        """
        pieces = self.source.read(self.source.find(self.name, data))
        return split_corpus(pieces, classification=self.language == "classification")

    def fine_tuning(self, language: FineTuning | None) -> FineTuning:
        """Return the given settings, or the defaults for the first model."""
        return language or FineTuning(self.models[0])

    def check(self, data: str | None, language: FineTuning | None) -> tuple[str, ...]:
        """Check that libraries, model and data are there."""
        check_model(self.fine_tuning(language))
        self.source.find(self.name, data)
        return ()
