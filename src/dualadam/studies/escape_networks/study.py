"""The study, from settings to rows on disk: starts, minima, regressions, escapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dualadam.errors import FailedRunsError
from dualadam.harness.executors import process_executor, run_window
from dualadam.harness.progress import Progress
from dualadam.harness.store import Store, check_identity, read_lines, sole_writer
from dualadam.studies.escape_networks.escapes import EscapeRow, EscapeSimulation
from dualadam.studies.escape_networks.minima import MinimumDescription, MinimumRow
from dualadam.studies.escape_networks.regressions import REGRESSIONS, RegressionRow
from dualadam.studies.escape_networks.rows import Row
from dualadam.studies.escape_networks.settings import RULES, Settings
from dualadam.studies.escape_networks.starts import Start, StartRow, choose_minima

SETTINGS_FILE, ROWS_FILE = "settings.json", "rows.jsonl"
# each kind of row, by a key that only its lines have
KINDS: dict[str, type[Row]] = {
    "recipe": StartRow,
    "equipartition": MinimumRow,
    "intervals": RegressionRow,
    "last_home": EscapeRow,
}


class Piece(Protocol):
    """A piece of the study; a worker process runs it."""

    @property
    def key(self) -> str:
        """The key of its row."""

    def run(self) -> Row:
        """Make the row."""


@dataclass(frozen=True)
class StudyRows:
    """All rows of a study, in an order that does not depend on which piece finished first.

    Attributes:
        starts: by number.
        minima: by ascending curvature.
        regressions: as in REGRESSIONS.
        escapes: by key.
    """

    starts: tuple[StartRow, ...]
    minima: tuple[MinimumRow, ...]
    regressions: tuple[RegressionRow, ...]
    escapes: tuple[EscapeRow, ...]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> StudyRows:
        """Sort rows by their kind."""
        rows = list(rows)
        names = [regression.name for regression in REGRESSIONS]
        starts = [row for row in rows if isinstance(row, StartRow)]
        minima = [row for row in rows if isinstance(row, MinimumRow)]
        regressions = [row for row in rows if isinstance(row, RegressionRow)]
        escapes = [row for row in rows if isinstance(row, EscapeRow)]
        return cls(
            starts=tuple(sorted(starts, key=lambda row: row.number)),
            minima=tuple(sorted(minima, key=lambda row: row.curvature)),
            regressions=tuple(sorted(regressions, key=lambda row: names.index(row.name))),
            escapes=tuple(sorted(escapes, key=lambda row: row.key)),
        )


def read_rows(folder: Path) -> StudyRows:
    """Return the rows of a study's folder.

    Raises:
        InvalidValueError: a line is damaged.
    """
    return StudyRows.of(read_lines(folder / ROWS_FILE, row_of))


def run_study(
    folder: Path, settings: Settings, *, workers: int, progress: Progress | None = None
) -> StudyRows:
    """Run the pieces whose rows the folder lacks, and return all rows.

    Args:
        folder: made if missing; a second call continues the study in it.
        settings: what decides the numbers.
        workers: processes of one thread each.
        progress: is told what runs and what is finished.

    Raises:
        InvalidValueError: the folder holds a study with other settings, another process writes
            into it, or too few distinct minima converged.
        FailedRunsError: some pieces failed. The others are on disk.
    """
    progress = progress or Progress()
    with sole_writer(folder), process_executor(workers) as (executor, width):
        store = _open_store(folder, settings)
        progress.start(num_pieces(settings), len(store.records))

        def submit(piece: Piece) -> Future[Row]:
            return executor.submit(piece.run)

        def finish(pieces: Sequence[Piece]) -> StudyRows:
            missing = [piece for piece in pieces if piece.key not in store]
            failures = run_window(
                missing, submit, width, store.add, label=lambda piece: piece.key, progress=progress
            )
            if failures:
                piece, error = failures[0]
                raise FailedRunsError(
                    f"{len(failures)} of {len(missing)} pieces failed; the first, {piece.key}: "
                    f"{type(error).__name__}: {error}. Start again to try them once more."
                ) from error
            return StudyRows.of(store.records.values())

        problem, size = settings.problem, settings.batch_size
        starts = finish([Start(problem, i) for i in range(settings.num_starts)]).starts
        chosen = choose_minima(starts, settings.num_minima)
        finish([MinimumDescription(problem, start.number, start.w, size) for start in chosen])
        minima = finish(REGRESSIONS).minima
        return finish(plan_simulations(settings, chosen, minima))


def num_pieces(settings: Settings) -> int:
    """Return how many rows a finished study has."""
    per_minimum = 1 + len(RULES) * len(settings.temperatures)
    return settings.num_starts + settings.num_minima * per_minimum + len(REGRESSIONS)


def plan_simulations(
    settings: Settings, chosen: Sequence[StartRow], minima: Sequence[MinimumRow]
) -> list[EscapeSimulation]:
    """Return all simulations, the coldest first.

    An optimizer has one learning rate at each temperature, the same at every minimum.
    """
    simulations = []
    for temperature in sorted(settings.temperatures):
        for rule in RULES:
            lr = temperature / float(np.median([m.temperature_per_lr[rule.name] for m in minima]))
            simulations += [
                EscapeSimulation(
                    problem=settings.problem,
                    number=start.number,
                    w=start.w,
                    rule=rule,
                    temperature=temperature,
                    lr=lr,
                    batch_size=settings.batch_size,
                    num_walkers=settings.num_walkers,
                    num_steps=settings.num_steps,
                )
                for start in chosen
            ]
    return simulations


def _open_store(folder: Path, settings: Settings) -> Store[Row]:
    rows = folder / ROWS_FILE
    identity = asdict(settings)
    check_identity(folder / SETTINGS_FILE, identity, defaults={}, has_records=rows.exists())
    return Store(rows, encode=lambda row: row.to_json(), decode=row_of, key=lambda row: row.key)


def row_of(line: Mapping[str, Any]) -> Row:
    """Return the row of a line of rows.jsonl.

    Raises:
        ValueError: the line is of no kind or of several.
    """
    kinds = [row_type for name, row_type in KINDS.items() if name in line]
    if len(kinds) != 1:
        raise ValueError("it is not a row of this study")
    return kinds[0].from_json(line)
