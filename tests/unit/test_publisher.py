"""The publisher by itself, into a sink in memory: what it sends, when, and after what failures."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest

from stream.errors import FencedError, ServiceError
from stream.index.aggregate import Aggregator
from stream.index.book import Book
from stream.index.composition import Composition
from stream.index.control import Announcement, OriginRecord, Roll
from stream.index.definitions import Definition
from stream.index.ticks import Kind, Ticks
from stream.index.universe import read_universe
from stream.publish import publisher as publisher_module
from stream.publish.publisher import Publisher
from stream.publish.redis import Message
from stream.session.calendar import Calendar

OPENING = 1_381_152_600_000_000_000  # 2013-10-07 09:30 New York
CLOSING = OPENING + 390 * 60 * 10**9  # 16:00
CALENDAR = Calendar.bundled()
NS = 10**9
#: A feed may be silent for so long.
NEVER = 1e12
DAY_NS = 86_400 * 10**9
SESSION = "2013-10-07"
COMPOSITION = Composition.build(
    read_universe(["symbol,price,float_shares,parity", "S0,1,10,even", "S1,1,10,odd"]),
    [
        Definition("ALL", "", {}),
        Definition("ODD", "", {"parity": frozenset(("odd",))}),
        Definition("EVEN", "", {"parity": frozenset(("even",))}),
    ],
)
#: The same instruments, fewer indexes.
SHORTER = Composition.build(
    COMPOSITION.universe, [Definition("EVEN", "", {"parity": frozenset(("even",))})]
)


class Clock:
    """The publisher's clock, which stands until it is moved."""

    monotonic = staticmethod(time.monotonic)
    perf_counter = staticmethod(time.perf_counter)

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def time_ns(self) -> int:
        return self.now_ns


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let it be a second after the opening, and heartbeats come at once."""
    clock = Clock(OPENING + NS)
    monkeypatch.setattr(publisher_module, "time", clock)
    monkeypatch.setattr(publisher_module, "HEARTBEAT_S", 0.001)
    return clock


class MemorySink:
    """Keeps what is published; fails as often as it is told."""

    def __init__(self) -> None:
        self.epochs: set[int] = set()
        self.sent: list[list[Message]] = []
        self.attempted: list[list[Message]] = []
        self.packed: list[bool] = []
        self.beats: list[bytes] = []
        self.expected: list[bool] = []
        self.failures = 0
        self.fenced = False
        self.intact = True
        self.closes: list[tuple[str, str, int]] = []

    async def publish(self, messages: list[Message], *, epoch: int, again: bool) -> None:
        self.epochs.add(epoch)
        self.expected.append(again)
        await self._take(messages, packed=False)

    async def publish_packed(self, messages: list[Message], *, epoch: int, again: bool) -> None:
        self.epochs.add(epoch)
        self.expected.append(again)
        await self._take(messages, packed=True)

    async def beat(self, heartbeat: bytes, *, epoch: int) -> bool:
        self.epochs.add(epoch)
        if self.fenced:
            raise FencedError("taken over")
        if self.failures:
            raise ServiceError("away")
        self.beats.append(heartbeat)
        return self.intact

    async def write_closes(self, closes: Sequence[tuple[str, str, int]], *, epoch: int) -> None:
        if self.fenced:
            raise FencedError("taken over")
        self.epochs.add(epoch)
        self.closes += closes

    async def _take(self, messages: list[Message], *, packed: bool) -> None:
        self.attempted.append(messages)
        if self.fenced:
            raise FencedError("taken over")
        if self.failures:
            self.failures -= 1
            raise ServiceError("away")
        self.sent.append(messages)
        self.packed.append(packed)


class Desk:
    def __init__(
        self, *, partitions: int = 1, packed_above: int = 500, feed_silent_s: float = NEVER
    ) -> None:
        self.sink = MemorySink()
        self.books = [Book(COMPOSITION, calendar=CALENDAR, partition=p) for p in range(partitions)]
        self.aggregator = Aggregator(COMPOSITION, n_partitions=partitions)
        self.publisher = Publisher(
            self.aggregator,
            self.sink,
            epoch=4,
            cadence_s=0.0,
            packed_above=packed_above,
            observe_delay=lambda _: None,
            calendar=CALENDAR,
            feed_silent_s=feed_silent_s,
        )
        self._ts = OPENING
        self._starts = 0

    def trade(self, row: int, price: int, *, partition: int = 0) -> None:
        self._ts += 1
        self.tick(row, price, self._ts, partition=partition)

    def tick(
        self, row: int, price: int, at_ns: int, *, kind: Kind = Kind.TRADE, partition: int = 0
    ) -> None:
        ts = np.array([at_ns])
        one = np.ones(1, np.int64)
        verdict = self.books[partition].apply(
            Ticks(
                row=(one * row).astype(np.int32),
                price=one * price,
                ts=ts,
                seq=np.zeros(1, np.uint64),
                cond=np.ones(1, np.uint16),
                kind=(one * kind).astype(np.uint8),
                recorded=ts,
                size=np.zeros(1, np.uint32),
                venue=np.zeros(1, np.uint8),
            )
        )
        assert not verdict.any()
        self.books[partition].offset += 1
        self.tell(partition)

    def roll(self, partition: int = 0) -> None:
        """Begin a session after the trades so far, for all partitions at the same time."""
        self._starts = self._starts or self._ts + 1
        self.books[partition].obey(Roll(SESSION, self._starts, OPENING + DAY_NS))
        self.tell(partition)

    def compose(self, composition: Composition) -> None:
        """Have every partition go over to another composition."""
        self.aggregator.know(composition)
        for partition, book in enumerate(self.books):
            book.obey(Announcement(composition.id), composition=composition)
            self.tell(partition)

    def newest(self) -> dict[str, dict[str, Any]]:
        """Give the fields of the last publication by code."""
        return {one.code: json.loads(one.data) for one in self.sink.sent[-1]}

    def tell(self, partition: int = 0) -> None:
        self.aggregator.add(self.books[partition].partial())
        self.publisher.wake()

    def codes(self) -> list[list[str]]:
        return [[message.code for message in messages] for messages in self.sink.sent]

    async def settled(self) -> None:
        await eventually(lambda: self.publisher.idle and not self.publisher.failing)


async def eventually(condition: Callable[[], object], *, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "did not come true"
        await asyncio.sleep(0.001)


@asynccontextmanager
async def publishing(desk: Desk) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(desk.publisher.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_nothing_is_published_before_all_partitions_are_known() -> None:
    """Part of the stocks is no level."""
    desk = Desk(partitions=2)
    async with publishing(desk):
        desk.trade(0, 12_000)
        await eventually(lambda: not desk.publisher._wake.is_set())
        assert desk.sink.attempted == []
        desk.tell(1)
        await desk.settled()

    assert desk.codes() == [["ALL", "ODD", "EVEN"]]


async def test_each_index_counts_its_own_publications() -> None:
    """The `seq` begins at 1 and grows by 1 per code, whatever the others do."""
    desk = Desk()
    async with publishing(desk):
        desk.tell()
        await desk.settled()
        for row, price in ((0, 11_000), (0, 12_000), (1, 9_000)):
            desk.trade(row, price)
            await desk.settled()

    assert desk.codes() == [
        ["ALL", "ODD", "EVEN"],
        ["ALL", "EVEN"],
        ["ALL", "EVEN"],
        ["ALL", "ODD"],
    ]
    seqs: dict[str, list[int]] = {}
    for message in (one for messages in desk.sink.sent for one in messages):
        fields = json.loads(message.data)
        assert (fields["seq"], fields["epoch"]) == (message.seq, 4)
        seqs.setdefault(message.code, []).append(message.seq)
    assert desk.sink.epochs == {4}
    assert seqs == {"ALL": [1, 2, 3, 4], "ODD": [1, 2], "EVEN": [1, 2, 3]}


async def test_after_a_failure_every_index_is_owed_once_and_no_number_comes_twice() -> None:
    """The failed attempts may have reached Redis: their numbers are spent."""
    desk = Desk()
    async with publishing(desk):
        desk.tell()
        await desk.settled()
        desk.sink.failures = 3
        desk.trade(0, 11_000)
        await eventually(lambda: desk.publisher.failing)
        desk.trade(0, 13_000)
        await desk.settled()

    assert desk.codes() == [["ALL", "ODD", "EVEN"]] * 2
    assert desk.publisher.published.failures == 3
    newest = {one.code: json.loads(one.data) for one in desk.sink.sent[-1]}
    assert newest["ALL"]["market_value"] == "23.0000"
    numbers = [(m.code, m.seq) for messages in desk.sink.attempted for m in messages]
    assert len(numbers) == len(set(numbers))
    for code in ("ALL", "ODD", "EVEN"):
        own = [seq for c, seq in numbers if c == code]
        assert own == sorted(own)


async def is_fenced(desk: Desk, task: asyncio.Task[None]) -> None:
    """Let another take over, and a trade come; wait until the publisher has heard of it."""
    desk.sink.fenced = True
    desk.trade(0, 11_000)
    with pytest.raises(FencedError):
        await asyncio.wait_for(asyncio.shield(task), 10)


async def test_being_fenced_ends_it() -> None:
    """It does not try again: another one publishes."""
    desk = Desk()
    async with publishing(desk) as task:
        desk.tell()
        await desk.settled()
        await is_fenced(desk, task)

    assert len(desk.sink.attempted) == 2


async def test_what_was_fenced_stands_in_no_record() -> None:
    """Nobody has seen it: only what was shown, or may have been, is kept."""
    desk = Desk()
    async with publishing(desk) as task:
        desk.tell()
        await desk.settled()
        desk.publisher.record.end()
        kept = len(desk.publisher.record.waiting)
        await is_fenced(desk, task)
    desk.publisher.record.end()

    assert len(desk.sink.attempted) == 2
    assert kept == len(desk.publisher.record.waiting) > 0


async def test_being_fenced_ends_its_heartbeat() -> None:
    """Also one that has nothing to publish learns that it was replaced."""
    desk = Desk()
    async with beating(desk) as beats:
        desk.tell()
        await desk.settled()
        desk.sink.fenced = True
        with pytest.raises(FencedError):
            await asyncio.wait_for(asyncio.shield(beats), 10)


async def test_a_held_index_says_so_once_with_its_last_level() -> None:
    """Then it is silent, whatever its other stocks do, until it is let go."""
    desk = Desk(partitions=2)
    async with publishing(desk):
        desk.trade(0, 12_000)
        desk.tell(1)
        await desk.settled()
        desk.trade(0, 15_000, partition=1)
        await desk.settled()
        desk.trade(1, 11_000, partition=1)
        await desk.settled()

    assert desk.codes()[1:] == [["ALL", "EVEN"], ["ODD"]]
    held = {one.code: json.loads(one.data) for one in desk.sink.sent[1]}
    for fields in held.values():
        assert fields["status"] == "held"
    assert (held["ALL"]["market_value"], held["EVEN"]["market_value"]) == ("22.0000", "12.0000")
    assert json.loads(desk.sink.sent[2][0].data)["status"] == "firm"


async def test_large_publications_are_packed() -> None:
    """More than the setting at once are packed, no more than it are not."""
    desk = Desk(packed_above=2)
    async with publishing(desk):
        desk.tell()
        await eventually(lambda: len(desk.sink.sent) == 1)

    assert desk.sink.packed == [True]
    assert desk.codes() == [["ALL", "ODD", "EVEN"]]


async def test_values_in_between_are_left_out() -> None:
    """Changes that come while a publication runs make one publication, with the newest."""
    desk = Desk()
    for price in range(11_000, 12_000):
        desk.trade(0, price)
    async with publishing(desk):
        await desk.settled()

    assert len(desk.sink.sent) == 1
    assert json.loads(desk.sink.sent[0][0].data)["market_value"] == "21.9990"


async def test_open_high_and_low_are_of_what_was_published_in_the_session() -> None:
    """Before a session there are none; values that never went out leave no trace."""
    desk = Desk()
    async with publishing(desk):
        desk.trade(0, 30_000)
        await desk.settled()
        before = desk.newest()["EVEN"]
        desk.roll()
        await desk.settled()
        for prices in ((20_000,), (70_000, 40_000), (25_000,)):
            for price in prices:
                desk.trade(0, price)
            await desk.settled()

    assert before["session"] is None
    assert not before.keys() & {"open", "high", "low"}
    even = desk.newest()["EVEN"]
    assert even["session"] == SESSION
    assert (even["open"], even["high"], even["low"]) == (3000.0, 4000.0, 2000.0)
    assert (even["level"], even["previous_close"]) == (2500.0, 3000.0)


async def test_while_partitions_cross_into_a_session_every_index_is_held_once() -> None:
    """With its last level; when all have crossed, each is published anew, and says so."""
    desk = Desk(partitions=2)
    async with publishing(desk):
        desk.trade(0, 20_000)
        desk.tell(1)
        await desk.settled()
        desk.roll(0)
        await desk.settled()
        held = desk.newest()
        desk.trade(0, 50_000)
        await desk.settled()
        desk.trade(1, 60_000, partition=1)
        await desk.settled()
        held_for = len(desk.sink.sent)
        desk.roll(1)
        await desk.settled()

    assert held_for == 2
    assert {code: one["status"] for code, one in held.items()} == dict.fromkeys(
        ("ALL", "ODD", "EVEN"), "held"
    )
    assert {one["session"] for one in held.values()} == {None}
    assert held["EVEN"]["level"] == 2000.0
    let_go = desk.newest()
    assert {one["session"] for one in let_go.values()} == {SESSION}
    assert (let_go["EVEN"]["level"], let_go["ODD"]["level"]) == (5000.0, 6000.0)
    # What opened before there was a session has not opened in it.
    assert {code: one["status"] for code, one in let_go.items()} == {
        "ALL": "opening",
        "ODD": "opening",
        "EVEN": "firm",
    }


async def test_a_stale_index_says_so_and_moves_on() -> None:
    """Its level is that of what is known; when the partition is heard of again it says so, too."""
    desk = Desk(partitions=2)
    async with publishing(desk):
        desk.trade(0, 20_000)
        desk.trade(1, 20_000, partition=1)
        await desk.settled()
        desk.aggregator.silence({1})
        changed = desk.publisher.doubts_changed
        desk.publisher.wake()
        await eventually(lambda: len(desk.sink.sent) == 2)
        stale = desk.newest()
        desk.trade(0, 30_000)
        await desk.settled()
        moved = desk.newest()
        desk.aggregator.silence(())
        desk.publisher.wake()
        await eventually(lambda: len(desk.sink.sent) == 4)
        settled = desk.publisher.doubts_changed

    assert (changed, settled) == (True, False)
    assert {code: one["status"] for code, one in stale.items()} == {
        "ALL": "stale",
        "ODD": "stale",
    }
    assert {code: (one["level"], one["status"]) for code, one in moved.items()} == {
        "ALL": (2500.0, "stale"),
        "EVEN": (3000.0, "firm"),
    }
    assert {code: one["status"] for code, one in desk.newest().items()} == {
        "ALL": "firm",
        "ODD": "firm",
    }


async def test_an_index_that_is_held_before_it_was_ever_published_is_silent_until_it_is_let_go() -> (
    None
):
    """It has no last level, and that of the reference prices would pass for one."""
    desk = Desk(partitions=2)
    for partition in range(2):
        desk.trade(0, 20_000 + partition, partition=partition)
    async with publishing(desk):
        await desk.settled()
        let_go = replace(desk.books[1].partial(), touched=np.zeros(1, np.uint8), offsets={1: 9})
        desk.aggregator.add(let_go)
        desk.publisher.wake()
        await eventually(lambda: len(desk.sink.sent) == 2)

    assert desk.codes() == [["ODD"], ["ALL", "EVEN"]]
    assert {one["status"] for one in desk.newest().values()} == {"firm"}
    assert {one["seq"] for one in desk.newest().values()} == {1}


async def test_an_index_is_held_at_the_last_level_that_anyone_may_have_seen() -> None:
    """Redis may have shown one that it did not confirm: the level must not go back."""
    desk = Desk(partitions=2)
    async with publishing(desk):
        desk.trade(0, 12_000)
        desk.tell(1)
        await desk.settled()
        desk.sink.failures = 1
        desk.trade(0, 13_000)
        await eventually(lambda: desk.publisher.failing)
        desk.trade(0, 15_000, partition=1)
        await desk.settled()

    even = desk.newest()["EVEN"]
    assert (even["status"], even["level"]) == ("held", 1300.0)


async def test_the_record_takes_every_publication_whether_redis_does_or_not() -> None:
    """It is Kafka's: an outage of Redis leaves no gap in it."""
    desk = Desk()
    for price in range(2):
        desk.roll()
        desk.trade(0, 11_000 + price)
    desk.sink.failures = 2
    async with publishing(desk):
        await desk.settled()

    entries = [json.loads(entry.data) for entry in desk.publisher.record.waiting]
    assert [entry["code"] for entry in entries[:3]] == ["ALL", "ODD", "EVEN"]
    assert {entry["seq"] for entry in entries[:3]} == {1}
    assert entries[0]["offsets"] == {"0": 2}
    assert [m.seq for m in desk.sink.sent[0]] == [3, 3, 3]


