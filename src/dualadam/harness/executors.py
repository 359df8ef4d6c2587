"""Where the pieces of a study run: processes on this machine, or the workers of a Dask cluster.

Both are ``concurrent.futures`` executors.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
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
from urllib.parse import urlsplit

from dualadam.errors import (
    FailedRunsError,
    InvalidValueError,
    MissingExtraError,
    UnreachableError,
)
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
    """Run all pieces, at most ``width()`` at a time, and keep every record as soon as it is there.

    Args:
        pieces: what to run, in this order.
        submit: starts a piece.
        width: asked before each start, since machines come and go.
        keep: stores a record; what it raises ends the study.
        label: names a piece for the progress.
        progress: is told what runs and what is finished.

    Returns:
        The pieces that raised, with their exceptions. The others go on.

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
            except Exception as error:  # reported by the caller; the other pieces go on
                failures.append((piece, error))
            else:
                keep(record)
                progress.finished(label(piece))


@contextlib.contextmanager
def process_executor(workers: int) -> Iterator[tuple[Executor, Width]]:
    """Start processes on this machine, one thread each. They end when this process ends."""
    executor = _Processes(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield executor, lambda: workers
        executor.shutdown()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.kill()  # an unfinished run leaves nothing behind


class _Processes(ProcessPoolExecutor):
    """A pool whose workers ignore SIGINT from their first moment; the parent handles it."""

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        if not hasattr(signal, "pthread_sigmask"):  # on Windows, see _start_worker
            return super().submit(*args, **kwargs)
        if threading.current_thread() is not threading.main_thread():
            return super().submit(*args, **kwargs)  # only the main thread may set a handler
        # submit starts processes. They inherit the mask. Another thread may still take the signal
        # and interrupt this one in the middle of a start, so it is held back here and raised after.
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
    """Prepare a worker: one thread, no SIGINT, and an end together with the parent."""
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

    Runs share the cores, and the last bits of a result do not depend on the number of cores.
    """
    import scipy.linalg  # noqa: F401  threadpoolctl limits only the BLAS libraries that are loaded
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


@contextlib.contextmanager
def dask_executor(address: str) -> Iterator[tuple[Executor, Width]]:
    """Use the workers of a Dask cluster, as many as it has at any time.

    A run whose worker dies runs again on another worker.

    Raises:
        MissingExtraError: dask.distributed is not installed.
        UnreachableError: nothing answers at the address.
        InvalidValueError: the address is malformed, or a worker has several threads: two trainings
            in one process would share torch's random numbers.
    """
    check_reachable(address)
    try:
        from distributed import Client, WorkerPlugin
    except ImportError as error:
        raise MissingExtraError(
            "--cluster needs the extra `cluster`: pip install 'dualadam[cluster]'"
        ) from error

    class OneThread(WorkerPlugin):
        """Runs at the start of every worker, also of those that join later."""

        def setup(self, worker: object) -> None:
            use_one_thread()

    with Client(address, timeout=20, set_as_default=False) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if any(w["nthreads"] > 1 for w in workers.values()):
            raise InvalidValueError(
                "Workers must have one thread each: start them with "
                "`dask worker ADDRESS --nthreads 1 --nworkers N`."
            )
        client.register_plugin(OneThread())
        yield (
            client.get_executor(pure=False),
            lambda: max(1, len(client.scheduler_info(n_workers=-1)["workers"])),
        )


def check_reachable(address: str) -> None:
    """Check that a scheduler listens. Dask's client would try for 20 seconds and print tracebacks.

    Raises:
        InvalidValueError: the address is malformed. UnreachableError: nothing answers.
    """
    wanted = "--cluster must be the address of a Dask scheduler, tcp://HOST:PORT"
    try:
        place = urlsplit(address)
        known = place.scheme in ("tcp", "tls") and place.hostname and place.port
    except ValueError:  # the port is not a number
        known = None
    if not known:
        raise InvalidValueError(f"{wanted}, got {address!r}.")
    try:
        socket.create_connection((place.hostname, place.port), timeout=10).close()
    except OSError as error:
        raise UnreachableError(
            f"{wanted}; nothing answers at {address} ({error.strerror or error})."
        ) from error
