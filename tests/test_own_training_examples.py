"""Every example of a training of one's own is compared to its end, made small."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from dualadam.compare import compare

FOLDER = Path(__file__).parents[1] / "examples" / "own_training"
SMALL = {"steps": 4, "points": 2, "seeds": 2, "workers": 0}
METRICS = {
    "autoencoder": "loss",
    "characters": "perplexity",
    "loop": "error",
    "sequences": "accuracy",
    "table": "loss",
}


def test_every_example_has_its_metric():
    with_tools = {"accelerate_loop", "lightning_module", "trainer"}  # tests/clients
    assert {path.stem for path in FOLDER.glob("*.py")} == {*METRICS, *with_tools}


@pytest.mark.parametrize("name", METRICS)
def test_an_example_is_compared(tmp_path: Path, monkeypatch, name: str):
    monkeypatch.syspath_prepend(str(FOLDER))
    names = runpy.run_path(str(FOLDER / f"{name}.py"))
    loop = {"direction": "lower", "metric": "error"} if name == "loop" else {}
    what = names["train"] if name == "loop" else names["make"]
    found = compare(what, lr=1e-2, **SMALL, **loop, out=tmp_path)
    assert found.summary.spec.judged_by.name == METRICS[name]
    assert not any(row.diverged for row in found.summary.arms)


def test_a_characters_perplexity_falls(tmp_path: Path):
    names = runpy.run_path(str(FOLDER / "characters.py"))
    small = SMALL | {"steps": 30, "arms": ["AdamW", "AdamW+warmup"]}
    found = compare(names["make"], lr=1e-2, **small, out=tmp_path)
    curve = found.summary.arms[0].judged[0].curve
    assert curve[-1].score < curve[0].score
