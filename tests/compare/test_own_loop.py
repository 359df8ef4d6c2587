"""Training by the user's own function or command: results, what is missing, and mistakes."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from compare_cases import InlineExecutor, run_command

from dualadam.compare import compare
from dualadam.compare.check import check_spec
from dualadam.compare.execution import execute, open_study
from dualadam.compare.own_loop import time_limit
from dualadam.compare.own_task import bind_task
from dualadam.compare.plan import make_plan
from dualadam.compare.report import write_report
from dualadam.compare.run import Run
from dualadam.compare.spec_file import parse_spec
from dualadam.tasks import Source

SPEC = """
name = "own"
train = "train.py:train"
steps = 8
direction = "lower"
metric = "error"
points = 2
seeds = 3
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
TRAIN = """
import torch
from torch import nn
X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
Y = X.sum(1, keepdim=True)
def train(run):
    model = nn.Linear(3, 1)
    optimizer = run.optimizer(model)
    for step in range(1, run.steps + 1):
        loss = (model(X[:40]) - Y[:40]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        BODY
        run.log(step, loss=loss, validation=loss.item())
    error = lambda rows: (model(X[rows]) - Y[rows]).square().mean()
    return run.scores(validation=error(slice(40, 52)), test=TEST)
"""
COMMAND_SPEC = SPEC.replace(
    'train = "train.py:train"',
    'train = "command"\n'
    'command = "{python} script.py --seed {seed} --phase {phase} {settings} --out {out}"',
)
SCRIPT = """
import argparse, json
parser = argparse.ArgumentParser()
for name in ("lr", "switch_rate", "seed"):
    parser.add_argument(f"--{name}", type=float)
parser.add_argument("--phase")
parser.add_argument("--out")
a = parser.parse_args()
scores = {"validation": a.lr + a.seed * 1e-3, "test": a.lr + a.seed * 2e-3}
BODY
json.dump(scores, open(a.out, "w"))
"""


def write(folder: Path, body: str = "", test: str = "lambda: error(slice(52, 64))") -> Source:
    (folder / "train.py").write_text(TRAIN.replace("BODY", body).replace("TEST", test))
    (folder / "script.py").write_text(SCRIPT.replace("BODY", body))
    return Source(folder=str(folder))


def run(folder: Path, source: Source, text: str = SPEC):
    spec = bind_task(parse_spec(text), source)
    check_spec(spec)
    with open_study(folder, spec) as store:
        return execute(make_plan(spec), store, InlineExecutor(), lambda: 1, source=source)


def test_a_function_is_tuned_judged_and_reported_from_disk_alone(tmp_path: Path):
    records = run(tmp_path / "out", write(tmp_path))
    assert len(records) == 2 * 2 + 2 * 3
    assert [r.test is None for r in records] == [True] * 4 + [False] * 6
    judged = records[-1]
    assert (judged.run.arm, judged.steps, len(judged.curve)) == ("DualAdam", 8, 8)
    assert judged.diagnosis
    assert judged.state_bytes > 0
    (tmp_path / "train.py").unlink()
    summary = write_report(tmp_path / "out")
    assert summary.spec.judged_by.name == "error"
    page = (tmp_path / "out" / "report.md").read_text()
    assert "Each run was made by train.py:train" in page
    assert "batches" not in page


def test_a_run_repeats_and_a_second_start_makes_nothing_again(tmp_path: Path):
    source = write(tmp_path)
    first = run(tmp_path / "out", source)
    assert run(tmp_path / "out", source) == first
    again = run(tmp_path / "again", source)
    assert [r.validation for r in again] == [r.validation for r in first]
    assert all(Run.from_json(r.run.to_json()) == r.run for r in first)


def test_the_test_score_is_computed_in_judged_runs_alone(tmp_path: Path):
    write(tmp_path, test="lambda: count(run)")
    place = tmp_path / "tested"
    with (tmp_path / "train.py").open("a") as file:
        file.write("from pathlib import Path\n")
        file.write("def count(run):\n")
        file.write(f"    (Path({str(place)!r}) / str(run.run.key)).write_text(run.phase)\n")
        file.write("    return 1.0\n")
    place.mkdir()
    run(tmp_path / "out", Source(folder=str(tmp_path)))
    assert [file.read_text() for file in place.iterdir()] == ["judge"] * 6


