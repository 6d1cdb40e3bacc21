"""Feeds from start to end: a simulated market, or a tape, into the ticks topic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from stream.feed.blocks import between, replayed_blocks, simulated_blocks
from stream.feed.pacing import Block, paced
from stream.feed.producer import Format, TickWriter, open_writer
from stream.feed.sessions import by_session
from stream.feed.simulated import SimulatedTape
from stream.feed.start import Moment, StartPhase, beginning, first_instant
from stream.feed.tape import read_tape
from stream.files import load_composition
from stream.index.units import NS_PER_S
from stream.session.calendar import Calendar, Session
from stream.settings import Settings
from stream.topics import ensure_topic, newest_event
from stream.wire.ticks_json import LATEST_TS

DEFAULT_RATE = 5_000.0
DEFAULT_FRAME_SIZE = 256

#: At most speed a simulated second holds so many ticks: what is made does not depend on the machine's speed.
FULL_SPEED_RATE = 100_000.0

#: A block is read while nothing is sent, so a paced feed's are small.
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
        Newest event time, ns since 1970 UTC.
    """

    ticks: int
    seconds: float
    event_ns: int


OnProgress = Callable[[Progress], object]
Say = Callable[[str], object]


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
        Event times of the first and the newest tick, ns since 1970 UTC; None without any.
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
    phase: StartPhase | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    speed: float | None = 1.0,
    format: Format = "json",  # noqa: A002
    frame_size: int = DEFAULT_FRAME_SIZE,
    stop: asyncio.Event | None = None,
    on_progress: OnProgress | None = None,
    say: Say | None = None,
) -> FeedSummary:
    """Write a simulated market to the ticks topic, which is created where it is missing.

    Simulated time begins now, or where `phase` or `start` says, and in any case after the newest event that the topic
    holds; what the market did at the last close goes before (`docs/feed.md`).

    Parameters
    ----------
    settings
        Kafka's address, topic, constituents and calendar.
    rate
        Trades of shares a second in regular hours; other phases have their part of it. None for as many as possible.
    seconds
        Ends after so long; None for no end.
    n_ticks
        Ends after so many; None for no end.
    seed
        The same seed makes the same ticks from the same start on.
    phase
        Begins in the newest one of the past.
    start, end
        Simulated time from the first to before the second; a time of day is the newest of the past at which something
        traded, and the first after the start.
    speed
        Simulated seconds a second; None for as fast as possible, as with no rate.
    format, frame_size
        How ticks are written: `json`, or `frame` with up to so many ticks a message.
    stop
        Setting it ends the feed as if it had come to its end.
    on_progress
        Called after each step, some hundred times a second.
    say
        Is told, in a sentence, that simulated time begins elsewhere than asked for.

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
    composition = load_composition(
        settings.constituents_path, settings.indexes_path, settings.futures_path
    )
    calendar = settings.trading_calendar
    partitions = await ensure_topic(
        settings.kafka_url, settings.ticks_topic, partitions=settings.partitions
    )
    newest = await newest_event(settings.kafka_url, settings.ticks_topic, partitions=partitions)
    asked, start_ns = beginning(calendar, phase, start, now_ns=time.time_ns(), after_ns=newest or 0)
    if say is not None and start_ns != asked:
        say(_moved(settings.ticks_topic, asked, start_ns, newest=newest or 0))
    pace = None if rate is None else speed
    tape = SimulatedTape(
        composition,
        calendar,
        seed,
        rate=FULL_SPEED_RATE if rate is None else rate / (pace or 1.0),
        start_ns=start_ns,
        after_ns=newest or 0,
    )
    ends = [LATEST_TS] if end is None else [first_instant(end, calendar, from_ns=start_ns + 1)]
    if seconds is not None and pace is not None:
        ends.append(start_ns + int(seconds * pace * NS_PER_S))
    blocks = simulated_blocks(tape, start_ns, speed=pace, end_ns=min(ends), n_ticks=n_ticks)
    grace_ns = 0 if pace is None else _GRACE_NS
    until_ns = None if seconds is None else int(seconds * NS_PER_S) + grace_ns
    async with _writer(settings, partitions, format=format, frame_size=frame_size) as writer:
        return await _run(
            "simulated",
            blocks,
            writer,
            calendar=calendar,
            first_ts=tape.since_ns,
            until_ns=until_ns,
            stop=stop or asyncio.Event(),
            on_progress=on_progress,
        )


async def replay(  # noqa: PLR0913 - an option each, all by name
    settings: Settings,
    path: Path,
    *,
    start: Moment | None = None,
    end: Moment | None = None,
    speed: float | None = 1.0,
    format: Format = "json",  # noqa: A002
    frame_size: int = DEFAULT_FRAME_SIZE,
    stop: asyncio.Event | None = None,
    on_progress: OnProgress | None = None,
    say: Say | None = None,
) -> FeedSummary:
    """Write the trades of a tape to the ticks topic, which is created where it is missing.

    Parameters
    ----------
    settings
        Kafka's address and the topic.
    path
        The tape (`read_tape`).
    start, end
        Only trades from the first to before the second; a time of day is one of the tape's first day.
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
    calendar = settings.trading_calendar
    trades = between(tape, calendar, start=start, end=end)
    blocks = replayed_blocks(trades, speed=speed)
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
            calendar=calendar,
            first_ts=first_ts,
            until_ns=None,
            stop=stop or asyncio.Event(),
            on_progress=on_progress,
        )
    return replace(summary, bad_lines=tape.n_bad, errors=tuple(tape.errors))


def utc_text(ts: int) -> str:
    """Write a time for people.

    Examples
    --------
    >>> utc_text(1784296800000000000)
    '2026-07-17 14:00:00 UTC'
    """
    return f"{datetime.fromtimestamp(ts // NS_PER_S, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _moved(topic: str, asked: int, start: int, *, newest: int) -> str:
    """Say why simulated time begins elsewhere than asked for."""
    reason = (
        f"Nothing trades at {utc_text(asked)}"
        if newest < asked
        else f"{topic} holds events up to {utc_text(newest)} already"
    )
    return f"{reason}: simulated time begins at {utc_text(start)}"


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
    calendar: Calendar,
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
            for part, reached in by_session(trades, session, calendar):
                if reached != session:
                    session = reached
                    await writer.roll(session)
                await writer.write(part)
            n_ticks += len(trades)
            first_event = int(trades.ts[0]) if first_event is None else first_event
            last_event = max(last_event or 0, int(trades.ts.max()))
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
