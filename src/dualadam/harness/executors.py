"""Running the pieces of a study, and the processes of this machine that run them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from typing import Any, TypeVar

from dualadam.errors import FailedRunsError
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
) -> list[tuple[P, Exception]]:
    """Run all pieces, at most ``width()`` at a time, and keep every record as soon as it exists.

    A piece that raises does not stop the others.

    Args:
        pieces: what to run, in this order.
        submit: starts a piece on an executor.
        width: asked before each start, since the workers of a cluster come and go.
        keep: stores a record; an exception from it ends the study.
        label: names a piece for the progress.
        progress: is told which pieces run and which are finished.

    Returns:
        The pieces that raised, with their exceptions.

    Raises:
        FailedRunsError: a worker process died.
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
            except BrokenExecutor as error:
                raise FailedRunsError(
                    "A worker process died; it may have run out of memory. "
                    "Start again to go on; --workers 1 needs less memory."
                ) from error
            except Exception as error:
                failures.append((piece, error))
            else:
                keep(record)
                progress.finished(label(piece))


@contextlib.contextmanager
def process_executor(workers: int) -> Iterator[tuple[Executor, Width]]:
    """Start processes on this machine, one thread each. They end when this process ends.

    Args:
        workers: number of processes.
    """
    executor = _Processes(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield executor, lambda: workers
        executor.shutdown()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.kill()  # an exception ends the runs that are not finished


class _Processes(ProcessPoolExecutor):
    """A pool whose workers ignore SIGINT from their first moment; the parent handles it."""

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        if not hasattr(signal, "pthread_sigmask"):  # Windows; _start_worker ignores SIGINT there
            return super().submit(*args, **kwargs)
        if threading.current_thread() is not threading.main_thread():
            return super().submit(*args, **kwargs)  # only the main thread may set a handler
        # submit may start processes, which inherit the mask. Another thread can still receive the
        # signal and interrupt this thread during a start, so it is recorded and raised afterwards.
        received: list[int] = []
        handler = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(*args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            signal.signal(signal.SIGINT, handler)
            if received:
                signal.raise_signal(signal.SIGINT)


def _start_worker() -> None:
    """Prepare a worker: it uses one thread, ignores SIGINT and ends with its parent."""
    use_one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def use_one_thread() -> None:
    """Let torch, NumPy and SciPy compute on one thread.

    The runs of a study share the cores. The last bits of a result depend on the number of threads.
    """
    import scipy.linalg  # noqa: F401  threadpoolctl limits only BLAS libraries that are loaded
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)
