"""From measurements to rows, tables and a conclusion, without a simulation."""

import json
import math
from dataclasses import replace

import pytest
from escape_cases import DIVERGED, SEEN, TINY, power_law

from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_landscapes.experiment import LIMITS
from dualadam.studies.escape_landscapes.experiments import EXPERIMENTS
from dualadam.studies.escape_landscapes.experiments.large_steps import LargeSteps
from dualadam.studies.escape_landscapes.experiments.selectivity import Selectivity
from dualadam.studies.escape_landscapes.experiments.slopes import Slopes
from dualadam.studies.escape_landscapes.measurement import Measurement
from dualadam.studies.escape_landscapes.report import EscapeReport, Finding
from dualadam.studies.escape_landscapes.row import TOLERANCE, Row, prediction
from dualadam.studies.escape_landscapes.slope import fit_slope, slope_row
from dualadam.studies.escape_landscapes.tables import markdown


@pytest.mark.parametrize(
    "measurement",
    [SEEN, DIVERGED, replace(SEEN, exact=math.inf), replace(SEEN, exact=math.nan)],
    ids=["seen", "diverged", "infinite", "several dimensions"],
)
def test_a_line_of_strict_json_gives_the_measurement_back(measurement):
    line = json.dumps(measurement.to_json(), allow_nan=False)
    again = Measurement.from_json(json.loads(line))
    assert repr(again) == repr(measurement)  # NaN does not equal itself


@pytest.mark.parametrize(
    ("power", "held"),
    [(-1.0, True), (-1 - TOLERANCE * 0.9, True), (-1 - TOLERANCE * 1.1, False)],
)
def test_a_slope_is_held_within_four_per_cent_of_the_exact_one(power, held):
    slope = fit_slope(power_law(power))
    assert (slope.exact, slope.simulated) == pytest.approx((-1.0, power), rel=1e-9)
    assert 0 < slope.error < 0.02
    row = slope_row("label", -1.0, power_law(power, error=1e-6))
    assert row.verdict == (Verdict.HELD if held else Verdict.NOT_HELD)


@pytest.mark.parametrize(("error", "verdict"), [(0.01, "not held"), (0.5, "not decided")])
def test_a_slope_beyond_four_per_cent_is_not_decided_where_its_interval_reaches_into_them(
    error, verdict
):
    power = -1 - TOLERANCE * 2
    assert slope_row("label", -1.0, power_law(power, error=error)).verdict == verdict


def test_a_prediction_that_could_not_be_measured_is_not_held():
    row = prediction(
        "label", True, theory=1.0, exact=1.0, simulated=math.nan, error=math.nan, note=""
    )
    unseen = "walkers diverged or none escaped"
    assert row == Row("label", Verdict.NOT_HELD, theory=1.0, exact=1.0, note=unseen)


@pytest.mark.parametrize(("power", "verdict"), [(0.0, "held"), (1.0, "not held")])
def test_an_exact_slope_of_0_has_no_relative_deviation(power, verdict):
    """Equal exponents give 0 or a rounding of it, which depends on the processor."""
    one = {"theory": 1.0, "exponent": 1.0, "overdamped": 1.0, "exact": 1.0}
    flat = [replace(m, **one, simulated=m.x**power) for m in power_law(power, error=1e-6)]
    row = slope_row("label", -1.0, flat)
    assert (row.exact, row.verdict) == (0.0, verdict)
    assert row.note == f"{power:+.3g} from exact"


def test_walkers_that_diverge_at_a_large_step_are_a_row_with_their_reason():
    experiment = LargeSteps(TINY)
    rows = experiment.rows({point.key: DIVERGED for point in experiment.points})
    assert {row.verdict for row in rows} == {Verdict.FAILS}
    assert all(row.note == DIVERGED.diverged for row in rows)
    assert all(row.simulated is None for row in rows)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_survives_points_without_an_escape(experiment):
    made = experiment(TINY)
    unseen = replace(DIVERGED, diverged=None, num_escapes=0)
    results = {point.key: replace(unseen, key=point.key, x=point.x) for point in made.points}
    rows = made.rows(results)
    for row in rows:
        json.dumps(row.to_json(), allow_nan=False)
    if made.table != LIMITS:
        assert {row.verdict for row in rows} == {Verdict.NOT_HELD}


def report_of(*findings: Finding, folder) -> EscapeReport:
    return EscapeReport(folder, findings, speed={"SGD": 61e6})


def rows_of(*verdicts: Verdict) -> tuple[Row, ...]:
    return tuple(Row(f"row {i}", verdict) for i, verdict in enumerate(verdicts))


def test_the_conclusion_says_what_held_what_did_not_and_where_the_theory_fails(tmp_path):
    held, not_held, undecided = Verdict.HELD, Verdict.NOT_HELD, Verdict.NOT_DECIDED
    report = report_of(
        Finding(Slopes(TINY), rows_of(held, held, not_held, undecided)),
        Finding(Selectivity(TINY), rows_of(held, held)),
        Finding(LargeSteps(TINY), rows_of(held, Verdict.FAILS)),
        folder=tmp_path,
    )
    assert report.sentences == [
        f"The theory's predictions hold in 4 of 6 rows: {Selectivity.claim}.",
        f"Not held: {Slopes.claim} (1 of 4 rows).",
        f"Not decided: {Slopes.claim} (1 of 4 rows).",
        "Outside its assumptions the theory fails in 1 of 2 rows: large steps (1 of 2 rows).",
    ]
    assert report.conclusion == " ".join(report.sentences)


def test_experiments_of_one_table_are_counted_together(tmp_path):
    limits = [e(TINY) for e in EXPERIMENTS if e.table == LIMITS]
    report = report_of(*(Finding(e, rows_of(Verdict.FAILS)) for e in limits), folder=tmp_path)
    (table,) = report.tables
    assert table.title == LIMITS
    assert table.counts == {Verdict.FAILS: len(limits)}


def test_the_markdown_shows_the_interval_the_verdict_and_the_speed(tmp_path):
    row = Row("SGD", Verdict.NOT_HELD, -1.0, -0.95, -0.8, 0.01, "-15.8 %")
    text = markdown(report_of(Finding(Slopes(TINY), (row,)), folder=tmp_path))
    assert "| SGD | -1.000 | -0.950 | -0.800 | [-0.820, -0.780] | **not held** | -15.8 % |" in text
    assert "\n1 not held.\n" in text
    assert "| SGD | 61.0 |" in text