async def test_a_change_of_composition_leaves_nothing_owed_of_the_one_before() -> None:
    """Single keys that are still due after a packed publication are those of the new one, which may have fewer."""
    desk = Desk(packed_above=2)
    async with publishing(desk) as task:
        desk.tell()
        await eventually(lambda: len(desk.sink.sent) == 1)
        desk.compose(SHORTER)
        await desk.settled()
        desk.publisher._singles_at = -1e9
        desk.trade(0, 20_000)
        await desk.settled()
        assert not task.done()

    assert desk.sink.packed == [True, False, False]
    assert desk.codes() == [["ALL", "ODD", "EVEN"], ["EVEN"], ["EVEN"]]
    assert desk.newest()["EVEN"]["composition"] == SHORTER.id


@asynccontextmanager
async def beating(desk: Desk) -> AsyncIterator[asyncio.Task[None]]:
    """Publish, and send heartbeats."""
    beats = asyncio.create_task(desk.publisher.beat())
    try:
        async with publishing(desk):
            yield beats
    finally:
        beats.cancel()
        await asyncio.gather(beats, return_exceptions=True)


async def some_beats(desk: Desk) -> None:
    """Wait until whatever a heartbeat finds has been published."""
    before = len(desk.sink.beats)
    await eventually(lambda: len(desk.sink.beats) > before + 3 and desk.publisher.idle)


