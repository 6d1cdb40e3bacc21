"""Follow levels with asyncio."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from stream.client.events import Counts, Event, Update
from stream.client.link import (
    FAILURES,
    READ_AHEAD,
    SHORTEST_S,
    check_passes,
    new_core,
    reason,
    silence,
    timeouts,
)
from stream.client.options import BACKLOG, DEFAULT_URL, SILENCE_S, Options
from stream.client.questions import Command
from stream.errors import ServiceError
from stream.wire.names import REDIS_PREFIX


class AsyncLevels:
    """Follows index levels in Redis; iterate over it for updates. `Levels` with asyncio.

    Parameters
    ----------
    url
        Address of Redis.
    codes
        Indexes to follow; none means all.
    prefix
        Begins every key and channel.
    thin
        Listen on the codes' own channels instead of `levels`, which carries all indexes: less to read. Where more than
        500 indexes change at once, their own channels carry one value a second, and `missed` counts the others.
    backlog
        Updates that may wait while you are busy; beyond it, only the newest of each code is kept (`conflated`). So
        many publications of one code are read from its stream to fill a gap, too. 0 means: the newest only.
    silence_s
        Silence after which a connection counts as dead, seconds. The publisher is heard every second.
    give_up_s
        Silence after which `ServiceError` is raised, seconds; None means never.

    Raises
    ------
    SetupError
        Where one of them cannot work.

    Notes
    -----
    There is no task of its own: whatever you do not take stays in the socket, then in Redis, which cuts off a subscriber
    that lets too much gather there. That is noticed and mended as any other loss. One task may use it at a time; that
    task may be cancelled, also by `asyncio.timeout`, and nothing is lost.

    Examples
    --------
    >>> async def follow():
    ...     async with AsyncLevels(codes=["US1000"]) as levels:
    ...         async for update in levels:
    ...             print(update.code, update.level)
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        codes: Sequence[str] = (),
        prefix: str = REDIS_PREFIX,
        thin: bool = False,
        backlog: int = BACKLOG,
        silence_s: float = SILENCE_S,
        give_up_s: float | None = None,
    ) -> None:
        self._options = Options(
            url=url,
            codes=codes,
            prefix=prefix,
            thin=thin,
            backlog=backlog,
            silence_s=silence_s,
            give_up_s=give_up_s,
        )
        self._core = new_core(self._options, time.monotonic())
        self._link: _Link | None = None

    @property
    def counts(self) -> Counts:
        """What happened so far."""
        return self._core.counts

    @property
    def silent_s(self) -> float:
        """Seconds since the publisher was last heard, or since the start."""
        return self._core.silent_s(time.monotonic())

    async def __aenter__(self) -> Self:
        self._core.start(time.monotonic())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; whoever goes on iterating opens new ones."""
        if self._link is not None:
            link, self._link = self._link, None
            await link.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update:
        while not isinstance(event := await self.get(), Update):
            pass
        return event

    async def events(self) -> AsyncIterator[Event]:
        """Give updates, and between them `Lost` and `Reconnected`, for ever.

        Yields
        ------
        Event
            In order.

        Raises
        ------
        ServiceError
            Where Redis refuses, or it is time to give up.
        """
        while True:
            event = await self.get()
            if event is not None:
                yield event

    async def get(self, timeout_s: float = math.inf) -> Event | None:
        """Give the next event, or None where there is none in time.

        Parameters
        ----------
        timeout_s
            Seconds to wait. Making a connection, or reading a stream, is not broken off.

        Returns
        -------
        Event or None
            What comes next.

        Raises
        ------
        ServiceError
            Where Redis refuses, or it is time to give up.
        """
        until = time.monotonic() + timeout_s
        while True:
            event = self._core.take()
            if event is not None:
                return event
            await self._step(max(until - time.monotonic(), 0.0))
            if time.monotonic() >= until:
                return self._core.take()

    async def newest(self) -> dict[str, Update]:
        """Read the newest snapshot of each index once, without following.

        Returns
        -------
        dict of str to Update
            By code; codes that were never published are not in it.

        Raises
        ------
        ServiceError
            Where Redis cannot be reached, or refuses.
        """
        core = new_core(self._options, time.monotonic())
        core.read_keys()
        link = _Link(self._options)
        try:
            while commands := core.commands():
                core.answer(await link.ask(commands))
        except FAILURES as error:
            check_passes(error, self._options)
            raise ServiceError(f"Redis {self._options.address}: {reason(error)}") from error
        finally:
            await link.close()
        return core.updates()

    async def _step(self, patience_s: float) -> None:
        """Do one thing: wait, connect, ask or listen."""
        try:
            if self._link is not None:
                await self._follow(self._link, patience_s)
                return
            retry_s = self._core.retry_in(time.monotonic())
            await asyncio.sleep(min(retry_s, patience_s))
            if retry_s <= patience_s:
                await self._connect()
        except FAILURES as error:
            try:
                check_passes(error, self._options)
                self._core.lost(reason(error), time.monotonic())
            finally:
                await self.aclose()

    async def _connect(self) -> None:
        link = _Link(self._options)
        try:
            await link.subscribe()
        except BaseException:
            # Cancelled, too: nobody else knows of the link yet.
            await link.close()
            raise
        self._link = link
        self._core.opened(time.monotonic())

    async def _follow(self, link: _Link, patience_s: float) -> None:
        commands = self._core.commands()
        if commands:
            self._core.answer(await link.ask(commands))
            return
        began = time.monotonic()
        reply = await link.listen(max(min(self._core.wait_s(began), patience_s), SHORTEST_S))
        if reply is None:
            if self._core.is_dead(began, time.monotonic()):
                raise silence(self._options)
            return
        self._hear(reply)
        for _ in range(READ_AHEAD):
            if self._core.commands() or (reply := await link.listen(0.0)) is None:
                return
            self._hear(reply)

    def _hear(self, reply: object) -> None:
        self._core.hear(reply, time.monotonic())


class _Link:
    """Two connections: one subscribes, the other asks.

    The one that subscribes is a bare connection: redis-py's `PubSub` connects and subscribes anew without a word where it
    finds its connection closed, and what was published meanwhile would be a hole that nobody saw.
    """

    def __init__(self, options: Options) -> None:
        self._channels = options.channels
        self._redis = redis.asyncio.from_url(
            options.url, retry=Retry(NoBackoff(), 0), **timeouts(options)
        )
        make: Any = self._redis.connection_pool.make_connection  # without annotations
        self._connection = make()

    async def subscribe(self) -> None:
        await self._connection.connect()
        await self._connection.send_command("SUBSCRIBE", *self._channels)

    async def listen(self, timeout_s: float) -> object:
        """Give the next reply of the subscription, or None where there is none in time."""
        return await self._connection.read_response(timeout=timeout_s, disconnect_on_error=False)

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute()

    async def close(self) -> None:
        with suppress(*FAILURES):
            await self._connection.disconnect(nowait=True)
        await self._redis.aclose()
