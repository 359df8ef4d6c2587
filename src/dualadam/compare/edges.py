"""Whether a chosen setting lies on the edge of what was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dualadam.compare.extension import Side


class Edge(NamedTuple):
    """A chosen value that no tried value exceeds on one side: better ones may lie beyond."""

    setting: str
    side: Side
    value: float


def edges_of(chosen: Mapping[str, Any], tried: Sequence[Mapping[str, Any]]) -> list[Edge]:
    """Return the settings of a chosen point that are the smallest or the largest value tried.

    Points are quasi-random and seldom lie at the ends of their range, so the edge is the first or
    the last tried value in sorted order. A setting that does not differ between points has none.

    Example:
        >>> tried = [{"lr": 0.1, "eps": 1e-8}, {"lr": 0.3, "eps": 1e-8}, {"lr": 0.2, "eps": 1e-8}]
        >>> edges_of(tried[1], tried), edges_of(tried[2], tried)
        ([Edge(setting='lr', side='high', value=0.3)], [])
    """
    found = []
    for name, value in chosen.items():
        values = [point[name] for point in tried]
        if not all(isinstance(v, int | float) for v in values) or len(set(values)) < 2:
            continue
        if value == min(values):
            found.append(Edge(name, "low", value))
        elif value == max(values):
            found.append(Edge(name, "high", value))
    return found
