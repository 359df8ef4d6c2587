"""The three splits of a text data set. No text is in two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from dualadam.errors import InvalidValueError
from dualadam.tasks.protocol import Split
from dualadam.tasks.splits import split_generator, stratified_split

# shares of all rows, where the data set has no file for a split
VALIDATION_SHARE, TEST_SHARE = 0.15, 0.25
# shares of the training rows, where the data set has a file for the test split
VALIDATION_OF_TRAINING = {"classification": 0.1, "generation": 0.05}


class Row(NamedTuple):
    """One example: a text and its label, or a prompt and its response."""

    text: str
    target: str
    group: str = ""  # all rows of a group are in one split
    where: str = ""  # file and line, for messages


Rows = Sequence[Row]


class Pieces(NamedTuple):
    """The rows of a data set as its files divide them; None for a split without a file."""

    train: Rows
    validation: Rows | None = None
    test: Rows | None = None


@dataclass(frozen=True)
class Corpus:
    """Three splits of rows, and the number of rows that were dropped as duplicates."""

    splits: dict[Split, list[Row]]
    duplicates: int


def split_corpus(pieces: Pieces, *, classification: bool) -> Corpus:
    """Drop duplicates, then hold out the splits that have no file.

    Rows are held out by group where there are groups, else at random; rows of a classification task
    are stratified by label.

    Texts are compared apart from white space. Of rows with equal texts the first one stays; of rows
    with equal texts and different labels none stays. A text of the test split is dropped from the
    other splits, a text of the validation split from the training split.

    Raises:
        InvalidValueError: there are too few rows, or a label that no training row has.
    """
    splits: dict[Split, list[Row]] = {}
    seen: set[str] = set()
    total = 0
    given: dict[Split, Rows | None] = {
        "test": pieces.test,
        "validation": pieces.validation,
        "train": pieces.train,
    }
    for split, rows in given.items():
        if rows is not None:
            total += len(rows)
            splits[split] = _distinct(rows, seen, classification)
            seen |= {_normalised(row.text) for row in splits[split]}
    duplicates = total - sum(map(len, splits.values()))
    generator = split_generator()
    if pieces.test is None:
        splits["train"], splits["test"] = _hold_out(
            splits["train"], TEST_SHARE, generator, classification
        )
    if pieces.validation is None:
        kind = "classification" if classification else "generation"
        share = (
            VALIDATION_SHARE / (1 - TEST_SHARE)
            if pieces.test is None
            else VALIDATION_OF_TRAINING[kind]
        )
        splits["train"], splits["validation"] = _hold_out(
            splits["train"], share, generator, classification
        )
    if not all(splits.values()):
        raise InvalidValueError(
            "data must have, without duplicates, an example for each split and more than one "
            f"label, got {total} rows in all."
        )
    if classification:
        _check_labels_known(splits)
    return Corpus({split: splits[split] for split in ("train", "validation", "test")}, duplicates)


def _check_labels_known(splits: dict[Split, list[Row]]) -> None:
    known = sorted({row.target for row in splits["train"]})
    for row in (*splits["validation"], *splits["test"]):
        if row.target not in known:
            at = f"{row.where}: " if row.where else ""
            some = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
            raise InvalidValueError(
                f"{at}label must be one that the training split has, {some}, got {row.target!r}."
            )


def _normalised(text: str) -> str:
    return " ".join(text.split())


def _distinct(rows: Rows, seen: set[str], classification: bool) -> list[Row]:
    """Return the first row of each text, without texts of two labels or of other splits."""
    first: dict[str, Row] = {}
    contradicted = set()
    for row in rows:
        text = _normalised(row.text)
        if first.setdefault(text, row).target != row.target and classification:
            contradicted.add(text)
    return [row for text, row in first.items() if text not in seen and text not in contradicted]


def _hold_out(
    rows: list[Row], share: float, generator: torch.Generator, stratified: bool
) -> tuple[list[Row], list[Row]]:
    """Return (kept, held out): a share of the groups where there are groups, else of the rows."""
    groups = sorted({row.group for row in rows})
    if len(groups) > 1:
        order = torch.randperm(len(groups), generator=generator).tolist()
        chosen = {groups[k] for k in order[: round(share * len(groups))]}
        kept = [row for row in rows if row.group not in chosen]
        return kept, [row for row in rows if row.group in chosen]
    classes = sorted({row.target for row in rows}) if stratified else []
    index = {name: k for k, name in enumerate(classes)}
    labels = torch.tensor([index.get(row.target, 0) for row in rows])
    num_held_out = min(len(rows), max(1, round(share * len(rows))))
    kept_rows, held_out = (
        part.tolist() for part in stratified_split(labels, num_held_out, generator)
    )
    known = {rows[k].target for k in kept_rows}
    # a label with too few rows for two splits stays in training
    rare = {k for k in held_out if stratified and rows[k].target not in known}
    kept = [rows[k] for k in (*kept_rows, *sorted(rare))]
    return kept, [rows[k] for k in held_out if k not in rare]