def test_without_a_test_score_and_a_curve_the_report_says_what_is_missing(tmp_path: Path):
    source = write(tmp_path, test="None")
    file = tmp_path / "train.py"
    file.write_text(re.sub(r"run\.log\(.*\)", "pass", file.read_text()))
    records = run(tmp_path / "out", source)
    assert records[-1].test.score == records[-1].validation.score
    write_report(tmp_path / "out")
    page = (tmp_path / "out" / "report.md").read_text()
    assert "No test score was returned" in page
    assert "No learning curve was logged" in page


def test_a_curve_may_lack_values_and_its_seeds_may_log_at_other_steps(tmp_path: Path):
    source = write(tmp_path)
    file = tmp_path / "train.py"
    logged = "run.log(step + (run.seed == 1 and step > 4), loss=loss) if step > run.seed else None"
    file.write_text(re.sub(r"run\.log\(.*\)", logged, file.read_text()))
    run(tmp_path / "out", source)
    write_report(tmp_path / "out")
    assert (tmp_path / "out" / "figures" / "curves.png").exists()


@pytest.mark.parametrize("body", ["loss = loss * float('nan')", "model.weight.data.fill_(1e30)"])
def test_a_loss_or_a_score_that_is_not_finite_is_a_run_that_diverged(tmp_path: Path, body: str):
    source = write(tmp_path, f"if run.run.arm == 'DualAdam' and run.seed == 1: {body}")
    records = run(tmp_path / "out", source)
    diverged = [r for r in records if r.diverged]
    assert [(r.run.arm, r.run.seed) for r in diverged] == [("DualAdam", 1)]
    assert diverged[0].test.score == 1e9
    write_report(tmp_path / "out")


def test_a_run_that_raises_is_told_by_arm_seed_file_and_line_and_the_others_finish(tmp_path: Path):
    source = write(tmp_path, "if run.seed == 1: raise KeyError('lost')")
    with pytest.raises(RuntimeError, match=r"2 of 6 runs failed") as error:
        run(tmp_path / "out", source)
    assert re.search(
        r"DualAdam, seed 1: KeyError: 'lost' \(.*train\.py, line 14\)", str(error.value)
    )
    assert len((tmp_path / "out" / "runs.jsonl").read_text().splitlines()) == 4 + 4


def test_a_fault_of_every_arms_first_run_stops_the_study_until_it_is_mended(tmp_path: Path):
    mended = tmp_path / "mended"
    fault = f"if not __import__('os').path.exists({str(mended)!r}): raise KeyError('lost')"
    source = write(tmp_path, fault)
    with pytest.raises(RuntimeError, match=r"^2 of 4 runs failed") as error:
        run(tmp_path / "out", source)
    assert "every arm failed with the same error. Runs not started because of it: 2." in str(
        error.value
    )
    mended.touch()
    assert len(run(tmp_path / "out", source)) == 2 * 2 + 2 * 3


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGALRM")
def test_a_run_that_hangs_ends_at_the_timeout(tmp_path: Path):
    source = write(tmp_path, "if run.seed == 1: __import__('time').sleep(60)")
    with pytest.raises(RuntimeError, match=r"seed 1: it took longer than timeout, 0\.5 s"):
        run(tmp_path / "out", source, SPEC.replace("points =", "timeout = 0.5\npoints ="))


def test_a_run_that_cannot_be_interrupted_fails_when_it_is_over():
    def call() -> None:
        with time_limit(0.05):
            time.sleep(0.1)

    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(RuntimeError, match=r"timeout, 0\.05 s, and could not be stopped before"),
    ):
        executor.submit(call).result()
    with (
        pytest.raises(RuntimeError, match="could not be stopped before its end"),
        time_limit(0.05),
        contextlib.suppress(RuntimeError),  # the user's code catches what it can
    ):
        time.sleep(60)
    with time_limit(60), time_limit(None):
        pass


def test_a_function_that_returns_something_else_is_named(tmp_path: Path):
    source = write(tmp_path)
    file = tmp_path / "train.py"
    file.write_text(file.read_text().replace("return run.scores", "run.scores"))
    with pytest.raises(
        RuntimeError, match=r"train must return run\.scores\(\.\.\.\), got NoneType"
    ):
        run(tmp_path / "out", source)


def test_a_command_is_tuned_judged_and_reported(tmp_path: Path):
    records = run(tmp_path / "out", write(tmp_path), COMMAND_SPEC)
    judged = records[-1]
    lr = judged.run.settings["lr"]
    assert judged.validation.score == pytest.approx(lr + 2e-3)
    assert judged.test.score == pytest.approx(lr + 4e-3)
    write_report(tmp_path / "out")


