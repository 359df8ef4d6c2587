"""The progress of a study: a bar on a terminal, plain lines elsewhere."""

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


class Progress:
    """Receives the progress of a study. This base class shows nothing."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take back what is shown only while the study runs."""

    def start(self, total: int, done: int) -> None:
        """Receive the number of pieces, and how many of them are on disk already."""

    def running(self, labels: Sequence[str]) -> None:
        """Receive the labels of the pieces that are running."""

    def finished(self, label: str) -> None:
        """Receive the label of a piece that is now on disk."""

    def said(self, sentence: str) -> None:
        """Receive a sentence about a decision of the study."""


class ConsoleProgress(Progress):
    """Shows a bar with the running pieces and the time left; without a terminal, lines.

    Args:
        console: where to print.
        unit: the plural of a piece, such as "runs".
    """

    LINE_EVERY = 10.0  # seconds between two lines without a terminal

    def __init__(self, console: Console, unit: str = "runs") -> None:
        self.console, self.unit = console, unit
        self.total = self.done = self.done_here = 0
        self.started = self.last_line = time.monotonic()
        self.bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{unit}, left"),
            TimeRemainingColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[now]}", style="dim", markup=False),
            console=console,
            speed_estimate_period=120,
        )
        self.task = self.bar.add_task("Running", total=None, now="")

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
        if self.console.is_terminal:  # elsewhere, stop would print an empty line
            self.bar.update(self.task, now="")
            self.bar.stop()

    def start(self, total: int, done: int) -> None:
        """Show the number of pieces and start the clock."""
        self.total, self.done, self.done_here = total, done, 0
        self.started = self.last_line = time.monotonic()
        if done:
            self.console.print(f"{done} of {total} {self.unit} are on disk already.", markup=False)
        self.bar.update(self.task, total=total, completed=done)

    def said(self, sentence: str) -> None:
        """Print the sentence."""
        self.console.print(sentence, markup=False)

    def running(self, labels: Sequence[str]) -> None:
        """Show the running pieces, on a terminal."""
        more = f" and {len(labels) - 2} more" if len(labels) > 2 else ""
        self.bar.update(self.task, now="; ".join(labels[:2]) + more)

    def finished(self, label: str) -> None:
        """Advance the bar, or print a line if the last one is old."""
        self.done, self.done_here = self.done + 1, self.done_here + 1
        self.bar.update(self.task, completed=self.done)
        now = time.monotonic()
        due = now - self.last_line >= self.LINE_EVERY or self.done == self.total
        if not self.console.is_terminal and due:
            self.last_line = now
            left = (now - self.started) / self.done_here * (self.total - self.done)
            self.console.print(
                f"{self.done}/{self.total} {self.unit}, about {left:.0f} s left; last: {label}",
                markup=False,
            )