async def test_heartbeats_count_the_indexes_in_force() -> None:
    """None before there is a level; after a change of composition those of the new one."""
    desk = Desk()
    async with beating(desk):
        desk.tell()
        await eventually(lambda: desk.sink.beats)
        first = json.loads(desk.sink.beats[0])
        desk.compose(SHORTER)
        await eventually(lambda: json.loads(desk.sink.beats[-1])["indexes"] == 1)

    assert first["indexes"] == 3


# ---- hours ---------------------------------------------------------------------------------------

#: 2013-10-07 in New York, phase by phase; the session that follows begins at 18:00.
PHASES = (
    (CLOSING - 1, "regular", "regular", "firm"),
    (CLOSING, "post_market", "post_market", "closing"),
    (CLOSING + 900 * NS, "post_market", "post_market", "official_close"),
    (CLOSING + 3_600 * NS, "maintenance", "post_market", "official_close"),
    (CLOSING + 2 * 3_600 * NS, "post_market", "post_market", "official_close"),
    (CLOSING + 4 * 3_600 * NS, "overnight", "closed", "official_close"),
    (CLOSING + 12 * 3_600 * NS, "pre_market", "pre_market", "official_close"),
)


async def test_a_phase_that_begins_is_published_without_any_tick(clock: Clock) -> None:
    """Once, for every index; and each heartbeat carries the phase of the moment."""
    desk, told, beats = Desk(), [], []
    desk.roll()
    desk.trade(0, 12_000)
    desk.trade(1, 11_000)
    async with beating(desk):
        await desk.settled()
        for at_ns, *_ in PHASES:
            clock.now_ns = at_ns
            await some_beats(desk)
            told.append(desk.newest())
            beats.append(json.loads(desk.sink.beats[-1]))

    assert desk.codes() == [["ALL", "ODD", "EVEN"]] * len(PHASES)
    for (at_ns, phase, cash_phase, status), newest, beat in zip(PHASES, told, beats, strict=True):
        assert (beat["phase"], beat["published_ns"]) == (phase, at_ns)
        for one in newest.values():
            assert (one["phase"], one["cash_phase"], one["status"]) == (phase, cash_phase, status)
    assert {one["published_ns"] for one in told[-1].values()} == {PHASES[-1][0]}


