"""The workers of a Dask cluster as an executor."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import Executor
from urllib.parse import urlsplit

from dualadam.errors import InvalidValueError, MissingExtraError, UnreachableError
from dualadam.harness.executors import Width
from dualadam.harness.processes import use_threads


@contextlib.contextmanager
def dask_executor(address: str) -> Iterator[tuple[Executor, Width]]:
    """Use the workers of a Dask cluster, as many as it has at any time.

    A run whose worker dies is repeated on another worker.

    Args:
        address: of the scheduler, tcp://HOST:PORT.

    Raises:
        MissingExtraError: dask.distributed is not installed.
        UnreachableError: nothing answers at the address.
        InvalidValueError: the address is malformed, or a worker has several threads. Two runs in
            one process would share torch's random numbers.
    """
    check_reachable(address)
    try:
        from distributed import Client, WorkerPlugin
    except ImportError as error:
        raise MissingExtraError(
            "--cluster needs the extra `cluster`: pip install 'dualadam[cluster]'"
        ) from error

    class OneThread(WorkerPlugin):
        """Limits every worker at its start, also workers that join later."""

        def setup(self, worker: object) -> None:
            use_threads(1)

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
        InvalidValueError: the address is malformed.
        UnreachableError: nothing answers.
    """
    wanted = "--cluster must be the address of a Dask scheduler, tcp://HOST:PORT"
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("tcp", "tls") and parts.hostname and parts.port
    except ValueError:  # the port is not a number
        known = None
    if not known:
        raise InvalidValueError(f"{wanted}, got {address!r}.")
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=10).close()
    except OSError as error:
        raise UnreachableError(
            f"{wanted}; nothing answers at {address} ({error.strerror or error})."
        ) from error
