"""The line below a cell: how many pieces are done, the time left, what runs."""

import time

import pytest

from dualadam.harness.notebook import NotebookProgress, in_notebook

pytest.importorskip("IPython")  # a notebook has it; `make test-lowest` installs none


def test_the_line_says_what_is_done_and_how_long_the_rest_takes(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = NotebookProgress("points")
    progress.start(4, 1)
    progress.running(["<a>", "b", "c"])
    assert progress.line()["text/plain"] == "1 of 4 points; 0 s; <a>; b and 1 more"
    now[0] += 6.0
    progress.finished("<a>")
    line = progress.line()
    assert line["text/plain"] == "2 of 4 points; about 12 s left; <a>; b and 1 more"
    assert '<progress value="2" max="4"></progress>' in line["text/html"]
    assert "&lt;a&gt;" in line["text/html"]
    progress.finished("b")
    progress.finished("c")
    assert progress.line()["text/plain"] == "4 of 4 points; 6 s"


def test_a_sentence_about_a_decision_is_shown(capsys):
    NotebookProgress().said("Widened the range.")
    assert "Widened the range." in capsys.readouterr().out


def test_a_process_that_is_no_kernel_is_no_notebook():
    assert not in_notebook()
