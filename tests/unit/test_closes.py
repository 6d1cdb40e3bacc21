"""Official closes: of indexes, found among what is published; of constituents, from the books to their topic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

from stream.errors import ServiceError, WireError
from stream.index.aggregate import Aggregator, Doubt
from stream.index.book import Book
from stream.index.composition import Composition
from stream.index.control import Roll
from stream.index.definitions import Definition
from stream.index.snapshot import Moment, Snapshot, moment_of, snapshots
from stream.index.status import Status
from stream.index.ticks import Condition, Kind, Ticks
from stream.index.universe import read_universe
from stream.pipeline.closes import ConstituentCloses
from stream.pipeline.log import KafkaLog
from stream.publish import closes as closes_module
from stream.publish.closes import Closes, IndexClose
from stream.session.calendar import Calendar
from stream.wire.closes import (
    close_key,
    decode_index_close,
    encode_close,
    encode_index_close,
)

NS = 10**9
HOUR_NS = 3_600 * NS
DAY_NS = 24 * HOUR_NS
OPENING = 1_381_152_600 * NS  # Monday 2013-10-07 09:30 New York
CLOSING = OPENING + 13 * HOUR_NS // 2
#: Half past one at night: by every clock in the session of that Monday.
STARTS = OPENING - 8 * HOUR_NS
MONDAY, TUESDAY = "2013-10-07", "2013-10-08"
FRIDAY, FRIDAYS_CLOSE = "2013-10-04", CLOSING - 3 * DAY_NS
CALENDAR = Calendar.bundled()
COMPOSITION = Composition.build(
    read_universe(["symbol,price,float_shares,mic", "AIG,49,10,XNYS", "BAC,14,10,XNYS"]),
    [Definition("ALL", "All", {})],
)
POINT = 10**8


# ---- indexes -------------------------------------------------------------------------------------


def shown(
    level: int = 1000 * POINT,
    *,
    at_ns: int = CLOSING,
    status: Status = Status.OFFICIAL_CLOSE,
    session: str | None = MONDAY,
    doubt: Doubt = Doubt.NONE,
    priced: bool = True,
) -> tuple[Snapshot, Moment]:
    """Give a snapshot with some fields, and its moment."""
    book = Book(COMPOSITION, calendar=CALENDAR, partition=0)
    if session:
        book.obey(Roll(MONDAY, STARTS, STARTS + DAY_NS))
    aggregator = Aggregator(COMPOSITION, n_partitions=1)
    aggregator.add(book.partial())
    total = aggregator.total()
    moment = moment_of(CALENDAR, total, at_ns)
    (one,) = snapshots(COMPOSITION, [0], total, moment=moment)
    return one._replace(
        level=level, status=status, session=session, doubt=doubt, priced=int(priced)
    ), moment


def taken(closes: Closes, *shots: tuple[Snapshot, Moment]) -> Closes:
    for one, moment in shots:
        closes.take([one], moment)
    return closes


def test_a_close_is_told_once_and_a_correction_again() -> None:
    """To both, in order; whatever is published after it with the same level."""
    later = [CLOSING + NS, CLOSING + HOUR_NS, CLOSING + 16 * HOUR_NS]
    closes = taken(
        Closes(),
        *(shown(at_ns=at_ns) for at_ns in later),
        *(shown(990 * POINT, status=Status.CORRECTED, at_ns=at_ns) for at_ns in later),
    )

    assert list(closes.for_redis) == [
        ("ALL", MONDAY, 1000 * POINT),
        ("ALL", MONDAY, 990 * POINT),
    ]
    assert list(closes.for_kafka) == [
        IndexClose("ALL", MONDAY, COMPOSITION.id, 1000 * POINT, 1000 * POINT, corrected=False),
        IndexClose("ALL", MONDAY, COMPOSITION.id, 990 * POINT, 1000 * POINT, corrected=True),
    ]
    assert closes.known == {("ALL", MONDAY): 990 * POINT}


@pytest.mark.parametrize(
    "shot",
    [
        shown(at_ns=CLOSING - 1, status=Status.FIRM),
        shown(at_ns=OPENING - 1),
        shown(status=Status.CLOSING),
        shown(doubt=Doubt.HELD, status=Status.HELD),
        shown(doubt=Doubt.STALE, status=Status.STALE),
        shown(session=None),
        shown(priced=False),
        shown(at_ns=OPENING + DAY_NS, status=Status.FIRM),
    ],
    ids=[
        "regular hours",
        "before the opening",
        "closing",
        "held",
        "stale",
        "no session",
        "no price of the session",
        "regular hours of the next day",
    ],
)
def test_what_is_no_official_close_is_not_told_as_one(shot: tuple[Snapshot, Moment]) -> None:
    """The session must have closed, its official prices have come, and nothing be in doubt."""
    closes = taken(Closes(), shot)

    assert (closes.known, list(closes.for_kafka), list(closes.for_redis)) == ({}, [], [])


@pytest.mark.parametrize("status", [Status.INDICATIVE, Status.STALE, Status.CORRECTED])
def test_an_overnight_estimate_does_not_hide_the_close(status: Status) -> None:
    """The level stands at it; that futures speak for nothing is no doubt of it."""
    closes = taken(Closes(), shown(status=status))

    assert closes.known == {("ALL", MONDAY): 1000 * POINT}


def test_what_an_earlier_publisher_has_told_is_told_to_redis_alone() -> None:
    """It may have come back empty; Kafka has it."""
    closes = taken(Closes({("ALL", MONDAY): 1000 * POINT}), shown())

    assert list(closes.for_redis) == [("ALL", MONDAY, 1000 * POINT)]
    assert not closes.for_kafka


def test_all_that_is_known_is_told_again_in_place_of_what_waits() -> None:
    """Each once, with its newest level."""
    closes = taken(
        Closes({("ALL", FRIDAY): 7}), shown(), shown(990 * POINT, status=Status.CORRECTED)
    )

    closes.again()

    assert list(closes.for_redis) == [("ALL", FRIDAY, 7), ("ALL", MONDAY, 990 * POINT)]
    assert len(closes.for_kafka) == 2


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka may be away for long: the newest count."""
    monkeypatch.setattr(closes_module, "MOST_WAITING", 2)
    closes = taken(Closes(), *(shown(level) for level in range(5)))

    assert [one.close for one in closes.for_kafka] == [3, 4]
    assert [level for _, _, level in closes.for_redis] == [3, 4]