async def test_a_live_feed_that_falls_silent_in_regular_hours_makes_every_index_stale(
    clock: Clock,
) -> None:
    """Within seconds, without any tick; the next tick of any stock lets all of them go."""
    desk = Desk(feed_silent_s=5)
    desk.roll()
    ten = OPENING + 1_800 * NS
    desk.tick(0, 12_000, ten)
    desk.tick(1, 11_000, ten)
    statuses = []
    async with beating(desk):
        for seconds_ns in (NS, 5 * NS, 5 * NS + 1):
            clock.now_ns = ten + seconds_ns
            await some_beats(desk)
            statuses.append({code: one["status"] for code, one in desk.newest().items()})
        n = len(desk.sink.sent)
        desk.tick(0, 12_100, ten + 7 * NS)
        clock.now_ns = ten + 8 * NS
        await eventually(lambda: len(desk.sink.sent) > n)
        await desk.settled()

    codes = ("ALL", "ODD", "EVEN")
    assert statuses == [
        dict.fromkeys(codes, "firm"),
        dict.fromkeys(codes, "firm"),
        dict.fromkeys(codes, "stale"),
    ]
    assert n == 2
    assert {code: one["status"] for code, one in desk.newest().items()} == dict.fromkeys(
        codes, "firm"
    )


