"""``shadow = true`` records judged runs, and the report shows what was found."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from compare_cases import TINY, by_key, run_of, study

from dualadam.compare import read_records, write_report
from dualadam.compare.own_loop import train_own
from dualadam.compare.run import OwnLoop, Record
from dualadam.compare.spec_file import parse_spec
from dualadam.compare.train import train
from dualadam.errors import InvalidValueError
from dualadam.tasks import Source

WITH_SHADOW = TINY.replace("points = 2", "points = 2\nshadow = true")
LOOP = """
import torch
from torch import nn

def train(run):
    model = nn.Linear(1, 1)
    optimizer = run.optimizer(model)
    for step in range(1, run.steps + 1):
        loss = (model(torch.ones(4, 1)) - 2).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return run.scores(validation=loss)
"""


def test_a_run_without_a_shadow_keeps_its_key():
    assert "shadow" in run_of().to_json()
    assert run_of(fused=False).key == "0594231beb1e08f7"
    assert run_of(shadow=True).key != run_of().key


def test_a_shadow_changes_no_number_of_a_run():
    plain, followed = train(run_of(steps=8)), train(run_of(steps=8, shadow=True))
    assert (plain.validation, plain.test) == (followed.validation, followed.test)
    assert (plain.curve, plain.state_bytes) == (followed.curve, followed.state_bytes)
    assert plain.shadow is None
    assert followed.shadow.steps == tuple(range(1, 9))


def test_a_decay_that_the_arm_does_not_decouple_stays_in_the_update():
    decays = {"weight_decay": 5.0, "steps": 6, "shadow": True}
    shares = {
        name: train(run_of(optimizer=name, **decays)).shadow.mean_unexplained
        for name in ("Adam", "AdamW")
    }
    assert shares["AdamW"] < 1e-6 < 0.1 < shares["Adam"]


def test_a_study_records_judged_runs_and_its_report_shows_them(tmp_path):
    records = study(WITH_SHADOW, tmp_path)
    assert {r.run.phase for r in records if r.shadow} == {"judge"}
    assert all(r.shadow for r in records if r.run.phase == "judge")
    assert by_key(read_records(tmp_path)) == by_key(records)
    write_report(tmp_path)
    report = (tmp_path / "report.md").read_text()
    table = report.partition("## Adam with a schedule")[2].partition("## ")[0]
    shares = {
        cells[1].strip(): float(cells[2].split()[0])
        for line in table.splitlines()
        if (cells := line.split("|"))[0] == "" and len(cells) > 3 and "[" in cells[2]
    }
    assert shares["AdamW"] < 1e-6
    assert shares["Adam + warm-up"] < 1e-6
    assert set(shares) == {"AdamW", "Adam + warm-up", "DualAdam"}
    assert (tmp_path / "figures" / "shadow.png").exists()
    assert "no learning rate explains" in (tmp_path / "report.html").read_text()


def test_a_line_of_a_record_holds_the_shadow_and_no_number_that_json_cannot():
    record = train(run_of(steps=3, shadow=True))
    line = json.loads(json.dumps(record.to_json(), allow_nan=False))
    assert Record.from_json(line).shadow == record.shadow


def test_a_training_function_of_the_users_own_is_followed(tmp_path):
    (tmp_path / "loop.py").write_text(LOOP)
    own = {"task": "loop.py:train", "own_loop": OwnLoop(1e9), "shadow": True, "steps": 5}
    record = train_own(run_of(**own), source=Source(tmp_path))
    assert record.shadow.steps == (1, 2, 3, 4, 5)
    assert record.shadow.mean_unexplained < 1e-6
    plain = train_own(replace(record.run, shadow=False), source=Source(tmp_path))
    assert plain.shadow is None
    assert plain.validation == record.validation


def test_a_command_cannot_have_a_shadow():
    text = 'name = "c"\ntrain = "command"\ncommand = "x {out}"\ndirection = "lower"\nseeds = 2\n'
    text += 'points = 0\nshadow = true\nprimary = { arm = "a", against = "b", margin = 1 }\n'
    text += '[[block]]\n[[block.arm]]\nname = "a"\noptimizer = "a"\nargs = { lr = 1 }\n'
    text += '[[block.arm]]\nname = "b"\noptimizer = "b"\nargs = { lr = 2 }\n'
    with pytest.raises(InvalidValueError, match="shadow must be false: a command makes its"):
        parse_spec(text)
