"""The page of a study that is running, kept fresh."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from dualadam.compare.execution import StudyStore
from dualadam.compare.unfinished import survey
from dualadam.compare.unfinished_report import draw_report, write_page
from dualadam.harness.progress import Progress

LEAST_SECONDS = 5.0  # between two pages
MOST_OF_THE_TIME = 0.05  # that drawing may take


class LiveReport(Progress):
    """Writes the page of a study again while it runs; each new page replaces the whole file.

    Drawing takes at most a twentieth of the time. Where an exception ends the study, the last page
    says what there is and no longer loads itself.

    Args:
        store: of the study.
        progress: is told the same.
    """

    def __init__(self, store: StudyStore, progress: Progress) -> None:
        self.store, self.progress = store, progress
        self.next_page = time.monotonic()

    def start(self, total: int, done: int) -> None:
        """Write the first page."""
        self.progress.start(total, done)
        self._write()

    def said(self, sentence: str) -> None:
        """Pass a sentence on."""
        self.progress.said(sentence)

    def running(self, labels: Sequence[str]) -> None:
        """Pass the running pieces on."""
        self.progress.running(labels)

    def finished(self, label: str) -> None:
        """Write a page if the last one is old enough."""
        self.progress.finished(label)
        if time.monotonic() >= self.next_page:
            self._write()

    def _write(self) -> None:
        started = time.monotonic()
        study = survey(self.store.spec, self.store.records.values())
        if study is not None:
            write_page(self.store.folder, study, reload_every=round(LEAST_SECONDS))
        now = time.monotonic()
        self.next_page = now + max(LEAST_SECONDS, (now - started) / MOST_OF_THE_TIME)

    def __enter__(self) -> LiveReport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            draw_report(self.store.folder)