async def test_a_feed_has_from_the_opening_on_to_be_heard(clock: Clock) -> None:
    """Prices of the day before are no alarm at 09:30:04, and one at 09:30:06."""
    desk = Desk(feed_silent_s=5)
    desk.trade(0, 12_000)
    desk.books[0].obey(Roll("2013-10-08", CLOSING, CLOSING + DAY_NS))
    desk.tell()
    statuses = []
    async with beating(desk):
        for seconds in (4, 6):
            clock.now_ns = OPENING + DAY_NS + seconds * NS
            await some_beats(desk)
            statuses.append({one["status"] for one in desk.newest().values()})

    assert statuses == [{"opening"}, {"stale"}]


@pytest.mark.parametrize("hours", [7, 10, 17])
async def test_a_night_without_ticks_is_no_alarm(clock: Clock, hours: int) -> None:
    """At 23:00, at 02:00, and at 09:00: nobody has to trade then."""
    desk = Desk(feed_silent_s=5)
    desk.roll()
    desk.trade(0, 12_000)
    desk.trade(1, 12_000)
    async with beating(desk):
        clock.now_ns = CLOSING + hours * 3_600 * NS
        await eventually(lambda: desk.sink.sent)
        await some_beats(desk)

    assert {one["status"] for one in desk.newest().values()} == {"official_close"}


