"""A study from options alone, and a spec to start from."""

from __future__ import annotations

from pathlib import Path

import pytest
from compare_cases import run_command

from dualadam.compare.spec_file import load_spec, load_study_spec

CODE = """
import torch
from torch import nn
from dualadam.compare import Problem
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
def make():
    return Problem(
        model=lambda: nn.Linear(3, 1),
        loss=lambda model, batch: (model(batch[0]) - batch[1]).square().mean(),
        train=(X, X.sum(1, keepdim=True)),
    )
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(CODE)
    return tmp_path


def test_a_problem_is_compared_without_a_spec(folder: Path, capsys):
    options = ["--lr", "1e-2", "--steps", 4, "--workers", 2]
    for setting in ("seeds=2", "points=2", "batch_size=8", "schedule=linear"):
        options += ["--set", setting]
    for arm in ("torch.optim.SGD+warmup", "DualAdam"):
        options += ["--arm", arm]
    assert run_command("compare", "--problem", "my.py:make", *options) == 0
    assert "SGD+warmup" in capsys.readouterr().out
    spec = load_study_spec(folder / "runs" / "my")
    assert (spec.task, spec.steps, spec.seeds, spec.schedule) == ("my.py:make", 4, 2, "linear")
    assert (spec.primary.arm, spec.primary.against) == ("DualAdam", "SGD+warmup")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--problem", "my.py:make"], "--lr must be given with --problem"),
        (["--problem", "my.py:make", "--lr", "a"], "--lr must be a number or LOW,HIGH, got 'a'"),
        (["digits", "--problem", "my.py:make"], "SPEC must be left out with --problem"),
        (["digits", "--lr", "1"], "--lr must come with --problem"),
        (["--problem", "my.py:make", "--lr", "1", "--set", "x"], "--set must be KEY=VALUE"),
        (
            ["--problem", "my.py:make", "--lr", "1", "--steps", "9", "--set", "seds=3"],
            "seds is not a key of a spec; did you mean 'seeds'?",
        ),
        (["--problem", "no.py:make", "--lr", "1"], "no.py must be a Python file"),
    ],
)
def test_a_mistake_in_the_options_is_a_sentence(folder: Path, capsys, arguments, message):
    assert run_command("compare", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_new_spec_has_a_plan_and_is_never_written_over(folder: Path, capsys):
    assert run_command("new", "my study.toml") == 0
    spec = load_spec("my study.toml")
    assert spec.name == "my-study"
    assert run_command("compare", "my study.toml", "--dry-run") == 0
    printed = capsys.readouterr()
    assert "24 tuning runs, then 15 judged runs" in printed.out
    assert "Warning" not in printed.err
    assert run_command("new", "my study.toml") == 2
    assert "FILE must be new" in capsys.readouterr().err
    assert run_command("new", "no/my.toml") == 2
