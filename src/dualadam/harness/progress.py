"""What a person sees while a study runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from dualadam.compare.execute import Progress, Record


class ConsoleProgress(Progress):
    """A bar with the runs under way and the time left; a line every ten seconds where the output is no terminal."""

    LINE_EVERY = 10.0  # seconds

    def __init__(self, console: Console) -> None:
        self.console = console
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("runs, left"),
            TimeRemainingColumn(),
        )
        now = TextColumn("{task.fields[now]}", style="dim", markup=False)
        self.bar = RichProgress(
            *columns, TimeElapsedColumn(), now, console=console, speed_estimate_period=120
        )
        self.task = self.bar.add_task("Training", total=None, now="")

    def __enter__(self) -> ConsoleProgress:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.update(self.task, now="")
        self.bar.stop()

    def start(self, total: int, done: int) -> None:
        """Say how much there is to do."""
        self.total, self.done, self.fresh = total, done, 0
        self.started = self.last_line = time.monotonic()
        if done:
            self.console.print(f"{done} of {total} runs are on disk already.")
        self.bar.update(self.task, total=total, completed=done)

    def running(self, labels: Sequence[str]) -> None:
        """Show what is under way, on a terminal."""
        self.bar.update(
            self.task,
            now="; ".join(labels[:2]) + (f" and {len(labels) - 2} more" if len(labels) > 2 else ""),
        )

    def finished(self, record: Record) -> None:
        """Count a run."""
        self.done, self.fresh = self.done + 1, self.fresh + 1
        self.bar.update(self.task, completed=self.done)
        now = time.monotonic()
        if not self.console.is_terminal and (
            now - self.last_line >= self.LINE_EVERY or self.done == self.total
        ):
            self.last_line = now
            left = (now - self.started) / self.fresh * (self.total - self.done)
            run = record["run"]
            self.console.print(
                f"{self.done}/{self.total} runs, about {left:.0f} s left; last: {run['arm']}, {run['phase']}, seed {run['seed']}"
            )