@pytest.mark.parametrize("origin", ["replay", "simulated"])
async def test_a_feed_that_is_not_live_is_never_silent(
    clock: Clock, origin: Literal["replay", "simulated"]
) -> None:
    """Its newest tick is its clock, whatever the hour here."""
    desk = Desk(feed_silent_s=5)
    desk.books[0].obey(OriginRecord(origin))
    desk.roll()
    desk.trade(0, 12_000)
    desk.trade(1, 12_000)
    async with beating(desk):
        clock.now_ns = OPENING + 100 * DAY_NS
        await eventually(lambda: desk.sink.sent)
        await some_beats(desk)

    assert {(one["phase"], one["status"]) for one in desk.newest().values()} == {
        ("regular", "firm")
    }
    assert json.loads(desk.sink.beats[-1])["phase"] == "regular"


# ---- official closes -----------------------------------------------------------------------------


async def closed_day(desk: Desk, clock: Clock) -> None:
    """Trade, and let all official closes come: ALL at 1150, ODD at 1100, EVEN at 1200."""
    desk.roll()
    desk.trade(0, 11_900)
    desk.trade(1, 11_100)
    clock.now_ns = CLOSING
    await eventually(lambda: desk.sink.sent)
    await some_beats(desk)
    desk.tick(0, 12_000, CLOSING + NS, kind=Kind.OFFICIAL_CLOSE)
    desk.tick(1, 11_000, CLOSING + NS, kind=Kind.OFFICIAL_CLOSE)
    clock.now_ns = CLOSING + 2 * NS
    await some_beats(desk)


