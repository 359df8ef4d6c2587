"""What every experiment has: points to measure, rows to judge, and sometimes a figure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

from matplotlib.figure import Figure

from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.measurement import Measurement
from dualadam.studies.escape_landscapes.point import Point
from dualadam.studies.escape_landscapes.row import Row

Results = Mapping[str, Measurement]  # by the key of the point
LIMITS = "where it fails"  # the table of all experiments outside the theory's assumptions


class Experiment(ABC):
    """One experiment at one effort. A subclass is one file of ``experiments/``.

    Attributes:
        name: names the figure's file.
        table: the table of its rows.
        claim: what the rows are about, a phrase for the conclusion.
        points: what is measured; experiments may share points.
    """

    name: ClassVar[str]
    table: ClassVar[str]
    claim: ClassVar[str]
    points: tuple[Point, ...] = ()

    @abstractmethod
    def __init__(self, effort: Effort) -> None: ...

    @abstractmethod
    def rows(self, results: Results) -> list[Row]:
        """Return the rows, from results that hold all points."""

    def figure(self, results: Results) -> Figure | None:
        """Return the figure, or None."""
        return None


def in_order(points: Iterable[Point], results: Results) -> list[Measurement]:
    """Return the measurements of points, in the order of what is varied."""
    return [results[point.key] for point in sorted(points, key=lambda point: point.x)]
