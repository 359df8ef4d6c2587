"""Runs share the cores: so many processes, with so many threads each."""

from __future__ import annotations

import json
import os
import re

import pytest
import torch
from compare_cases import TINY, run_command
from threadpoolctl import threadpool_info

from dualadam.compare import workers
from dualadam.compare.workers import Workers, choose_executor, choose_workers, side_by_side
from dualadam.harness.executors import process_executor


@pytest.fixture
def _eight_cores(monkeypatch):
    monkeypatch.setattr(workers, "num_cores", lambda: 8)


CHOICES = [
    ((None, None, "cpu"), Workers(8, 1)),
    ((None, None, "cuda"), Workers(1, 1)),
    ((None, 2, "cpu"), Workers(4, 2)),
    ((None, 3, "cpu"), Workers(2, 3)),
    ((None, 8, "cpu"), Workers(1, 8)),
    ((2, 4, "cpu"), Workers(2, 4)),
    ((16, None, "cpu"), Workers(16, 1)),  # as many workers as the user wants, as ever
    ((0, 4, "cpu"), Workers(0, 4)),
]


@pytest.mark.usefixtures("_eight_cores")
@pytest.mark.parametrize(("given", "chosen"), CHOICES)
def test_the_cores_are_shared_by_workers_and_threads(given, chosen):
    assert choose_workers(*given) == chosen


REFUSED = [
    ((None, 9, "cpu"), "threads must be from 1 to the number of cores here, 8, got 9."),
    ((None, 0, "cpu"), "threads must be from 1 to the number of cores here, 8, got 0."),
    ((-1, None, "cpu"), "workers must be at least 0, got -1."),
    (
        (3, 4, "cpu"),
        "workers x threads must be at most the number of cores here, 8, got 3 x 4 = 12. "
        "With 4 threads, 2 workers fit.",
    ),
    (
        (2, 5, "cpu"),
        "workers x threads must be at most the number of cores here, 8, got 2 x 5 = 10. "
        "With 5 threads, 1 worker fits.",
    ),
]


@pytest.mark.usefixtures("_eight_cores")
@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_more_threads_than_cores_are_refused_with_what_fits(given, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        choose_workers(*given)


@pytest.mark.usefixtures("_eight_cores")
def test_the_workers_are_named():
    assert side_by_side(None, None, "cpu") == "8 side by side"
    assert side_by_side(None, 4, "cpu") == "2 side by side on 4 threads each"


def test_the_workers_of_a_cluster_have_threads_of_their_own():
    with pytest.raises(ValueError, match="threads must be left out with a cluster"):
        choose_executor(None, 2, "cpu", "tcp://localhost:1")


def threads_of_this_process():
    torch.mm(torch.ones(8, 8), torch.ones(8, 8))
    libraries = {info["user_api"]: info["num_threads"] for info in threadpool_info()}
    return torch.get_num_threads(), libraries["blas"], os.environ["OMP_NUM_THREADS"]


def test_torch_blas_and_the_programs_that_a_worker_starts_have_the_threads():
    with process_executor(1, threads=2) as (executor, _):
        assert executor.submit(threads_of_this_process).result(timeout=120) == (2, 2, "2")


def test_without_processes_a_run_has_the_threads_too():
    before = torch.get_num_threads()
    with choose_executor(0, 1, "cpu", None) as (executor, _):
        assert executor.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == before


def test_the_command_refuses_threads_that_do_not_fit_before_anything_runs(tmp_path, capsys):
    file = tmp_path / "study.toml"
    file.write_text(TINY)
    assert run_command("compare", file, "--threads", 10_000, "--out", tmp_path / "out") == 2
    assert "threads must be from 1 to the number of cores here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_record_says_the_threads_of_its_run(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "num_cores", lambda: 2)
    file = tmp_path / "study.toml"
    file.write_text(TINY.replace("steps = 10", "steps = 2"))
    options = ["--smoke", "--workers", 1, "--threads", 2, "--out", tmp_path / "out"]
    assert run_command("compare", file, *options) == 0
    lines = (tmp_path / "out" / "runs.jsonl").read_text().splitlines()
    assert {json.loads(line)["environment"]["threads"] for line in lines} == {2}
