"""The measurement: every implementation on every list of tensors, in interleaved rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dualadam.errors import InvalidValueError
from dualadam.harness.progress import Progress
from dualadam.studies.speed.cases import (
    COMPILED,
    FUSED,
    PATHS,
    REFERENCE,
    MemoryLoop,
    StepPath,
    TensorList,
    memory_loops,
    tensor_lists,
)
from dualadam.studies.speed.record import PathTiming, Quartiles, SpeedRecord, speed_environment
from dualadam.studies.speed.timing import MAX_ROUNDS, clock, interleaved

BEYOND_CACHES = 1_000_000  # parameters above which a step reads from the memory
SUBNORMAL, NORMAL = 1e-40, 1e-3
SUBNORMAL_ELEMENTS = 1_000_000


@dataclass(frozen=True)
class Budget:
    """Seconds for each list, and elements of the large tensor."""

    seconds: float
    large: int


FULL, QUICK = Budget(15.0, 32_000_000), Budget(5.0, 8_000_000)


def measure_speed(
    *,
    quick: bool = False,
    device: str = "cpu",
    compiled: bool = False,
    progress: Progress | None = None,
) -> SpeedRecord:
    """Time all implementations on all lists.

    The memory loops run in the rounds of the fused steps of large lists. A share of the limit is
    the median over these rounds of GB/s relative to the faster loop, since the limit changes from
    minute to minute. Small lists run without the loops, which would empty the caches, and take the
    limit of the last large list.

    Args:
        quick: whether to measure under a minute, with a smaller large tensor.
        device: "cpu" or "cuda".
        compiled: whether to time the fused step inside torch.compile too.
        progress: is told the list that is timed.

    Raises:
        InvalidValueError: the device is missing.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise InvalidValueError(
            f"device must be cpu on this machine, got {device}: torch finds no CUDA device."
        )
    budget, progress = QUICK if quick else FULL, progress or Progress()
    before = speed_environment(device)
    lists = tensor_lists(budget.large)
    progress.start(len(lists) + 1, 0)
    first_limits: dict[str, Quartiles] = {}
    limit_of_round: list[float] = []
    timings: list[PathTiming] = []
    for tensors in lists:
        progress.running([tensors.name])
        use_loops = not first_limits or tensors.num_parameters > BEYOND_CACHES
        loops = memory_loops(budget.large, device) if use_loops else []
        rounds = _time_list(tensors, loops, budget.seconds, device, compiled)
        if loops:
            rates = {loop.name: rounds.rates_of(loop) for loop in loops}
            limit_of_round = [max(values) for values in zip(*rates.values(), strict=True)]
            if not first_limits:
                first_limits = {name: Quartiles.of(values) for name, values in rates.items()}
        timings += [_timing(tensors, path, rounds, limit_of_round) for path in rounds.paths]
        progress.finished(tensors.name)
    progress.running(["subnormal moments"])
    subnormals = {
        path: _subnormal_ratio(path, budget.seconds / 4, device)
        for path in (FUSED, REFERENCE)
        if path.is_available(device)
    }
    progress.finished("subnormal moments")
    return SpeedRecord(before, quick, first_limits, tuple(timings), subnormals)


@dataclass(frozen=True)
class _Rounds:
    """Seconds of every round on one list. The reference is in both groups.

    Attributes:
        paths: in the order of the record.
        fused: of the fused implementations and, by name, of the memory loops.
        others: of the other implementations, ten times as slow: in the same rounds they would
            leave the fused ones few.
        has_loops: whether memory loops ran beside the fused ones.
    """

    paths: Sequence[StepPath]
    fused: dict[StepPath | str, list[float]]
    others: dict[StepPath, list[float]]
    has_loops: bool

    def of(self, path: StepPath) -> list[float]:
        return self.fused[path] if path.is_fused else self.others[path]

    def ratios_of(self, path: StepPath) -> list[float]:
        references = self.fused[REFERENCE] if path.is_fused else self.others[REFERENCE]
        return [t / r for t, r in zip(self.of(path), references, strict=True)]

    def rates_of(self, loop: MemoryLoop) -> list[float]:
        return [loop.num_bytes / t / 1e9 for t in self.fused[loop.name]]


def _time_list(
    tensors: TensorList,
    loops: Sequence[MemoryLoop],
    seconds: float,
    device: str,
    compiled: bool,
) -> _Rounds:
    params = tensors.make(device)
    paths = [path for path in PATHS if path.is_available(device)]
    if compiled and COMPILED.is_available(device):
        paths.append(COMPILED)
    steps = {path: path.step_of(params) for path in paths}
    fused: dict[StepPath | str, Callable[[], Any]] = {
        **{path: step for path, step in steps.items() if path.is_fused},
        **{loop.name: loop.run for loop in loops},
    }
    others = {path: step for path, step in steps.items() if not path.is_fused or path == REFERENCE}
    return _Rounds(
        paths,
        fused=interleaved(fused, seconds / 2, device),
        others=interleaved(others, seconds / 2, device),
        has_loops=bool(loops),
    )


def _timing(
    tensors: TensorList, path: StepPath, rounds: _Rounds, limit_of_round: list[float]
) -> PathTiming:
    times = rounds.of(path)
    num_bytes = tensors.num_parameters * path.bytes_per_parameter
    rate = num_bytes / statistics.median(times) / 1e9
    if rounds.has_loops and path.is_fused:
        share = statistics.median(
            num_bytes / t / 1e9 / limit for t, limit in zip(times, limit_of_round, strict=True)
        )
    else:
        share = rate / statistics.median(limit_of_round)
    return PathTiming(
        list_name=tensors.name,
        path=path,
        num_parameters=tensors.num_parameters,
        num_tensors=len(tensors.shapes),
        num_rounds=len(times),
        seconds=Quartiles.of(times),
        ratio=Quartiles.of(rounds.ratios_of(path)),
        gigabytes_per_second=rate,
        share_of_limit=share,
    )


def _subnormal_ratio(path: StepPath, seconds: float, device: str) -> Quartiles:
    """Return the time of a step on subnormal moments relative to normal ones.

    The gradient is zero, as that of an unused row of an embedding is.
    """
    (param,) = TensorList("one", ((SUBNORMAL_ELEMENTS,),)).make(device)
    param.grad = torch.zeros_like(param)
    optimizer = path.optimizer_of([param])
    optimizer.step()  # makes the state
    moments = [optimizer.state[param][key] for key in ("exp_avg", "exp_avg_sq")]

    def time_on(value: float) -> float:
        optimizer.step()  # warms the caches
        for moment in moments:
            moment.fill_(value)
        return clock(optimizer.step, device)

    ratios: list[float] = []
    begin = time.monotonic()
    while not ratios or (time.monotonic() - begin < seconds and len(ratios) < MAX_ROUNDS):
        subnormal = time_on(SUBNORMAL)
        ratios.append(subnormal / time_on(NORMAL))
    return Quartiles.of(ratios)
