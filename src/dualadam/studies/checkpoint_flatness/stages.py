"""The batches of a measurement, which report its progress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dualadam.harness.progress import Progress


class Stages:
    """The batches; they report the measure being taken and count the passes over them."""

    def __init__(self, batches: Sequence[Any], progress: Progress, num_stages: int) -> None:
        self.batches, self.progress = batches, progress
        self.stage: str | None = None
        progress.start(num_stages, 0)

    def start(self, stage: str, at_most: int | None = None) -> None:
        """Begin a measure of at most this many passes."""
        self.finish()
        self.stage, self.num_passes = stage, 0
        self.limit = "" if at_most is None else f" of at most {at_most}"
        self.progress.running([stage])

    def finish(self) -> None:
        """End the present measure."""
        if self.stage is not None:
            self.progress.finished(self.stage)

    def __iter__(self) -> Iterator[Any]:
        self.num_passes += 1
        self.progress.running([f"{self.stage}, pass {self.num_passes}{self.limit}"])
        yield from self.batches
