"""Every example runs and its assert holds."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_example_runs_and_ends_in_an_assert(example: Path, capsys: pytest.CaptureFixture[str]):
    assert example.read_text().rstrip().splitlines()[-1].startswith("assert ")
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out
