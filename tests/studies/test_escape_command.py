"""A study of escape times from start to end: measured in processes, killed, continued, refused."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from escape_cases import TINY

import dualadam
from dualadam.cli import main
from dualadam.errors import FailedRunsError, InvalidValueError
from dualadam.harness.progress import Progress
from dualadam.studies.escape_landscapes import QUICK, run
from dualadam.studies.escape_landscapes import study as study_module
from dualadam.studies.escape_landscapes.experiments import EXPERIMENTS
from dualadam.studies.escape_landscapes.experiments.selectivity import Selectivity
from dualadam.studies.escape_landscapes.study import plan

SOURCE, TESTS = Path(dualadam.__file__).parents[1], Path(__file__).parent
# Blocks when the second point is on disk, and is then killed by its own hand.
KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from escape_cases import TINY
    from dualadam.harness.progress import Progress
    from dualadam.studies.escape_landscapes import run
    from dualadam.studies.escape_landscapes.experiments.selectivity import Selectivity

    class Killed(Progress):
        finished_points = 0

        def finished(self, label):
            self.finished_points += 1
            if self.finished_points == 2:
                print("two points", flush=True)
                sys.stdin.readline()
                os.kill(os.getpid(), signal.SIGKILL)

    if __name__ == "__main__":
        run(Path(sys.argv[1]), TINY, 1, Killed(), experiments=[Selectivity])
    """
)


class Recorded(Progress):
    """Remembers what it is told."""

    def __init__(self):
        self.done, self.labels = None, []

    def start(self, total, done):
        self.done = done

    def finished(self, label):
        self.labels.append(label)


def numbers(folder: Path) -> dict[str, dict[str, object]]:
    """Return the lines of points.jsonl by key, without the seconds."""
    lines = map(json.loads, (folder / "points.jsonl").read_text().splitlines())
    return {line["key"]: line | {"seconds": None} for line in lines}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("escape"), TINY, 2)


def test_every_planned_point_is_measured_once_and_every_row_stands_in_the_tables(finished):
    lines = (finished.folder / "points.jsonl").read_text().splitlines()
    keys = [json.loads(line)["key"] for line in lines]
    assert sorted(keys) == sorted(
        p.key for p in plan(experiment(TINY) for experiment in EXPERIMENTS)
    )
    text = (finished.folder / "tables.md").read_text()
    assert all(row.label in text for row in finished.rows)
    assert finished.sentences[0] in text
    record = json.loads((finished.folder / "record.json").read_text())
    assert len(record["rows"]) == len(finished.rows)
    assert len(record["points"]) == len(keys)


def test_a_second_start_measures_only_what_is_missing(finished):
    path = finished.folder / "points.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))
    progress = Recorded()
    again = run(finished.folder, TINY, 1, progress)
    assert (progress.done, len(progress.labels)) == (len(lines) - 2, 2)
    assert path.read_text().splitlines(keepends=True)[:-2] == lines[:-2]
    assert again.rows == finished.rows  # each point has a seed of its own


def test_a_folder_of_another_effort_is_refused(finished):
    with pytest.raises(InvalidValueError, match=r"points\.jsonl must belong to this plan"):
        run(finished.folder, QUICK)


def test_a_killed_study_goes_on_and_ends_with_the_same_numbers(finished, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    path = os.pathsep.join([str(SOURCE), str(TESTS)])
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, script, out],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout.readline() == "two points\n"
    with pytest.raises(InvalidValueError, match="Another process writes into"):
        run(out, TINY, 1, experiments=[Selectivity])
    process.communicate("now\n", timeout=60)
    assert process.returncode == -signal.SIGKILL

    kept = (out / "points.jsonl").read_text()
    assert kept.count("\n") == 2
    with (out / "points.jsonl").open("a") as file:
        file.write(kept[:100])  # the line that a power failure cut off
    progress = Recorded()
    run(out, TINY, 1, progress, experiments=[Selectivity])
    assert progress.done == 2
    assert (out / "points.jsonl").read_text().startswith(kept)
    undisturbed = numbers(finished.folder)
    assert numbers(out) == {p.key: undisturbed[p.key] for p in Selectivity(TINY).points}


def test_a_point_that_fails_is_named_and_the_others_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(study_module, "measure", fail_at_sgd)
    with pytest.raises(FailedRunsError, match="2 of 6 points failed:\n  selectivity/SGD/"):
        run(tmp_path, TINY, 1, experiments=[Selectivity])
    assert len(numbers(tmp_path)) == 4


def fail_at_sgd(point, size):
    from dualadam.studies.escape_landscapes.measurement import measure

    if point.rule.name == "SGD":
        raise ZeroDivisionError("no walkers")
    return measure(point, size)


def test_the_command_prints_counts_a_conclusion_and_where_the_tables_are(
    finished, monkeypatch, capsys
):
    monkeypatch.setattr("dualadam.studies.escape_landscapes.QUICK", TINY)
    with pytest.raises(SystemExit) as ended:
        main(["escape", "--quick", "--out", str(finished.folder)])
    assert ended.value.code in (0, None)
    printed = capsys.readouterr().out
    assert "132 of 132 points are on disk already." in printed
    assert all(f"{table.title}: " in printed for table in finished.tables)
    words = " ".join(printed.split())
    assert all(sentence in words for sentence in finished.sentences)
    assert str(finished.folder / "tables.md") in printed.replace("\n", "")
