"""An audit finds a forged number in the report and a forged score in the runs."""

import json
import re
import shutil
from pathlib import Path

import pytest
from compare_cases import finished, run_command

from dualadam.compare import compare
from dualadam.compare.audit import audit
from dualadam.compare.report import write_report
from dualadam.tasks import Source

RECORDS = Path(__file__).parents[2] / "benchmarks" / "records"
OWN = """
import torch
from torch import nn
from dualadam.compare import Problem

def make():
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    return Problem(
        model=lambda: nn.Linear(3, 1),
        loss=lambda model, batch: (model(batch[0]) - batch[1]).square().mean(),
        train=(x, x.sum(1, keepdim=True)),
    )

def train(run):
    model = nn.Linear(3, 1)
    optimizer = run.optimizer(model)
    for step in range(1, run.steps + 1):
        loss = (model(torch.ones(4, 3)) - 2).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.log(step, loss=loss)
    return run.scores(validation=loss.item(), test=lambda: loss.item())
"""


TRAININGS = {
    "problem": ("mine.py:make", {"batch_size": 8}),
    "loop": ("mine.py:train", {"direction": "lower"}),
}


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A finished study with its report; read only."""
    out = tmp_path_factory.mktemp("audit") / "out"
    shutil.copytree(finished()[0], out)
    write_report(out)
    return out


@pytest.fixture
def folder(reported, tmp_path):
    """A copy of a finished study with its report."""
    return shutil.copytree(reported, tmp_path / "out")


def change(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def lines_of(folder):
    return [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]


def write_lines(folder, lines):
    (folder / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_finished_study_passes_and_says_what_agreed(folder, capsys):
    assert run_command("audit", folder, "--runs", 2) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Every number and verdict in report.md and summary.json follows from the 15 runs" in out
    assert "2 of 2 runs gave the same bits again." in out
    assert "the same" in out


def test_the_runs_that_are_made_again_are_drawn_by_the_seed(folder):
    drawn = [[r.recorded.key for r in audit(folder, runs=2, seed=s).replays] for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_forged_score_in_the_runs_is_found_by_making_the_run_again(folder, capsys):
    lines = lines_of(folder)
    for line in lines:
        if line["run"]["phase"] == "judge" and line["run"]["arm"] == "DualAdam":
            line["test"]["score"] += 1.0
            line["test"]["metrics"]["accuracy"] += 1.0
    write_lines(folder, lines)
    write_report(folder)  # the report follows from the forged runs
    assert audit(folder, runs=0).agrees
    assert run_command("audit", folder, "--runs", 15) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "differs: test" in out
    assert "12 of 15 runs gave the same bits again." in out
    assert "The versions are the recorded ones; another model of CPU may still differ." in out


def test_a_score_that_differs_from_its_metrics_is_found_without_making_a_run(folder):
    lines = lines_of(folder)
    lines[-1]["test"]["score"] += 1.0
    write_lines(folder, lines)
    write_report(folder)
    (finding,) = audit(folder, runs=0).findings
    assert finding.place == "runs.jsonl, line 15"
    assert finding.found.endswith("in its metrics")


@pytest.mark.parametrize("cell", ["mean", "verdict"])
def test_a_forged_number_or_verdict_in_the_report_is_found(folder, capsys, cell):
    report = folder / "report.md"
    (line,) = re.findall(r"^\| DualAdam \| lr .*$", report.read_text(), re.M)
    mean = line.split(" | ")[2]
    old, new = (f"| {mean} |", "| 99.99 |") if cell == "mean" else ("demonstration (", "better (")
    change(report, line, line.replace(old, new))
    assert run_command("audit", folder, "--runs", 0) == 1
    out = capsys.readouterr().out
    assert "report.md, line" in out
    assert new.strip("| (") in out
    assert "1 statements" in out


def test_a_forged_number_in_the_summary_is_found(folder):
    summary = json.loads((folder / "summary.json").read_text())
    summary["arms"][0]["interval"]["mean"] += 0.01
    (folder / "summary.json").write_text(json.dumps(summary))
    (finding,) = audit(folder, runs=0).findings
    assert finding.place == "summary.json, arms[0].interval.mean"


def test_runs_of_other_settings_than_the_tuning_chose_are_found(folder):
    lines = lines_of(folder)
    for line in lines:
        if line["run"]["phase"] == "tune" and line["run"]["arm"] == "AdamW":
            line["validation"]["score"] = line["validation"]["metrics"]["accuracy"] = float(
                100 - line["validation"]["score"]
            )
    write_lines(folder, lines)
    write_report(folder)
    stated = [finding.stated for finding in audit(folder, runs=0).findings]
    assert sum("which its tuning runs choose" in text for text in stated) == 3


def test_a_run_that_was_repeated_until_it_pleased_and_a_changed_setting_are_found(folder):
    lines = lines_of(folder)
    lines[2]["run"]["settings"]["lr"] *= 2
    write_lines(folder, [*lines[:4], lines[3], *lines[4:]])
    places = {finding.place for finding in audit(folder, runs=0).findings}
    assert {"runs.jsonl, line 3", "runs.jsonl, line 5"} <= places


def test_another_version_of_torch_is_said(folder, capsys):
    lines = lines_of(folder)
    for line in lines:
        line["environment"]["torch"] = "2.9.0"
    write_lines(folder, lines)
    write_report(folder)
    assert run_command("audit", folder, "--runs", 1) == 0  # here the bits are the same
    said = " ".join(capsys.readouterr().out.split())
    assert "Recorded elsewhere, where bits may differ: torch 2.9.0 there, 2." in said


@pytest.mark.parametrize("door", TRAININGS)
def test_a_training_of_ones_own_is_made_again(door, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "out"
    name, fields = TRAININGS[door]
    options = {"steps": 3, "points": 2, "seeds": 2, "workers": 0, "out": folder}
    compare(name, lr=0.1, **options, **fields)
    found = audit(folder, runs=2, source=Source(folder=str(tmp_path)))
    assert found.agrees
    assert [one.curve for one in found.replays]
    gone = audit(folder, runs=1, source=Source(folder=str(tmp_path / "elsewhere")))
    assert not gone.agrees
    assert "there is no" in gone.replays[0].error


def test_a_training_that_was_an_object_needs_it_again(folder):
    lines = lines_of(folder)
    for line in lines:
        line["run"]["task"] = "python:make"
    write_lines(folder, lines)
    (one,) = audit(folder, runs=1).replays
    assert one.error == (
        "python:make was given as an object: call dualadam.compare.audit.audit with what=make."
    )


def test_an_unfinished_study_and_a_folder_without_one_are_refused(folder, tmp_path, capsys):
    write_lines(folder, lines_of(folder)[:-1])
    assert run_command("audit", folder) == 2
    assert "has 2 judged runs of 3; start the study again" in capsys.readouterr().err
    assert run_command("audit", tmp_path) == 2
    assert "must be the output folder of a comparison" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["2026-11-24_digits", "2026-11-24_digits_study"])
def test_recorded_studies_follow_from_their_runs(name):
    found = audit(RECORDS / name, runs=0).findings
    # the report may be of another version, which words its lines in another way
    assert [finding for finding in found if not finding.place.startswith("report.md")] == []
