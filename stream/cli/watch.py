"""`capstream watch`: a ticker in the terminal, from Redis like any subscriber."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence

import redis.asyncio
from redis.exceptions import RedisError
from rich.console import Console
from rich.live import Live

from stream.cli.common import load_settings, print_json
from stream.cli.ticker import Fields, Rates, missing, read_fields, screen, table
from stream.errors import ServiceError
from stream.settings import Settings, mask_password

EPILOG = """\
examples:
  capstream watch                   all indexes, live; Ctrl-C ends it
  capstream watch US1000 US2000     these two
  capstream watch --once            print the newest levels and end
  capstream watch --once --json     the same, one JSON object
"""

REFRESH_PER_S = 4
#: A connection that answers nothing for this long is made anew.
TIMEOUT_S = 5.0
RETRY_S = 1.0


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "watch",
        help="live levels in the terminal, from Redis",
        description="Show published levels as they come.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("codes", metavar="CODE", nargs="*", help="indexes to show; default: all")
    parser.add_argument("--once", action="store_true", help="print the newest levels and end")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line instead of a screen"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the ticker until it is ended."""
    settings = load_settings()
    follower = Follower(settings, codes=args.codes)
    if args.once:
        asyncio.run(follower.load())
        if not follower.snapshots:
            raise ServiceError(f"Redis {mask_password(settings.redis_url)} holds no level yet")
        _print_once(follower, as_json=args.json)
        return 0
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_watch(follower, as_json=args.json))
    return 0


def _print_once(follower: Follower, *, as_json: bool) -> None:
    if as_json:
        print_json(b'{"levels":{' + b",".join(follower.raw_members()) + b"}}")
    else:
        Console().print(table(list(follower.snapshots.values())))


class Follower:
    """Keeps the newest snapshot of every index, from the keys first and then from the channels.

    Parameters
    ----------
    settings
        Address and names of Redis.
    codes
        Indexes to follow; none means all.

    Attributes
    ----------
    snapshots
        By code.
    publications
        Publications seen since the start.
    heard_at
        Moment of the last message, on `time.monotonic`.
    """

    def __init__(self, settings: Settings, *, codes: Sequence[str] = ()) -> None:
        self.snapshots: dict[str, Fields] = {}
        self.publications = 0
        self.heard_at = time.monotonic()
        self._raw: dict[str, bytes] = {}
        self._names = settings.redis_names
        self._url = settings.redis_url
        self._codes = frozenset(codes)
        self._published_ns = 0
        self._moments: deque[float] = deque(maxlen=1_000)

    def raw_members(self) -> list[bytes]:
        """Give each snapshot as a member of a JSON object, in the bytes that were published."""
        return [b'"%s":%s' % (code.encode(), data) for code, data in sorted(self._raw.items())]

    @property
    def publications_per_s(self) -> float:
        """Publications of the last second."""
        since = time.monotonic() - 1.0
        return float(sum(moment >= since for moment in self._moments))

    async def load(self) -> None:
        """Read the newest snapshots from their keys.

        Raises
        ------
        ServiceError
            Where Redis cannot be reached.
        """
        client = self._client()
        try:
            await self._load(client)
        except (RedisError, OSError) as error:
            raise ServiceError(f"Redis {mask_password(self._url)}: {error}") from error
        finally:
            await client.aclose()

    async def run(self, on_snapshot: Callable[[bytes], object] = bytes) -> None:
        """Follow the channels until cancelled; an outage of Redis is waited out.

        Parameters
        ----------
        on_snapshot
            Hears of every snapshot, as published.
        """
        while True:
            client = self._client()
            try:
                await self._follow(client, on_snapshot)
            except (RedisError, OSError):
                # The screen shows for how long nothing was heard; the next try follows in a second.
                await asyncio.sleep(RETRY_S)
            finally:
                await client.aclose()

    def _client(self) -> redis.asyncio.Redis:
        return redis.asyncio.from_url(self._url, socket_connect_timeout=TIMEOUT_S)

    async def _follow(
        self, client: redis.asyncio.Redis, on_snapshot: Callable[[bytes], object]
    ) -> None:
        async with client.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.psubscribe(self._names.every_level)
            await subscription.subscribe(self._names.heartbeat)
            await self._load(client)
            for data in self._raw.values():
                on_snapshot(data)
            while True:
                message = await subscription.get_message(timeout=TIMEOUT_S)
                if message is None:
                    # Heartbeats come every second: such silence may be a dead connection.
                    await subscription.ping()
                    continue
                self.heard_at = time.monotonic()
                if message["type"] == "pmessage" and self._take(message["data"]):
                    on_snapshot(message["data"])

    async def _load(self, client: redis.asyncio.Redis) -> None:
        keys = [key async for key in client.scan_iter(match=self._names.snap("*"), count=1_000)]
        values = await client.mget(keys) if keys else []
        packed = await client.hgetall(self._names.snaps)
        for data in (*packed.values(), *values):
            if isinstance(data, bytes):
                self._take(data)

    def _take(self, data: bytes) -> bool:
        fields = read_fields(data)
        code = fields["code"]
        if self._codes and code not in self._codes:
            return False
        known = self.snapshots.get(code)
        if known is not None and (known["epoch"], known["seq"]) >= (fields["epoch"], fields["seq"]):
            return False
        self.snapshots[code] = fields
        self._raw[code] = data
        if fields["published_ns"] > self._published_ns:
            # All snapshots of one publication carry the same time.
            self._published_ns = fields["published_ns"]
            self.publications += 1
            self._moments.append(time.monotonic())
        return True


async def _watch(follower: Follower, *, as_json: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    following = asyncio.create_task(follower.run(print_json) if as_json else follower.run())
    if as_json:
        await stop.wait()
    else:
        await show(follower, stop)
    following.cancel()


async def show(
    follower: Follower,
    stop: asyncio.Event,
    *,
    ticks_per_s: Callable[[], float] | None = None,
    foot: Sequence[str] = (),
) -> None:
    """Draw the follower's snapshots until asked to stop.

    Parameters
    ----------
    follower
        Whose snapshots.
    stop
        Ends it.
    ticks_per_s
        Gives the rate of ticks, where it is known.
    foot
        Lines to end with.
    """
    console = Console()
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while not stop.is_set():
            rates = Rates(
                None if ticks_per_s is None else ticks_per_s(),
                follower.publications_per_s,
                time.monotonic() - follower.heard_at,
            )
            drawn = missing()
            if follower.snapshots:
                drawn = screen(follower.snapshots, rates, height=console.height, foot=foot)
            live.update(drawn, refresh=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1 / REFRESH_PER_S)
    if not console.is_terminal:
        console.print()
