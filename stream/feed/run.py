"""Feeds from start to end: a simulated market, or a tape, into the ticks topic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from stream.feed.market import Market
from stream.feed.pacing import Block, paced
from stream.feed.producer import Format, TickWriter, open_writer
from stream.feed.sessions import by_session, last_past_session, windows
from stream.feed.tape import read_tape
from stream.feed.trades import Trades
from stream.files import load_composition
from stream.index.units import NS_PER_S
from stream.session.days import Session
from stream.session.hours import RegularHours
from stream.settings import Settings
from stream.topics import ensure_topic, newest_event

DEFAULT_RATE = 5_000.0
DEFAULT_FRAME_SIZE = 256

#: At most speed a simulated second holds so many ticks: what is made does not depend on the machine's speed.
FULL_SPEED_RATE = 100_000.0

#: A block is read or made while nothing is sent, so a paced feed's are small.
_BLOCK_NS = 250_000_000
_BLOCK_TICKS = 20_000
_PACED_LINES = 1_000

#: A feed that cannot keep its rate ends this long after its time.
_GRACE_NS = 250_000_000


_NOT_NEW = (
    "{topic} holds events up to {at} already: workers that have read them refuse older ones; "
    "another CAPSTREAM_TICKS_TOPIC gives the tape a topic of its own"
)

Origin = Literal["replay", "simulated"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a feed has come.

    Attributes
    ----------
    ticks
        Written so far.
    seconds
        Since its first tick was due.
    event_ns
        Event time of its last tick, ns since 1970 UTC.
    """

    ticks: int
    seconds: float
    event_ns: int


OnProgress = Callable[[Progress], object]


@dataclass(frozen=True, slots=True)
class FeedSummary:
    """What a feed has done.

    Attributes
    ----------
    origin
        `replay` or `simulated`.
    topic
        Where it wrote.
    ticks
        How many Kafka has acknowledged.
    seconds, ticks_per_s
        From the first tick to the last acknowledgement.
    first_event_ns, last_event_ns
        Event times of the first and the last tick, ns since 1970 UTC; None without any.
    end_offsets
        By partition: the offset after the feed's last record.
    bad_lines
        Lines of the tape that hold no tick.
    errors
        What is wrong with the first of them.
    """

    origin: Origin
    topic: str
    ticks: int
    seconds: float
    ticks_per_s: float
    first_event_ns: int | None
    last_event_ns: int | None
    end_offsets: dict[int, int]
    bad_lines: int = 0
    errors: tuple[str, ...] = ()


async def simulate(  # noqa: PLR0913 - an option each, all by name
    settings: Settings,
    *,
    rate: float | None = DEFAULT_RATE,
    seconds: float | None = None,
    n_ticks: int | None = None,
    seed: int = 1,
    format: Format = "json",  # noqa: A002
    frame_size: int = DEFAULT_FRAME_SIZE,
    stop: asyncio.Event | None = None,
    on_progress: OnProgress | None = None,
) -> FeedSummary:
    """Write a simulated market to the ticks topic, which is created where it is missing.

    Simulated time begins in the session of the last trading day, or after the newest event that the topic holds, and goes
    from one session straight to the next (`docs/feed.md`).

    Parameters
    ----------
    settings
        Kafka's address, topic, constituents and regular hours.
    rate
        Ticks a second; None for as many as possible.
    seconds
        Ends after so long; None for no end.
    n_ticks
        Ends after so many; None for no end.
    seed
        The same seed makes the same ticks, apart from where in time they begin.
    format, frame_size
        How ticks are written: `json`, or `frame` with up to so many ticks a message.
    stop
        Setting it ends the feed as if it had come to its end.
    on_progress
        Called after each step, some hundred times a second.

    Returns
    -------
    FeedSummary

    Raises
    ------
    FileError, CompositionError
        Where the constituents cannot be used.
    ServiceError
        Where Kafka cannot be reached or does not take the ticks.

    Notes
    -----
    Cancelling it is clean, too: what was handed to Kafka is flushed before CancelledError goes on.
    """
    universe = load_composition(settings.constituents_path, settings.indexes_path).universe
    market = Market(universe, seed, hours=settings.hours)
    partitions = await ensure_topic(
        settings.kafka_url, settings.ticks_topic, partitions=settings.partitions
    )
    newest = await newest_event(settings.kafka_url, settings.ticks_topic, partitions=partitions)
    start = max(last_past_session(time.time_ns(), settings.hours), (newest or 0) + 1)
    start, _ = next(windows(start, NS_PER_S, settings.hours))
    blocks = simulated_blocks(
        market, start, settings.hours, rate=rate, seconds=seconds, n_ticks=n_ticks
    )
    grace_ns = 0 if rate is None else _GRACE_NS
    until_ns = None if seconds is None else int(seconds * NS_PER_S) + grace_ns
    async with _writer(settings, partitions, format=format, frame_size=frame_size) as writer:
        return await _run(
            "simulated",
            blocks,
            writer,
            zone=settings.hours.zone,
            first_ts=start,
            until_ns=until_ns,
            stop=stop or asyncio.Event(),
            on_progress=on_progress,
        )


