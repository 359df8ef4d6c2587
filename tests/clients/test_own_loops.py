"""Somebody else's loop as the training of a study: Trainer, Lightning, accelerate."""

from __future__ import annotations

import functools
import runpy
from pathlib import Path
from typing import Any

import pytest
from tool_cases import TOOL_WARNINGS

from dualadam.compare import Record, compare
from dualadam.compare.own_loop import train_own
from dualadam.tasks import pickled_source

pytestmark = [
    pytest.mark.integration,
    *map(pytest.mark.filterwarnings, TOOL_WARNINGS),
    pytest.mark.filterwarnings("ignore:The '.*dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is deprecated, use `isinstance:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*logging interval:UserWarning"),
]
FOLDER = Path(__file__).parents[2] / "examples" / "own_training"
METRICS = {
    "trainer": {"direction": "higher", "metric": "accuracy"},
    "lightning_module": {"direction": "lower", "metric": "error"},
    "accelerate_loop": {"direction": "lower", "metric": "error"},
}
SMALL = {"lr": 1e-2, "steps": 6, "points": 2, "seeds": 2}
every_loop = pytest.mark.parametrize("name", METRICS)


@functools.cache
def training(name: str) -> Any:
    return runpy.run_path(str(FOLDER / f"{name}.py"))["train"]


def study(name: str, out: Path, **changes: Any) -> list[Record]:
    settings = {**SMALL, "workers": 0, **METRICS[name], **changes}
    summary = compare(training(name), **settings, out=out).summary
    return [record for row in summary.arms for record in row.judged]


@every_loop
def test_a_study_is_made_its_arms_start_alike_and_a_run_repeats_bit_for_bit(
    tmp_path: Path, name: str
):
    records = study(name, tmp_path / "out")
    assert len(records) == 6
    for record in records:
        assert record.status == "finished"
        assert record.data["own_loop"] == {"test": True, "curve": True, "steps": 6}
        assert record.state_bytes > 0
    for seed in (0, 1):
        curves = [record.curve for record in records if record.run.seed == seed]
        assert len({curve[0].train_loss for curve in curves}) == 1
        assert len({curve[-1].train_loss for curve in curves}) > 1
    last = records[-1]
    assert last.run.arm == "DualAdam"
    assert last.diagnosis
    again = train_own(last.run, source=pickled_source(training(name)))
    assert (again.curve, again.validation, again.test) == (last.curve, last.validation, last.test)


@every_loop
def test_a_run_whose_loss_is_not_finite_ends_as_diverged(tmp_path: Path, name: str):
    huge = {"lr": (1e10, 1e11), "weight_decay": 1e6}  # a step multiplies the weights by 1e16
    arms = ["AdamW", "AdamW+warmup"]
    records = study(name, tmp_path, **huge, arms=arms, margin=1.0, worst=-1.0)
    assert {record.status for record in records} == {"diverged"}
    assert {record.test.score for record in records} == {-1.0}


def test_the_trainer_of_a_file_runs_in_a_worker_process(tmp_path: Path):
    settings = {**SMALL, **METRICS["trainer"], "workers": 1, "arms": ["AdamW", "DualAdam"]}
    found = compare(f"{FOLDER / 'trainer.py'}:train", **settings, out=tmp_path / "out")
    assert found.difference.n == 2
    assert "train_loss" in "".join(file.read_text() for file in (tmp_path / "out/logs").iterdir())
