"""Training that a seed does not fix is found before the study, and said."""

import pytest
from compare_cases import TINY, folder_of, run_command

from dualadam.compare import compare
from dualadam.compare.determinism import Determinism, check_determinism, read_determinism
from dualadam.compare.plan import make_plan
from dualadam.compare.spec_file import parse_spec
from dualadam.harness.executors import InlineExecutor
from dualadam.harness.progress import Progress

MINE = """
import os
import numpy as np
import torch
from torch import nn
from dualadam.compare import Problem

def problem(x):
    return Problem(
        model=lambda: nn.Linear(3, 1),
        loss=lambda model, batch: (model(batch[0]) - batch[1]).square().mean(),
        train=(x, x.sum(1, keepdim=True)),
    )

def fixed():
    return problem(torch.randn(64, 3, generator=torch.Generator().manual_seed(0)))

def drawn_anew():
    return problem(torch.tensor(np.random.default_rng().normal(size=(64, 3)), dtype=torch.float32))

def train(run):
    optimizer = run.optimizer(nn.Linear(1, 1))
    return run.scores(validation=run.seed, test=lambda: run.seed)

class Drawn(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.add_(torch.tensor(int.from_bytes(os.urandom(2), "little") / 1e6))
        return super().step(closure)
"""
SAME = "Two steps of one seed, taken twice before the study, gave the same bits."
DIFFERS = "Training is not deterministic: two steps of one seed, taken twice before the study, "
SMALL = {"lr": 0.1, "steps": 6, "points": 2, "seeds": 2, "workers": 0, "batch_size": 8}


class Heard(Progress):
    """Notes what is said."""

    def __init__(self):
        self.sentences = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def said(self, sentence):
        self.sentences.append(sentence)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def said_and_reported(name, **options):
    heard = Heard()
    result = compare(name, progress=heard, out="out", **{**SMALL, **options})
    return heard.sentences, " ".join((result.folder / "report.md").read_text().split())


def test_a_built_in_task_gives_the_same_bits_and_is_checked_once(tmp_path):
    plan = make_plan(parse_spec(TINY))
    assert check_determinism(plan, tmp_path, InlineExecutor()) == SAME
    (tmp_path / "determinism.json").write_text('{"differing": ["AdamW"], "unchecked": []}')
    assert check_determinism(plan, tmp_path, InlineExecutor()).startswith(f"{DIFFERS}differed for")


def test_a_training_of_ones_own_that_a_seed_fixes_is_said_to_be_so(mine):
    sentences, report = said_and_reported("mine.py:fixed")
    assert sentences == [SAME]
    assert SAME in report


def test_data_that_is_drawn_anew_in_every_process_is_found_and_said(mine):
    sentences, report = said_and_reported("mine.py:drawn_anew", arms=["AdamW", "DualAdam"])
    found = f"{DIFFERS}differed for AdamW, DualAdam."
    assert sentences[0].startswith(found)
    assert found in report


def test_an_optimizer_that_draws_by_itself_is_named_alone(mine):
    arms = ["AdamW", {"name": "Drawn", "optimizer": "mine.Drawn"}]
    sentences, _ = said_and_reported("mine.py:fixed", arms=arms)
    assert f"{DIFFERS}differed for Drawn." in sentences[0]


def test_a_loop_of_ones_own_cannot_be_checked_and_the_report_says_so(mine):
    own = {"direction": "higher", "batch_size": 32}
    sentences, report = said_and_reported("mine.py:train", **own)
    said = "Whether a seed fixes a run was not checked: your own loop cannot be stopped after two"
    assert said in sentences[0]
    assert said in report
    assert read_determinism(mine / "out") is None


def test_an_arm_whose_step_raises_is_left_to_its_runs(tmp_path):
    text = TINY.replace('optimizer = "AdamW"', 'optimizer = "compare_cases.Raising"')
    plan = make_plan(parse_spec(text))
    sentence = check_determinism(plan, tmp_path, InlineExecutor())
    assert sentence == "Not checked: AdamW."
    assert read_determinism(tmp_path) == Determinism([], ["AdamW"])


def test_a_study_from_before_the_check_says_nothing(tmp_path):
    (tmp_path / "runs.jsonl").write_text("")
    assert check_determinism(make_plan(parse_spec(TINY)), tmp_path, InlineExecutor()) == ""
    assert not (tmp_path / "determinism.json").exists()


def test_a_damaged_file_is_named(tmp_path, capsys):
    folder_of(TINY, tmp_path)
    (tmp_path / "determinism.json").write_text('{"other": 1}')
    assert run_command("report", tmp_path) == 2
    assert "determinism.json is damaged" in capsys.readouterr().err