async def replay(
    settings: Settings,
    path: Path,
    *,
    speed: float | None = 1.0,
    format: Format = "json",  # noqa: A002
    frame_size: int = DEFAULT_FRAME_SIZE,
    stop: asyncio.Event | None = None,
    on_progress: OnProgress | None = None,
    say: Callable[[str], object] | None = None,
) -> FeedSummary:
    """Write the trades of a tape to the ticks topic, which is created where it is missing.

    Parameters
    ----------
    settings
        Kafka's address and the topic.
    path
        The tape (`read_tape`).
    speed
        Seconds of the tape a second; None for as fast as possible.
    format, frame_size, stop, on_progress
        As in `simulate`.
    say
        Is told, in a sentence, that the topic holds newer events than the tape's first.

    Returns
    -------
    FeedSummary

    Raises
    ------
    FileError
        Where the tape cannot be read.
    ServiceError
        Where Kafka cannot be reached or does not take the ticks.

    Notes
    -----
    As `simulate`, cancelled cleanly.
    """
    tape = read_tape(path, chunk=_BLOCK_TICKS if speed is None else _PACED_LINES)
    blocks = replayed_blocks(tape, speed=speed)
    # Read before Kafka is asked for anything: a tape that cannot be used leaves no trace.
    head = list(islice(blocks, 1))
    first_ts = int(head[0].trades.ts[0]) if head else 0
    partitions = await ensure_topic(
        settings.kafka_url, settings.ticks_topic, partitions=settings.partitions
    )
    newest = await newest_event(settings.kafka_url, settings.ticks_topic, partitions=partitions)
    if say is not None and newest is not None and newest >= first_ts:
        say(_NOT_NEW.format(topic=settings.ticks_topic, at=utc_text(newest)))
    async with _writer(settings, partitions, format=format, frame_size=frame_size) as writer:
        summary = await _run(
            "replay",
            chain(head, blocks),
            writer,
            zone=settings.hours.zone,
            first_ts=first_ts,
            until_ns=None,
            stop=stop or asyncio.Event(),
            on_progress=on_progress,
        )
    return replace(summary, bad_lines=tape.n_bad, errors=tuple(tape.errors))