POINT = 10**8
CLOSES = {"ALL": 1150 * POINT, "ODD": 1100 * POINT, "EVEN": 1200 * POINT}


async def test_an_official_close_is_written_once_and_again_where_it_is_corrected(
    clock: Clock,
) -> None:
    """To Kafka and to Redis; not before all official prices have come, and not for every phase that follows."""
    desk = Desk()
    async with beating(desk):
        await closed_day(desk, clock)
        once = list(desk.sink.closes)
        for at_ns, *_ in PHASES[3:]:
            clock.now_ns = at_ns
            await some_beats(desk)
        unchanged = list(desk.sink.closes)
        # A later declaration of the same close.
        desk.tick(1, 10_000, CLOSING + 60 * NS, kind=Kind.OFFICIAL_CLOSE)
        await some_beats(desk)

    assert once == unchanged == [(code, SESSION, close) for code, close in CLOSES.items()]
    assert desk.sink.closes[3:] == [("ALL", SESSION, 1100 * POINT), ("ODD", SESSION, 1000 * POINT)]
    written = [(one.code, one.close, one.corrected) for one in desk.publisher.closes.for_kafka]
    assert written == [
        *((code, close, False) for code, close in CLOSES.items()),
        ("ALL", 1100 * POINT, True),
        ("ODD", 1000 * POINT, True),
    ]
    assert {(one.date, one.previous_close) for one in desk.publisher.closes.for_kafka} == {
        (SESSION, 1000 * POINT)
    }
    assert desk.newest()["ODD"]["status"] == "corrected"
    assert desk.sink.epochs == {4}


async def test_official_closes_that_never_come_are_waited_for_for_a_quarter_of_an_hour(
    clock: Clock,
) -> None:
    """Then the last prices stand."""
    desk = Desk()
    desk.roll()
    desk.trade(0, 11_900)
    async with beating(desk):
        await desk.settled()
        clock.now_ns = CLOSING + 900 * NS - 1
        await some_beats(desk)
        waiting = list(desk.sink.closes)
        clock.now_ns += 1
        await some_beats(desk)

    # Where nothing has traded, nothing is waited for.
    assert waiting == []
    assert desk.sink.closes == [("ALL", SESSION, 1095 * POINT), ("EVEN", SESSION, 1190 * POINT)]


@pytest.mark.parametrize("seen_by", ["heartbeat", "publication"])
async def test_an_emptied_redis_is_told_all_official_closes_again(
    clock: Clock, seen_by: str
) -> None:
    """Whoever finds it empty first; Kafka has them already."""
    desk = Desk()
    async with beating(desk):
        await closed_day(desk, clock)
        n = len(desk.publisher.closes.for_kafka)
        desk.sink.closes.clear()
        if seen_by == "heartbeat":
            desk.sink.intact = False
            await eventually(lambda: desk.sink.closes)
            desk.sink.intact = True
        else:
            desk.sink.failures = 1
            desk.tick(0, 12_100, CLOSING + 3 * NS)
        await eventually(lambda: len(desk.sink.closes) >= len(CLOSES))
        await some_beats(desk)

    assert {code: close for code, _, close in desk.sink.closes} == CLOSES
    assert len(desk.publisher.closes.for_kafka) == n


async def test_a_fenced_publisher_writes_no_close(clock: Clock) -> None:
    """Another one writes them now; this one ends."""
    desk = Desk()
    async with beating(desk) as beats:
        await closed_day(desk, clock)
        written = list(desk.sink.closes)
        desk.sink.fenced = True
        desk.publisher.closes.again()
        with pytest.raises(FencedError):
            await asyncio.wait_for(asyncio.shield(beats), 10)

    assert desk.sink.closes == written
