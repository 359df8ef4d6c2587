"""The documents are true where a test can tell, and keep to their form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prose_rules import broken_links, has_several_sentences, lines_of_several_sentences
from test_architecture import MAY_IMPORT

from dualadam import __version__
from dualadam.compare.spec_file import parse_spec

ROOT = Path(__file__).parents[1]
COLUMNS = 100  # of code; ruff holds Python to it
README_LINES = README_COLUMNS = 120
FREE = {"errors", "_version"}  # rooms that every room may import; the diagram leaves them out
FOLDERS = (".ci", ".github", "benchmarks", "docs", "examples", "release", "src", "tests")
FILES = [
    *(file for file in sorted(ROOT.iterdir()) if file.is_file()),
    *(file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*")) if file.is_file()),
]
# the report of a study is generated, with the study's own names in it
DOCUMENTS = [
    f for f in FILES if f.suffix == ".md" and not f.match("benchmarks/records/*/report.md")
]
CODE = [
    f
    for f in FILES
    if f.suffix in (".cpp", ".h", ".j2", ".toml") or f.name == "Makefile" or f.parent.name == ".ci"
]
# the diary and the changes tell of files as they were then
LIVING = [f for f in DOCUMENTS if f.name not in ("log.md", "CHANGELOG.md")]
TESTS = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^ *def (test_\w+)", file.read_text(), re.M)
}


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def blocks(language: str) -> list[object]:
    """Return the code blocks of README and of the pages of docs."""
    found = []
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        code = re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.S | re.M)
        found += [
            pytest.param(block, id=f"{document.name}-{number}")
            for number, block in enumerate(code, start=1)
        ]
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_a_python_block_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    if "import optax" in code:
        pytest.importorskip("optax")
    exec(compile(code, "block", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("code", blocks("toml"))
def test_a_spec_in_the_docs_is_a_valid_spec(code: str):
    assert parse_spec(code).block


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_link_leads_to_a_file_and_to_a_heading_in_it(document: Path):
    assert broken_links(document) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_line_holds_one_sentence_and_so_does_a_cell_of_a_table(document: Path):
    assert lines_of_several_sentences(document.read_text()) == []


@pytest.mark.parametrize(
    ("text", "several"),
    [
        ("It runs. It stops.", True),
        ("It runs! (It stops.)", True),
        ("It **runs.** `step` stops.", True),
        ("It takes 0.5 s. An epoch takes 5.", True),
        ("Dinh et al. (2017) and Fig. 3 of T. Shi, e.g. Adam.", False),
        ("1. **Context.** It runs.", False),
        ("Version 2.13 of torch.optim.Adam, `a. B`, 1 ... 100", False),
    ],
)
def test_sentences_are_counted(text: str, several: bool):
    assert has_several_sentences(text) is several


def test_every_cell_of_a_table_is_a_line_of_its_own():
    assert not lines_of_several_sentences("| It runs. | It stops. |")
    assert lines_of_several_sentences("| It runs. It stops. | |")


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= README_LINES
    assert max(map(len, lines)) <= README_COLUMNS


def test_every_difference_in_the_readme_stands_on_the_page_of_evidence():
    readme = (ROOT / "README.md").read_text()
    evidence = (ROOT / "docs/evidence.md").read_text()
    differences = re.findall(r"([+-]\d+\.\d\d) (\[[+-][\d.]+, [+-][\d.]+\])", readme)
    assert len(differences) >= 4
    for mean, interval in differences:
        assert re.search(re.escape(mean) + r"(?: points)? " + re.escape(interval), evidence)
    for mean in re.findall(r"[+-]\d+\.\d\d", readme):
        assert mean in evidence


@pytest.mark.parametrize("file", CODE, ids=name_of)
def test_a_line_of_code_has_at_most_100_columns(file: Path):
    lines = enumerate(file.read_text().splitlines(), start=1)
    assert [number for number, line in lines if len(line) > COLUMNS] == []


@pytest.mark.parametrize("document", LIVING, ids=name_of)
def test_a_file_or_a_test_that_a_document_names_exists(document: Path):
    text = document.read_text()
    files = re.findall(r"`((?:src|tests|docs|benchmarks|examples)/[^`*\s]*)`", text)
    assert [name for name in files if not (ROOT / name).exists()] == []
    assert set(re.findall(r"`(test_\w+)`", text)) <= TESTS


def test_the_diagram_of_the_architecture_shows_the_imports_that_are_allowed():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    arrows = re.findall(r"^ +(\w+) --> (.+)$", text, re.M)
    drawn = {room: set(targets.split(" & ")) for room, targets in arrows}
    rule = {
        room: allowed - FREE
        for room, allowed in MAY_IMPORT.items()
        if allowed - FREE and (ROOT / "src/dualadam" / room).exists()
    }
    assert drawn == rule


def test_the_citation_names_this_version():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
