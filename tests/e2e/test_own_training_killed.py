"""A study of the user's own training that is killed goes on and loses nothing finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from compare_cases import InlineExecutor, by_key, command, environment

from dualadam.compare.execution import execute, open_study, read_records
from dualadam.compare.own_task import bind_task
from dualadam.compare.plan import make_plan
from dualadam.compare.spec_file import parse_spec
from dualadam.tasks import Source

PATIENCE = 90.0  # seconds until a test gives up; everything here takes a few
COMMON = """
name = "own"
steps = 4
points = 2
seeds = 2
primary = { arm = "DualAdam", against = "AdamW+warmup", margin = 0.5 }
[[block]]
[[block.arm]]
name = "AdamW+warmup"
optimizer = "AdamW+warmup"
tune = { lr = [1e-3, 1e-1], switch_rate = [0.3, 0.6] }
[[block.arm]]
name = "DualAdam"
optimizer = "DualAdam"
tune = { lr = [1e-3, 1e-1], switch_rate = [0.3, 0.6] }
"""
NUM_RUNS = 2 * 2 + 2 * 2
PROBLEM = """
import time, torch
from torch import nn
from dualadam.compare import Problem
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
def loss(model, batch):
    if model.training:
        time.sleep(0.1)
    return (model(batch[0]) - batch[1]).square().mean()
def make():
    return Problem(model=lambda: nn.Linear(3, 1), loss=loss, train=(X, X.sum(1, keepdim=True)))
"""
LOOP = """
import subprocess, sys, time, torch
from torch import nn
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
def train(run):
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    model = nn.Linear(3, 1)
    optimizer = run.optimizer(model)
    for step in range(1, run.steps + 1):
        time.sleep(0.1)
        loss = (model(X) - X.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.log(step, loss=loss)
    helper.kill()
    helper.wait()
    return run.scores(validation=loss)
"""
DOORS = {
    "a problem": (PROBLEM, 'task = "own.py:make"\nbatch_size = 8'),
    "a training function": (LOOP, 'train = "own.py:train"\ndirection = "lower"'),
}


def in_group(leader: int) -> list[int]:
    """Return the living processes of the session of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:  # it ended while we looked
                continue
            if int(session) == leader and state != "Z":
                found.append(int(entry.name))
    return found


def wait_for(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("door", DOORS)
def test_a_killed_study_leaves_nothing_behind_and_its_second_start_makes_the_rest(
    tmp_path: Path, door: str
):
    code, keys = DOORS[door]
    (tmp_path / "own.py").write_text(code)
    spec, out = tmp_path / "own.toml", tmp_path / "out"
    spec.write_text(f"{keys}\n{COMMON}")
    runs = out / "runs.jsonl"
    study = subprocess.Popen(
        command("compare", spec, "--out", out, "--workers", 1),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: runs.exists() and runs.read_bytes().count(b"\n") >= 2)
    finally:
        os.kill(study.pid, signal.SIGKILL)
        study.wait()
    wait_for(lambda: in_group(study.pid) == [])
    kept = [line for line in runs.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    assert 2 <= len(kept) < NUM_RUNS
    source = Source(folder=str(tmp_path))
    bound = bind_task(parse_spec(spec.read_text()), source)
    with open_study(out, bound) as store:
        execute(make_plan(bound), store, InlineExecutor(), lambda: 1, source=source)
    lines = runs.read_bytes().splitlines(keepends=True)
    assert lines[: len(kept)] == kept
    assert len(lines) == NUM_RUNS == len(by_key(read_records(out)))
    assert {json.loads(line)["status"] for line in lines} == {"finished"}
