"""A terminal shows a bar; a file gets plain lines, at most one in ten seconds."""

import io
import time

import pytest
from rich.console import Console

from dualadam.harness.progress import ConsoleProgress, Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets by hand."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def run(progress, clock, *, total, done, seconds):
    """Finish every piece that is left, one after another."""
    progress.start(total, done)
    for number in range(done + 1, total + 1):
        progress.running([f"piece {number}", "another", "a third"])
        clock[0] += seconds
        progress.finished(f"piece {number}")


def test_without_a_terminal_there_is_a_line_every_ten_seconds_and_one_at_the_end(clock):
    console = Console(file=io.StringIO(), width=100)
    with ConsoleProgress(console, "points") as progress:
        run(progress, clock, total=8, done=2, seconds=6.0)
    assert console.file.getvalue().splitlines() == [
        "2 of 8 points are on disk already.",
        "4/8 points, about 24 s left; last: piece 4",
        "6/8 points, about 12 s left; last: piece 6",
        "8/8 points, about 0 s left; last: piece 8",
    ]


def test_a_terminal_shows_what_runs_and_how_much_is_done(clock):
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    progress = ConsoleProgress(console)
    with progress:
        run(progress, clock, total=3, done=0, seconds=1.0)
        console.print(progress.bar)
    shown = console.file.getvalue()
    assert "piece 3; another and 1 more" in shown
    assert "3/3" in shown
    assert "about" not in shown  # the lines are for files


def test_a_label_is_shown_as_it_is(clock):
    console = Console(file=io.StringIO(), width=100)
    with ConsoleProgress(console) as progress:
        progress.start(1, 0)
        progress.finished("[/b] odd [red]name")
    assert console.file.getvalue().endswith("last: [/b] odd [red]name\n")


def test_the_base_class_shows_nothing(clock, capsys):
    run(Progress(), clock, total=2, done=1, seconds=1.0)
    assert capsys.readouterr() == ("", "")
