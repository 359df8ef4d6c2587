"""Worker processes on this machine. One that dies fails its own piece of work alone."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from typing import Any

from dualadam.harness.programs import kill_group, lead_group

# for the programs that a worker starts, such as a command of the user's own
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class WorkerDiedError(RuntimeError):
    """The process of a piece of work ended in the middle of it."""


class WorkerPool(Executor):
    """Processes that ignore SIGINT and end with this process.

    Every process is an executor of its own. Where one dies, its piece raises WorkerDiedError, and a
    new process takes its place.

    Args:
        workers: number of processes.
        threads: of torch, NumPy and SciPy in each of them.
    """

    def __init__(self, workers: int, threads: int = 1) -> None:
        self._slots = [_Slot(threads) for _ in range(workers)]

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a piece of work in the process that has the least to do."""
        slot = min(self._slots, key=lambda slot: slot.pending)
        return slot.submit(function, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all processes."""
        for slot in self._slots:
            slot.executor.shutdown(wait, cancel_futures=cancel_futures)


class _Slot:
    """The place of one process."""

    def __init__(self, threads: int) -> None:
        self.pending, self.threads, self.executor = 0, threads, _new_executor(threads)
        self.process: BaseProcess | None = None

    def submit(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[Any]:
        try:
            inner = self._submit(function, args, kwargs)
        except BrokenExecutor:  # its process died after its last piece
            self.executor = _new_executor(self.threads)
            inner = self._submit(function, args, kwargs)
        process, outer = self.process, Future[Any]()
        outer.set_running_or_notify_cancel()
        self.pending += 1

        def pass_on(inner: Future[Any]) -> None:
            self.pending -= 1
            if inner.cancelled():
                outer.set_exception(WorkerDiedError("It was not started."))
            elif isinstance(error := inner.exception(), BrokenExecutor):
                outer.set_exception(WorkerDiedError(how_it_ended(process)))
            elif error is not None:
                outer.set_exception(error)
            else:
                outer.set_result(inner.result())

        inner.add_done_callback(pass_on)
        return outer

    def _submit(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[Any]:
        before = set(multiprocessing.active_children())
        future = self.executor.submit(function, *args, **kwargs)
        for process in set(multiprocessing.active_children()) - before:
            self.process = process  # submit starts it, the first time
        return future


def how_it_ended(process: BaseProcess | None) -> str:
    """Return a sentence about the end of a process that died in the middle of its work."""
    code, deadline = None, time.monotonic() + 5
    # another thread may be reaping the process: its status is then there a moment later
    while process is not None and code is None and time.monotonic() < deadline:
        code = process.exitcode
        time.sleep(0.01)
    if code is None:
        return "its process ended."
    if code >= 0:
        return f"its process ended with exit status {code}."
    name = signal.Signals(-code).name
    memory = ", as the system does where memory runs out" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{memory}."


def _new_executor(threads: int) -> _Process:
    spawn = multiprocessing.get_context("spawn")
    return _Process(1, spawn, initializer=_start_worker, initargs=(threads,))


class _Process(ProcessPoolExecutor):
    """An executor whose process ignores SIGINT from its first moment; the parent handles it."""

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        with _main_hidden():
            return self._submit(*args, **kwargs)

    def _submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        if not hasattr(signal, "pthread_sigmask"):  # Windows; _start_worker ignores SIGINT there
            return super().submit(*args, **kwargs)
        if threading.current_thread() is not threading.main_thread():
            return super().submit(*args, **kwargs)  # only the main thread may set a handler
        # submit may start the process, which inherits the mask. Another thread can still receive
        # the signal and interrupt this thread during the start, so it is recorded and raised after.
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


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """Hide the file of ``__main__``, which a new process would run: a script needs no guard."""
    main = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {}
    for name in ("__file__", "__spec__"):
        if name in main:
            hidden[name] = main.pop(name)
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(hidden)


def _start_worker(threads: int) -> None:
    """Prepare a worker: it sets its threads, ignores SIGINT and ends with its parent.

    The programs that it starts end with it.
    """
    lead_group()
    use_threads(threads)
    os.environ |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
        kill_group(os.getpid())
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def use_threads(threads: int) -> None:
    """Let torch, NumPy and SciPy compute on this many threads.

    The runs of a study share the cores. The last bits of a result depend on the number of threads.
    """
    import scipy.linalg  # noqa: F401  threadpoolctl limits only BLAS libraries that are loaded
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)
