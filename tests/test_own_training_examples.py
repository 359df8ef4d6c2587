"""Every example of a training of one's own is compared to its end, made small."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest
from compare_cases import run_command

from dualadam.compare import compare, read_records

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


def test_a_program_without_torch_is_compared_from_the_command_line(
    tmp_path: Path, monkeypatch, capsys
):
    shutil.copytree(FOLDER / "command", tmp_path / "command")
    monkeypatch.chdir(tmp_path / "command")
    spec = Path("spec.toml")
    small = spec.read_text().replace("points = 8", "points = 2").replace("seeds = 10", "seeds = 2")
    spec.write_text(small)
    assert run_command("compare", "spec.toml", "--out", "out") == 0
    assert "momentum" in capsys.readouterr().out
    records = list(read_records(Path("out")))
    assert len(records) == 2 * 2 + 2 * 2
    for record in records:
        assert record.steps == 200
        assert 40 < record.validation.score <= 100
        assert len(record.curve) == (10 if record.run.phase == "judge" else 0)
    tuned = [(r.run.optimizer, r.run.settings["lr"], r.run.seed) for r in records]
    assert len(set(tuned)) == len(records)
