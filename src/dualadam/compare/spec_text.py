"""Where in a spec's text a mistake is, and how it is reported."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dualadam.errors import InvalidValueError

MOST_MISTAKES = 20  # that one message names
Place = tuple[str | int, ...]  # keys and list indices, from the top of the spec


class SpecError(InvalidValueError):
    """A spec cannot be run. Each line of the message names file, line, key, value and remedy."""


class Mistake(NamedTuple):
    """One mistake in a spec."""

    place: Place
    message: str  # continues the name of the key: "must be at least 2, got 1"


@dataclass(frozen=True)
class SpecText:
    """The text of a spec; without a text, mistakes are reported without their lines.

    Args:
        content: TOML.
        name: the name of the file in messages.
    """

    content: str = ""
    name: str = "spec"

    def error(self, mistakes: Iterable[Mistake], num_more: int = 0) -> SpecError:
        """Return the error that reports the first of these mistakes, a line each, and counts all.

        Args:
            mistakes: what was found.
            num_more: how many were found besides.
        """
        different = list(dict.fromkeys(mistakes))
        lines = list(dict.fromkeys(map(self._sentence, different[:MOST_MISTAKES])))
        if num_more := num_more + len(different[MOST_MISTAKES:]):
            lines.append(f"{self.name} has {num_more:,} more mistakes.")
        return SpecError("\n".join(lines))

    def _sentence(self, mistake: Mistake) -> str:
        line = self.line_of(mistake.place)
        where = f"{self.name}, line {line}" if line else self.name
        key = ".".join(cut(part) for part in mistake.place if isinstance(part, str))
        return ended(f"{where}: {key} {mistake.message}" if key else f"{where} {mistake.message}")

    def line_of(self, place: Sequence[str | int]) -> int | None:
        """Return the line of the deepest part of a place that the text has, or None."""
        depth, found = 0, None
        for here, number in self._places:
            if len(here) > depth and tuple(place[: len(here)]) == here:
                depth, found = len(here), number
        return found

    @functools.cached_property
    def _places(self) -> list[tuple[Place, int]]:
        """What each line sets, with its number."""
        num_tables: dict[Place, int] = {}  # index of the last [[table]] of each name
        table: list[str | int] = []
        places: list[tuple[Place, int]] = []
        for number, line in enumerate(self.content.splitlines(), start=1):
            if header := _HEADER.match(line):
                table = []
                keys = _split(header[2])
                for k, key in enumerate(keys):
                    table.append(key)
                    if k == len(keys) - 1 and header[1] == "[[":
                        num_tables[tuple(table)] = num_tables.get(tuple(table), -1) + 1
                    if tuple(table) in num_tables:
                        table.append(num_tables[tuple(table)])
                places.append((tuple(table), number))
            elif assignment := _ASSIGNMENT.match(line):
                places.append(((*table, *_split(assignment[1])), number))
        return places


def cut(text: str, most: int = 80) -> str:
    """Return a text of at most so many characters; dots mark what was left out.

    Example:
        >>> cut("abcdefghij", most=8)
        'abcde...'
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."


def ended(sentence: str) -> str:
    """Return a sentence with its full stop, unless it ends in a question."""
    sentence = sentence.rstrip(".")
    return sentence if sentence.endswith("?") else f"{sentence}."


def nearest(name: object, known: Iterable[str]) -> str:
    """Return a hint: the known name that is nearest, or all known names.

    Example:
        >>> nearest("digit", ["digits", "cifar10"]), nearest("mnist", ["digits", "cifar10"])
        ("did you mean 'digits'?", 'known: digits, cifar10')
    """
    known = list(known)
    folded = {k.casefold(): k for k in known}
    close = difflib.get_close_matches(str(name)[:100].casefold(), list(folded), n=1, cutoff=0.6)
    return f"did you mean {folded[close[0]]!r}?" if close else f"known: {', '.join(known)}"


_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_HEADER = re.compile(rf"^\s*(\[\[?)\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*\]")
_ASSIGNMENT = re.compile(rf"^\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=")


def _split(dotted: str) -> list[str]:
    return [key.strip("\"'") for key in re.findall(_KEY, dotted)]
