"""A spec can name a task of the user's own: it runs, is reported from disk, and is checked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from compare_cases import InlineExecutor

from dualadam.compare.execution import execute, open_study
from dualadam.compare.own_task import bind_task, check_own_task
from dualadam.compare.plan import make_plan
from dualadam.compare.report import write_report
from dualadam.compare.spec_file import parse_spec
from dualadam.tasks import Source

SPEC = """
name = "own"
task = "problem.py:make"
steps = 6
batch_size = 4
accumulate = 2
points = 2
seeds = 3
flatness = true
primary = { arm = "DualAdam", against = "AdamW + warm-up", margin = 0.5 }

[[block]]
[[block.arm]]
name = "AdamW + warm-up"
optimizer = "AdamW+warmup"
tune = { lr = [1e-3, 1e-1], switch_rate = [0.2, 0.5] }

[[block.arm]]
name = "DualAdam"
optimizer = "DualAdam"
tune = { lr = [1e-3, 1e-1], switch_rate = [0.2, 0.5] }
"""
HEAD = """
import torch
from torch import nn
from dualadam.compare import Metric, Problem
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
DATA = {"x": X, "y": X.sum(1, keepdim=True)}
def loss(model, batch):
    return (model(batch["x"]) - batch["y"]).square().mean()
def make(**changes):
    fields = {"model": lambda: nn.Linear(3, 1), "loss": loss, "train": DATA, "summary": "Sums"}
    return Problem(**fields | changes)
"""


def write(folder: Path, code: str = "") -> Source:
    (folder / "problem.py").write_text(HEAD + code)
    return Source(folder=str(folder))


def run(folder: Path, source: Source):
    spec = bind_task(parse_spec(SPEC), source)
    check_own_task(spec)
    with open_study(folder, spec) as store:
        return execute(make_plan(spec), store, InlineExecutor(), lambda: 1, source=source)


def test_a_problem_is_tuned_judged_measured_and_reported_from_disk_alone(tmp_path: Path):
    records = run(tmp_path / "out", write(tmp_path))
    assert len(records) == 2 * 2 + 2 * 3
    judged = records[-1]
    assert judged.test is not None
    assert judged.flatness is not None
    assert judged.flatness.top_eigenvalue > 0
    assert judged.curve[-1].loss == pytest.approx(judged.validation.loss)
    (tmp_path / "problem.py").unlink()
    summary = write_report(tmp_path / "out")
    assert summary.spec.judged_by.name == "loss"
    page = (tmp_path / "out" / "report.md").read_text()
    assert "Sums" in page
    assert "There is no test split" in page


def test_arms_of_one_seed_start_alike_and_a_second_start_repeats_nothing(tmp_path: Path):
    source = write(tmp_path)
    first = run(tmp_path / "out", source)
    assert run(tmp_path / "out", source) == first
    again = run(tmp_path / "again", source)
    assert [r.validation for r in again] == [r.validation for r in first]


WRONG = {
    "no file": ("", "there is no"),
    "no function": ("del make", "has no 'make'"),
    "a syntax error": ("def (", "cannot be imported: SyntaxError"),
    "an error at import": ("1 / 0", "ZeroDivisionError: division by zero ("),
    "not a problem": (
        "def make(): return 3",
        "must return a dualadam.compare.Problem, got int",
    ),
    "an error in make": ("def make(): return [][0]", "raised IndexError"),
    "a shared model": (
        "M = nn.Linear(3, 1)\n_make = make\ndef make(): return _make(model=lambda: M)",
        "must return a new model at each call",
    ),
    "a fixed seed": (
        "def fixed():\n    torch.manual_seed(0)\n    return nn.Linear(3, 1)\n"
        "_make = make\ndef make(): return _make(model=fixed)",
        "Remove torch.manual_seed from model (",
    ),
    "a generator of its own": (
        "import random\ndef own():\n    m = nn.Linear(3, 1)\n"
        "    torch.nn.init.constant_(m.weight, random.SystemRandom().random())\n    return m\n"
        "_make = make\ndef make(): return _make(model=own)",
        "two models of one seed differ",
    ),
    "a loss per example": (
        "_make = make\ndef make(): return _make(loss=lambda m, b: m(b['x'])[:, 0])",
        "loss must return a 0-d tensor, the mean over the batch, got (4,)",
    ),
    "a loss without a gradient": (
        "_make = make\ndef make(): return _make(loss=lambda m, b: torch.zeros(()))",
        "loss must depend on the model's parameters",
    ),
    "a loss that is not finite": (
        "_make = make\ndef make(): return _make(loss=lambda m, b: loss(m, b) / 0)",
        "loss must be finite for a new model, got inf (",
    ),
    "models of several sizes": (
        "import random\ndef own():\n    n = random.SystemRandom().randint(2, 10**6)\n"
        "    return nn.Sequential(*[nn.Linear(3, 3)] * (n % 2), nn.Linear(3, 1 + n))\n"
        "_make = make\ndef make(): return _make(model=own)",
        "two models of one seed differ",
    ),
    "a test split that fails": (
        "_make = make\ndef make(): return _make(test={'x': X[:, :2], 'y': X}, validation=DATA)",
        "evaluate, on test, raised RuntimeError",
    ),
    "a loss that raises in a helper": (
        "def helper(b): return b['z']\ndef bad(m, b): return helper(b)\n"
        "_make = make\ndef make(): return _make(loss=bad)",
        "problem.py, line 12, called from ",
    ),
    "a missing metric": (
        "_make = make\ndef make():\n"
        "    metrics = {'accuracy': Metric()}\n"
        "    return _make(evaluate=lambda m, b: {'f1': 1.0}, metrics=metrics)",
        "'accuracy' is missing, got f1",
    ),
    "a set that is too small": (
        "_make = make\ndef make(): return _make(train={k: v[:4] for k, v in DATA.items()})",
        "batch_size must be at most the number of training examples, 2, got 4",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_a_sentence_before_any_training(tmp_path: Path, case: str):
    code, message = WRONG[case]
    source = Source(folder=str(tmp_path)) if case == "no file" else write(tmp_path, code)
    with pytest.raises(ValueError, match=re.escape(message)):
        run(tmp_path / "out", source)
    assert not (tmp_path / "out" / "runs.jsonl").exists()


def test_a_mistake_is_told_with_the_line_of_the_function(tmp_path: Path):
    source = write(tmp_path, "_make = make\ndef make():\n    return _make(loss=lambda m, b: 3)\n")
    where = re.escape(f"{tmp_path / 'problem.py'}, line 14")
    with pytest.raises(ValueError, match=f"the mean over the batch, got int \\({where}\\)"):
        run(tmp_path / "out", source)


def test_weights_that_no_seed_changes_are_allowed_such_as_pretrained_ones(tmp_path: Path):
    code = (
        "import copy\nSTART = nn.Linear(3, 1)\n_make = make\n"
        "def make(): return _make(model=lambda: copy.deepcopy(START))"
    )
    assert len(run(tmp_path / "out", write(tmp_path, code))) == 10


def test_a_changed_file_is_noticed(tmp_path: Path):
    folder = tmp_path / "first"
    folder.mkdir()
    run(tmp_path / "out", write(folder))
    changed = tmp_path / "second"
    changed.mkdir()
    source = write(changed, "LATER = 1\n")
    lines = (tmp_path / "out" / "runs.jsonl").read_text().splitlines()[:-1]
    (tmp_path / "out" / "runs.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(RuntimeError, match="The problem changed since the runs in"):
        run(tmp_path / "out", source)
