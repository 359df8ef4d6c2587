"""The notebook of the docs runs, and its stored outputs are what a run gives."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from compare_cases import environment
from nbclient import NotebookClient

FILE = Path(__file__).parents[1] / "docs" / "notebook.ipynb"
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e-?\d+)?")
# jupyter_client talks to its own kernel on this machine
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*without encryption"),
]


def text_of(output: dict[str, Any]) -> str:
    return output["text"] if "text" in output else output["data"].get("text/plain", "")


def words_and_numbers(text: str) -> tuple[list[str], list[float]]:
    return NUMBER.sub("#", text).split(), [float(number) for number in NUMBER.findall(text)]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> list[tuple[list[Any], list[Any]]]:
    """Return the outputs of each cell of code, stored and new."""
    stored = nbformat.read(FILE, as_version=4)
    new = copy.deepcopy(stored)
    folder = str(tmp_path_factory.mktemp("notebook"))
    client = NotebookClient(
        new, timeout=240, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    client.execute(env=environment())
    cells = [
        (one.outputs, other.outputs)
        for one, other in zip(stored.cells, new.cells, strict=True)
        if one.cell_type == "code"
    ]
    assert len(cells) >= 7
    return cells


def test_every_stored_output_is_what_a_run_gives(outputs):
    for stored, new in outputs:
        kinds = [[set(output.get("data", "text")) for output in side] for side in (stored, new)]
        assert kinds[0] == kinds[1]
        for one, other in zip(stored, new, strict=True):
            if "text/html" in one.get("data", {}):  # times of the clock, and figures
                continue
            (words, numbers), (again, others) = map(
                words_and_numbers, (text_of(one), text_of(other))
            )
            assert words == again
            # another processor rounds otherwise, and 60 steps multiply the difference
            assert others == pytest.approx(numbers, rel=0.02, abs=0.02)


def test_the_bar_ends_full_and_the_report_is_shown_inline(outputs):
    shown = [output["data"] for _, new in outputs for output in new if "data" in output]
    bar = next(data for data in shown if "<progress" in data.get("text/html", ""))
    assert 'value="42" max="42"' in bar["text/html"]
    assert re.fullmatch(r"42 of 42 runs; \d+ s", bar["text/plain"])
    assert any(data.get("text/html", "").startswith("<iframe srcdoc=") for data in shown)


def test_no_cell_shows_a_warning_or_an_error(outputs):
    for _, new in outputs:
        for output in new:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"
