"""Timing several actions in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import torch

Name = TypeVar("Name", bound=Hashable)
MAX_ROUNDS = 500


def clock(action: Callable[[], Any], device: str) -> float:
    """Return the seconds that an action takes; on CUDA between two events."""
    if device == "cpu":
        start = time.perf_counter()
        action()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    action()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3


def interleaved(
    actions: Mapping[Name, Callable[[], Any]], seconds: float, device: str
) -> dict[Name, list[float]]:
    """Time the actions in turn until the time is up, so that other load affects them alike.

    The first round creates the state and warms the caches. It counts only if it took all the time.

    Returns:
        The seconds of every round, by name; round i of one action ran beside round i of the others.
    """
    begin = time.monotonic()
    rounds: list[list[float]] = []
    while len(rounds) < MAX_ROUNDS and (not rounds or time.monotonic() - begin < seconds):
        rounds.append([clock(action, device) for action in actions.values()])
    by_action = zip(*(rounds[1:] or rounds), strict=True)
    return dict(zip(actions, map(list, by_action), strict=True))
