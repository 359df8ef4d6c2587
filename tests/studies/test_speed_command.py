"""`dualadam speed`, on small lists: what it stores, prints and draws."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from dualadam.cli import app
from dualadam.studies import speed


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Return the record of a quick measurement of lists small enough for a test."""
    monkeypatch.setattr(
        speed, "tensor_lists", lambda large: {"one": [(1000,)], "three": [(10, 3), (0,), (7,)]}
    )
    monkeypatch.setattr(speed, "SECONDS", {True: (0.2, 10_000)})
    path = tmp_path / "folder" / "speed.json"
    result = CliRunner().invoke(
        app, ["speed", "--quick", "--out", str(path)], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert f"Record: {path}" in " ".join(result.output.split())
    return path


def test_the_record_has_every_path_of_every_list_and_its_environment(record):
    stored = json.loads(record.read_text())
    assert [(row["list"], row["path"]) for row in stored["rows"]] == [
        (name, path) for name in ("one", "three") for path in speed.KINDS
    ]
    for row in stored["rows"]:
        low, median, high = row["ratio"]
        assert 0 < low <= median <= high
        moved = (20 if "bfloat16" in row["path"] else 28) * row["parameters"]
        assert row["gigabytes_per_second"] == pytest.approx(moved / row["seconds"][1] / 1e9)
        assert row["ratio"] == [1, 1, 1] or row["path"] != speed.REFERENCE
    assert stored["rows"][-1]["parameters"] == 37
    assert stored["environment"]["threads"] >= 1
    assert set(stored["limit_gigabytes_per_second"]) == {"triad", "stream"}
    assert set(stored["subnormals"]) == {speed.FUSED, speed.REFERENCE}


def test_a_stored_record_is_shown_and_drawn_without_measuring(record, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "measure", None)
    figure = tmp_path / "speed.png"
    result = CliRunner().invoke(
        app, ["speed", "--record", str(record), "--figure", str(figure)], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert result.output.count("AdamW fused") >= 3
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_device_that_is_not_there_is_refused_with_a_sentence(monkeypatch):
    monkeypatch.setattr(speed.torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ValueError,
        match=r"device must be cpu on this machine, got cuda: torch finds no CUDA device\.",
    ):
        speed.command(None, True, "cuda", False, None, None)


def test_with_a_path_that_took_all_the_time_the_first_round_counts():
    times = speed.interleaved({"a": lambda: None, "b": lambda: sum(range(100_000))}, 0.0, "cpu")
    assert [len(values) for values in times.values()] == [1, 1]
