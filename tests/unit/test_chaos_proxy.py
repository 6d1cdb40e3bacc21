"""The fault proxy does to connections what it says, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from chaos.proxy import FaultProxy, Trouble
from stream.services.ports import LOOPBACK, free_ports

#: What an end that answers does at once takes a fraction of it; what must not come is waited for so long.
SOON_S = 5.0
NEVER_S = 0.3


class Echo:
    """A service that gives back whatever it is sent."""

    def __init__(self) -> None:
        self.server = socket.create_server((LOOPBACK, 0))
        self.port: int = self.server.getsockname()[1]
        self.received = 0
        self.reading = threading.Event()
        self.reading.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while self.reading.wait() and (data := connection.recv(65536)):
                    self.received += len(data)
                    connection.sendall(data)
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    service = Echo()
    yield service
    service.reading.set()
    service.server.close()


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def proxy(echo: Echo, port: int) -> Iterator[FaultProxy]:
    with FaultProxy({port: echo.port}) as running:
        yield running


def connect(port: int) -> socket.socket:
    return socket.create_connection((LOOPBACK, port), timeout=SOON_S)


def receive(client: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n and (more := client.recv(n - len(data))):
        data += more
    return data


def answers(client: socket.socket, data: bytes = b"tick") -> bool:
    client.sendall(data)
    return receive(client, len(data)) == data


@pytest.mark.usefixtures("proxy")
def test_it_passes_everything_in_order(port: int) -> None:
    """More than any buffer holds, byte for byte, and the end of a stream too."""
    data = bytes(range(256)) * 4 * 1024
    with connect(port) as client:
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        assert receive(client, len(data)) == data
        sender.join()
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_refuse_resets_what_is_connected_and_refuses_the_rest(proxy: FaultProxy, port: int) -> None:
    """Until it passes again."""
    with connect(port) as client:
        assert answers(client)
        proxy.trouble(port, Trouble("refuse"))
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(port)

    proxy.trouble(port, Trouble())
    with connect(port) as client:
        assert answers(client)


def test_cut_resets_what_is_connected_and_takes_new_connections(
    proxy: FaultProxy, port: int
) -> None:
    """A RST, not an orderly end."""
    with connect(port) as client:
        assert answers(client)
        proxy.trouble(port, Trouble("cut"))
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with connect(port) as client:
        assert answers(client)


def test_delay_holds_back_both_ways(proxy: FaultProxy, port: int) -> None:
    """A question and its answer are each as late as was asked for."""
    proxy.trouble(port, Trouble("delay", delay_ms=100, jitter_ms=20, seed=1))
    with connect(port) as client:
        began = time.monotonic()
        assert answers(client)
        assert time.monotonic() - began >= 0.2


def test_throttle_lets_so_many_bytes_through(proxy: FaultProxy, port: int) -> None:
    """100 kB at 200 kB/s take half a second at least, there and back."""
    proxy.trouble(port, Trouble("throttle", bytes_per_s=200_000))
    with connect(port) as client:
        began = time.monotonic()
        assert answers(client, bytes(100_000))
        assert time.monotonic() - began >= 0.5


def test_half_open_swallows_both_ways_and_never_closes(
    proxy: FaultProxy, port: int, echo: Echo
) -> None:
    """New connections are accepted, nothing is answered, and nothing reaches the service."""
    with connect(port) as old:
        assert answers(old)
        before = echo.received
        proxy.trouble(port, Trouble("half-open"))
        with connect(port) as new:
            for client in (old, new):
                client.sendall(b"anyone?")
                client.settimeout(NEVER_S)
                with pytest.raises(TimeoutError):
                    client.recv(1)
            assert echo.received == before

            proxy.trouble(port, Trouble())
            for client in (old, new):
                client.settimeout(SOON_S)
                with pytest.raises(ConnectionResetError):
                    client.recv(1)


def test_it_holds_no_more_than_its_buffers(proxy: FaultProxy, port: int, echo: Echo) -> None:
    """A service that reads nothing stops its sender: the proxy and the kernel's buffers hold a bounded part."""
    assert proxy.connections(port) == 0
    echo.reading.clear()
    with connect(port) as client:
        client.settimeout(NEVER_S)
        with pytest.raises(TimeoutError):
            client.sendall(bytes(256 * 1024 * 1024))
        assert proxy.connections(port) == 1
    echo.reading.set()


def test_a_service_that_is_away_ends_the_connection(port: int) -> None:
    """As without a proxy, a client hears soon that nobody is there."""

    def ask() -> None:
        with connect(port) as client:
            client.recv(1)

    (nobody,) = free_ports(1)
    with FaultProxy({port: nobody}), pytest.raises(ConnectionResetError):
        ask()