# ---- bytes ---------------------------------------------------------------------------------------


def test_the_close_of_an_index_is_json_with_eight_places() -> None:
    """As others read it; and as the next publisher does."""
    message = encode_index_close(
        "US3",
        date=MONDAY,
        close=100_583_333_333,
        previous_close=-1,
        corrected=True,
        composition="c",
    )

    assert message == (
        b'{"code":"US3","date":"2013-10-07","close":1005.83333333,"previous_close":-0.00000001,'
        b'"corrected":true,"composition":"c"}'
    )
    assert decode_index_close(message) == ("US3", MONDAY, 100_583_333_333)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{}",
        b"[]",
        b'{"code":"A","date":"2013-10-07","close":"x","previous_close":1}',
        b"\xff",
    ],
)
def test_what_is_no_close_of_an_index_is_refused(message: bytes) -> None:
    """With an error of ours."""
    with pytest.raises(WireError, match="index close"):
        decode_index_close(message)


def test_the_official_prices_of_a_constituent_are_json_with_four_places() -> None:
    """What has not come is null."""
    opened = encode_close(
        'B"C', date=MONDAY, opening=139_000, close=0, close_ts=-1, corrected=False
    )
    closed = encode_close(
        "AIG", date=MONDAY, opening=0, close=487_300, close_ts=CLOSING, corrected=True
    )

    assert json.loads(opened) == {
        "symbol": 'B"C',
        "date": MONDAY,
        "open": 13.9,
        "close": None,
        "close_ts": None,
        "corrected": False,
    }
    assert b'"open":13.9000,' in opened
    assert json.loads(closed)["open"] is None
    assert b'"close":48.7300,"close_ts":%d,"corrected":true' % CLOSING in closed
    assert close_key(MONDAY, "AIG") == b"2013-10-07/AIG"


# ---- constituents --------------------------------------------------------------------------------


