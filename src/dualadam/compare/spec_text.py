"""Where in a spec's text a mistake stands, and what may have been meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel
from pydantic_core import ErrorDetails


def nearest(name: object, known: Iterable[str]) -> str:
    """Return a hint on what may have been meant: the nearest known name, or all of them."""
    known = list(known)
    folded = {k.casefold(): k for k in known}
    close = difflib.get_close_matches(str(name).casefold(), list(folded), n=1, cutoff=0.6)
    return f"did you mean {folded[close[0]]!r}?" if close else f"known: {', '.join(known)}."


def sentence(
    text: str, name: str, error: ErrorDetails, tables: Mapping[tuple[str, ...], type[BaseModel]]
) -> str:
    """Return one pydantic error as a sentence with file, line, place, value and remedy; ``tables`` has the model of each place."""
    context = error.get("ctx", {})
    place = [*error["loc"], *context.get("at", [])]
    line = line_of(text, place)
    where = f"{name}, line {line}: " if line else f"{name}: "
    dotted = ".".join(str(p) for p in place if not isinstance(p, int))
    got = repr(error["input"])
    got = got if len(got) <= 80 else got[:77] + "..."
    if error["type"] == "extra_forbidden":
        model = tables.get(tuple(p for p in place[:-1] if isinstance(p, str)), tables[()])
        return f"{where}{dotted} is not a key of a spec; {nearest(place[-1], model.model_fields)}"
    if error["type"] == "missing":
        return f"{where}{dotted} is missing."
    if error["type"] == "spec":
        return f"{where}{dotted} {error['msg']}".strip().removesuffix(".") + (
            "" if error["msg"].endswith("?") else "."
        )
    if dotted == "language.parameters":
        return f"{where}{dotted} must be full, lora, or last-1 to last-99, got {got}."
    if error["type"] == "string_pattern_mismatch":
        return f"{where}{dotted} has letters that a name must not have, got {got}; letters, digits and '-' are safe."
    return f"{where}{dotted} {error['msg'].replace('Input should', 'must')}, got {got}."


_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_HEADER = re.compile(rf"^\s*(\[\[?)\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*\]")
_ASSIGNMENT = re.compile(rf"^\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=")


def line_of(text: str, place: Sequence[str | int]) -> int | None:
    """Return the line on which the deepest part of a place stands that can be found, or None."""
    counts: dict[tuple[str | int, ...], int] = {}
    table: list[str | int] = []
    best, best_line = 0, None
    for number, line in enumerate(text.splitlines(), start=1):
        here: list[str | int] = []
        if header := _HEADER.match(line):
            table = []
            keys = _split(header[2])
            for k, key in enumerate(keys):
                table.append(key)
                if k == len(keys) - 1 and header[1] == "[[":
                    counts[tuple(table)] = counts.get(tuple(table), -1) + 1
                if tuple(table) in counts:
                    table.append(counts[tuple(table)])
            here = table
        elif assignment := _ASSIGNMENT.match(line):
            here = [*table, *_split(assignment[1])]
        if len(here) > best and list(place[: len(here)]) == here:
            best, best_line = len(here), number
    return best_line


def _split(dotted: str) -> list[str]:
    return [key.strip("\"'") for key in re.findall(_KEY, dotted)]
