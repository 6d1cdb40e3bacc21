"""Follow levels without asyncio."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

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


class Levels:
    """Follows index levels in Redis; iterate over it for updates.

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
    There is no thread: whatever you do not take stays in the socket, then in Redis, which cuts off a subscriber that
    lets too much gather there. That is noticed and mended as any other loss. One thread may use it at a time.

    Examples
    --------
    >>> with Levels(codes=["US1000"]) as levels:  # doctest: +SKIP
    ...     for update in levels:
    ...         print(update.code, update.level)
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

    def __enter__(self) -> Self:
        self._core.start(time.monotonic())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; whoever goes on iterating opens new ones."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Update:
        while not isinstance(event := self.get(), Update):
            pass
        return event

    def events(self) -> Iterator[Event]:
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
            event = self.get()
            if event is not None:
                yield event

    def get(self, timeout_s: float = math.inf) -> Event | None:
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
            self._step(max(until - time.monotonic(), 0.0))
            if time.monotonic() >= until:
                return self._core.take()

    def newest(self) -> dict[str, Update]:
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
                core.answer(link.ask(commands))
        except FAILURES as error:
            check_passes(error, self._options)
            raise ServiceError(f"Redis {self._options.address}: {reason(error)}") from error
        finally:
            link.close()
        return core.updates()

    def _step(self, patience_s: float) -> None:
        """Do one thing: wait, connect, ask or listen."""
        try:
            if self._link is not None:
                self._follow(self._link, patience_s)
                return
            retry_s = self._core.retry_in(time.monotonic())
            time.sleep(min(retry_s, patience_s))
            if retry_s <= patience_s:
                self._connect()
        except FAILURES as error:
            try:
                check_passes(error, self._options)
                self._core.lost(reason(error), time.monotonic())
            finally:
                self.close()

    def _connect(self) -> None:
        link = _Link(self._options)
        try:
            link.subscribe()
        except BaseException:
            # Interrupted, too: nobody else knows of the link yet.
            link.close()
            raise
        self._link = link
        self._core.opened(time.monotonic())

    def _follow(self, link: _Link, patience_s: float) -> None:
        commands = self._core.commands()
        if commands:
            self._core.answer(link.ask(commands))
            return
        began = time.monotonic()
        reply = link.listen(max(min(self._core.wait_s(began), patience_s), SHORTEST_S))
        if reply is None:
            if self._core.is_dead(began, time.monotonic()):
                raise silence(self._options)
            return
        self._hear(reply)
        for _ in range(READ_AHEAD):
            if self._core.commands() or (reply := link.listen(0.0)) is None:
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
        self._redis = redis.Redis.from_url(
            options.url, retry=Retry(NoBackoff(), 0), **timeouts(options)
        )
        self._connection: Any = self._redis.connection_pool.make_connection()

    def subscribe(self) -> None:
        self._connection.connect()
        self._connection.send_command("SUBSCRIBE", *self._channels)

    def listen(self, timeout_s: float) -> object:
        """Give the next reply of the subscription, or None where there is none in time."""
        if not self._connection.can_read(timeout=timeout_s):
            return None
        return self._connection.read_response(disconnect_on_error=False)

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        with self._redis.pipeline(transaction=False) as pipeline:
            execute: Any = pipeline.execute_command  # without annotations
            for command in commands:
                execute(*command)
            return pipeline.execute()

    def close(self) -> None:
        with suppress(*FAILURES):
            self._connection.disconnect()
        self._redis.close()
