"""Running the pieces of a study on an executor, a window of them at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Any, TypeVar

from dualadam.harness.processes import WorkerPool
from dualadam.harness.programs import kill_group
from dualadam.harness.progress import Progress

P = TypeVar("P")  # a piece of work: a run, a point, a minimum
R = TypeVar("R")  # its record
Width = Callable[[], int]  # how many pieces may run at once


def run_window(
    pieces: Iterable[P],
    submit: Callable[[P], Future[R]],
    width: Width,
    keep: Callable[[R], None],
    *,
    label: Callable[[P], str],
    progress: Progress,
    give_up: Callable[[list[tuple[P, Exception]]], bool] = lambda failures: False,
) -> list[tuple[P, Exception]]:
    """Run all pieces, at most ``width()`` at a time, and keep every record as soon as it exists.

    A piece that raises does not stop the others, unless ``give_up`` says so.

    Args:
        pieces: what to run, in this order.
        submit: starts a piece on an executor.
        width: asked before each start, since the workers of a cluster come and go.
        keep: stores a record; an exception from it ends the study.
        label: names a piece for the progress.
        progress: is told which pieces run and which are finished.
        give_up: whether the failures so far are a reason to start no more pieces.

    Returns:
        The pieces that raised, with their exceptions.
    """
    waiting, running = deque(pieces), dict[Future[R], P]()
    failures: list[tuple[P, Exception]] = []
    while True:
        while waiting and len(running) < width():
            piece = waiting.popleft()
            running[submit(piece)] = piece
        if not running:
            return failures
        progress.running([label(piece) for piece in running.values()])
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            piece = running.pop(future)
            try:
                record = future.result()
            except Exception as error:
                failures.append((piece, error))
                if give_up(failures):
                    waiting.clear()
            else:
                keep(record)
                progress.finished(label(piece))


class InlineExecutor(Executor):
    """Runs each call at once in this process, so that a debugger can stop in it.

    Args:
        threads: of torch during a call.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call the function and return its finished future."""
        import torch

        future, threads = Future[Any](), torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        finally:
            torch.set_num_threads(threads)
        return future


@contextlib.contextmanager
def process_executor(workers: int, threads: int = 1) -> Iterator[tuple[Executor, Width]]:
    """Start processes on this machine. They end when this process ends.

    Args:
        workers: number of processes.
        threads: of each process.
    """
    executor = WorkerPool(workers, threads)
    try:
        yield executor, lambda: workers
        executor.shutdown()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            # an exception ends the runs that are not finished, with the programs they started
            if process.pid is None or not kill_group(process.pid):
                process.kill()
