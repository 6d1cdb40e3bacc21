"""A TCP proxy that breaks connections in the ways in which networks do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from stream.services.ports import LOOPBACK

Mode = Literal["pass", "refuse", "cut", "delay", "throttle", "half-open"]

#: Bytes of one connection that the proxy holds in each direction, at most: what it reads at once, and what it has not
#: written yet. The rest waits in the sender.
BUFFERED_BYTES = 64 * 1024

#: To close with this pending sends a RST: nothing lingers.
_NO_LINGER = struct.pack("ii", 1, 0)

_ANSWER_S = 10.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to the connections of one link.

    Attributes
    ----------
    mode
        `pass` hands everything on; `refuse` resets what is connected and refuses what comes; `cut` resets what is
        connected, once, and then passes; `delay` holds back whatever arrives; `throttle` lets only so much through;
        `half-open` keeps accepting and reading, and swallows all of it in both directions.
    delay_ms, jitter_ms
        Of `delay`: the least time, and what chance adds to it at most.
    bytes_per_s
        Of `throttle`, for each connection and direction.
    seed
        Of the jitter.
    """

    mode: Mode = "pass"
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    bytes_per_s: float = 0.0
    seed: int = 0


class FaultProxy:
    """Links on the loopback, each from a port of ours to a port of a service, in a thread of their own.

    Parameters
    ----------
    links
        For each port to listen on, the port to connect to.

    Examples
    --------
    >>> with FaultProxy({15010: 6379}) as proxy:  # doctest: +SKIP
    ...     proxy.trouble(15010, Trouble("delay", delay_ms=50, jitter_ms=20))
    """

    def __init__(self, links: Mapping[int, int]) -> None:
        self._links = {port: _Link(port, service) for port, service in links.items()}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def trouble(self, port: int, trouble: Trouble) -> None:
        """Trouble one link from now on; what was broken before stays broken."""
        self._call(self._links[port].take(trouble))

    def connections(self, port: int) -> int:
        """Count the connections of a link that have not ended."""

        async def count() -> int:
            return len(self._links[port].pairs)

        return self._call(count())

    def __enter__(self) -> Self:
        self._thread.start()
        for link in self._links.values():
            self._call(link.listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for link in self._links.values():
            self._call(link.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_S)


class _Link:
    """One listening port, and the connections that came through it."""

    def __init__(self, port: int, service: int) -> None:
        self.port = port
        self.service = service
        self.state = Trouble()
        self.random = random.Random(0)
        self.pairs: set[_Pair] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, LOOPBACK, self.port, limit=BUFFERED_BYTES
            )

    async def take(self, trouble: Trouble) -> None:
        before, self.state = self.state, trouble
        self.random = random.Random(trouble.seed)
        if trouble.mode in ("refuse", "cut"):
            self._reset(self.pairs)
        elif before.mode == "half-open":
            # What was swallowed is missing: such a connection can only be reset.
            self._reset({pair for pair in self.pairs if pair.swallowed})
        if trouble.mode == "refuse":
            self._deafen()
        else:
            await self.listen()

    async def close(self) -> None:
        self._deafen()
        self._reset(self.pairs)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _reset(self, pairs: set[_Pair]) -> None:
        for pair in list(pairs):
            pair.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair(self, writer)
        task = asyncio.current_task()
        assert task is not None
        self.pairs.add(pair)
        self._tasks.add(task)
        try:
            await pair.serve(reader)
        except (OSError, asyncio.CancelledError):
            # A service that is away, a peer that has gone: to the other end the connection is lost.
            pair.reset()
        finally:
            self.pairs.discard(pair)
            self._tasks.discard(task)


class _Pair:
    """One connection through a link: the client's end, and the service's once it is connected."""

    def __init__(self, link: _Link, client: asyncio.StreamWriter) -> None:
        self.swallowed = False
        self._link = link
        self._ends = [client]

    def reset(self) -> None:
        for end in self._ends:
            raw = end.get_extra_info("socket")
            if raw is not None and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            end.transport.abort()

    async def serve(self, from_client: asyncio.StreamReader) -> None:
        (client,) = self._ends
        if self._link.state.mode == "half-open":
            self.swallowed = True
            while await from_client.read(BUFFERED_BYTES):
                pass
            self.reset()
            return
        from_service, service = await asyncio.open_connection(
            LOOPBACK, self._link.service, limit=BUFFERED_BYTES
        )
        self._ends.append(service)
        if client.transport.is_closing():
            self.reset()
            return
        await asyncio.gather(self._pump(from_client, service), self._pump(from_service, client))
        for end in self._ends:
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        sink.transport.set_write_buffer_limits(high=BUFFERED_BYTES)
        while chunk := await source.read(BUFFERED_BYTES):
            await self._hold(len(chunk))
            if self._link.state.mode == "half-open":
                self.swallowed = True
                continue
            sink.write(chunk)
            await sink.drain()
        if sink.can_write_eof() and not sink.transport.is_closing():
            sink.write_eof()

    async def _hold(self, n_bytes: int) -> None:
        state = self._link.state
        if state.mode == "delay":
            await asyncio.sleep(
                (state.delay_ms + self._link.random.uniform(0, state.jitter_ms)) / 1000
            )
        elif state.mode == "throttle":
            await asyncio.sleep(n_bytes / state.bytes_per_s)
