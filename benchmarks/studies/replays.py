"""Adam with the schedules that the shadows of study 6 recorded, an optimizer class per schedule.

    python benchmarks/studies/replays.py FOLDER

writes the schedules of a finished ``variants_fashion-mnist`` in FOLDER to ``schedules/``: the mean
over the judged seeds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from dualadam.compare import ReplayedSchedule, ShadowResult, read_records

SCHEDULES = Path(__file__).resolve().parent / "schedules"


class Replay(ReplayedSchedule):
    """Adam with the schedule of the arm that a subclass names."""

    arm: str

    def __init__(self, params: Any, lr: float = 1e-3, weight_decay: float = 0.0) -> None:
        super().__init__(params, file_of(self.arm), lr=lr, weight_decay=weight_decay)


class DualAdam(Replay):
    """DualAdam's schedule."""

    arm = "DualAdam"


class NAdam(Replay):
    """NAdam's schedule."""

    arm = "NAdam + warm-up"


class RAdam(Replay):
    """RAdam's schedule."""

    arm = "RAdam + warm-up"


class AdaBelief(Replay):
    """AdaBelief's schedule."""

    arm = "AdaBelief + warm-up"


class Lion(Replay):
    """Lion's schedule."""

    arm = "Lion + warm-up"


class ScheduleFree(Replay):
    """The schedule of Schedule-Free AdamW."""

    arm = "Schedule-Free + warm-up"


def file_of(arm: str) -> Path:
    """Return the file with the schedule of an arm."""
    return SCHEDULES / f"{arm.split()[0].lower()}.json"


def write_schedules(folder: Path) -> None:
    """Write the schedule of every class here from the judged runs of a finished study."""
    records = list(read_records(folder))
    SCHEDULES.mkdir(exist_ok=True)
    for cls in Replay.__subclasses__():
        runs = [r.shadow for r in records if r.run.arm == cls.arm and r.shadow]
        ShadowResult.mean(runs).write(file_of(cls.arm))


if __name__ == "__main__":
    write_schedules(Path(sys.argv[1]))
