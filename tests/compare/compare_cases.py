"""What the tests of the comparison share: a tiny study, executors, and the command line."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import dualadam
from dualadam.cli import main
from dualadam.compare.execution import StudyStore, execute
from dualadam.compare.plan import make_plan
from dualadam.compare.run import (
    CurvePoint,
    DiagnosisPoint,
    Flatness,
    Record,
    Run,
    SplitScore,
)
from dualadam.compare.spec import TUNING_SEED, Spec
from dualadam.compare.spec_file import BUILTIN, parse_spec
from dualadam.harness.executors import InlineExecutor

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
ODD = ("[/b] $x^$ &amp; *a* `c` _u_", r"[red]$\\frac{$ \" onload=\"x")
ODD_NAMES = TINY.replace('"AdamW"\noptimizer', f'"{ODD[0]}"\noptimizer').replace(
    '"DualAdam"', f'"{ODD[1]}"', 2
)
TWO_BLOCKS = TINY + TINY[TINY.index("[[block]]") :].replace(
    "weight_decay = 0.01", 'name = "no decay"'
)
LONGER = TINY.replace("steps = 10", "steps = 40")  # long enough a run to be stopped in the middle


def run_of(**changes) -> Run:
    """A judged run of AdamW on digits, with changes."""
    spec = parse_spec(TINY)
    plan = make_plan(spec)
    run = plan.run("judge", spec.block[0], spec.block[0].arm[0], 0, 0)
    usual = {"settings": {"lr": 3e-3}, "weight_decay": 0.0, "steps": 25, "reference_lr": None}
    return replace(run, **usual | changes)


def study(text: str, folder: Path) -> list[Record]:
    """Run a spec to its end in this process."""
    spec = parse_spec(text)
    return execute(make_plan(spec), StudyStore(folder, spec), InlineExecutor(), lambda: 1)


@functools.cache
def finished(text: str = TINY) -> tuple[Path, list[Record]]:
    """Return the folder and the records of a study, run once per test process; read only."""
    folder = Path(tempfile.mkdtemp(prefix="dualadam-test-"))
    return folder, study(text, folder)


def numbers(record: Record) -> Record:
    """A record without what may differ between two equal runs: its clock and its memory."""
    return replace(record, seconds_per_step=0.0, peak_bytes=None)


def by_key(records: Iterable[Record]) -> dict[str, Record]:
    """Records without their clocks, by their keys."""
    return {r.key: numbers(r) for r in records}


def command(*arguments: object) -> list[str]:
    """The command line of ``dualadam`` under this interpreter."""
    return [sys.executable, "-m", "dualadam", *map(str, arguments)]


def environment() -> dict[str, str]:
    """An environment in which a child imports this very source."""
    source = str(Path(dualadam.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": source, "COLUMNS": "100"}


def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run the command to its end, its output into pipes."""
    return subprocess.run(
        command(*arguments), env=environment(), cwd=cwd, capture_output=True, text=True, timeout=120
    )


def drawn_records(
    spec: Spec, diverged: Iterable[str] = (), flatness: float | None = 30.0
) -> list[Record]:
    """Return plausible records of a finished study from a seeded generator; nothing is trained.

    Args:
        spec: the study.
        diverged: arms whose first judged run and first tuned point diverged.
        flatness: the mean of the largest eigenvalues, where the spec measures flatness.
    """
    plan, rng = make_plan(spec), np.random.default_rng(0)
    runs = [*plan.tuning_runs, *plan.judged_runs(dict.fromkeys(plan.settings, 0))]
    firsts = (0, TUNING_SEED)
    return [
        drawn_record(
            run,
            rng,
            lost=run.arm in diverged and not run.trial and run.seed in firsts,
            flatness=flatness,
        )
        for run in runs
    ]


def drawn_record(
    run: Run, rng: np.random.Generator, *, lost: bool, flatness: float | None
) -> Record:
    judged = run.phase == "judge"
    score = 0.0 if lost else float(90 + rng.normal())
    loss = None if lost else float(rng.uniform(0.2, 0.4))
    result = SplitScore(score, loss, {"accuracy": score})
    assert run.steps
    curve, diagnosis = [], []
    if judged and not lost:
        for step in np.linspace(run.steps / 20, run.steps, 20).round().tolist():
            near = float(np.exp(-4 * step / run.steps))
            point = CurvePoint(step, 2.3 * near + 0.02, score - 60 * near, 2.3 * near + 0.3)
            curve.append(point)
            if "switch_rate" in run.settings:
                weight = max(0.0, 1 - run.settings["switch_rate"] * step)
                diagnosis.append(DiagnosisPoint(step, weight, weight, 1e-6, weight * 1e-2 or None))
    right = np.zeros(450, bool)
    if judged and not lost:
        right = rng.random(450) < 0.9
    found = None
    if run.flatness and not lost:
        top = None if flatness is None else float(flatness + rng.normal())
        found = Flatness(top, float(rng.uniform(0.01, 0.02)), 0.2)
    return Record(
        run=run,
        status="diverged" if lost else "finished",
        steps=run.steps,
        validation=result,
        test=result if judged else None,
        correct=np.packbits(right).tobytes().hex() if judged else None,
        num_test=450 if judged else None,
        curve=tuple(curve),
        diagnosis=tuple(diagnosis),
        flatness=found,
        data=None,
        seconds_per_step=0.002,
        state_bytes=123_456,
        peak_bytes=250_000_000,
        environment={
            "dualadam": "0.1.0",
            "torch": "2.13.0",
            "machine": "Linux x86_64",
            "device": "cpu",
            "threads": 1,
        },
    )


def with_scores(
    study: tuple[Spec, list[Record]], scores: dict[str, list[float]]
) -> tuple[Spec, list[Record]]:
    """Return a study whose judged runs have other test scores, by arm and seed."""
    spec, records = study
    return spec, [
        with_score(record, scores[record.run.arm][record.run.seed])
        if record.run.phase == "judge" and record.run.arm in scores
        else record
        for record in records
    ]


def with_score(record: Record, score: float, **changes) -> Record:
    """Return a judged record with another test score."""
    return replace(record, test=replace(record.test, score=score), **changes)


def folder_of(text: str, folder: Path, **options) -> Path:
    """Write a finished study of drawn records to a folder, without its report."""
    spec = parse_spec(text)
    folder.mkdir(parents=True, exist_ok=True)
    store = StudyStore(folder, spec)
    for record in drawn_records(spec, **options):
        store.add(record)
    return folder


def run_command(*arguments: object) -> int:
    """Run the command in this process and return its exit status."""
    try:
        main([*map(str, arguments)])
    except SystemExit as stop:
        return stop.code or 0
    return 0


class Stumbling(torch.optim.SGD):
    """An optimizer that raises at its third step."""

    def step(self, closure=None):
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 3:
            raise ArithmeticError("stumbled at step 3")
        return super().step(closure)


class Raising(torch.optim.SGD):
    """An optimizer that raises at its first step."""

    def step(self, closure=None):
        raise ArithmeticError("no step")
