"""The code blocks of README and docs run, and their specs are accepted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dualadam.compare.spec_file import parse_spec

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[object]:
    found = []
    for document in DOCUMENTS:
        for number, code in enumerate(
            re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.S | re.M), start=1
        ):
            found.append(pytest.param(code, id=f"{document.name}-{number}"))
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_a_python_block_runs(code: str) -> None:
    exec(compile(code, "block", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("code", blocks("toml"))
def test_a_spec_in_the_docs_is_a_valid_spec(code: str) -> None:
    assert parse_spec(code).block


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