class Topic:
    """A topic in memory, which can be away."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.away = False
        #: Called in the middle of an append, once.
        self.meanwhile: Callable[[], object] = lambda: None

    async def append_all(self, topic: str, records: list[tuple[bytes, bytes]]) -> list[int]:
        assert topic == "closes"
        # Others have their turn while Kafka works.
        await asyncio.sleep(0)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if self.away:
            raise ServiceError("away")
        self.records += [(key.decode(), json.loads(value)) for key, value in records]
        return list(range(len(records)))

    def take(self) -> dict[str, tuple[float | None, float | None]]:
        """Give open and close by key, of what has come since; nothing may stand there twice."""
        found = {key: (one["open"], one["close"]) for key, one in self.records}
        assert len(found) == len(self.records)
        self.records.clear()
        return found


class Desk:
    def __init__(self) -> None:
        self.topic = Topic()
        self.book = Book(COMPOSITION, calendar=CALENDAR, partition=0)
        self.closes = self.writer()

    def writer(self) -> ConstituentCloses:
        return ConstituentCloses(cast("KafkaLog", self.topic), "closes", calendar=CALENDAR)

    def tick(self, symbol: str, cents: int, at_ns: int, kind: Kind = Kind.TRADE) -> None:
        one = np.ones(1, np.int64)
        verdict = self.book.apply(
            Ticks(
                row=(one * COMPOSITION.row_of[symbol]).astype(np.int32),
                price=one * cents * 100,
                ts=one * at_ns,
                seq=np.zeros(1, np.uint64),
                cond=(one * int(Condition.REGULAR)).astype(np.uint16),
                kind=(one * kind).astype(np.uint8),
                recorded=one * at_ns,
                size=np.zeros(1, np.uint32),
                venue=(one * ord("N")).astype(np.uint8),
            )
        )
        assert not verdict.any()

    def close(self, symbol: str, cents: int, at_ns: int) -> None:
        self.tick(symbol, cents, at_ns, Kind.OFFICIAL_CLOSE)

    def roll(self, session: str, days: int) -> None:
        starts = STARTS + days * DAY_NS
        self.book.obey(Roll(session, starts, starts + DAY_NS))

    def monday(self) -> None:
        """Open and close a day."""
        self.roll(MONDAY, 0)
        self.tick("AIG", 4900, OPENING + NS)
        self.tick("BAC", 1390, OPENING + NS)
        self.close("AIG", 4873, CLOSING + NS)
        self.close("BAC", 1381, CLOSING + NS)

    async def written(self) -> dict[str, tuple[float | None, float | None]]:
        await self.closes.write(self.book)
        return self.topic.take()


MONDAYS = {"2013-10-07/AIG": (49.0, 48.73), "2013-10-07/BAC": (13.9, 13.81)}


async def test_each_official_price_is_written_once() -> None:
    """An opening when it is known, a close with it, and a correction; what has not changed is left alone."""
    desk = Desk()
    desk.roll(MONDAY, 0)
    steps = [await desk.written()]
    ticks = (
        (4900, OPENING + NS, Kind.TRADE),
        (4850, OPENING + 2 * NS, Kind.TRADE),
        (4872, CLOSING + NS, Kind.OFFICIAL_CLOSE),
        (4873, CLOSING + 2 * NS, Kind.OFFICIAL_CLOSE),
    )
    for cents, at_ns, kind in ticks:
        desk.tick("AIG", cents, at_ns, kind)
        steps.append(await desk.written())
    steps.append(await desk.written())

    key = "2013-10-07/AIG"
    assert steps == [{}, {key: (49.0, None)}, {}, {key: (49.0, 48.72)}, {key: (49.0, 48.73)}, {}]


async def test_a_correction_is_marked() -> None:
    """Not the first close, though a last trade stood there before it."""
    desk = Desk()
    desk.monday()
    await desk.closes.write(desk.book)
    desk.close("BAC", 1382, CLOSING + HOUR_NS)
    await desk.closes.write(desk.book)

    marks = [(one["symbol"], one["close_ts"], one["corrected"]) for _, one in desk.topic.records]
    assert marks == [
        ("AIG", CLOSING + NS, False),
        ("BAC", CLOSING + NS, False),
        ("BAC", CLOSING + HOUR_NS, True),
    ]


async def test_who_opens_a_book_writes_the_same_once_more() -> None:
    """After a restart from a checkpoint: records of the same keys and bytes."""
    desk = Desk()
    desk.monday()
    await desk.closes.write(desk.book)
    first, desk.topic.records = desk.topic.records, []
    desk.book = Book.restore(desk.book.state(), COMPOSITION, calendar=CALENDAR)
    desk.closes = desk.writer()
    await desk.closes.write(desk.book)

    assert desk.topic.records == first


async def test_a_partition_that_comes_back_is_written_once_more() -> None:
    """Another may have had it meanwhile."""
    desk = Desk()
    desk.monday()
    assert (await desk.written(), await desk.written()) == (MONDAYS, {})
    desk.closes.forget({0, 1})

    assert await desk.written() == MONDAYS


async def test_sessions_that_end_between_two_writes_are_written() -> None:
    """A log that is read fast passes days in a second."""
    desk = Desk()
    desk.monday()
    desk.roll(TUESDAY, 1)
    desk.close("AIG", 4950, CLOSING + DAY_NS)
    desk.roll("2013-10-09", 2)
    desk.tick("BAC", 1400, OPENING + 2 * DAY_NS + NS)

    assert await desk.written() == {
        **MONDAYS,
        "2013-10-08/AIG": (None, 49.5),
        "2013-10-09/BAC": (14.0, None),
    }
    assert not desk.book.past
    assert await desk.written() == {}


async def test_the_end_of_a_session_writes_nothing_that_was_written_before() -> None:
    """What is new in it since, and what the next one begins with."""
    desk = Desk()
    desk.monday()
    assert await desk.written() == MONDAYS
    desk.roll(TUESDAY, 1)
    assert await desk.written() == {}
    desk.close("AIG", 4950, CLOSING + DAY_NS)
    assert await desk.written() == {"2013-10-08/AIG": (None, 49.5)}
    desk.close("AIG", 4960, CLOSING + DAY_NS + NS)
    desk.roll("2013-10-09", 2)
    desk.tick("AIG", 4970, OPENING + 2 * DAY_NS)

    assert await desk.written() == {
        "2013-10-08/AIG": (None, 49.6),
        "2013-10-09/AIG": (49.7, None),
    }


async def test_while_kafka_is_away_nothing_is_lost_or_written_twice() -> None:
    """The next call tries again, the session that has ended included."""
    desk = Desk()
    desk.monday()
    desk.roll(TUESDAY, 1)
    desk.topic.away = True
    for _ in range(2):
        with pytest.raises(ServiceError):
            await desk.closes.write(desk.book)
    desk.topic.away = False

    assert await desk.written() == MONDAYS


async def test_two_that_write_at_once_write_one_after_the_other() -> None:
    """Checkpoints write closes, and so does a clock: no session is dropped unwritten."""
    desk = Desk()
    desk.monday()
    desk.roll(TUESDAY, 1)
    desk.tick("AIG", 4950, OPENING + DAY_NS + NS)
    desk.topic.meanwhile = lambda: desk.roll("2013-10-09", 2)
    await asyncio.gather(*(desk.closes.write(desk.book) for _ in range(3)))

    assert desk.topic.take() == {**MONDAYS, "2013-10-08/AIG": (49.5, None)}
    assert not desk.book.past


async def test_a_session_that_ends_while_it_is_written_is_written_whole() -> None:
    """A checkpoint follows, in which its last prices do not stand."""
    desk = Desk()
    desk.roll(MONDAY, 0)
    desk.tick("AIG", 4900, OPENING + NS)

    def end() -> None:
        desk.close("AIG", 4873, CLOSING + NS)
        desk.roll(TUESDAY, 1)

    desk.topic.meanwhile = end
    await desk.closes.write(desk.book)

    assert [(key, one["close"]) for key, one in desk.topic.records] == [
        ("2013-10-07/AIG", None),
        ("2013-10-07/AIG", 48.73),
    ]
    assert not desk.book.past


async def test_a_close_that_comes_after_the_roll_is_of_its_own_day() -> None:
    """So is its opening; that of the new session is not."""
    desk = Desk()
    desk.roll(FRIDAY, -3)
    desk.tick("AIG", 4900, FRIDAYS_CLOSE - NS)
    desk.roll(MONDAY, 0)
    await desk.written()
    desk.close("AIG", 4910, FRIDAYS_CLOSE + 60 * NS)
    late = await desk.written()
    desk.tick("AIG", 4920, OPENING + NS)
    opened = await desk.written()
    desk.close("AIG", 4930, CLOSING + NS)

    assert late == {"2013-10-04/AIG": (49.0, 49.1)}
    assert opened == {"2013-10-04/AIG": (49.0, 49.1), "2013-10-07/AIG": (49.2, None)}
    assert await desk.written() == {"2013-10-07/AIG": (49.2, 49.3)}


async def test_without_a_session_the_day_is_that_of_the_tick() -> None:
    """A log that nobody rolls has official prices, too."""
    desk = Desk()
    desk.tick("AIG", 4900, OPENING + NS, Kind.OFFICIAL_OPEN)
    opened = await desk.written()
    desk.close("AIG", 4873, CLOSING + NS)

    assert opened == {"2013-10-07/AIG": (49.0, None)}
    assert await desk.written() == {"2013-10-07/AIG": (49.0, 48.73)}
