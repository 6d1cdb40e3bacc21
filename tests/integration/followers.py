"""A publisher of made-up levels, followers in both forms of the client, and a network that may swallow them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import Any, Literal

import redis.asyncio

from stream.client import AsyncLevels, Event, Levels, Lost, Reconnected, Update
from stream.errors import ServiceError
from stream.publish.redis import Message, RedisSink
from stream.wire.names import RedisNames

Form = Literal["sync", "asyncio"]

STREAM_LENGTH = 100_000
#: A heartbeat every so often; once a second in the field.
BEAT_S = 0.2

_numbers = count(1)


# ---- a publisher ---------------------------------------------------------------------------------


class Publisher:
    """Publishes made-up levels through the real sink: level 1000.00000007 is the seventh."""

    def __init__(self, url: str, prefix: str) -> None:
        self.names = RedisNames(prefix)
        self.epoch = 1
        self.seq: dict[str, int] = {}
        self.admin: Any = redis.asyncio.from_url(url)
        self._url = url
        self._sink = self._new_sink()
        self._again = False

    def _new_sink(self) -> RedisSink:
        return RedisSink(self._url, names=self.names, stream_length=STREAM_LENGTH)

    async def publish(
        self, *codes: str, packed: bool = False, padding: int = 0, more: str = '"up":3'
    ) -> None:
        published_ns = time.time_ns()
        messages = [self._message(code, published_ns, padding, more) for code in codes]
        send = self._sink.publish_packed if packed else self._sink.publish
        await send(messages, epoch=self.epoch, again=self._again)
        self._again = True

    def _message(self, code: str, published_ns: int, padding: int, more: str) -> Message:
        self.seq[code] = seq = self.seq.get(code, 0) + 1
        text = (
            f'{{"v":1,"code":"{code}","epoch":{self.epoch},"seq":{seq},"level":1000.{seq:08d},'
            f'"published_ns":{published_ns},"name":"{"x" * padding}",{more}}}'
        )
        return Message(code, seq, text.encode())

    def start_again(self) -> None:
        """Be a new publisher, or one that found Redis empty."""
        self.epoch += 1
        self.seq.clear()
        self._again = False

    async def reconnect(self) -> None:
        """Find a Redis that was started again, empty."""
        old, self._sink = self._sink, self._new_sink()
        await old.close()
        self._again = False

    async def beat(self) -> None:
        while True:
            with contextlib.suppress(ServiceError):
                await self._sink.beat(
                    b'{"published_ns":1,"phase":"regular","indexes":2}', epoch=self.epoch
                )
            await asyncio.sleep(BEAT_S)

    async def close(self) -> None:
        await self._sink.close()
        await self.admin.aclose()

    # ---- what befalls subscribers

    async def subscribers(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = await self.admin.client_list(_type="pubsub")
        return found

    async def cut(self) -> None:
        """Close every subscription, as Redis does when it cuts one off."""
        await self.admin.client_kill_filter(_type="pubsub")


def new_publisher(url: str) -> Publisher:
    """Make a publisher under a prefix of its own."""
    return Publisher(url, f"client{next(_numbers)}:")


@asynccontextmanager
async def publishing(url: str) -> AsyncIterator[Publisher]:
    """Have a publisher under a prefix of its own, with its heartbeat."""
    publisher = new_publisher(url)
    beating = asyncio.create_task(publisher.beat())
    try:
        yield publisher
    finally:
        beating.cancel()
        await publisher.close()


# ---- a follower ----------------------------------------------------------------------------------


class Following:
    """Takes events in a thread of its own, in either form of the client."""

    def __init__(self, form: Form, url: str, prefix: str, **options: Any) -> None:
        self.events: list[Event] = []
        self.levels: Levels | AsyncLevels
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._go = threading.Event()
        self._go.set()
        self._waits = threading.Event()
        if form == "sync":
            self.levels = Levels(url, prefix=prefix, **options)
            run: Callable[[], None] = self._take
        else:
            self.levels = AsyncLevels(url, prefix=prefix, **options)

            def run() -> None:
                asyncio.run(self._take_async())

        self._thread = threading.Thread(target=self._guard, args=(run,))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._go.set()
        self._thread.join(20)
        if self._error is not None:
            raise self._error

    def pause(self) -> None:
        """Be busy with something else, from now on."""
        self._waits.clear()
        self._go.clear()
        assert self._waits.wait(10)

    def resume(self) -> None:
        self._go.set()

    def _guard(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - raised again by `stop`
            self._error = error

    def _take(self) -> None:
        assert isinstance(self.levels, Levels)
        with self.levels as levels:
            while not self._stop.is_set():
                self._keep(levels.get(timeout_s=0.05))

    async def _take_async(self) -> None:
        assert isinstance(self.levels, AsyncLevels)
        async with self.levels as levels:
            while not self._stop.is_set():
                self._keep(await levels.get(timeout_s=0.05))

    def _keep(self, event: Event | None) -> None:
        if event is not None:
            self.events.append(event)
        if not self._go.is_set():
            self._waits.set()
            self._go.wait()

    @property
    def updates(self) -> list[Update]:
        return [event for event in list(self.events) if isinstance(event, Update)]

    def of(self, code: str) -> list[Update]:
        return [update for update in self.updates if update.code == code]

    def keys(self, code: str = "US1000") -> list[tuple[int, int]]:
        return [update.key for update in self.of(code)]

    def last(self, code: str = "US1000") -> tuple[int, int] | None:
        return max(self.keys(code), default=None)

    @property
    def statuses(self) -> list[Lost | Reconnected]:
        return [event for event in list(self.events) if not isinstance(event, Update)]


@contextmanager
def following(form: Form, url: str, publisher: Publisher, **options: Any) -> Iterator[Following]:
    follower = Following(form, url, publisher.names.prefix, **options)
    follower.start()
    try:
        yield follower
    finally:
        follower.stop()


def is_back(follower: Following) -> bool:
    return any(isinstance(status, Reconnected) for status in follower.statuses[-1:])


# ---- a network -----------------------------------------------------------------------------------


class HalfOpenProxy:
    """Passes bytes on, until it swallows them: every socket stays open, and writes to it succeed."""

    def __init__(self, url: str) -> None:
        match = re.search(r"//([\d.]+):(\d+)/", url)
        assert match is not None
        self._host, self._port = match[1], int(match[2])
        self._swallowed: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        #: Whether new connections are swallowed from their first byte on.
        self.deaf = False

    def swallow(self) -> None:
        """Pass nothing on any more that belongs to a connection made so far."""
        self._swallowed.update(range(1, self.connections + 1))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        if self.deaf:
            self.swallow()
        their_reader, their_writer = await asyncio.open_connection(self._host, self._port)
        try:
            await asyncio.gather(
                self._pass(number, reader, their_writer), self._pass(number, their_reader, writer)
            )
        finally:
            for one in (writer, their_writer):
                one.close()
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    async def _pass(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if number not in self._swallowed:
                    writer.write(data)
                    await writer.drain()
            writer.close()
