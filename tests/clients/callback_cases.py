"""What the tests of the callbacks share: a training's numbers, read back from a tracker's files."""

from __future__ import annotations

from pathlib import Path

import pytest

STEPS, HAND_OVER = 24, 8
# with a distance of 6 and 4 points in the hand-over
LOOKED_AT = [1, 2, 4, 6, 8, 12, 18, 24]
WATCH = {"every": 6, "points_in_hand_over": 4}


def tensorboard_curve(folder: Path, tag: str) -> dict[int, float]:
    """Return the values of a tag by step, from all event files under a folder."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="make test-integrations installs it",
    )
    curve: dict[int, float] = {}
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        events = accumulator.EventAccumulator(str(file)).Reload()
        if tag in events.Tags()["scalars"]:
            curve |= {event.step: event.value for event in events.Scalars(tag)}
    return curve
