"""How many runs a study makes side by side, and on how many threads each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import NamedTuple

from dualadam.errors import InvalidValueError
from dualadam.harness.cluster import dask_executor
from dualadam.harness.environment import num_cores
from dualadam.harness.executors import InlineExecutor, Width, process_executor


class Workers(NamedTuple):
    """Processes and the threads of each."""

    processes: int  # 0: everything in this process
    threads: int


def choose_workers(workers: int | None, threads: int | None, device: str) -> Workers:
    """Return how the cores of this machine are shared.

    Args:
        workers: processes; None takes as many as the cores allow, or one on a GPU.
        threads: of each; None takes one.
        device: "cpu", or a GPU.

    Raises:
        InvalidValueError: a number is out of range, or runs of several threads would have more
            threads than the machine has cores.
    """
    cores = num_cores()
    if workers is not None and workers < 0:
        raise InvalidValueError(f"workers must be at least 0, got {workers}.")
    each = 1 if threads is None else threads
    if not 1 <= each <= max(cores, 1):
        raise InvalidValueError(
            f"threads must be from 1 to the number of cores here, {cores}, got {each}."
        )
    if workers is None:
        return Workers(cores // each if device == "cpu" else 1, each)
    if each > 1 and workers * each > cores:
        raise InvalidValueError(
            f"workers x threads must be at most the number of cores here, {cores}, got "
            f"{workers} x {each} = {workers * each}. With {each} threads, {cores // each} "
            f"worker{'s fit' if cores // each > 1 else ' fits'}."
        )
    return Workers(workers, each)


def side_by_side(workers: int | None, threads: int | None, device: str) -> str:
    """Return the chosen workers as text."""
    chosen = choose_workers(workers, threads, device)
    also = f" on {chosen.threads} threads each" if chosen.threads > 1 else ""
    return f"{chosen.processes} side by side{also}"


def choose_executor(
    workers: int | None, threads: int | None, device: str, cluster: str | None
) -> contextlib.AbstractContextManager[tuple[Executor, Width]]:
    """Return the workers of a study; see ``choose_workers``.

    Args:
        workers, threads, device: as for ``choose_workers``.
        cluster: the address of a Dask scheduler, instead of workers.

    Raises:
        InvalidValueError: a number is out of range, or threads are given with a cluster.
    """
    if cluster:
        if threads not in (None, 1):
            raise InvalidValueError(
                f"threads must be left out with a cluster, whose workers have one each, "
                f"got {threads}."
            )
        return dask_executor(cluster)
    chosen = choose_workers(workers, threads, device)
    if chosen.processes:
        return process_executor(chosen.processes, chosen.threads)
    return _inline(chosen.threads)


@contextlib.contextmanager
def _inline(threads: int) -> Iterator[tuple[Executor, Width]]:
    yield InlineExecutor(threads), lambda: 1
