"""A measurement of speed, and how it is stored."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dualadam.errors import InvalidValueError
from dualadam.harness.environment import environment, num_cores
from dualadam.optim import fused_status
from dualadam.studies.speed.cases import PATH_BY_LABEL, REFERENCE, StepPath

UNSTEADY = 0.5  # spread above which a median says nothing; a quiet machine has 0.05 to 0.25
MIN_ROUNDS = 4  # below which quartiles say nothing
BUSY = 0.8  # load average per core above which other work disturbs the measurement


class Quartiles(NamedTuple):
    """The 25, 50 and 75 % points of repeated measurements."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quartiles:
        """Return the quartiles of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))

    @property
    def spread(self) -> float:
        """The distance between the quartiles, relative to the median."""
        return (self.high - self.low) / self.median

    @property
    def is_steady(self) -> bool:
        """Whether the repeats agree well enough for their median to be reported."""
        return self.spread <= UNSTEADY


@dataclass(frozen=True)
class PathTiming:
    """The step of one implementation on one list of tensors.

    Attributes:
        list_name: of the tensors.
        path: the implementation.
        num_parameters, num_tensors: of the list.
        num_rounds: repeats.
        seconds: of a step.
        ratio: to torch's fused AdamW in the same round.
        gigabytes_per_second: that a step moves, at the median time.
        share_of_limit: of what the memory allows.
    """

    list_name: str
    path: StepPath
    num_parameters: int
    num_tensors: int
    num_rounds: int
    seconds: Quartiles
    ratio: Quartiles
    gigabytes_per_second: float
    share_of_limit: float

    @property
    def is_beyond_limit(self) -> bool:
        """Whether the share, in whole percents, is more than a step can reach."""
        return round(self.share_of_limit, 2) > 1

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a stored record."""
        return {
            "list": self.list_name,
            "path": self.path.label,
            "parameters": self.num_parameters,
            "tensors": self.num_tensors,
            "rounds": self.num_rounds,
            "seconds": self.seconds,
            "ratio": self.ratio,
            "gigabytes_per_second": self.gigabytes_per_second,
            "share_of_limit": self.share_of_limit,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> PathTiming:
        """Return the timing of an entry."""
        return cls(
            list_name=entry["list"],
            path=PATH_BY_LABEL[entry["path"]],
            num_parameters=entry["parameters"],
            num_tensors=entry["tensors"],
            num_rounds=entry["rounds"],
            seconds=Quartiles(*entry["seconds"]),
            ratio=Quartiles(*entry["ratio"]),
            gigabytes_per_second=entry["gigabytes_per_second"],
            share_of_limit=entry["share_of_limit"],
        )


@dataclass(frozen=True)
class SpeedRecord:
    """Everything that one measurement found.

    Attributes:
        environment: versions, machine, and the load average before the start.
        quick: whether the large tensor and the time were small.
        limits: GB/s of each memory loop, by its name.
        timings: list by list.
        subnormals: time of a step on subnormal moments relative to normal ones.
    """

    environment: dict[str, Any]
    quick: bool
    limits: dict[str, Quartiles]
    timings: tuple[PathTiming, ...]
    subnormals: dict[StepPath, Quartiles]

    @property
    def load_per_core(self) -> float | None:
        """The load average per core before the start; None where the system has none."""
        load = self.environment["load_average"]
        return None if load is None else load / self.environment["cores"]

    @property
    def is_busy(self) -> bool:
        """Whether other processes used the machine before the start."""
        return self.load_per_core is not None and self.load_per_core > BUSY

    def is_steady(self, timing: PathTiming) -> bool:
        """Return whether a timing and the reference of its list are steady, over enough rounds."""
        references = (
            t for t in self.timings if t.path == REFERENCE and t.list_name == timing.list_name
        )
        return (
            timing.num_rounds >= MIN_ROUNDS
            and timing.ratio.is_steady
            and all(t.seconds.is_steady for t in (timing, *references))
        )

    @property
    def unsteady(self) -> list[PathTiming]:
        """The timings that are not steady."""
        return [timing for timing in self.timings if not self.is_steady(timing)]

    def to_json(self) -> dict[str, Any]:
        """Return the stored record."""
        return {
            "environment": self.environment,
            "quick": self.quick,
            "limit_gigabytes_per_second": self.limits,
            "rows": [timing.to_json() for timing in self.timings],
            "subnormals": {path.label: ratio for path, ratio in self.subnormals.items()},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SpeedRecord:
        """Return the record of stored content.

        Raises:
            InvalidValueError: the content is not a record of this study.
        """
        try:
            limits = content["limit_gigabytes_per_second"]
            return cls(
                environment=dict(content["environment"]),
                quick=content["quick"],
                limits={name: Quartiles(*values) for name, values in limits.items()},
                timings=tuple(map(PathTiming.from_json, content["rows"])),
                subnormals={
                    PATH_BY_LABEL[label]: Quartiles(*values)
                    for label, values in content["subnormals"].items()
                },
            )
        except (KeyError, TypeError) as error:
            raise InvalidValueError(
                f"A record must be what `dualadam speed --out` wrote, got one without {error}."
            ) from error


def speed_environment(device: str) -> dict[str, Any]:
    """Return the environment of a measurement that is about to start."""
    return {
        **environment(device),
        "processor": _processor(),
        "cores": num_cores(),
        "torch_instruction_set": torch.backends.cpu.get_cpu_capability(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "fused": fused_status(device=device).reason,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
