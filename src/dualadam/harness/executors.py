"""Where runs are made: processes on this machine, or the workers of a Dask cluster. Both are ``concurrent.futures`` executors."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any
from urllib.parse import urlsplit

Width = Callable[[], int]  # how many runs may be under way at once


@contextlib.contextmanager
def process_executor(workers: int) -> Iterator[tuple[Executor, Width]]:
    """Processes on this machine, one thread each. They end with this process, however it ends."""
    executor = _Processes(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield executor, lambda: workers
        executor.shutdown()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.kill()  # an interrupted run is worth nothing: its line is written when it is whole


class _Processes(ProcessPoolExecutor):
    """Starts its processes, which it does while work is submitted, deaf to Ctrl-C: it is the parent's business from their first moment."""

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        if not hasattr(
            signal, "pthread_sigmask"
        ):  # on Windows each worker ignores it as soon as it runs
            return super().submit(*args, **kwargs)
        if (
            threading.current_thread() is not threading.main_thread()
        ):  # which alone may set a handler, and is interrupted
            return super().submit(*args, **kwargs)
        struck: list[
            int
        ] = []  # where another thread takes the signal the mask does not hold: half a process would be told nothing
        handler = signal.signal(signal.SIGINT, lambda number, _: struck.append(number))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(*args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            signal.signal(signal.SIGINT, handler)
            if struck:
                signal.raise_signal(signal.SIGINT)


def _start_worker() -> None:
    use_one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def use_one_thread() -> None:
    """Let torch, NumPy and SciPy compute on one thread: runs share the cores, and numbers do not depend on how many there are."""
    import scipy.linalg  # noqa: F401  SciPy brings a BLAS of its own, and only one that is loaded can be told
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


@contextlib.contextmanager
def dask_executor(address: str) -> Iterator[tuple[Executor, Width]]:
    """The workers of a Dask cluster, as many as it has at any time. A run whose worker dies is made again on another.

    Raises:
        ImportError: dask.distributed is not installed. OSError: nothing answers at the address.
        ValueError: it is no address, or a worker has several threads: two trainings in one process would share torch's random numbers.
    """
    _knock(address)
    try:
        from distributed import Client, WorkerPlugin
    except ImportError as error:
        raise ImportError(
            "--cluster needs the extra `cluster`: pip install 'dualadam[cluster]'"
        ) from error

    class OneThread(WorkerPlugin):
        """Runs at the start of every worker, those that join later too."""

        def setup(self, worker: object) -> None:
            use_one_thread()

    with Client(address, timeout=20, set_as_default=False) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if any(w["nthreads"] > 1 for w in workers.values()):
            raise ValueError(
                "Workers must have one thread each: start them with `dask worker ADDRESS --nthreads 1 --nworkers N`."
            )
        client.register_plugin(OneThread())
        yield (
            client.get_executor(pure=False),
            lambda: max(1, len(client.scheduler_info(n_workers=-1)["workers"])),
        )


def _knock(address: str) -> None:
    """See whether anybody listens; dask's client would try for 20 seconds, and its errors come with a traceback from its threads."""
    wanted = "--cluster must be the address of a Dask scheduler, tcp://HOST:PORT"
    try:
        place = urlsplit(address)
        known = place.scheme in ("tcp", "tls") and place.hostname and place.port
    except ValueError:  # a port that is no number
        known = None
    if not known:
        raise ValueError(f"{wanted}, got {address!r}.")
    try:
        socket.create_connection((place.hostname, place.port), timeout=10).close()
    except OSError as error:
        raise OSError(
            f"{wanted}; nobody answers at {address} ({error.strerror or error})."
        ) from error
