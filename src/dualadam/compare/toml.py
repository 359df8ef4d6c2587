"""Reading TOML whose size and depth the parser could not bear."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from dualadam.compare.spec_text import SpecError

MOST_CHARACTERS = 1_000_000  # 2,000 arms need a quarter of it
MOST_LEVELS = 32  # of tables in tables, lists in lists, and parts of a key
# a string that is not closed ends with its line or its text, or every quote would be tried again
_STRING = "|".join(
    (
        r'"""(?:\\.|(?!""").)*+(?:""")?',
        r"'''(?:(?!''').)*+(?:''')?",
        r'"(?:\\[^\n]|[^"\\\n])*+"?',
        r"'[^'\n]*+'?",
    )
)
_TOKEN = re.compile(rf"{_STRING}|#[^\n]*|[\[\]{{}}.=,\n]", re.DOTALL)


class NotTomlError(SpecError):
    """A text is not TOML."""


def read_toml(content: str, name: str) -> dict[str, Any]:
    """Return the table of a TOML text, with or without a byte order mark.

    Args:
        content: TOML.
        name: of the text in messages.

    Raises:
        NotTomlError: the text is not TOML.
        SpecError: it is too large, or nested too deeply.

    Example:
        >>> read_toml("block = [{ arm = [] }]", "my.toml")
        {'block': [{'arm': []}]}
    """
    content = content.removeprefix("\N{BYTE ORDER MARK}")
    check_size(len(content), name)
    _check_depth(content, name)
    try:
        return tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise NotTomlError(f"{name} is not TOML: {error}.") from error


def check_size(size: int, name: str) -> None:
    """Refuse a text that is too large for a spec; a file may be refused before it is read.

    Raises:
        SpecError: it is too large.
    """
    if size > MOST_CHARACTERS:
        raise SpecError(f"{name} must have at most {MOST_CHARACTERS:,} characters, got {size:,}.")


def _check_depth(content: str, name: str) -> None:
    """Count brackets and the parts of keys: the parser needs seconds or gigabytes for deep ones."""
    depth, parts, line = 0, 1, 1
    for token in _TOKEN.findall(content):
        line += token.count("\n")
        if token in ("[", "{"):
            depth, parts = depth + 1, 1
        elif token in ("]", "}"):
            depth = max(0, depth - 1)
        elif token == ".":
            parts += 1
        elif token in ("=", ",", "\n"):
            parts = 1
        if max(depth, parts) > MOST_LEVELS:
            raise SpecError(
                f"{name}, line {line} is nested too deeply: at most {MOST_LEVELS} levels are read."
            )
