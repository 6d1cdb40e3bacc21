"""`capstream watch`: a ticker in the terminal, from Redis like any subscriber."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live

from stream.cli.common import load_settings, print_json
from stream.cli.ticker import WIDE, Fields, Rates, missing, screen, table
from stream.client import AsyncLevels, Levels, Update
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
#: On standard error beside --json; the screen tells of silence itself.
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


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
    if args.once:
        _print_once(settings, args.codes, as_json=args.json)
        return 0
    logging.basicConfig(level=settings.log_level if args.json else "CRITICAL", format=LOG_FORMAT)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_watch(Follower(settings, codes=args.codes), as_json=args.json))
    return 0


def _print_once(settings: Settings, codes: Sequence[str], *, as_json: bool) -> None:
    newest = Levels(settings.redis_url, codes=codes, prefix=settings.redis_prefix).newest()
    if not newest:
        raise ServiceError(f"Redis {mask_password(settings.redis_url)} holds no level yet")
    updates = [newest[code] for code in sorted(newest)]
    if as_json:
        # The bytes that were published, not what a decoder made of them: every digit stays.
        members = [b'"%s":%s' % (one.code.encode(), one.data) for one in updates]
        print_json(b'{"levels":{' + b",".join(members) + b"}}")
    else:
        Console().print(table([one.fields for one in updates], wide=Console().width >= WIDE))


class Follower:
    """Keeps the newest snapshot of every index for the screen.

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
    """

    def __init__(self, settings: Settings, *, codes: Sequence[str] = ()) -> None:
        self.snapshots: dict[str, Fields] = {}
        self.publications = 0
        self._levels = AsyncLevels(settings.redis_url, codes=codes, prefix=settings.redis_prefix)
        self._published_ns = 0
        self._moments: deque[float] = deque(maxlen=1_000)

    @property
    def publications_per_s(self) -> float:
        """Publications of the last second."""
        since = time.monotonic() - 1.0
        return float(sum(moment >= since for moment in self._moments))

    @property
    def silent_s(self) -> float:
        """Seconds since the last heartbeat or publication."""
        return self._levels.silent_s

    async def run(self, on_update: Callable[[Update], object] | None = None) -> None:
        """Follow until cancelled; an outage of Redis is waited out.

        Parameters
        ----------
        on_update
            Hears of every update, where it is given.
        """
        async with self._levels as levels:
            async for update in levels:
                self._take(update)
                if on_update is not None:
                    on_update(update)

    def _take(self, update: Update) -> None:
        self.snapshots[update.code] = update.fields
        published_ns = update.fields["published_ns"]
        if published_ns > self._published_ns:
            # All snapshots of one publication carry the same time.
            self._published_ns = published_ns
            self.publications += 1
            self._moments.append(time.monotonic())


async def _watch(follower: Follower, *, as_json: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    following = asyncio.create_task(follower.run(_print_update if as_json else None))
    # Where Redis refuses, nothing more is to be seen.
    following.add_done_callback(lambda _: stop.set())
    if as_json:
        await stop.wait()
    else:
        await show(follower, stop)
    if following.done():
        await following
    following.cancel()


def _print_update(update: Update) -> None:
    print_json(update.data)


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
                follower.silent_s,
            )
            drawn = missing()
            if follower.snapshots:
                drawn = screen(
                    follower.snapshots,
                    rates,
                    height=console.height,
                    width=console.width,
                    foot=foot,
                )
            live.update(drawn, refresh=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1 / REFRESH_PER_S)
    if not console.is_terminal:
        console.print()
