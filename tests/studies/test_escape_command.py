"""The whole way of `dualadam escape`, at the smallest effort: measured in processes, resumed, recorded, drawn; and the stored record."""

import json
import math
from pathlib import Path

import matplotlib
import pytest

from dualadam.studies.escape_landscapes.failures import TABLE
from dualadam.studies.escape_landscapes.plan import FULL, QUICK, Effort, plan
from dualadam.studies.escape_landscapes.report import escape_tables, markdown, redraw, summary
from dualadam.studies.escape_landscapes.tables import TOLERANCE, Row, _slope, judged, slope

matplotlib.use("Agg")
TINY = Effort(num_points=2, largest=3.5, num_escapes=40, shortest=1000)
RECORD = next(Path(__file__).parents[2].glob("benchmarks/records/*_escape"))
FIGURES = ["slopes.png", "mixture.png", "order_flip.png", "failures.png"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("escape")
    return out, escape_tables(out, TINY, num_workers=2)


def test_every_planned_point_is_measured_once_and_every_row_has_a_verdict(run):
    out, rows = run
    keys = [json.loads(line)["key"] for line in (out / "points.jsonl").read_text().splitlines()]
    assert sorted(keys) == sorted(p.key for p in plan(TINY))
    assert {row.verdict for row in rows} <= {
        "held",
        "not held",
        "not decided",
        "fails",
        "failure not seen",
    }
    assert {row.table for row in rows} == {
        "slopes",
        "mixture",
        "order flip",
        "selectivity",
        "several dimensions",
        TABLE,
    }
    text = (out / "tables.md").read_text()
    assert all(row.label in text for row in rows)
    assert all((out / name).stat().st_size > 10_000 for name in FIGURES)
    assert str(out / "tables.md") in summary(rows, out)


def test_a_second_start_measures_only_what_is_missing(run):
    out, rows = run
    path = out / "points.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))
    again = escape_tables(out, TINY, num_workers=1)
    assert path.read_text().splitlines(keepends=True)[:-2] == lines[:-2]
    assert again == rows  # the seeds are the points' own


def test_a_folder_of_another_effort_is_refused(run):
    with pytest.raises(ValueError, match=r"points\.jsonl must belong to this plan"):
        escape_tables(run[0], QUICK)


def test_the_stored_tables_are_those_of_the_stored_record(tmp_path):
    (tmp_path / "record.json").write_bytes((RECORD / "record.json").read_bytes())
    rows = redraw(tmp_path)
    assert (tmp_path / "tables.md").read_text() == (RECORD / "tables.md").read_text()
    assert len(json.loads((RECORD / "record.json").read_text())["points"]) == len(plan(FULL))
    assert sum(row.verdict == "held" for row in rows) > 20


def test_a_slope_beyond_four_per_cent_is_not_held_and_neither_is_one_that_was_not_measured():
    def points(power):
        return [
            {
                "x": x,
                "exponent": 5 / x,
                "exact": 5 / x,
                "overdamped": 5 / x,
                "theory": 5 / x,
                "simulated": 5 * x**power,
                "error": 0.01,
            }
            for x in (0.8, 1.0, 1.3)
        ]

    for power, held in ((-1.0, True), (-1 - TOLERANCE * 0.9, True), (-1 - TOLERANCE * 1.1, False)):
        exact, seen, error = slope(points(power))
        assert (exact, seen) == pytest.approx((-1.0, power), rel=1e-9)
        assert 0 < error < 0.02
        assert (abs(seen / exact - 1) <= TOLERANCE) is held
    assert judged("t", "l", True, 1.0, 1.0, math.nan, math.nan, "") == Row(
        "t", "l", "not held", 1.0, 1.0, note="walkers diverged or none escaped"
    )


@pytest.mark.parametrize(("error", "verdict"), [(0.01, "not held"), (0.5, "not decided")])
def test_a_slope_beyond_four_per_cent_is_not_decided_where_its_interval_reaches_into_them(
    error, verdict
):
    powers = [(x, 5 * x ** (-1 - TOLERANCE * 2)) for x in (0.8, 1.0, 1.3)]
    points = [
        {
            "x": x,
            "exponent": 5 / x,
            "exact": 5 / x,
            "overdamped": 5 / x,
            "theory": 5 / x,
            "simulated": y,
            "error": error,
        }
        for x, y in powers
    ]
    assert _slope("t", "l", -1.0, points).verdict == verdict


def test_the_markdown_shows_the_interval_the_verdict_and_whether_the_speed_goal_is_met():
    text = markdown(
        [Row("slopes", "SGD", "not held", -1.0, -0.95, -0.8, 0.01, "-15.8 %")],
        {"SGD": 61e6, "Adam": 59e6, "NumPy loop": 1e7},
    )
    assert "| SGD | -1.000 | -0.950 | -0.800 | [-0.820, -0.780] | **not held** | -15.8 % |" in text
    assert "| SGD | 61.0 | met |" in text
    assert "| Adam | 59.0 | missed |" in text
