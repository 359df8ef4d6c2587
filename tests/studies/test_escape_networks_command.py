"""The whole way of `dualadam escape-networks` at the smallest size: run, cut off, gone on with, reported; and the stored record."""

import json
from pathlib import Path

import matplotlib
import pytest
from rich.console import Console
from threadpoolctl import threadpool_info, threadpool_limits

from dualadam.harness.executors import process_executor
from dualadam.studies.escape_networks import analysis, logistic
from dualadam.studies.escape_networks.minima import find_minimum
from dualadam.studies.escape_networks.problem import Problem
from dualadam.studies.escape_networks.report import markdown, write_report
from dualadam.studies.escape_networks.study import RULES, Settings, run

matplotlib.use("Agg")
TINY = Settings(
    problem=Problem(num_examples=100, num_components=4, num_hidden=3),
    num_starts=8, num_minima=4, temperatures=(0.02, 0.05), num_walkers=3, num_steps=80,
)  # fmt: skip
RECORD = Path(__file__).parents[2] / "benchmarks/records/2026-11-24_escape-networks"


def console():
    return Console(quiet=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("networks")
    return out, run(out, TINY, 1, console())


def test_every_piece_is_a_line_and_a_second_start_makes_only_what_is_missing(folder):
    out, rows = folder
    path = out / "rows.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 8 + 4 * (1 + len(RULES) * 2) + len(logistic.CASES) == len(rows)
    path.write_bytes(b"".join(lines[:-2]) + lines[-2][:20])  # killed while it wrote
    again = run(out, TINY, 1, console())
    assert path.read_bytes().splitlines(keepends=True)[:-2] == lines[:-2]
    for key, row in rows.items():
        assert {**again[key], "cpu_seconds": 0} == {
            **row,
            "cpu_seconds": 0,
        }  # the seeds are the units' own


def test_a_folder_of_other_settings_is_refused(folder):
    with pytest.raises(ValueError, match=r"holds a study of other settings"):
        run(folder[0], Settings(), 1, console())


def test_the_report_has_a_verdict_for_every_claim_and_draws_its_figures(
    folder, monkeypatch, tmp_path
):
    monkeypatch.setattr(analysis, "NUM_BOOTSTRAPS", 10)
    made = write_report(tmp_path, folder[1], TINY)
    assert {c.verdict for c in made} <= {"held", "not held", "not decided"}
    text = (tmp_path / "tables.md").read_text()
    assert all(c.label in text for c in made)
    assert all(
        (tmp_path / f"{name}.png").stat().st_size > 10_000
        for name in ("escapes", "slopes", "noise")
    )


def test_claims_do_not_depend_on_the_order_in_which_the_work_was_done(folder, monkeypatch):
    monkeypatch.setattr(analysis, "NUM_BOOTSTRAPS", 10)
    rows = folder[1]
    assert repr(analysis.claims(dict(reversed(rows.items())), TINY)) == repr(
        analysis.claims(rows, TINY)
    )  # nan is not nan


def test_a_worker_computes_on_one_thread_and_finds_the_bits_that_one_thread_finds():
    with process_executor(1) as (executor, _):
        found = executor.submit(find_minimum, Problem(), 0).result()
        pools = executor.submit(threadpool_info).result()
    assert {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"} == {1}
    with threadpool_limits(1):
        assert find_minimum(Problem(), 0) == found


def test_the_stored_tables_are_those_of_the_stored_record_and_its_rows():
    record = json.loads((RECORD / "claims.json").read_text())
    assert (
        markdown([analysis.Claim(**c) for c in record["claims"]], record["facts"])
        == (RECORD / "tables.md").read_text()
    )
    rows = {
        row["key"]: row for row in map(json.loads, (RECORD / "rows.jsonl").read_text().splitlines())
    }
    settings = record["settings"]
    made = analysis.lives(rows, Settings(**{**settings, "problem": Problem(**settings["problem"])}))
    assert sum(int(g.num_escapes.sum()) for g in made) == record["facts"]["escapes"] > 100
