"""`dualadam speed`, on small lists: what it stores, prints and draws."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from dualadam.cli import app
from dualadam.errors import InvalidValueError
from dualadam.studies.speed import Quartiles, SpeedRecord, draw_ratios, measure, measure_speed
from dualadam.studies.speed.cases import FUSED, PATHS, REFERENCE, TensorList
from dualadam.studies.speed.timing import interleaved

RECORDS = Path(__file__).parents[2] / "benchmarks/records"
RECORDED = RECORDS / "2026-11-24_speed/speed.json"
WITH_8_BITS = RECORDS / "2026-11-26_speed-xeon/speed.json"  # the longest names


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Return the stored record of a quick measurement of small lists."""
    lists = [TensorList("one", ((1000,),)), TensorList("three", ((10, 3), (0,), (7,)))]
    monkeypatch.setattr(measure, "tensor_lists", lambda large: lists)
    monkeypatch.setattr(measure, "QUICK", measure.Budget(0.2, 10_000))
    path = tmp_path / "folder" / "speed.json"
    result = invoke("--quick", "--out", path)
    assert f"Record: {path}" in result
    return path


def invoke(*arguments):
    """Return the output of the command, with its lines joined."""
    arguments = ["speed", *map(str, arguments)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return " ".join(result.output.split())


def shown(record, tmp_path):
    """Return what the command prints of a record."""
    path = tmp_path / "shown.json"
    path.write_text(json.dumps(record.to_json()))
    return invoke("--record", path)


@pytest.fixture(scope="module")
def recorded():
    return SpeedRecord.from_json(json.loads(RECORDED.read_text()))


@pytest.mark.usefixtures("needs_the_kernel")
def test_the_record_has_every_path_of_every_list_and_its_environment(record):
    stored = json.loads(record.read_text())
    assert [(row["list"], row["path"]) for row in stored["rows"]] == [
        (name, path.label) for name in ("one", "three") for path in PATHS
    ]
    assert stored["rows"][-1]["parameters"] == 37
    assert stored["environment"]["threads"] >= 1
    assert set(stored["limit_gigabytes_per_second"]) == {"triad", "stream"}
    assert set(stored["subnormals"]) == {FUSED.label, REFERENCE.label}
    for timing in SpeedRecord.from_json(stored).timings:
        low, median, high = timing.ratio
        assert 0 < low <= median <= high
        path = timing.path
        # three numbers of the parameter's, four of the moments'
        of_parameter, of_moment = path.param_dtype.itemsize, path.state_dtype.itemsize
        bytes_of = 3 * of_parameter + 4 * of_moment
        moved = bytes_of * timing.num_parameters
        assert timing.gigabytes_per_second == pytest.approx(moved / timing.seconds.median / 1e9)
        assert timing.ratio == (1, 1, 1) or timing.path != REFERENCE


def test_a_stored_record_is_read_and_written_without_a_change(recorded):
    assert json.loads(json.dumps(recorded.to_json())) == json.loads(RECORDED.read_text())


def test_a_stored_record_is_shown_and_drawn_without_measuring(tmp_path, monkeypatch):
    monkeypatch.setattr("dualadam.studies.speed.measure_speed", None)
    figure = tmp_path / "new" / "speed.png"
    output = invoke("--record", RECORDED, "--figure", figure)
    assert output.count("AdamW fused") >= 4
    assert "busy" not in output
    assert "unsteady" not in output
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_panel_beside_the_last_of_an_odd_number_of_lists_is_empty(
    recorded, tmp_path, monkeypatch
):
    three = tuple(t for t in recorded.timings if t.list_name != "ViT-S")
    shown = []
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *_, **__: shown.extend(a.axison for a in figure.axes)
    )
    draw_ratios(replace(recorded, timings=three), tmp_path / "speed.png")
    assert shown == [True, True, True, False]


def test_a_busy_machine_is_reported_and_its_ratios_are_marked(recorded, tmp_path):
    environment = recorded.environment | {"load_average": 8.9, "cores": 2}
    output = shown(replace(recorded, environment=environment), tmp_path)
    assert "The machine was busy: the load average was 8.9 on 2 cores before the start." in output
    assert "0.98?" in output


def test_a_share_above_the_limit_is_not_shown_as_one(recorded, tmp_path):
    timings = list(recorded.timings)
    timings[0] = replace(timings[0], share_of_limit=1.37)
    timings[1] = replace(timings[1], share_of_limit=1.004)
    output = shown(replace(recorded, timings=tuple(timings)), tmp_path)
    assert "137%" not in output
    assert output.count("> 100%") == 1
    assert "1 of 31 shares of the memory's limit are above 100 %, which no step" in output


@pytest.mark.parametrize("columns", ["40", "300"])
def test_a_redirected_table_is_whole_on_any_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    result = CliRunner().invoke(app, ["speed", "--record", str(WITH_8_BITS)])
    lines = result.output.splitlines()
    (header,) = (line for line in lines if "25 .. 75 %" in line)
    assert header.split("┃")[-2].strip() == "of limit"
    rows = [line for line in lines if line.startswith("│")]
    assert len(rows) == len(json.loads(WITH_8_BITS.read_text())["rows"])
    assert not any("…" in line for line in lines)
    assert len({len(line) for line in [header, *rows]}) == 1


def test_the_ratio_to_an_unsteady_reference_is_not_shown(recorded, tmp_path):
    def disturb(timing):
        is_hit = timing.path == REFERENCE and timing.list_name == "ResNet-18"
        seconds = Quartiles(0.01, 0.3, 0.4)
        return replace(timing, seconds=seconds) if is_hit else timing

    disturbed = replace(recorded, timings=tuple(map(disturb, recorded.timings)))
    assert {timing.list_name for timing in disturbed.unsteady} == {"ResNet-18"}
    output = shown(disturbed, tmp_path)
    assert "8 of 31 ratios are unsteady" in output
    assert output.count("│ unsteady │") == 8


@pytest.mark.parametrize(
    ("content", "sentence"), [("{}", "got one without 'limit"), ("no JSON", "is not JSON")]
)
def test_a_file_that_is_no_record_is_refused(content, sentence, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InvalidValueError, match=sentence):
        CliRunner().invoke(app, ["speed", "--record", str(path)], catch_exceptions=False)


def test_a_missing_device_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    expected = r"device must be cpu on this machine, got cuda: torch finds no CUDA device\."
    with pytest.raises(InvalidValueError, match=expected):
        measure_speed(quick=True, device="cuda")


def test_the_first_round_counts_if_it_took_all_the_time():
    times = interleaved({"a": lambda: None, "b": lambda: sum(range(100_000))}, 0.0, "cpu")
    assert [len(values) for values in times.values()] == [1, 1]
