"""The stored study of escape times: its record draws the stored tables."""

import json
import re
import shutil
from pathlib import Path

import pytest

from dualadam.studies.escape_landscapes import FULL, QUICK, redraw
from dualadam.studies.escape_landscapes.experiments import EXPERIMENTS
from dualadam.studies.escape_landscapes.experiments.rotation import Rotation
from dualadam.studies.escape_landscapes.study import plan

RECORDS = Path(__file__).parents[2] / "benchmarks/records"
RECORD = next(RECORDS.glob("*_escape"))
STORED = json.loads((RECORD / "record.json").read_text())
ROTATION = next(RECORDS.glob("*_escape-rotation"))


@pytest.fixture(scope="module")
def redrawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("escape")
    shutil.copy(RECORD / "record.json", folder)
    return redraw(folder)


def test_the_points_of_a_full_plan_are_those_of_the_record(redrawn):
    check_points(STORED, FULL, [e for e in EXPERIMENTS if e is not Rotation])


def test_the_points_of_the_rotation_are_those_of_its_own_record():
    check_points(json.loads((ROTATION / "record.json").read_text()), QUICK, [Rotation])


def check_points(record, effort, experiments):
    points = {point.key: point for point in plan(made(effort) for made in experiments)}
    stored = {point["key"]: point for point in record["points"]}
    assert points.keys() == stored.keys()
    for key, point in points.items():
        size = (stored[key]["num_walkers"], stored[key]["num_steps"])
        assert (point.seed, tuple(point.size(effort))) == (stored[key]["seed"], size)
        assert [point.x, point.lr, *point.betas] == pytest.approx(
            [stored[key]["x"], stored[key]["lr"], *stored[key]["betas"]], rel=1e-12
        )


def test_the_record_gives_its_own_numbers_and_verdicts_again(redrawn):
    tables = [table.title for table in redrawn.tables for _ in table.rows]
    assert tables == [row["table"] for row in STORED["rows"]]
    assert [row.verdict for row in redrawn.rows] == [row["verdict"] for row in STORED["rows"]]
    for row, stored in zip(redrawn.rows, STORED["rows"], strict=True):
        for name in ("theory", "exact", "simulated", "error"):
            value, expected = row.to_json()[name], stored[name]
            if isinstance(expected, float):
                # sums of 40,000 terms in another order on another machine
                assert value == pytest.approx(expected, rel=1e-9, abs=1e-9), row.label
            else:
                assert value == expected, row.label


def test_the_stored_tables_are_those_of_the_stored_record(redrawn):
    assert (redrawn.folder / "tables.md").read_text() == (RECORD / "tables.md").read_text()


def test_every_figure_is_drawn(redrawn):
    figures = {path.stem: path.stat().st_size for path in redrawn.folder.glob("*.png")}
    expected = {"slopes", "mixture", "order_flip", "large_steps", "slow_second_moment"}
    assert figures.keys() == expected
    assert min(figures.values()) > 10_000


def test_the_record_of_the_rotation_gives_its_table_figure_and_the_numbers_of_the_theory_page(
    tmp_path,
):
    shutil.copy(ROTATION / "record.json", tmp_path)
    report = redraw(tmp_path, [Rotation])
    assert (tmp_path / "tables.md").read_text() == (ROTATION / "tables.md").read_text()
    assert (tmp_path / "rotation.png").stat().st_size > 10_000
    assert {row.verdict for row in report.rows if "InvAdam" in row.label} == {"fails"}
    page = (RECORDS.parents[1] / "docs/theory.md").read_text()
    for row in report.rows:
        k, name = re.search(r"over (\d) coordinates, (\w+)", row.label).groups()
        if k == "8":
            low, high = row.interval
            assert f"{name} {row.simulated:.2f} [{low:.2f}, {high:.2f}]" in page
