"""Draw docs/evidence.md, its figures, and what README and gallery show of them, from the records.

    python benchmarks/evidence.py

What decides a row was fixed before the runs, in docs/decisions/0012-first-studies.md,
0041-the-eight-studies.md, 0042-resnet-18-on-a-gpu.md and
0043-leads-on-new-seeds.md.
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
from evidence_figures import write_figures
from evidence_flatness import with_both_measures
from evidence_notes import ANSWERS, CLAIMS, INTRODUCTION, NOTES, SENSITIVITY
from evidence_readme import README, readme_part, with_part
from evidence_rows import Row, shown_verdict
from evidence_studies import REGIME, STUDIES, adjusted_together

from dualadam.compare.summary import Summary

ROOT = Path(__file__).resolve().parents[1]
RECORDS, PAGE = ROOT / "benchmarks" / "records", ROOT / "docs" / "evidence.md"
FIGURES, GALLERY = ROOT / "docs" / "images" / "evidence", ROOT / "docs" / "gallery.md"
FIRST_STUDIES = {  # name of the spec -> name on the page
    "digits_study": "digits",
    "fashion-mnist_study": "Fashion-MNIST, 6,000 images",
    "cifar10_study": "CIFAR-10, 10,000 images",
}
# rows of claims 1 to 3 of these studies are rows of claim 7
LANGUAGE = {"rotten-tomatoes_study": "Rotten Tomatoes, MiniLM"}
FACTORS, FACTORS_TITLE = "fashion-mnist_regime", "Fashion-MNIST, 2,000 images"


def find(name: str) -> Path | None:
    """Return the newest record of a study, or None."""
    return max(RECORDS.glob(f"????-??-??_{name}"), default=None)


def rows_and_studies() -> tuple[list[Row], dict[str, Summary], dict[str, Path]]:
    """Return every row, the summaries of the first studies, and the folders of all records used."""
    rows: list[Row] = []
    summaries: dict[str, Summary] = {}
    folders: dict[str, Path] = {}
    for name, title in FIRST_STUDIES.items():
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
    if folder := find(FACTORS):
        folders[FACTORS_TITLE], summaries[FACTORS_TITLE] = folder, load(folder)
        rows += regime(FACTORS_TITLE, summaries[FACTORS_TITLE])
    for name, speak in (("escape", escapes), ("escape-networks", networks)):
        if folder := find(name):
            folders["network" if speak is networks else name] = folder
            rows += speak(folder)
    for study in STUDIES:
        if folder := find(study.name):
            folders[study.title] = folder
            rows += study.rows(study.title, folder)
    regimes = {study.title for study in STUDIES if study.name.startswith(REGIME)}
    rows = with_both_measures(adjusted_together(rows, regimes))
    return sorted(rows, key=lambda row: row.claim), summaries, folders


def render(rows: list[Row], summaries: dict[str, Summary], folders: dict[str, Path]) -> str:
    """Return the page."""
    lines = [INTRODUCTION, *missing(folders)]
    for claim, text in CLAIMS.items():
        mine = [row for row in rows if row.claim == claim]
        lines += [f"## {claim}. {text}", ""]
        if mine:
            lines += [f"**{ANSWERS[claim][0].upper()}{ANSWERS[claim][1:]}**", ""]
        if any(row.drawn for row in mine):
            lines += [picture(claim), ""]
        mine = mine or [Row(claim, "-", "-", "-", "not run")]
        lines += [
            "| Study | Comparison | Result, 95 % interval | Verdict |",
            "|---|---|---|---|",
            *(
                f"| {linked(r.study, folders)} | {r.comparison} | {r.result} | {shown_verdict(r)} |"
                for r in mine
            ),
            "",
            *([NOTES[claim]] if claim in NOTES else []),
        ]
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


def picture(claim: int) -> str:
    """Return the figure of a claim, for a page of docs."""
    return f"![Differences of claim {claim}](images/evidence/claim-{claim}.png)"


def gallery(rows: list[Row]) -> str:
    """Return the gallery's part: every figure of the page."""
    drawn = sorted({row.claim for row in rows if row.drawn})
    return "\n" + "\n\n".join(f"{CLAIMS[claim]}:\n\n{picture(claim)}" for claim in drawn) + "\n\n"


def missing(folders: dict[str, Path]) -> list[str]:
    """Return the lines that name the registered studies without a record."""
    names = [study.name for study in STUDIES if study.title not in folders]
    names = [name for name in names if not find(name)]
    if not names:
        return []
    listed = ", ".join(f"`{name}`" for name in names)
    return [f"Registered and not finished yet: {listed}.", ""]


def linked(study: str, folders: dict[str, Path]) -> str:
    """Return a study's name as a link to its record."""
    if study not in folders:
        return study
    page = next(
        (name for name in ("report.md", "README.md") if (folders[study] / name).exists()), ""
    )
    return f"[{study}](../{(folders[study] / page).relative_to(ROOT)})"


def main() -> None:
    """Write the page, its figures, and the parts of README and gallery."""
    rows, summaries, folders = rows_and_studies()
    PAGE.write_text(render(rows, summaries, folders))
    files = write_figures(rows, FIGURES)
    README.write_text(with_part(README.read_text(), readme_part(rows)))
    GALLERY.write_text(with_part(GALLERY.read_text(), gallery(rows)))
    print(f"Written: {PAGE}, {len(files)} figures, {README}, {GALLERY}")


if __name__ == "__main__":
    main()
