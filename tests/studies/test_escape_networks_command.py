"""`dualadam escape-networks` at the smallest size: run, killed, continued, reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from dualadam.errors import InvalidValueError
from dualadam.harness.executors import process_executor
from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_networks import (
    REPORT_FILES,
    Settings,
    all_claims,
    claims,
    read_rows,
    run_study,
    write_report,
)
from dualadam.studies.escape_networks.escapes import EscapeRow
from dualadam.studies.escape_networks.network import NetworkProblem
from dualadam.studies.escape_networks.starts import Start
from dualadam.studies.escape_networks.study import StudyRows, num_pieces

matplotlib.use("Agg")
TINY = Settings(
    problem=NetworkProblem(num_examples=100, num_components=4, num_hidden=3),
    num_starts=5,
    num_minima=3,
    temperatures=(0.02, 0.05),
    num_walkers=2,
    num_steps=40,
)
# Workers run the top of the script too, so that their work is also small.
SCRIPT = """
import sys
from dualadam.cli import main
from dualadam.studies import escape_networks as study
from dualadam.studies.escape_networks import claims, descent, regressions
from dualadam.studies.escape_networks.network import NetworkProblem

study.QUICK = study.{tiny}
claims.NUM_BOOTSTRAPS = 10
descent.MAX_STEPS = 500
regressions.NUM_BOOTSTRAPS, regressions.NUM_DIGITS = 3, 300
if __name__ == "__main__":
    main(["escape-networks", "--quick", *sys.argv[1:]])
"""
SOURCE = Path(__file__).parents[2] / "src"
TIMEOUT = 300  # seconds; a start takes a few


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "tiny.py"
    path.write_text(SCRIPT.format(tiny=TINY))
    return path


def start(script, folder):
    return subprocess.Popen(
        [sys.executable, script, "--out", folder, "--workers", "1"],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def lines_of(folder):
    path = folder / "rows.jsonl"
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def without_times(rows: StudyRows) -> StudyRows:
    def timeless(row: EscapeRow) -> EscapeRow:
        return replace(row, cpu_seconds=0.0)

    return replace(rows, escapes=tuple(map(timeless, rows.escapes)))


@pytest.fixture(scope="module")
def finished(script, tmp_path_factory):
    """Return the folder and the output of a study that nothing interrupted."""
    folder = tmp_path_factory.mktemp("finished")
    process = start(script, folder)
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, output
    return folder, output


def test_every_piece_is_a_line_and_the_command_prints_every_claim(finished):
    folder, output = finished
    assert len(lines_of(folder)) == num_pieces(TINY) == 5 + 3 * (1 + 3 * 2) + 5
    assert f"{num_pieces(TINY)}/{num_pieces(TINY)} pieces" in output
    stored = json.loads((folder / "claims.json").read_text())["claims"]
    for claim in stored:
        assert f"  {claim['label']}: " in output
    for name in REPORT_FILES:
        assert (folder / name).exists()
        assert name in output


def test_a_killed_study_continues_with_the_same_numbers(script, finished, tmp_path):
    process = start(script, tmp_path)
    deadline = time.monotonic() + TIMEOUT
    while len(lines_of(tmp_path)) < 10:  # the minima are described; regressions or escapes run
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(InvalidValueError, match="Another process writes into"):
        run_study(tmp_path, TINY, workers=1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = [line for line in lines_of(tmp_path) if line.endswith(b"\n")]
    assert len(kept) < num_pieces(TINY)
    (tmp_path / "rows.jsonl").write_bytes(b"".join(kept) + kept[0][:20])  # as a power failure does

    second = start(script, tmp_path)
    output, _ = second.communicate(timeout=TIMEOUT)
    assert second.returncode == 0, output
    assert f"{len(kept)} of {num_pieces(TINY)} pieces are on disk already." in output
    lines = lines_of(tmp_path)
    assert lines[: len(kept)] == kept
    assert len(lines) == num_pieces(TINY)
    assert without_times(read_rows(tmp_path)) == without_times(read_rows(finished[0]))


def test_a_folder_with_other_settings_is_refused(finished):
    with pytest.raises(InvalidValueError, match=r"holds a study with other settings \(batch_size"):
        run_study(finished[0], Settings(batch_size=8), workers=1)


def test_the_report_is_drawn_from_disk(finished, monkeypatch, tmp_path):
    monkeypatch.setattr(claims, "NUM_BOOTSTRAPS", 10)
    made = write_report(tmp_path, read_rows(finished[0]), TINY)
    assert {c.verdict for c in made} <= {Verdict.HELD, Verdict.NOT_HELD, Verdict.NOT_DECIDED}
    for name in REPORT_FILES:
        written = (tmp_path / name).read_bytes()
        if name == "claims.json":
            stored, first = (
                json.loads(path.read_text())["claims"]
                for path in (tmp_path / name, finished[0] / name)
            )
            assert stored == first
        elif name == "tables.md":
            assert all(claim.label in written.decode() for claim in made)
        else:
            assert written.startswith(b"\x89PNG")


def test_claims_do_not_depend_on_the_order_of_the_rows(finished, monkeypatch):
    monkeypatch.setattr(claims, "NUM_BOOTSTRAPS", 10)
    rows = read_rows(finished[0])
    all_rows = [*rows.starts, *rows.minima, *rows.regressions, *rows.escapes]
    shuffled = StudyRows.of(reversed(all_rows))
    assert repr(all_claims(shuffled, TINY)) == repr(all_claims(rows, TINY))  # nan is not equal


def test_a_worker_computes_on_one_thread_and_finds_the_same_bits_as_one_thread():
    start = Start(NetworkProblem(), 0)
    with process_executor(1) as (executor, _):
        found = executor.submit(start.run).result()
        pools = executor.submit(threadpool_info).result()
    assert {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"} == {1}
    with threadpool_limits(1):
        assert start.run() == found
