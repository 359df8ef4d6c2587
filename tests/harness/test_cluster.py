"""An address that leads to no scheduler is refused at once; tests/compare runs a real cluster."""

import re
import socket
import sys

import pytest

from dualadam.errors import InvalidValueError, MissingExtraError, UnreachableError
from dualadam.harness.cluster import dask_executor


def test_an_address_where_nothing_listens_is_one_message():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"  # free again after this block
    message = rf"tcp://HOST:PORT; nothing answers at {address} \(Connection refused\)\."
    with pytest.raises(UnreachableError, match=message), dask_executor(address):
        pass


@pytest.mark.parametrize(
    "address", ["nonsense", "xyz://127.0.0.1:1", "tcp://127.0.0.1", "tcp://127.0.0.1:port", ""]
)
def test_a_malformed_address_is_refused(address):
    message = (
        f"--cluster must be the address of a Dask scheduler, tcp://HOST:PORT, got {address!r}."
    )
    with (
        pytest.raises(InvalidValueError, match=f"^{re.escape(message)}$"),
        dask_executor(address),
    ):
        pass


def test_the_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(MissingExtraError, match=r"pip install 'dualadam\[cluster\]'"),
        dask_executor(f"tcp://127.0.0.1:{server.getsockname()[1]}"),
    ):
        pass
