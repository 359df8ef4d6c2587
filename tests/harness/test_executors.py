"""Pieces run side by side, a failure stops no other piece, and workers obey their parent."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from types import SimpleNamespace

import pytest
import torch

from dualadam.errors import FailedRunsError
from dualadam.harness import processes
from dualadam.harness.executors import process_executor, run_window
from dualadam.harness.progress import Progress


class Watching(Progress):
    """Keeps what it is told."""

    def __init__(self):
        self.widths, self.labels = [], []

    def running(self, labels):
        self.widths.append(len(labels))

    def finished(self, label):
        self.labels.append(label)


def at_once(piece: int) -> Future[int]:
    """Finish a piece at once; its record is its square, and pieces below 0 raise."""
    future: Future[int] = Future()
    if piece < 0:
        future.set_exception(ArithmeticError(f"below 0: {piece}"))
    else:
        future.set_result(piece**2)
    return future


def window(pieces, submit=at_once, width=lambda: 2, keep=lambda record: None, progress=None):
    return run_window(
        pieces, submit, width, keep, label="piece {}".format, progress=progress or Progress()
    )


def test_every_record_is_kept_and_told():
    kept, progress = [], Watching()
    assert window([3, 1, 2], keep=kept.append, progress=progress) == []
    assert sorted(kept) == [1, 4, 9]
    assert sorted(progress.labels) == ["piece 1", "piece 2", "piece 3"]


def test_a_piece_that_raises_is_returned_and_does_not_stop_the_others():
    kept, progress = [], Watching()
    failures = window([-1, 2, -3, 4], keep=kept.append, progress=progress)
    assert sorted(kept) == [4, 16]
    assert sorted((piece, str(error)) for piece, error in failures) == [
        (-3, "below 0: -3"),
        (-1, "below 0: -1"),
    ]
    assert sorted(progress.labels) == ["piece 2", "piece 4"]


def test_no_more_pieces_run_at_once_than_the_width_which_may_change():
    widths = iter([1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3])
    progress = Watching()
    waiting = []

    def submit(piece):
        waiting.append(future := Future())
        return future

    def finish_one_after_another():
        for piece in range(6):
            while len(waiting) <= piece:
                time.sleep(0.001)
            waiting[piece].set_result(piece)

    finisher = threading.Thread(target=finish_one_after_another)
    finisher.start()
    assert window(range(6), submit, lambda: next(widths, 3), progress=progress) == []
    finisher.join()
    assert progress.widths[0] == 1
    assert max(progress.widths) <= 3


def test_what_the_store_raises_ends_the_study():
    def full(record):
        raise FailedRunsError("full")

    with pytest.raises(FailedRunsError, match="full"):
        window([1, 2], keep=full)


DEATHS = {
    "an exit": ((os._exit, 3), "its process ended with exit status 3."),
    "an exit that claims success": ((os._exit, 0), "its process ended with exit status 0."),
    "a crash": ((signal.raise_signal, signal.SIGSEGV), "its process was ended by SIGSEGV."),
    "a kill": (
        (signal.raise_signal, signal.SIGKILL),
        "its process was ended by SIGKILL, as the system does where memory runs out.",
    ),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_worker_that_dies_fails_its_own_piece_and_a_new_one_takes_its_place(death: str):
    (function, argument), sentence = DEATHS[death]
    calls = [(os.getpid,), (function, argument), (os.getpid,), (os.getpid,)]
    kept: list[int] = []
    with process_executor(2) as (executor, width):
        failures = run_window(
            calls,
            lambda call: executor.submit(*call),
            width,
            kept.append,
            label=str,
            progress=Progress(),
        )
    assert [(call[0], str(error)) for call, error in failures] == [(function, sentence)]
    assert len(kept) == 3


def test_workers_have_one_thread_and_ignore_ctrl_c():
    with process_executor(1) as (executor, width):
        assert width() == 1
        assert executor.submit(torch.get_num_threads).result(timeout=60) == 1
        handler = executor.submit(signal.getsignal, signal.SIGINT).result(timeout=60)
        assert handler == signal.SIG_IGN


def test_an_exception_kills_the_workers_and_what_they_run():
    started = time.monotonic()

    def study():
        with process_executor(1) as (executor, _):
            executor.submit(os.getpid).result(timeout=60)
            executor.submit(time.sleep, 600)
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        study()
    while multiprocessing.active_children() and time.monotonic() - started < 300:
        time.sleep(0.05)  # the pool's own thread reaps them
    assert multiprocessing.active_children() == []
    assert time.monotonic() - started < 300  # the sleeping worker was not waited for


def test_workers_start_where_signals_cannot_be_blocked_as_on_windows(monkeypatch):
    kept = ("SIGINT", "SIG_IGN", "signal")  # all that Windows has of what the executors use
    theirs = SimpleNamespace(**{name: getattr(signal, name) for name in kept})
    monkeypatch.setattr(processes, "signal", theirs)
    with process_executor(1) as (executor, _):
        assert executor.submit(torch.get_num_threads).result(timeout=60) == 1


def test_an_interrupt_that_another_thread_takes_waits_until_the_processes_are_started(monkeypatch):
    whole, now = [], threading.Event()
    striker = threading.Thread(target=lambda: now.wait() and signal.raise_signal(signal.SIGINT))
    striker.start()  # before the submit, or it would inherit the mask of the submitting thread

    def submit(self, *args):
        now.set()
        striker.join()
        whole.append(args)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit)
    with process_executor(1) as (executor, _), pytest.raises(KeyboardInterrupt):
        executor.submit(print)
    assert whole == [(print,)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
