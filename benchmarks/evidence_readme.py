"""The README's summary of the evidence, written from the rows of docs/evidence.md."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import NamedTuple

from evidence_notes import ANSWERS, QUESTIONS
from evidence_rows import Row
from evidence_studies import STUDIES

README = Path(__file__).resolve().parents[1] / "README.md"
START, END = "<!-- from the records: python benchmarks/evidence.py -->\n", "<!-- end -->\n"
WIDTH = 118  # columns
NO_BREAK = "\N{NO-BREAK SPACE}"


class Shown(NamedTuple):
    """A row that the README shows.

    Attributes:
        study, comparison: of the row; the comparison by its beginning.
        label: how the README names the row.
    """

    study: str
    comparison: str
    label: str


MINE, EIGENVALUE = "DualAdam - ", "largest eigenvalue, DualAdam"
SHOWN = {
    1: [
        Shown("digits", "DualAdam - Adam,", "digits"),
        Shown("variants, digits", "DualAdam - Adam,", "digits, other study,"),
        Shown("published regime, CIFAR-10", MINE, "CIFAR-10, small network,"),
        Shown("published regime, CIFAR-10, ResNet-18", "DualAdam - Adam,", "ResNet-18"),
        Shown("lr 0.001, CIFAR-10, ResNet-18", "DualAdam - Adam,", "lr 0.001"),
    ],
    2: [
        Shown("variants, digits", "(SOAP + warm-up)", "SOAP - control, digits"),
        Shown("CIFAR-10 again", "NAdam - ", "NAdam - control, CIFAR-10"),
    ],
    3: [
        Shown("digits", "DualAdam - (Adam + warm-up)", "digits"),
        Shown("variants, Fashion-MNIST", MINE, "Fashion-MNIST"),
        Shown("CIFAR-10 again", MINE, "CIFAR-10"),
        Shown("equal settings, new seeds, CIFAR-10", MINE, "at equal settings"),
        Shown("published regime, CIFAR-10, ResNet-18", MINE, "ResNet-18"),
        Shown("lr 0.001, CIFAR-10, ResNet-18", MINE, "lr 0.001"),
    ],
    4: [
        Shown("equal lr, digits", EIGENVALUE, "eigenvalue / control's, digits, equal lr"),
        Shown("equal loss, digits, eigenvalue", EIGENVALUE, "at equal loss"),
        Shown("equal lr, Fashion-MNIST", EIGENVALUE, "Fashion-MNIST"),
        Shown("equal loss, Fashion-MNIST, eigenvalue", EIGENVALUE, "at equal loss"),
    ],
    6: [
        Shown("digits", "InvAdam - ", "digits"),
        Shown("Fashion-MNIST, 6,000 images", "InvAdam - ", "Fashion-MNIST"),
        Shown("InvAdam on CIFAR-10", "InvAdam - (AdamW + warm-up), weight decay 0.05", "CIFAR-10"),
    ],
    7: [
        Shown("character Transformer", MINE, "characters, nats"),
    ],
    8: [
        Shown("summed loss, Fashion-MNIST", MINE, "summed loss"),
        Shown("20 % wrong labels, new seeds, Fashion-MNIST", MINE, "20 % wrong labels, new seeds,"),
    ],
    9: [
        Shown("mixed form, CIFAR-10", "MixLong - ", "CIFAR-10"),
        Shown("mixed form, new seeds, CIFAR-10", "MixLong - (AdamW + warm-up), ", "on new seeds"),
        Shown(
            "mixed form, new seeds, CIFAR-10",
            "MixLong - (AdamW + warm-up, at",
            "at equal settings, not registered,",
        ),
        Shown("character Transformer", "MixLong - ", "characters, nats"),
    ],
    10: [
        Shown("replayed schedules, Fashion-MNIST", MINE, "DualAdam - Adam with its schedule"),
        Shown("replayed schedules, Fashion-MNIST", "(NAdam", "NAdam likewise"),
    ],
}


def with_part(text: str, part: str) -> str:
    """Return a page with what stands between its marks replaced by this part."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + START + part + END + after


def readme_part(rows: list[Row]) -> str:
    """Return an answer and a few differences for each claim with rows."""
    lines = []
    for claim, question in QUESTIONS.items():
        if not any(row.claim == claim for row in rows):
            continue
        lines.append(f"* **{question}**: {ANSWERS[claim]}")
        if shown := list(
            filter(None, (short(rows, claim, which) for which in SHOWN.get(claim, [])))
        ):
            text = "; ".join(shown)
            lines += textwrap.wrap(
                f"{text[0].upper()}{text[1:]}.", WIDTH, initial_indent="  ", subsequent_indent="  "
            )
    missing = sum(study.title not in {row.study for row in rows} for study in STUDIES)
    studies = "study" if missing == 1 else "studies"
    unfinished = f", and {missing} registered {studies} unfinished" if missing else ""
    page = "[the evidence page](docs/evidence.md) has all"
    lines.append(f"\nNetworks are small and runs short{unfinished}: {page}.")
    return "\n".join(lines).replace(NO_BREAK, " ") + "\n"


def short(rows: list[Row], claim: int, which: Shown) -> str | None:
    """Return a row in a few words; None where its study has no record."""
    for row in rows:
        is_it = (row.claim, row.study) == (claim, which.study)
        if is_it and row.comparison.startswith(which.comparison) and row.drawn:
            digits = "" if row.unit == "ratio" else "+"
            form = f"{digits}.{4 if row.unit == 'nats' else 2}f"
            # a space that does not break, so that a line never ends within an interval
            interval = row.drawn.ends(form).replace(" ", NO_BREAK)
            mean = format(row.drawn.mean + 0.0, form)
            return f"{which.label} {mean}{NO_BREAK}{interval}{NO_BREAK}({row.drawn.n})"
    return None
