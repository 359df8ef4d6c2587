"""The progress of a study in a notebook, and what shows it where."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from dualadam.harness.progress import ConsoleProgress, Progress


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class NotebookProgress(Progress):
    """Shows one line below the cell: a bar, the time left and the running pieces.

    Args:
        unit: the plural of a piece, such as "runs".
    """

    def __init__(self, unit: str = "runs") -> None:
        self.unit, self.total, self.done, self.done_here = unit, 0, 0, 0
        self.now, self.started = "", time.monotonic()
        self.handle: Any = None

    def start(self, total: int, done: int) -> None:
        """Show the number of pieces and start the clock."""
        from IPython.display import DisplayHandle

        self.total, self.done, self.done_here = total, done, 0
        self.now, self.started = "", time.monotonic()
        self.handle = DisplayHandle()
        self.handle.display(self.line(), raw=True)

    def running(self, labels: Sequence[str]) -> None:
        """Show the running pieces."""
        more = f" and {len(labels) - 2} more" if len(labels) > 2 else ""
        self.now = "; ".join(labels[:2]) + more
        self.handle.update(self.line(), raw=True)

    def finished(self, label: str) -> None:
        """Advance the bar."""
        self.done, self.done_here = self.done + 1, self.done_here + 1
        if self.done == self.total:
            self.now = ""
        self.handle.update(self.line(), raw=True)

    def said(self, sentence: str) -> None:
        """Show the sentence on a line of its own."""
        from IPython.display import DisplayHandle

        DisplayHandle().display({"text/plain": sentence}, raw=True)

    def line(self) -> dict[str, str]:
        """Return the line by its type: as HTML with a bar, and as text."""
        seconds = time.monotonic() - self.started
        clock = f"{seconds:.0f} s"
        if self.done_here and self.done < self.total:
            left = seconds / self.done_here * (self.total - self.done)
            clock = f"about {left:.0f} s left"
        parts = [f"{self.done} of {self.total} {self.unit}", clock, self.now]
        text = "; ".join(filter(None, parts))
        bar = f'<progress value="{self.done}" max="{self.total}"></progress>'
        return {"text/html": f"{bar} {html.escape(text)}", "text/plain": text}


def choose_progress() -> Progress:
    """Return a bar in a notebook and on a terminal; elsewhere nothing is shown."""
    if in_notebook():
        return NotebookProgress()
    console = Console(stderr=True, markup=False, highlight=False)
    return ConsoleProgress(console) if console.is_terminal else Progress()
