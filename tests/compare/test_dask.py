"""On a Dask cluster on loopback, a study whose worker dies ends with the usual numbers."""

import contextlib
import json
import signal
import subprocess
import sys
import time

import pytest
from compare_cases import NUM_RUNS, TINY, by_key, call, command, environment, finished

from dualadam.compare.execution import read_records
from dualadam.compare.own_loop import train_own
from dualadam.tasks import pickled_source

PATIENCE = 60.0  # seconds until a test gives up; everything here takes a few
SCHEDULER = (
    "distributed.cli.dask_scheduler",
    "--host",
    "127.0.0.1",
    "--port",
    "0",
    "--no-dashboard",
    "--scheduler-file",
)
WORKER = (
    "distributed.cli.dask_worker",
    "--host",
    "127.0.0.1",
    "--no-nanny",
    "--no-dashboard",
    "--death-timeout",
    "30",
)


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)
    return value


class Cluster:
    """A scheduler, and workers as processes of their own."""

    def __init__(self, folder, stack):
        self.folder, self.stack, self.logs = folder, stack, 0
        described = folder / "scheduler.json"
        self._start(*SCHEDULER, described)
        self.address = wait_for(
            lambda: described.exists() and _address(described.read_text()), "the scheduler"
        )

    def add_worker(self, threads=1):
        process, log = self._start(
            *WORKER,
            self.address,
            "--nthreads",
            threads,
            "--local-directory",
            self.folder / "scratch",
        )
        wait_for(lambda: "Registered to" in log.read_text(), "a worker")
        return process

    def _start(self, module, *arguments):
        self.logs += 1
        log = self.folder / f"{self.logs}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments)],
                env=environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process, log


def _address(text):
    with contextlib.suppress(ValueError):  # the file is still being written
        return json.loads(text)["address"]


@pytest.fixture
def cluster(tmp_path):
    with contextlib.ExitStack() as stack:
        yield Cluster(tmp_path, stack)


def test_no_run_is_lost_and_none_made_twice_when_a_worker_is_killed_in_the_middle(
    cluster, tmp_path
):
    spec, out = tmp_path / "tiny.toml", tmp_path / "out"
    spec.write_text(TINY)
    doomed, _ = cluster.add_worker(), cluster.add_worker()

    def num_lines():
        path = out / "runs.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    study = subprocess.Popen(
        command("compare", spec, "--out", out, "--cluster", cluster.address),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: num_lines() >= 2, "finished runs")
        doomed.send_signal(signal.SIGSTOP)
        stopped_at = num_lines()
        # by the second new run the stopped worker holds one; if none comes, it holds all of them
        hold_until = time.monotonic() + 10.0
        wait_for(
            lambda: num_lines() >= stopped_at + 3 or time.monotonic() > hold_until,
            "the stopped worker to hold a run",
        )
        assert num_lines() < NUM_RUNS
        doomed.kill()
        output, _ = study.communicate(timeout=PATIENCE)
    finally:
        study.kill()
    assert study.returncode == 0, output
    assert "Traceback" not in output
    assert "Report: " in output
    records = list(read_records(out))
    assert len(records) == NUM_RUNS  # none lost, none twice
    assert by_key(records) == by_key(finished()[1])  # threads: 1 in their environment too


def test_a_worker_with_several_threads_is_refused(cluster, tmp_path):
    cluster.add_worker(threads=2)
    result = call("compare", "digits", "--out", tmp_path / "out", "--cluster", cluster.address)
    assert (result.returncode, result.stderr.strip()) == (
        2,
        "dualadam: Workers must have one thread each: "
        "start them with `dask worker ADDRESS --nthreads 1 --nworkers N`.",
    )


OWN = """
import torch
from torch import nn
from dualadam.compare import Problem, compare
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
def loss(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()
def make():
    return Problem(model=lambda: nn.Linear(3, 1), loss=loss, train=(X, X.sum(1, keepdim=True)))
def train(run):
    model = nn.Linear(3, 1)
    optimizer = run.optimizer(model)
    for step in range(run.steps):
        value = loss(model, (X, X.sum(1, keepdim=True)))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return run.scores(validation=value)
"""
SCRIPT = (
    OWN
    + """
import sys
small = {"lr": 1e-2, "steps": 4, "points": 2, "seeds": 2, "arms": ["AdamW", "DualAdam"]}
print("top")
compare(make, **small, cluster=sys.argv[1], batch_size=8, out="script-problem")
compare(train, **small, cluster=sys.argv[1], direction="lower", out="script-loop")
"""
)


def test_a_task_of_a_file_and_functions_of_a_script_run_on_two_workers(cluster, tmp_path):
    """The workers' current folder is another one, and they do not import the script."""
    cluster.add_worker(), cluster.add_worker()
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "own.py").write_text(OWN)
    (folder / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", cluster.address],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=4 * PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("top") == 1
    options = ("--lr", "1e-2", "--steps", 4, "--set", "points=2", "--set", "seeds=2")
    arms = ("--arm", "AdamW", "--arm", "DualAdam", "--set", "batch_size=8")
    command_line = call(
        "compare", "--problem", "own.py:make", *options, *arms, "--out", "file-problem",
        "--cluster", cluster.address, cwd=folder,
    )  # fmt: skip
    assert command_line.returncode == 0, command_line.stderr

    def scores(name):
        found = read_records(folder / name)
        return {(r.run.phase, r.run.arm, r.run.seed, r.run.trial): r.validation for r in found}

    assert len(scores("script-problem")) == len(scores("script-loop")) == 2 * 2 + 2 * 2
    assert scores("script-problem") == scores("file-problem")
    loop = next(read_records(folder / "script-loop"))
    again = train_own(loop.run, source=own_source())
    assert again.validation == loop.validation


def own_source():
    names = {"__name__": "own"}
    exec(OWN, names)
    return pickled_source(names["train"])
