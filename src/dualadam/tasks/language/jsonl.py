"""Text data sets that are JSON lines in a folder of the user's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualadam.errors import InvalidValueError
from dualadam.tasks.files import data_not_found, given_folder, opened
from dualadam.tasks.language.corpus import Pieces, Row

# limits that no text data set for fine-tuning reaches, and a decompression bomb does
LARGEST_LINE, LARGEST_FILE = 2**24, 2**30  # bytes
LARGEST_COUNT = 5_000_000  # lines
SURROGATE = re.compile("[\ud800-\udfff]")  # no tokenizer takes half of a pair


@dataclass(frozen=True)
class JsonLines:
    """The files train.jsonl and maybe validation.jsonl and test.jsonl, each also as .jsonl.gz.

    Args:
        input_field: of the text or the prompt.
        target_field: of the label or the response.
        own_test_split: test.jsonl must be there.
        prefix: that the names of the files may have.
        remedy: how to get the files.
    """

    input_field: str
    target_field: str
    own_test_split: bool = False
    prefix: str = ""
    remedy: str = ""

    def find(self, name: str, data: str | Path | None) -> Path:
        """Return the folder with the files, or the user's one file.

        Raises:
            MissingFileError: the files are not there.

        Example:
            >>> try:
            ...     JsonLines("text", "label").find("jsonl-classification", "/nowhere")
            ... except FileNotFoundError as error:
            ...     print(str(error).partition(" (")[0])
            data must be a folder with train.jsonl
        """
        if given := given_folder(data):
            if given.is_file() and not self.own_test_split:
                return given
            for folder in (given, given / name):
                if self._file(folder, "train") and (
                    not self.own_test_split or self._file(folder, "test")
                ):
                    return folder
        wanted = (
            "train.jsonl and test.jsonl"
            if self.own_test_split
            else "train.jsonl (and maybe validation.jsonl, test.jsonl)"
        )
        raise data_not_found(name, wanted, data, self.remedy)

    def read(self, path: Path) -> Pieces:
        """Read the rows of each file.

        Raises:
            InvalidValueError: a file is empty or damaged, or a line lacks a field.
        """
        if path.is_file():
            return Pieces(self._rows(path))
        validation, test = (self._file(path, part) for part in ("validation", "test"))
        train = self._file(path, "train")
        assert train is not None, "find returns a folder with a training file"
        return Pieces(
            self._rows(train),
            self._rows(validation) if validation else None,
            self._rows(test) if test else None,
        )

    def _file(self, folder: Path, part: str) -> Path | None:
        stems = dict.fromkeys((part, f"{self.prefix}{part}"))
        names = (f"{stem}.jsonl{end}" for stem in stems for end in ("", ".gz"))
        return next((folder / name for name in names if (folder / name).is_file()), None)

    def _rows(self, file: Path) -> list[Row]:
        return list(read_jsonl(file, self.input_field, self.target_field))


def read_jsonl(file: Path, input_field: str, target_field: str) -> Iterator[Row]:
    """Yield the examples of a file of JSON lines, compressed or not.

    Raises:
        InvalidValueError: the file is empty or damaged, or a line lacks a field; the message names
            the line.
    """
    number = total = 0
    empty = True
    with opened(file) as stream:
        while line := stream.readline(LARGEST_LINE + 1):
            number, total = number + 1, total + len(line)
            if len(line) > LARGEST_LINE:
                raise InvalidValueError(
                    f"{file}, line {number} must have at most {LARGEST_LINE:,} bytes, got more."
                )
            if total > LARGEST_FILE or number > LARGEST_COUNT:
                raise InvalidValueError(
                    f"{file} must have at most {LARGEST_COUNT:,} lines and {LARGEST_FILE:,} bytes "
                    "after decompression, got more."
                )
            if line.strip():
                empty = False
                where = f"{file}, line {number}"
                row = _parsed(line, where, input_field, target_field)
                yield Row(str(row[input_field]), str(row[target_field]), where=where)
    if empty:
        raise InvalidValueError(f"{file} must hold at least one line, got an empty file.")


def _parsed(line: bytes, where: str, input_field: str, target_field: str) -> dict[str, Any]:
    wanted = f"a JSON object with the fields {input_field!r} and {target_field!r}"
    try:
        row = json.loads(line.decode("utf-8-sig"))
    # brackets nested too deeply are a RecursionError
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(
            f"{where} must be {wanted}, got something else: {error}."
        ) from error
    if not isinstance(row, dict):
        raise InvalidValueError(f"{where} must be {wanted}, got {line.decode()[:80]}.")
    if not {input_field, target_field} <= row.keys():
        raise InvalidValueError(f"{where} must be {wanted}, got {', '.join(map(repr, row))}.")
    for field in (input_field, target_field):
        value = row[field]
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            raise InvalidValueError(
                f"{where}: {field} must be text or an integer, got {json.dumps(value)}."
            )
        if isinstance(value, str) and SURROGATE.search(value):
            raise InvalidValueError(
                f"{where}: {field} must be text, got half of a surrogate pair in "
                f"{json.dumps(value)[:80]}."
            )
    return row
