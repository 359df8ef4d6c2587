"""The study, from settings to rows on disk: starts, minima, regressions, lives. What is finished is a line; a second start goes on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dualadam.diffusion import ADAM, INVADAM, SGD
from dualadam.harness.executors import process_executor
from dualadam.harness.store import read_lines, sole_writer, write_whole
from dualadam.studies.escape_networks import logistic
from dualadam.studies.escape_networks.lives import Unit, live
from dualadam.studies.escape_networks.minima import describe, find_minimum, select
from dualadam.studies.escape_networks.problem import Problem

RULES = (SGD, ADAM, INVADAM)
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What decides the numbers.

    Attributes:
        num_starts: trainings from which minima are chosen; num_minima: how many are escaped from.
        temperatures: T along the top eigenvector, in the unit of the loss, at the median minimum; the lr of each optimizer follows.
        num_walkers, num_steps: of each minimum, optimizer and temperature; a walker still at home at the end is censored.
    """

    problem: Problem = field(default_factory=Problem)
    batch_size: int = 16
    num_starts: int = 80
    num_minima: int = 30
    temperatures: tuple[float, ...] = (0.008, 0.016)
    num_walkers: int = 40
    num_steps: int = 5120


FULL = Settings()
QUICK = Settings(num_starts=24, num_minima=10, num_walkers=8, num_steps=1280)


class Rows:
    """rows.jsonl of an output folder: one line per finished piece, by its key. settings.json says whose they are."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.path, stored, mine = (
            folder / "rows.jsonl",
            folder / "settings.json",
            json.dumps(asdict(settings), indent=1),
        )
        if stored.exists() and json.loads(stored.read_text()) != json.loads(mine):
            raise ValueError(
                f"{folder} holds a study of other settings. Choose another --out, or delete it."
            )
        write_whole(stored, mine + "\n")
        self.by_key: dict[str, Row] = {row["key"]: row for row in read_lines(self.path, dict)}
        if self.path.exists():  # what a killed process left of a line is cut off
            with self.path.open("r+b") as file:
                file.truncate(file.read().rfind(b"\n") + 1)

    def add(self, row: Row) -> None:
        """Keep a finished piece, on the disk itself."""
        with self.path.open("ab") as file:
            file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.by_key[row["key"]] = row


def run(folder: Path, settings: Settings, num_workers: int, console: Console) -> dict[str, Row]:
    """Do what the folder does not hold yet, and return all rows by key.

    Raises:
        ValueError: the folder holds a study of other settings, or another process writes into it.
        RuntimeError: too few distinct minima converged.
    """
    problem = settings.problem
    with (
        sole_writer(folder),
        process_executor(num_workers) as (executor, _),
        _Bar(console, settings) as bar,
    ):
        rows = Rows(folder, settings)

        def all_of(tasks: Sequence[tuple[str, Callable[..., Row], tuple[Any, ...]]]) -> list[Row]:
            bar.done(sum(key in rows.by_key for key, _, _ in tasks))
            futures = [
                executor.submit(_keyed, key, function, arguments)
                for key, function, arguments in tasks
                if key not in rows.by_key
            ]
            for future in as_completed(futures):
                rows.add(row := future.result())
                bar.done(1, row["key"])
            return [rows.by_key[key] for key, _, _ in tasks]

        starts = all_of(
            [(f"start/{i}", find_minimum, (problem, i)) for i in range(settings.num_starts)]
        )
        chosen = select(starts, settings.num_minima)
        minima = all_of(
            [
                (f"minimum/{row['number']}", describe, (problem, row, RULES, settings.batch_size))
                for row in chosen
            ]
        )
        all_of([(f"logistic/{case[0]}", logistic.compare, case) for case in logistic.CASES])
        units = plan(settings, chosen, minima)
        all_of([(unit.key, live, (unit,)) for unit in units])
    return rows.by_key


def plan(settings: Settings, chosen: list[Row], minima: list[Row]) -> list[Unit]:
    """Return all lives, coldest first, where theory is most at home: one lr per optimizer and temperature, the same at every minimum."""
    units = []
    for target in sorted(settings.temperatures):
        for rule in RULES:
            lr = target / float(np.median([m["temperature"][rule.name] for m in minima]))
            units += [
                Unit(
                    settings.problem, row["number"], tuple(row["w"]), rule, target, lr,
                    settings.batch_size, settings.num_walkers, settings.num_steps,
                )
                for row in chosen
            ]  # fmt: skip
    return units


def _keyed(key: str, function: Callable[..., Row], arguments: tuple[Any, ...]) -> Row:
    return {**function(*arguments), "key": key}


class _Bar:
    """A bar on a terminal, a line every half minute elsewhere."""

    LINE_EVERY = 30.0  # seconds

    def __init__(self, console: Console, settings: Settings) -> None:
        self.console, self.count, self.fresh = console, 0, 0
        self.total = (
            settings.num_starts
            + settings.num_minima * (1 + len(RULES) * len(settings.temperatures))
            + len(logistic.CASES)
        )
        columns = (
            TextColumn("Escapes"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self.bar = Progress(*columns, console=console)
        self.task = self.bar.add_task("", total=self.total)

    def __enter__(self) -> _Bar:
        self.started = self.last = time.monotonic()
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def done(self, number: int, key: str = "") -> None:
        """Count pieces; those without a key were on disk already."""
        self.count, self.fresh = self.count + number, self.fresh + (number if key else 0)
        self.bar.update(self.task, completed=self.count, description=key)
        now = time.monotonic()
        if (
            not self.console.is_terminal
            and number
            and (now - self.last >= self.LINE_EVERY or self.count == self.total or not key)
        ):
            self.last = now
            self.console.print(
                f"{self.count}/{self.total} done after {now - self.started:.0f} s {key or '(on disk already)'}",
                markup=False,
            )
