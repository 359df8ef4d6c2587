"""What the tests of the comparison share: one tiny study on real digits, executors, and the command as a process of its own."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path

import torch

import dualadam
from dualadam.bench.spec import BUILTIN, parse_spec
from dualadam.bench.study import Record, Store, execute, make_plan
from dualadam.bench.train import Run

DIGITS = (BUILTIN / "digits.toml").read_text()
TINY = """
name = "tiny"
title = "Three arms, a few steps"
task = "digits"
model = "small-cnn"
steps = 10
batch_size = 8
points = 2
seeds = 3
primary = { arm = "DualAdam", against = "Adam + warm-up", margin = 0.5 }

[[block]]
weight_decay = 0.01

[[block.arm]]
name = "AdamW"
optimizer = "AdamW"
tune = { lr = [3e-4, 3e-2] }

[[block.arm]]
name = "Adam + warm-up"
optimizer = "Adam+warmup"
tune = { lr = [3e-4, 3e-2], switch_rate = [0.2, 0.5] }

[[block.arm]]
name = "DualAdam"
optimizer = "DualAdam"
tune = { lr = [3e-4, 3e-2], switch_rate = [0.2, 0.5] }
"""
NUM_RUNS = 3 * 2 + 3 * 3
LONGER = TINY.replace("steps = 10", "steps = 60")  # long enough a run to be stopped in the middle


def run_of(**changes) -> Run:
    """A judged run of AdamW on digits, with changes."""
    spec = parse_spec(TINY)
    plan = make_plan(spec)
    run = plan.run("judge", spec.block[0], spec.block[0].arm[0], 0, 0)
    return replace(run, **{"settings": {"lr": 3e-3}, "weight_decay": 0.0, "steps": 25} | changes)


class InlineExecutor(Executor):
    """A concurrent.futures executor that runs each call at once, on one thread."""

    def submit(self, fn, /, *args, **kwargs):
        future, threads = Future(), torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        finally:
            torch.set_num_threads(threads)
        return future


def study(text: str, folder: Path) -> list[Record]:
    """Run a spec to its end in this process."""
    spec = parse_spec(text)
    return execute(make_plan(spec), Store(folder, spec), InlineExecutor(), lambda: 1)


@functools.cache
def finished(text: str = TINY) -> tuple[Path, list[Record]]:
    """Return the folder and the records of a study, run once per test process; read only."""
    folder = Path(tempfile.mkdtemp(prefix="dualadam-test-"))
    return folder, study(text, folder)


def numbers(record: Record) -> Record:
    """A record without what may differ between two equal runs: the clock, and the memory of the process they ran in."""
    return {k: v for k, v in record.items() if k not in ("seconds_per_step", "peak_bytes")}


def by_key(records) -> dict[str, Record]:
    """Records without their clocks, by their keys."""
    return {r["key"]: numbers(r) for r in records}


def command(*arguments: object) -> list[str]:
    """The command line of ``dualadam`` under this interpreter."""
    return [sys.executable, "-m", "dualadam", *map(str, arguments)]


def environment() -> dict[str, str]:
    """An environment in which a child imports this very source."""
    source = str(Path(dualadam.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": source, "COLUMNS": "100"}


def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run the command to its end, its output into pipes."""
    return subprocess.run(command(*arguments), env=environment(), cwd=cwd, capture_output=True, text=True, timeout=120)


class Stumbling(torch.optim.SGD):
    """An optimizer that raises at its third step."""

    def step(self, closure=None):
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 3:
            raise ArithmeticError("stumbled at step 3")
        return super().step(closure)
