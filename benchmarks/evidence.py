"""Draw docs/evidence.md from the records: a row for every claim of the paper and every study of it.

    python benchmarks/evidence.py

What decides a row was fixed before the runs, in docs/decisions/0012-first-studies.md.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evidence_comparisons import (
    controls,
    flatter,
    load,
    nadam,
    regime,
    rivals,
    sensitivity,
)
from evidence_escapes import escapes, networks
from evidence_notes import INTRODUCTION, NOTES, SENSITIVITY
from evidence_rows import Row

from dualadam.compare.summary import Summary

ROOT = Path(__file__).resolve().parents[1]
RECORDS, PAGE = ROOT / "benchmarks" / "records", ROOT / "docs" / "evidence.md"
STUDIES = {  # name of the spec -> name on the page
    "digits_study": "digits",
    "fashion-mnist_study": "Fashion-MNIST, 6,000 images",
    "cifar10_study": "CIFAR-10, 10,000 images",
}
# rows of claims 1 to 3 of these studies are rows of claim 7
LANGUAGE = {"rotten-tomatoes_study": "Rotten Tomatoes, MiniLM"}
REGIME, ESCAPE, NETWORKS = "fashion-mnist_regime", "escape", "escape-networks"
REGIME_TITLE = "Fashion-MNIST, 2,000 images"
CLAIMS = {
    1: "DualAdam generalises better than Adam",
    2: "DualAdam generalises better than AdamW, NAdam and RAdam",
    3: "DualAdam generalises better than its control, Adam or AdamW with a warm-up",
    4: "DualAdam ends in flatter minima",
    5: "InvAdam leaves sharp minima sooner",
    6: "InvAdam alone has trouble converging",
    7: "DualAdam improves fine-tuned language models",
    8: "Where does the inverse part begin to matter?",
}


def find(name: str) -> Path | None:
    """Return the newest record of a study, or None."""
    return max(RECORDS.glob(f"????-??-??_{name}"), default=None)


def rows_and_studies() -> tuple[list[Row], dict[str, Summary], dict[str, Path]]:
    """Return every row, the summaries of the comparisons, and the folders of all records used."""
    rows: list[Row] = []
    summaries: dict[str, Summary] = {}
    folders: dict[str, Path] = {}
    for name, title in STUDIES.items():
        if folder := find(name):
            folders[title], summaries[title] = folder, load(folder)
            for speak in (rivals, nadam, controls, flatter):
                rows += speak(title, summaries[title])
    for name, title in LANGUAGE.items():
        if folder := find(name):
            folders[title], summaries[title] = folder, load(folder)
            for speak in (rivals, nadam, controls):
                for row in speak(title, summaries[title]):
                    rows.append(row if row.claim == 6 else replace(row, claim=7))
    if folder := find(REGIME):
        folders[REGIME_TITLE], summaries[REGIME_TITLE] = folder, load(folder)
        rows += regime(REGIME_TITLE, summaries[REGIME_TITLE])
    if folder := find(ESCAPE):
        folders["escape"] = folder
        rows += escapes(folder)
    if folder := find(NETWORKS):
        folders["network"] = folder
        rows += networks(folder)
    return sorted(rows, key=lambda row: row.claim), summaries, folders


def render() -> str:
    """Return the page."""
    rows, summaries, folders = rows_and_studies()
    spoken = {row.claim for row in rows}
    rows += [Row(claim, "-", "-", "-", "not run") for claim in CLAIMS if claim not in spoken]
    lines = [INTRODUCTION]
    for claim, text in CLAIMS.items():
        lines += [
            f"## {claim}. {text}",
            "",
            "| Study | Comparison | Result, 95 % interval | Verdict |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {linked(r.study, folders)} | {r.comparison} | {r.result} | **{r.verdict}** |"
            for r in rows
            if r.claim == claim
        ]
        lines += ["", *([NOTES[claim]] if claim in NOTES and claim in spoken else [])]
    lines += [SENSITIVITY]
    for title, summary in summaries.items():
        lines += [
            f"### {title}",
            "",
            "| Arm | Points near its best | Their learning rates | Diverged points |",
            "|---|---|---|---|",
            *sensitivity(summary),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def linked(study: str, folders: dict[str, Path]) -> str:
    """Return a study's name as a link to its record."""
    if study not in folders:
        return study
    page = next(
        (name for name in ("report.md", "README.md") if (folders[study] / name).exists()), ""
    )
    return f"[{study}](../{(folders[study] / page).relative_to(ROOT)})"


if __name__ == "__main__":
    PAGE.write_text(render())
    print(f"Written: {PAGE}")
