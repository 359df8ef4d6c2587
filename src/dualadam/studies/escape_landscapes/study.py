"""The study: measure what is missing, judge the rows, write the record, the tables and figures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib import rc_context

from dualadam.errors import FailedRunsError, InvalidValueError
from dualadam.harness.environment import num_cores, study_environment
from dualadam.harness.executors import process_executor, run_window
from dualadam.harness.figures import STYLE
from dualadam.harness.progress import Progress
from dualadam.harness.store import Store, sole_writer, write_whole
from dualadam.studies.escape_landscapes.effort import FULL, Effort
from dualadam.studies.escape_landscapes.experiment import Experiment, Results
from dualadam.studies.escape_landscapes.experiments import EXPERIMENTS
from dualadam.studies.escape_landscapes.measurement import Measurement, measure
from dualadam.studies.escape_landscapes.point import Point, Size
from dualadam.studies.escape_landscapes.report import EscapeReport, Finding
from dualadam.studies.escape_landscapes.speed import Speed, measure_speed
from dualadam.studies.escape_landscapes.tables import markdown

POINTS_FILE, SPEED_FILE, RECORD_FILE = "points.jsonl", "speed.json", "record.json"
TABLES_FILE = "tables.md"
Experiments = Sequence[type[Experiment]]


def run(
    out: Path,
    effort: Effort = FULL,
    num_workers: int | None = None,
    progress: Progress | None = None,
    *,
    experiments: Experiments = EXPERIMENTS,
) -> EscapeReport:
    """Measure escape times, and write points.jsonl, record.json, tables.md and the figures.

    A second start continues where the first was interrupted. With everything measured it only
    draws again.

    Args:
        out: the folder; made if missing.
        effort: FULL, up to thirty minutes on two cores, or QUICK, about two.
        num_workers: processes of one thread each; None for one per core.
        progress: is told which points are measured.
        experiments: what to measure.

    Raises:
        InvalidValueError: another process writes into the folder, or it holds points of another
            plan or effort, or a damaged line.
        FailedRunsError: a point could not be measured; the others are on disk.
        UnreachableError: the folder cannot be written.
    """
    chosen = [experiment(effort) for experiment in experiments]
    points = plan(chosen)
    sizes = {point.key: point.size(effort) for point in points}
    with sole_writer(out):
        store = Store(
            out / POINTS_FILE,
            encode=Measurement.to_json,
            decode=Measurement.from_json,
            key=lambda measurement: measurement.key,
        )
        _check_sizes(store, sizes)
        speed = _speed(out / SPEED_FILE, effort)  # before the workers start
        started = time.perf_counter()
        _measure_missing(points, sizes, store, num_workers or num_cores(), progress or Progress())
        results = {point.key: store.records[point.key] for point in points}
        report = EscapeReport(out, _judge(chosen, results), speed)
        record = {
            "effort": asdict(effort),
            "environment": study_environment(),
            "seconds_of_this_start": round(time.perf_counter() - started, 1),
            "seconds_of_all_workers": round(sum(m.seconds for m in results.values()), 1),
            "speed": speed,
            "rows": [
                {"table": finding.experiment.table, **row.to_json()}
                for finding in report.findings
                for row in finding.rows
            ],
            "points": [m.to_json() for m in results.values()],
        }
        write_whole(out / RECORD_FILE, json.dumps(record, indent=1, allow_nan=False) + "\n")
        _draw(report, results)
    return report


def redraw(folder: Path, experiments: Experiments = EXPERIMENTS) -> EscapeReport:
    """Judge the points of a folder's record.json again, and write tables.md and the figures.

    An experiment of which the record has no point is left out: it is newer than the record, or was
    not chosen.

    Args:
        folder: holds a record.json.
        experiments: those that may be in the record.
    """
    record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    measurements = map(Measurement.from_json, record["points"])
    results = {measurement.key: measurement for measurement in measurements}
    made = [experiment(Effort(**record["effort"])) for experiment in experiments]
    chosen = [e for e in made if not e.points or any(p.key in results for p in e.points)]
    report = EscapeReport(folder, _judge(chosen, results), record["speed"])
    _draw(report, results)
    return report


def plan(experiments: Iterable[Experiment]) -> list[Point]:
    """Return the points of experiments, each once."""
    points: dict[str, Point] = {}
    for experiment in experiments:
        for point in experiment.points:
            assert points.setdefault(point.key, point) == point, point.key
    return list(points.values())


def _check_sizes(store: Store[Measurement], sizes: dict[str, Size]) -> None:
    for measurement in store.records.values():
        if sizes.get(measurement.key) != measurement.size:
            raise InvalidValueError(
                f"{store.path} must belong to this plan, but it holds {measurement.key} of another "
                "plan or at another size. Choose another --out, or delete the file."
            )


def _speed(path: Path, effort: Effort) -> Speed:
    if not path.exists():
        write_whole(path, json.dumps(measure_speed(effort.speed_steps)))
    return json.loads(path.read_text(encoding="utf-8"))


def _measure_missing(
    points: list[Point],
    sizes: dict[str, Size],
    store: Store[Measurement],
    num_workers: int,
    progress: Progress,
) -> None:
    """Measure the points that the store lacks, the longest first."""
    progress.start(len(points), len(store.records))
    missing = [point for point in points if point.key not in store]
    missing.sort(key=lambda point: -sizes[point.key].walker_steps)
    if not missing:
        return
    with process_executor(num_workers) as (executor, width):
        failures = run_window(
            missing,
            lambda point: executor.submit(measure, point, sizes[point.key]),
            width,
            store.add,
            label=lambda point: point.key,
            progress=progress,
        )
    if failures:
        lines = "\n".join(f"  {point.key}: {type(e).__name__}: {e}" for point, e in failures)
        raise FailedRunsError(
            f"{len(failures)} of {len(points)} points failed:\n{lines}\n"
            f"What finished is in {store.path}."
        )


def _judge(experiments: list[Experiment], results: Results) -> tuple[Finding, ...]:
    return tuple(Finding(experiment, tuple(experiment.rows(results))) for experiment in experiments)


def _draw(report: EscapeReport, results: Results) -> None:
    write_whole(report.folder / TABLES_FILE, markdown(report))
    with rc_context(STYLE):
        for finding in report.findings:
            figure = finding.experiment.figure(results)
            if figure is not None:
                figure.savefig(report.folder / f"{finding.experiment.name}.png", dpi=130)
