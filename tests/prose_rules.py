"""What the tests of the documents look for: sentences, table cells and links of a Markdown file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# A full stop after one of these, or after a single capital (an initial), ends no sentence.
ABBREVIATIONS = ("e.g", "i.e", "et al", "vs", "Fig", "Eq", "Sec", "No", "cf", "approx")
NO_END = re.compile(rf"\b(?:{'|'.join(map(re.escape, ABBREVIATIONS))}|[A-Z])\.(?=\s)")
CODE = re.compile(r"`[^`]*`")
MARKER = re.compile(r"^\s*(?:[-*+]|\d+\.)\s+")  # of a list
LABEL = re.compile(r"^\s*\*\*[^*]+[.:]\*\*\s+")  # a heading that runs into its paragraph
SENTENCE_END = re.compile(r"[.!?][)\]\"'*_]*\s+[(\[\"'*_`]*[A-Z]")
LINK = re.compile(r"(?<!!)\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.*?) *#*$")
FENCE = re.compile(r"^\s*(```+|~~~+)")


class Line(NamedTuple):
    """A line outside code blocks."""

    number: int
    text: str

    @property
    def is_table(self) -> bool:
        return self.text.lstrip().startswith("|")

    @property
    def is_heading(self) -> bool:
        return bool(HEADING.match(self.text))


def lines_outside_code(text: str) -> Iterator[Line]:
    """Yield the lines that are neither in a fenced nor in an indented code block."""
    fence = ""
    before_is_blank = True
    for number, line in enumerate(text.splitlines(), start=1):
        mark = FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip() == fence:
            fence = ""
        elif not fence and not (before_is_blank and line.startswith("    ")):
            yield Line(number, line)
            before_is_blank = not line.strip()


def has_several_sentences(text: str) -> bool:
    """Whether a sentence ends within the text and another begins.

    Example:
        >>> has_several_sentences("See Shi et al. (2026), Fig. 3. It holds.")
        True
        >>> has_several_sentences("1. **Why.** T. Shi et al. prove Adam, e.g. `a. B`.")
        False
    """
    plain = CODE.sub("Code", LABEL.sub("", MARKER.sub("", text)))
    plain = NO_END.sub("", plain)
    return SENTENCE_END.search(plain) is not None


def lines_of_several_sentences(text: str) -> list[Line]:
    """Return the lines of prose, and of table cells, that hold more than one sentence."""
    found = []
    for line in lines_outside_code(text):
        parts = re.split(r"(?<!\\)\|", line.text) if line.is_table else [line.text]
        if not line.is_heading and any(map(has_several_sentences, parts)):
            found.append(line)
    return found


def anchors(text: str) -> set[str]:
    """Return the names that GitHub gives to the headings.

    Example:
        >>> sorted(anchors("# The rules: `a` and b_c\\n## Again\\n## Again"))
        ['again', 'again-1', 'the-rules-a-and-b_c']
    """
    found: set[str] = set()
    for line in lines_outside_code(text):
        if heading := HEADING.match(line.text):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
            count = 0
            while (numbered := f"{name}-{count}" if count else name) in found:
                count += 1
            found.add(numbered)
    return found


def broken_links(document: Path) -> list[str]:
    """Return the relative links of a document that lead to no file, or to no heading in it."""
    broken = []
    text = "\n".join(line.text for line in lines_outside_code(document.read_text()))
    for target in (*LINK.findall(text), *IMAGE.findall(text)):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = document.parent / path if path else document
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            broken.append(target)
    return broken