def simulated_blocks(
    market: Market,
    start_ns: int,
    hours: RegularHours,
    *,
    rate: float | None,
    seconds: float | None = None,
    n_ticks: int | None = None,
) -> Iterator[Block]:
    """Make a market's trades, block by block, each due when as much simulated time has passed.

    Parameters
    ----------
    market
        Makes the trades.
    start_ns
        Where simulated time begins, ns since 1970 UTC.
    hours
        Regular hours.
    rate
        Ticks a second; None makes FULL_SPEED_RATE of them, due at once.
    seconds
        With a rate: the end, in simulated time.
    n_ticks
        The end, in ticks.

    Yields
    ------
    Block
    """
    per_s = FULL_SPEED_RATE if rate is None else rate
    length = int(max(NS_PER_S / per_s, min(_BLOCK_NS, _BLOCK_TICKS * NS_PER_S / per_s)))
    end_ns = None if rate is None or seconds is None else int(seconds * NS_PER_S)
    elapsed = made = 0
    for first, last in windows(start_ns, length, hours):
        stop = last if end_ns is None else min(last, first + end_ns - elapsed)
        n = int(per_s * (elapsed + stop - first) / NS_PER_S) - made
        n = n if n_ticks is None else min(n, n_ticks - made)
        trades = market.ticks(n, first, max(first, stop - 1))
        yield Block(trades, None if rate is None else elapsed + (trades.ts - first))
        made += n
        elapsed += stop - first
        if elapsed == end_ns or made == n_ticks:
            return


def replayed_blocks(tape: Iterable[Trades], *, speed: float | None) -> Iterator[Block]:
    """Give a tape's trades, each due when its event time has come.

    Parameters
    ----------
    tape
        The trades; one that is older than another before it is due with that one.
    speed
        Seconds of the tape a second; None for all at once.

    Yields
    ------
    Block
    """
    first = newest = None
    for trades in tape:
        if speed is None:
            yield Block(trades, None)
            continue
        first = int(trades.ts[0]) if first is None else first
        reached = np.maximum.accumulate(np.maximum(trades.ts, first if newest is None else newest))
        newest = int(reached[-1])
        yield Block(trades, ((reached - first) / speed).astype(np.int64))


def utc_text(ts: int) -> str:
    """Write a time for people.

    Examples
    --------
    >>> utc_text(1784296800000000000)
    '2026-07-17 14:00:00 UTC'
    """
    return f"{datetime.fromtimestamp(ts // NS_PER_S, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _writer(
    settings: Settings,
    partitions: int,
    *,
    format: Format,  # noqa: A002
    frame_size: int,
) -> AbstractAsyncContextManager[TickWriter]:
    return open_writer(
        settings.kafka_url,
        settings.ticks_topic,
        n_partitions=partitions,
        format=format,
        frame_size=frame_size,
        now_ns=time.time_ns,
    )


async def _run(
    origin: Origin,
    blocks: Iterable[Block],
    writer: TickWriter,
    *,
    zone: ZoneInfo,
    first_ts: int,
    until_ns: int | None,
    stop: asyncio.Event,
    on_progress: OnProgress | None,
) -> FeedSummary:
    async def wait(seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
        return stop.is_set()

    await writer.announce(origin, first_ts=first_ts)
    n_ticks = 0
    session: Session | None = None
    first_event = last_event = None
    start = time.monotonic_ns()
    async with aclosing(paced(blocks, clock=time.monotonic_ns, wait=wait)) as steps:
        async for trades in steps:
            for part, reached in by_session(trades, session, zone):
                if reached != session:
                    session = reached
                    await writer.roll(session)
                await writer.write(part)
            n_ticks += len(trades)
            first_event = int(trades.ts[0]) if first_event is None else first_event
            last_event = int(trades.ts[-1])
            passed = time.monotonic_ns() - start
            if on_progress is not None:
                on_progress(Progress(n_ticks, passed / NS_PER_S, last_event))
            if stop.is_set() or (until_ns is not None and passed >= until_ns):
                break
    await writer.flush()
    seconds = max(1, time.monotonic_ns() - start) / NS_PER_S
    return FeedSummary(
        origin=origin,
        topic=writer.topic,
        ticks=n_ticks,
        seconds=seconds,
        ticks_per_s=n_ticks / seconds,
        first_event_ns=first_event,
        last_event_ns=last_event,
        end_offsets=dict(sorted(writer.end_offsets.items())),
    )