@pytest.mark.parametrize("score", ["None", "float('nan')", "float('inf')"])
def test_a_commands_score_that_is_no_finite_number_is_a_run_that_diverged(
    tmp_path: Path, score: str
):
    source = write(tmp_path, f"if a.seed == 1: scores['validation'] = {score}")
    records = run(tmp_path / "out", source, COMMAND_SPEC)
    assert {r.run.seed for r in records if r.diverged} == {1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise SystemExit('no memory')", "the command ended with status 1: no memory"),
        ("raise SystemExit(0)", "the command must write its scores to {out}"),
        ("scores = [1]", "the file of scores must be a JSON object such as"),
        ("scores = {'test': 1}", "KeyError: 'validation'"),
        ("scores = {'validation': 'good'}", "validation must be one number, got 'good'"),
        ("import time; time.sleep(60)", "it took longer than timeout, 3 s"),
        ("print('x' * 10**7, flush=True); raise SystemExit(3)", "ended with status 3: x"),
        ("import os; os.write(1, b'\\xff'); os._exit(3)", "ended with status 3: \ufffd"),
        ("print('\\n'.join('abcdef')); raise SystemExit(3)", "ended with status 3: d | e | f"),
    ],
)
def test_a_command_that_fails_is_told_with_its_last_lines(tmp_path: Path, body, message: str):
    text = COMMAND_SPEC.replace("points = 2", "timeout = 3\npoints = 0").replace(
        "seeds = 3", "seeds = 2"
    )
    text = re.sub(r"tune = .*", "args = { lr = 0.1, switch_rate = 0.3 }", text)
    source = write(tmp_path, "if a.seed == 1:\n    " + body)
    with pytest.raises(RuntimeError, match=re.escape(message)):
        run(tmp_path / "out", source, text)


WRONG = [
    ('direction = "lower"\n', "", "direction must be given with train"),
    ("steps = 8", "steps = 8\nbatch_size = 4\naccumulate = 2", "accumulate must be left out: your"),
    ("steps = 8", "steps = 8\nflatness = true", "flatness must be left out: your own loop"),
    ("steps = 8", "steps = 8\nepochs = 2", "epochs must be left out: your own loop"),
    ("steps = 8", 'steps = 8\ntask = "digits"', "task must be left out: train says"),
    ("train.py:train", "train", "train must be FILE.py:FUNCTION"),
    ("train.py:train", "command", "command must be given with train"),
    ("train.py:train", "train.py:tain", "has no 'tain'"),
    ('optimizer = "DualAdam"', 'optimizer = "DualAdam"\nloss_scale = 2', "loss_scale must be left"),
]
WRONG_COMMAND = [
    ("{settings} --out {out}", "{settings}", "command must have {out}"),
    ("{settings}", "{lr} {switch_rate} {eps}", "command has {eps}, which 'AdamW + warm-up'"),
    ("{settings}", "{lr}", "block.arm.tune.switch_rate is not used"),
    ("{settings}", "{settings", "command cannot be read"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG)
def test_a_mistake_is_a_sentence_before_any_training(tmp_path: Path, old, new, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        run(tmp_path / "out", write(tmp_path), SPEC.replace(old, new, 1))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("old", "new", "message"), WRONG_COMMAND)
def test_a_mistake_in_a_command_is_a_sentence(tmp_path: Path, old, new, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        run(tmp_path / "out", write(tmp_path), COMMAND_SPEC.replace(old, new, 1))


def test_a_key_of_train_without_train_is_refused():
    with pytest.raises(ValueError, match="timeout must be left out: it belongs to train"):
        parse_spec(
            SPEC.replace('train = "train.py:train"', 'task = "digits"\ntimeout = 3\nbatch_size = 2')
        )


def test_a_training_function_is_compared_from_python(tmp_path: Path):
    names: dict = {"__name__": "notebook"}
    exec(TRAIN.replace("BODY", "pass").replace("TEST", "None"), names)
    small = {"lr": 1e-2, "steps": 5, "points": 2, "seeds": 2, "workers": 0}
    found = compare(names["train"], **small, direction="lower", out=tmp_path / "a")
    assert found.summary.spec.train == "python:train"
    assert found.difference.n == 2
    with pytest.raises(ValueError, match="direction must be given with train"):
        compare(names["train"], **small, out=tmp_path / "b")


def test_the_command_line_plans_and_runs_a_training_function(tmp_path: Path, monkeypatch, capsys):
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(SPEC)
    assert run_command("compare", "own.toml", "--dry-run") == 0
    assert "your own training, train.py:train, 8 steps a run" in capsys.readouterr().out
    assert run_command("compare", "own.toml", "--live", "--workers", 2, "--out", "out") == 0
    assert "DualAdam" in capsys.readouterr().out
