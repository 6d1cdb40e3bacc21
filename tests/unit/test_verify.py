"""Published levels against the logs they were made of: what is right passes, whatever is altered is found."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

import oracle
from stream.archive.arithmetic import mismatches
from stream.archive.compositions import Compositions
from stream.archive.outcome import Difference, Outcome
from stream.archive.published import recomputed_fields
from stream.archive.replay import MOST_MARKS, Marks, open_replay
from stream.archive.sessions import choose, find_sessions
from stream.archive.source import Log, LogRecord, Span
from stream.archive.verify import verify
from stream.errors import SetupError
from stream.files import load_composition
from stream.index.aggregate import Aggregator
from stream.index.book import BookState
from stream.index.composition import Composition
from stream.index.control import Announcement, Control, OriginRecord, Roll
from stream.index.definitions import Definition
from stream.index.partial import Partial
from stream.index.price_rules import PriceRules
from stream.index.snapshot import Extremes, held, moment_of, snapshots
from stream.index.universe import Instrument, Universe
from stream.pipeline.dead_letters import DeadLetters
from stream.pipeline.intake import Intake
from stream.pipeline.transport import FetchedBatch
from stream.publish.record import Record
from stream.publish.redis import Message
from stream.session.calendar import Calendar
from stream.wire import compositions, control
from stream.wire.snapshots import encode_published

CALENDAR = Calendar.bundled()
DAY = "2026-07-17"
OPENING = oracle.nanoseconds(DAY, "09:30:00")
NEXT_DAY = "2026-07-20"
NEXT_OPENING = oracle.nanoseconds(NEXT_DAY, "09:30:00")
NS = 1_000_000_000
MS = 1_000_000
SYMBOLS = ("AIG", "BAC", "IBM")
#: Two partitions: each symbol's own.
HOME = {"AIG": 0, "BAC": 1, "IBM": 0}


def small_composition(*, price: int = 500_000) -> Composition:
    instruments = tuple(
        Instrument(symbol, Fraction(1000 * (n + 1)), price, MappingProxyType({"half": half}))
        for n, (symbol, half) in enumerate(zip(SYMBOLS, ("a", "b", "b"), strict=True))
    )
    definitions = [
        Definition("ALL", "All", {}),
        Definition("B", "Half", {"half": frozenset("b")}, "equal"),
    ]
    return Composition.build(Universe(instruments, frozenset({"half"}), DAY), definitions)


@dataclass
class Memory:
    """Logs in lists: a source that keeps nothing but what it was given."""

    logs: dict[tuple[Log, int], list[LogRecord]] = field(default_factory=dict)
    states: Mapping[int, BookState] = field(default_factory=dict)
    ends: Mapping[int, BookState] = field(default_factory=dict)
    incomplete: Mapping[int, int] = field(default_factory=dict)
    first: dict[tuple[Log, int], int] = field(default_factory=dict)
    name: str = "memory"
    topic: str = "ticks"
    calendar: str = ""
    price_rules: PriceRules = field(default_factory=PriceRules)
    batch: int = 3
    reads: list[tuple[Log, int, int]] = field(default_factory=list)
    served: list[Log] = field(default_factory=list)

    def log(self, name: Log, partition: int = 0) -> list[LogRecord]:
        return self.logs.setdefault((name, partition), [])

    def append(self, name: Log, value: bytes | None, *, partition: int = 0, **rest: Any) -> int:
        log = self.log(name, partition)
        offset = log[-1].offset + 1 if log else self.first.get((name, partition), 0)
        log.append(LogRecord(offset, rest.get("timestamp", 0), rest.get("key"), value))
        return offset

    async def spans(self, log: Log) -> Mapping[int, Span]:
        return {
            p: Span(self.first.get((name, p), 0), records[-1].offset + 1 if records else 0)
            for (name, p), records in sorted(self.logs.items())
            if name == log
        }

    async def read(
        self, log: Log, partition: int, start: int, end: int
    ) -> AsyncGenerator[Sequence[LogRecord]]:
        self.reads.append((log, partition, start))
        wanted = [one for one in self.log(log, partition) if start <= one.offset < end]
        for first in range(0, len(wanted), self.batch):
            self.served.append(log)
            yield wanted[first : first + self.batch]


class Market:
    """Ticks into logs, and what the real parts publish of them."""

    def __init__(self, composition: Composition | None = None) -> None:
        self.composition = composition or small_composition()
        self.kept = Memory()
        self.now = OPENING
        self.clock = OPENING
        self.epoch = 0
        for partition in range(2):
            self.kept.log("ticks", partition)
        self.keep(self.composition)
        self.announce(self.composition)
        self.start()

    def keep(self, composition: Composition) -> None:
        key = composition.id.encode()
        self.kept.append("compositions", compositions.encode(composition), key=key)

    def announce(self, composition: Composition) -> None:
        number = self.kept.append("control", control.encode(Announcement(composition.id))) + 1
        self.control(Announcement(composition.id, number))

    def start(self, offsets: Mapping[int, int] | None = None) -> None:
        """Let a publisher begin, with books that stand at some offsets."""
        self.epoch += 1
        self.intake = Intake(
            self.composition,
            calendar=CALENDAR,
            rules=self.kept.price_rules,
            dead_letters=DeadLetters(per_s=0),
            topic="ticks",
        )
        self.aggregator = Aggregator(self.composition, n_partitions=2)
        for _, value in ((r.key, r.value) for r in self.kept.log("compositions")):
            other = compositions.decode(value or b"")
            self.intake.know(other)
            self.aggregator.know(other)
        for partition in range(2):
            self.intake.begin(partition, offset=0)
        self.extremes = getattr(self, "extremes", Extremes())
        self.record = Record()
        self.seq = dict.fromkeys(self.composition.codes, 0)
        self.last: dict[str, Any] = {}
        if offsets:
            self.read(offsets)

    def control(self, record: Control, *, partitions: Iterable[int] = (0, 1)) -> None:
        for partition in partitions:
            self.kept.append(
                "ticks",
                control.encode(record),
                partition=partition,
                timestamp=self.now // MS,
            )

    def tick(self, symbol: str, price: int, *, later_ns: int = MS) -> None:
        self.now += later_ns
        value = f'{{"symbol":"{symbol}","price":{price // 10_000}.{price % 10_000:04d},"ts":{self.now}}}'
        self.raw(value.encode(), partition=HOME[symbol])

    def raw(self, value: bytes, *, partition: int) -> None:
        self.kept.append("ticks", value, partition=partition, timestamp=self.now // MS)

    def read(self, until: Mapping[int, int] | None = None) -> None:
        """Apply what the books have not seen yet."""
        for partition in range(2):
            book = self.intake.books[partition]
            log = self.kept.log("ticks", partition)
            end = len(log) if until is None else until[partition]
            if end > book.offset:
                batch = FetchedBatch(TP("ticks", partition), log[book.offset : end], end, len(log))
                self.intake.apply([batch])
            self.aggregator.add(book.partial())

    def publish(self, codes: Sequence[str] | None = None, *, wait_ms: int = 100) -> None:
        """Publish as the publisher does; what is kept stands in `levels` after `flush`."""
        self.clock += wait_ms * MS
        if not self.aggregator.complete:
            return
        total, composition = self.aggregator.total(), self.aggregator.composition
        positions = [
            i for i, code in enumerate(composition.codes) if codes is None or code in codes
        ]
        moment = moment_of(CALENDAR, total, self.clock)
        newest = snapshots(composition, positions, total, self.extremes, moment=moment)
        if self.aggregator.crossing:
            newest = [held(self.last.get(one.code, one), moment) for one in newest]
        self.last |= {one.code: one for one in newest}
        messages = []
        for one in newest:
            self.seq[one.code] = seq = self.seq.get(one.code, 0) + 1
            data = encode_published(one, epoch=self.epoch, seq=seq, published_ns=self.clock)
            messages.append(Message(one.code, seq, data))
        self.record.take(newest, messages, offsets=total.offsets, published_ns=self.clock)
        self.flush()

    def flush(self) -> None:
        while self.record.waiting:
            entry = self.record.waiting.popleft()
            self.kept.append("levels", entry.data, key=entry.code.encode())

    def close(self) -> Memory:
        self.record.end()
        self.flush()
        return self.kept


def roll(day: str, starts_ns: int) -> Roll:
    return Roll(day, starts_ns - 9 * 3600 * NS, starts_ns + 14 * 3600 * NS)


def verified(kept: Memory, session: str | None = None, **options: Any) -> Outcome:
    async def run() -> Outcome:
        extent = choose(await find_sessions(kept), session, name=kept.name)
        return await verify(kept, extent, **options)

    return asyncio.run(run())


def a_day() -> Market:
    """Roll to a session, trade and publish some seconds of it."""
    market = Market()
    market.control(roll(DAY, OPENING))
    for number in range(40):
        symbol = SYMBOLS[number % 3]
        market.tick(symbol, 500_000 + 137 * (number * 29 % 17) - 900)
        market.read()
        market.publish(["ALL"] if symbol == "AIG" else None, wait_ms=150)
    return market


# ---- what is right passes ------------------------------------------------------------------------


def test_a_day_as_it_was_published_passes() -> None:
    """Every level is computed again to the last digit."""
    kept = a_day().close()
    n = len(kept.log("levels"))

    outcome = verified(kept)

    assert n > 25
    assert outcome.passed(allow_missing=False)
    assert outcome.verified == outcome.records == n
    assert (outcome.session, outcome.not_checked, outcome.epochs) == (DAY, {}, {1: n})


@pytest.mark.parametrize("window", [1, 7])
def test_levels_that_were_written_in_another_order_pass(
    window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An extreme is written at once, what was published before it at the end of its second: both are right."""
    monkeypatch.setattr("stream.archive.recompute.WINDOW", window)
    monkeypatch.setattr("stream.archive.replay.FIRST_DISTANCE", 2)
    kept = a_day().close()
    offsets = [sum(json.loads(r.value or b"")["offsets"].values()) for r in kept.log("levels")]

    outcome = verified(kept)

    assert offsets != sorted(offsets)
    assert outcome.verified == len(offsets)


def test_a_publisher_that_begins_at_lower_offsets_passes() -> None:
    """After a take-over the books go back a little; levels of both epochs are right."""
    market = a_day()
    market.close()
    market.start({0: 12, 1: 5})
    market.publish(wait_ms=2_000)
    market.read()
    market.publish(wait_ms=2_000)

    outcome = verified(market.close())

    assert outcome.verified == outcome.records
    assert set(outcome.epochs) == {1, 2}


def test_levels_that_were_written_twice_are_counted_apart() -> None:
    """A writer that was not answered writes what it has in hand again: the same bytes prove nothing and spoil nothing."""
    kept = a_day().close()
    for record in kept.log("levels")[-6:]:
        kept.append("levels", record.value, key=record.key)

    outcome = verified(kept)

    assert (outcome.copies, outcome.differences) == (6, 0)
    assert outcome.verified == outcome.records - 6


def test_an_announced_composition_is_followed() -> None:
    """Ticks before its announcement are read with the old symbols, those after it with the new ones."""
    market = a_day()
    other = small_composition(price=600_000)
    market.keep(other)
    market.intake.know(other)
    market.aggregator.know(other)
    market.announce(other)
    market.tick("IBM", 612_345)
    market.read()
    market.publish(wait_ms=2_000)

    outcome = verified(market.close())

    assert outcome.verified == outcome.records
    assert len(market.kept.log("compositions")) == 2


def crossing_day() -> Market:
    """Let a day end with one partition that rolls before the other, in the second of the last publication."""
    market = a_day()
    market.publish(wait_ms=1_000)
    market.tick("BAC", 500_300)
    market.read()
    market.publish(wait_ms=10)
    market.tick("IBM", 500_200)
    market.control(roll(NEXT_DAY, NEXT_OPENING), partitions=(0,))
    market.read({0: len(market.kept.log("ticks", 0)) - 1, 1: len(market.kept.log("ticks", 1))})
    market.read()
    market.publish(wait_ms=10)
    return market


def without_what_is_held(kept: Memory) -> Memory:
    """Let the log lack the good levels that the held ones repeat: while Kafka is away, the oldest are dropped."""
    log = kept.log("levels")
    told = [json.loads(record.value or b"") for record in log]
    for code in ("ALL", "B"):
        own = [number for number, one in enumerate(told) if one["code"] == code]
        first = next(i for i, number in enumerate(own) if told[number]["status"] == "held")
        told[own[first - 1]] = {"code": "", "status": ""}
    log[:] = [record for record, one in zip(log, told, strict=True) if one["code"]]
    return kept


def test_a_held_level_repeats_the_last_good_one_of_its_second() -> None:
    """Both are kept."""
    outcome = verified(crossing_day().close())

    assert outcome.passed(allow_missing=False)
    assert (outcome.held, outcome.arithmetic) == (2, 0)


def test_a_held_level_that_repeats_one_that_was_not_kept_is_judged_by_its_arithmetic() -> None:
    """It proves nothing more, so it is counted apart."""
    outcome = verified(without_what_is_held(crossing_day().close()))

    assert outcome.passed(allow_missing=False)
    assert outcome.held + outcome.arithmetic == 2
    assert outcome.arithmetic > 0


def test_a_held_level_that_repeats_the_one_before_is_counted_as_held() -> None:
    """It is no new value, so there is nothing else to compare."""
    market = a_day()
    market.publish(wait_ms=2_000)
    market.control(roll(NEXT_DAY, NEXT_OPENING), partitions=(0,))
    market.read()
    market.publish(wait_ms=2_000)

    outcome = verified(market.close())

    assert (outcome.held, outcome.arithmetic, outcome.differences) == (2, 0, 0)


def test_the_newest_session_is_verified_unless_another_is_named() -> None:
    """By the place of their last levels; each session stands by itself."""
    market = a_day()
    market.now = NEXT_OPENING
    market.control(roll(NEXT_DAY, NEXT_OPENING))
    for price in (501_000, 502_000):
        market.tick("AIG", price)
        market.read()
        market.publish(wait_ms=2_000)
    kept = market.close()

    newest, named = verified(kept), verified(kept, DAY)

    assert (newest.session, newest.verified, newest.differences) == (NEXT_DAY, 4, 0)
    assert (named.session, named.differences) == (DAY, 0)
    assert named.verified + newest.verified == len(kept.log("levels"))


def test_some_indexes_alone() -> None:
    """Only their levels are looked at."""
    outcome = verified(a_day().close(), codes=["B"])

    assert outcome.records == outcome.verified
    assert 0 < outcome.records < 29


# ---- what was altered is found -------------------------------------------------------------------


def as_written(value: bytes) -> dict[str, str]:
    """Read a level, every field as it stands there."""
    raw = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    return {name: bytes(text).decode() for name, text in raw.items()}


def joined(fields: Mapping[str, str]) -> bytes:
    return ("{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}").encode()


def altered(value: bytes, name: str, text: str) -> bytes:
    """Put other text in the place of a field's."""
    fields = as_written(value)
    assert joined(fields) == value
    assert fields[name] != text
    return joined({**fields, name: text})


def rewrite(kept: Memory, number: int, value: bytes) -> None:
    log = kept.log("levels")
    log[number] = log[number]._replace(value=value)


def last_digit(text: str) -> str:
    return text[:-1] + str((int(text[-1]) + 1) % 10)


def test_one_digit_of_one_level_is_found() -> None:
    """The first difference names index, publication, field, both values and the offsets."""
    kept = a_day().close()
    value = kept.log("levels")[20].value or b""
    told = json.loads(value, parse_float=str)
    rewrite(kept, 20, altered(value, "level", last_digit(told["level"])))

    outcome = verified(kept)

    assert not outcome.passed(allow_missing=True)
    first = outcome.first
    assert first is not None
    assert (first.record, first.code, first.epoch, first.seq) == (20, told["code"], 1, told["seq"])
    assert (first.field, first.recomputed) == ("level", told["level"])
    assert first.published == last_digit(told["level"])
    assert {str(p): o for p, o in first.offsets.items()} == told["offsets"]
    assert outcome.records == 21
    assert str(first).startswith(f"{told['code']} epoch 1 seq {told['seq']}, level: published ")


def test_a_digit_that_changes_no_number_is_found() -> None:
    """Levels have 8 places: a shorter text is another text."""
    kept = a_day().close()
    value = kept.log("levels")[0].value or b""
    assert json.loads(value, parse_float=str)["level"].endswith("00")
    rewrite(kept, 0, altered(value, "level", json.loads(value, parse_float=str)["level"][:-1]))

    outcome = verified(kept)

    assert outcome.first is not None
    assert outcome.first.field == "level"


def test_all_differences_are_listed_where_asked_for() -> None:
    """One altered field is one difference: what follows is measured against what is right."""
    kept = a_day().close()
    found: list[Difference] = []
    for number in (3, 20):
        value = kept.log("levels")[number].value or b""
        level = json.loads(value, parse_float=str)["level"]
        rewrite(kept, number, altered(value, "level", "5" + level[1:]))

    outcome = verified(kept, every=True, on_difference=found.append)

    assert [(one.record, one.field) for one in found] == [(3, "level"), (20, "level")]
    assert outcome.different == 2
    assert outcome.verified == outcome.records - 2 == len(kept.log("levels")) - 2
    assert outcome.first == found[0]


def test_an_altered_tick_is_found() -> None:
    """The levels after it no longer follow from the log."""
    kept = a_day().close()
    log = kept.log("ticks", 1)
    number = len(log) - 1
    assert b"BAC" in (log[number].value or b"")
    value = (log[number].value or b"").replace(b'"price":', b'"price":9')
    log[number] = log[number]._replace(value=value)

    outcome = verified(kept, every=True)

    assert outcome.first is not None
    assert outcome.first.field == "level"
    assert 0 < outcome.different < outcome.records


def test_an_altered_record_timestamp_that_decides_is_found() -> None:
    """A tick ahead of its record is refused, so the record's own time belongs to what is kept."""
    kept = a_day().close()
    log = kept.log("ticks", 0)
    log[5] = log[5]._replace(timestamp=log[5].timestamp - 3_000)

    assert verified(kept).differences > 0


@pytest.mark.parametrize("name", ["open", "high", "low"])
def test_an_altered_extreme_is_found(name: str) -> None:
    """Open, high and low are those of the levels kept."""
    kept = a_day().close()
    value = kept.log("levels")[25].value or b""
    text = json.loads(value, parse_float=str)[name]
    rewrite(kept, 25, altered(value, name, last_digit(text)))

    outcome = verified(kept)

    assert outcome.first is not None
    assert (outcome.first.record, outcome.first.field) == (25, name)
    assert outcome.first.recomputed == text


def a_night() -> Market:
    """Go on after the close: prints of extended hours move the indicative level, and time its age."""
    market = a_day()
    market.now = market.clock = oracle.nanoseconds(DAY, "16:30:00")
    for price in (503_000, 504_000):
        market.tick("IBM", price)
        market.read()
        market.publish(wait_ms=2_000)
    return market


def test_a_night_as_it_was_published_passes() -> None:
    """Levels stand, estimates move, ages grow: all of it follows from the log and the moment of the publication."""
    kept = a_night().close()

    outcome = verified(kept)

    newest = [json.loads(record.value or b"") for record in kept.log("levels")[-4:]]
    assert {one["status"] for one in newest} == {"indicative"}
    assert {one["indicative_method"] for one in newest} == {"hybrid"}
    assert newest[0]["level"] == newest[2]["level"]
    assert newest[0]["indicative"] < newest[2]["indicative"]
    assert outcome.verified == outcome.records


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("phase", '"overnight"'),
        ("cash_phase", '"closed"'),
        ("status", '"official_close"'),
        ("indicative", None),
        ("indicative_method", '"futures"'),
        ("indicative_age_s", None),
        ("indicative_coverage", None),
        ("last", None),
        ("change", None),
        ("change_pct", None),
        ("coverage", None),
        ("stale", None),
        ("age_s", None),
        ("oldest_age_s", None),
    ],
)
def test_what_an_altered_night_says_is_found(name: str, other: str | None) -> None:
    """One other digit, or another word."""
    kept = a_night().close()
    number = len(kept.log("levels")) - 1
    value = kept.log("levels")[number].value or b""
    text = as_written(value)[name]
    rewrite(kept, number, altered(value, name, other or last_digit(text)))

    outcome = verified(kept)

    assert outcome.first is not None
    assert (outcome.first.record, outcome.first.field) == (number, name)
    assert outcome.first.recomputed == text


def test_a_regular_level_that_says_it_is_not_firm_is_found() -> None:
    """Also by day a status is computed again."""
    kept = a_day().close()
    number = len(kept.log("levels")) - 1
    value = kept.log("levels")[number].value or b""
    rewrite(kept, number, altered(value, "status", '"opening"'))

    outcome = verified(kept)

    assert outcome.first is not None
    assert (outcome.first.field, outcome.first.recomputed) == ("status", '"firm"')


def test_a_calendar_or_rules_of_another_kind_are_found() -> None:
    """They decide which ticks count, so they belong to what is kept."""
    closed = Memory(calendar=f"[cash]\nclosed = [{DAY}]\n")
    strict = Memory(price_rules=PriceRules(limit_bp=1))
    for other in (closed, strict):
        kept = a_day().close()
        other.logs = kept.logs

        assert verified(kept).differences == 0
        assert verified(other).differences > 0


def test_a_lost_extreme_is_found() -> None:
    """Where the level that set a high is missing, the next one's high has no reason."""
    kept = a_day().close()
    log = kept.log("levels")
    told = [json.loads(record.value or b"", parse_float=str) for record in log]
    highs = [
        i for i, one in enumerate(told) if one["code"] == "ALL" and one["level"] == one["high"]
    ]
    del log[highs[-1]]

    outcome = verified(kept)

    assert outcome.first is not None
    assert outcome.first.field == "high"


def test_a_new_publisher_may_know_of_more_than_was_kept() -> None:
    """The one before it may have died between showing a high and writing it down: that is told, and no difference."""
    market = a_day()
    market.extremes.learn("ALL", DAY, 10**11, 2 * 10**11, 10**10)
    market.close()
    market.start({p: len(market.kept.log("ticks", p)) for p in range(2)})
    market.publish(wait_ms=2_000)
    market.tick("IBM", 500_100)
    market.read()
    market.publish(wait_ms=2_000)
    kept = market.close()

    outcome = verified(kept)

    assert outcome.differences == 0
    assert outcome.carried == 1


def test_a_new_publisher_that_knows_less_is_found() -> None:
    """A high that was published cannot be taken back."""
    market = a_day()
    market.close()
    market.extremes = Extremes()
    market.start({p: len(market.kept.log("ticks", p)) for p in range(2)})
    market.publish(wait_ms=2_000)

    outcome = verified(market.close())

    assert outcome.first is not None
    assert (outcome.first.epoch, outcome.first.field) == (2, "open")


def test_offsets_at_which_partitions_do_not_add_up_are_found() -> None:
    """Where one has rolled and the other has not, there is no sum, so none can have been published."""
    market = a_day()
    market.publish(wait_ms=2_000)
    market.control(roll(NEXT_DAY, NEXT_OPENING), partitions=(0,))
    kept = market.close()
    value = kept.log("levels")[-1].value or b""
    offsets = json.loads(value)["offsets"] | {"0": len(kept.log("ticks", 0))}
    rewrite(kept, len(kept.log("levels")) - 1, altered(value, "offsets", json.dumps(offsets)))

    outcome = verified(kept)

    assert outcome.first is not None
    assert outcome.first.field == "offsets"
    assert DAY in outcome.first.recomputed
    assert NEXT_DAY in outcome.first.recomputed


def test_a_publication_that_goes_back_is_found() -> None:
    """Of one index, (epoch, seq) grows from level to level."""
    kept = a_day().close()
    log = kept.log("levels")
    told = [json.loads(record.value or b"") for record in log]
    last, before = [i for i, one in enumerate(told) if one["code"] == "B"][:-3:-1]
    rewrite(kept, last, altered(log[last].value or b"", "seq", str(told[before]["seq"])))

    outcome = verified(kept)

    assert outcome.first is not None
    assert (outcome.first.record, outcome.first.field) == (last, "seq")


def held_up_day() -> tuple[Memory, int]:
    """Let a publisher write its last level after its successor's first ones; give what is kept, and that level's place."""
    market = a_day()
    kept = market.close()
    log = kept.log("levels")
    last = max(i for i, one in enumerate(log) if one.key == b"ALL")
    late = log.pop(last)
    market.start({p: len(kept.log("ticks", p)) for p in range(2)})
    market.publish(wait_ms=2_000)
    market.publish(wait_ms=2_000)
    kept.append("levels", late.value or b"", key=b"ALL")
    market.tick("IBM", 500_100)
    market.read()
    market.publish(wait_ms=2_000)
    market.close()
    return kept, next(i for i, one in enumerate(kept.log("levels")) if one.value == late.value)


def test_a_level_that_is_written_after_its_successors_is_told() -> None:
    """A publisher that was paused writes what it had waiting when it wakes: right, in its place, and no difference."""
    kept, _ = held_up_day()

    outcome = verified(kept)

    assert (outcome.differences, outcome.late, outcome.missing) == (0, 1, 0)
    assert outcome.verified == outcome.records == len(kept.log("levels"))


@pytest.mark.parametrize("name", ["level", "market_value", "seq"])
def test_a_late_level_is_compared_all_the_same(name: str) -> None:
    """Only what its publisher knew of open, high and low is not."""
    kept, place = held_up_day()
    value = kept.log("levels")[place].value or b""
    fields = json.loads(value, parse_float=str)
    other = {"level": last_digit(fields["level"]), "market_value": '"1.0000"', "seq": "1"}[name]
    rewrite(kept, place, altered(value, name, other))

    outcome = verified(kept)

    assert outcome.first is not None
    assert (outcome.first.record, outcome.first.field) == (place, name)


def test_an_altered_digit_of_a_held_level_is_found() -> None:
    """Also where it repeats nothing that was kept: level and market value belong to each other."""
    kept = without_what_is_held(crossing_day().close())
    log = kept.log("levels")
    for number, record in enumerate(log):
        told = json.loads(record.value or b"", parse_float=str)
        if told.get("status") == "held":
            rewrite(kept, number, altered(record.value or b"", "level", last_digit(told["level"])))

    outcome = verified(kept, every=True)

    assert outcome.different == 2
    assert outcome.first is not None
    assert outcome.first.field in ("level", "last")


@pytest.mark.parametrize("window", [1, 20_000])
@pytest.mark.parametrize("number", [0, 7, -1])
def test_what_is_no_level_is_found(
    number: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among a session's levels nothing else belongs into the topic, nor before or after them."""
    monkeypatch.setattr("stream.archive.recompute.WINDOW", window)
    kept = a_day().close()
    n_levels = len(kept.log("levels"))
    rewrite(kept, number, b'{"code":"ALL"}')

    outcome = verified(kept)

    assert outcome.first is not None
    assert (outcome.first.record, outcome.first.field) == (number % n_levels, "record")


OWN = ("epoch", "seq", "published_ns", "offsets", "code_version")


@st.composite
def markets(draw: st.DrawFn, *, rolls: bool = False) -> Market:
    """Draw a session: ticks, publications, noise, publishers that take over; and partitions that roll to the next one."""
    market = Market()
    market.control(OriginRecord("simulated"))
    market.control(roll(DAY, OPENING))
    moves = st.one_of(
        st.tuples(st.sampled_from(SYMBOLS), st.integers(300_000, 700_000)),
        st.tuples(st.just("publish"), st.sampled_from((1, 300, 1_000))),
        st.tuples(st.just("noise"), st.integers(0, 1)),
        st.tuples(st.just("takeover"), st.integers(0, 3)),
        st.tuples(st.just("roll" if rolls else "noise"), st.integers(0, 1)),
    )
    for what, n in draw(st.lists(moves, min_size=4, max_size=40)):
        if what == "publish":
            market.read()
            market.publish(wait_ms=n)
        elif what == "noise":
            market.raw(b"\xff", partition=n)
        elif what == "roll":
            market.control(roll(NEXT_DAY, NEXT_OPENING), partitions=(n,))
        elif what == "takeover":
            market.close()
            market.start({p: max(len(market.kept.log("ticks", p)) - n, 3) for p in range(2)})
        else:
            market.tick(what, n)
    market.read()
    market.publish(wait_ms=5)
    market.close()
    return market


@given(market=markets(rolls=True), batch=st.integers(1, 5))
def test_whatever_was_published_passes(market: Market, batch: int) -> None:
    """However ticks, publications, take-overs and rolls follow each other: in each session that was published."""
    market.kept.batch = batch
    kept = [json.loads(record.value or b"") for record in market.kept.log("levels")]

    for session in {level["session"] for level in kept}:
        outcome = verified(market.kept, session)

        assert outcome.first is None
        assert outcome.records == outcome.verified + outcome.held + outcome.arithmetic
        assert outcome.held + outcome.arithmetic <= sum(level["status"] == "held" for level in kept)


@given(market=markets(), data=st.data())
def test_any_altered_field_of_any_level_is_found(market: Market, data: st.DataObject) -> None:
    """One other character anywhere in what a level says, apart from its publisher's own clock and counters."""
    kept = market.kept
    log = kept.log("levels")
    number = data.draw(st.integers(0, len(log) - 1))
    value = log[number].value or b""
    fields = as_written(value)
    name = data.draw(st.sampled_from([each for each in fields if each not in OWN]))
    text = fields[name]
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([c for c in "0123456789aAZ" if c != text[at]]))
    rewrite(kept, number, altered(value, name, text[:at] + other + text[at + 1 :]))

    assert is_found(kept, number, name)


def is_found(kept: Memory, number: int, name: str) -> bool:
    at_an_end = number in (0, len(kept.log("levels")) - 1)
    try:
        outcome = verified(kept, DAY)
    except SetupError:
        # The session's only level, which no longer says so.
        return True
    if outcome.differences:
        return True
    if name in ("open", "high", "low"):
        # A new publisher may know of more than was kept; that is told.
        return outcome.carried > 0
    # What no longer says that it belongs to the session is missed where levels of the session stand on both sides of it.
    return at_an_end and outcome.records < len(kept.log("levels"))


@pytest.mark.parametrize(
    "name",
    [
        "level",
        "last",
        "market_value",
        "previous_close",
        "change",
        "change_pct",
        "divisor",
        "constituents",
        "priced",
        "unchanged",
    ],
)
def test_the_fields_of_a_snapshot_bind_each_other(name: str) -> None:
    """Another digit in any of these contradicts the rest, in indexes of every size.

    Of a market value, only digits that a level shows: cents of trillions do not move it.
    """
    composition = load_composition()
    total = Partial.zero(composition)
    total.columns[:2] = [[123_457], [9]]
    for index, snapshot in zip(
        composition.indexes,
        snapshots(
            composition,
            range(len(composition.indexes)),
            total,
            moment=moment_of(CALENDAR, total, OPENING),
        ),
        strict=True,
    ):
        fields = recomputed_fields(snapshot)
        assert list(mismatches(fields, index)) == []
        text = fields[name].strip(b'"').decode()
        other = "9" + text if name == "market_value" else last_digit(text)
        fields[name] = fields[name].replace(text.encode(), other.encode())

        assert list(mismatches(fields, index)) != []


# ---- what cannot be verified is said -------------------------------------------------------------


def test_levels_that_stand_for_offsets_before_the_log_are_missing() -> None:
    """They are counted, and the verification does not pass unless that is allowed."""
    kept = a_day().close()
    for partition in range(2):
        kept.first["ticks", partition] = 8
        del kept.log("ticks", partition)[:8]

    outcome = verified(kept, every=True)

    assert outcome.missing > 0
    assert outcome.incomplete == {0: 8, 1: 8}
    assert replace(outcome, differences=0).passed(allow_missing=True)
    assert not replace(outcome, differences=0).passed(allow_missing=False)


def test_books_to_begin_with_stand_for_what_is_gone() -> None:
    """With the books as they stood at the first offsets that are left, nothing is incomplete."""
    market = a_day()
    kept = market.close()
    market.start({0: 8, 1: 8})
    kept.states = {p: market.intake.books[p].state() for p in range(2)}
    for partition in range(2):
        kept.first["ticks", partition] = 8
        del kept.log("ticks", partition)[:8]

    outcome = verified(kept)

    offsets = [json.loads(one.value or b"")["offsets"] for one in kept.log("levels")]
    beyond = [each for each in offsets if min(each.values()) >= 8]
    assert (outcome.differences, outcome.incomplete) == (0, {})
    assert {"0": 14, "1": 8} in beyond
    assert (outcome.verified, outcome.missing) == (len(beyond), len(offsets) - len(beyond))


def test_books_at_the_end_are_compared_where_they_are_known() -> None:
    """They tell of ticks that no level stands for."""
    market = a_day()
    market.tick("IBM", 512_300)
    market.read()
    kept = market.close()
    kept.ends = {p: market.intake.books[p].state() for p in range(2)}
    right = verified(kept)
    log = kept.log("ticks", 0)
    log[-1] = log[-1]._replace(value=(log[-1].value or b"").replace(b"51.23", b"51.24"))

    wrong = verified(kept)

    assert (right.books_different, right.passed(allow_missing=False)) == ([], True)
    assert (wrong.books_different, wrong.differences) == ([0], 0)
    assert not wrong.passed(allow_missing=True)


def test_books_that_do_not_belong_to_the_log_are_refused() -> None:
    """They stand beyond its end: of another topic, or one that was made anew."""
    market = a_day()
    kept = market.close()
    kept.states = {p: market.intake.books[p].state() for p in range(2)}
    del kept.log("ticks", 0)[-5:]

    with pytest.raises(SetupError, match="partition 0 stands at offset"):
        verified(kept)


def test_a_composition_that_was_not_kept_is_named() -> None:
    """Without members and divisors nothing can be computed."""
    kept = a_day().close()
    kept.log("compositions").clear()

    with pytest.raises(SetupError, match=small_composition().id):
        verified(kept)


def test_a_composition_whose_contents_are_not_its_own_is_refused() -> None:
    """Its id is a digest: an altered divisor has another one."""
    kept = a_day().close()
    (record,) = kept.log("compositions")
    value = (record.value or b"").replace(b'"250.', b'"251.')
    assert value != record.value
    kept.log("compositions")[0] = record._replace(value=value)

    with pytest.raises(SetupError, match="its contents are those of"):
        verified(kept)


def test_a_composition_under_the_name_of_another_is_refused() -> None:
    """Whole, and not the one that is asked for."""
    kept = a_day().close()
    (record,) = kept.log("compositions")
    other = compositions.encode(small_composition(price=600_000))
    kept.log("compositions")[0] = record._replace(value=other)

    with pytest.raises(SetupError, match="under the name of composition"):
        verified(kept)


def test_without_a_session_there_is_nothing_to_verify() -> None:
    """No topic, no level that belongs to a session, or none of the one that was asked for."""
    empty, early = Memory(), Market()
    with pytest.raises(SetupError, match="no levels were recorded"):
        verified(empty)
    early.read()
    early.publish()
    with pytest.raises(SetupError, match="belongs to a session"):
        verified(early.close())
    with pytest.raises(
        SetupError, match=f"no level of session 2026-01-02 is kept; there are {DAY}"
    ):
        verified(a_day().close(), "2026-01-02")
    with pytest.raises(SetupError, match="no level of US1000"):
        verified(a_day().close(), codes=["US1000"])


def test_a_level_of_a_partition_that_is_not_there_is_missing() -> None:
    """The topic may have been made anew with fewer partitions."""
    kept = a_day().close()
    value = kept.log("levels")[9].value or b""
    offsets = json.loads(value)["offsets"] | {"7": 3}
    rewrite(kept, 9, altered(value, "offsets", json.dumps(offsets)))

    assert verified(kept).missing == 1


def test_levels_are_computed_while_others_are_still_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session may be longer than memory: only a window of its levels is held."""
    monkeypatch.setattr("stream.archive.recompute.WINDOW", 6)
    kept = a_day().close()

    verified(kept)

    # The first pass over the levels finds the session.
    first_tick = kept.served.index("ticks")
    assert kept.served[first_tick:].count("levels") > 5


def test_a_log_is_read_once_where_offsets_only_grow() -> None:
    """Books go back only where they must."""
    kept = a_day().close()
    verified(kept)

    assert [one for one in kept.reads if one[0] == "ticks"] == [("ticks", 0, 0), ("ticks", 1, 0)]


# ---- books at any offset -------------------------------------------------------------------------


@cache
def same_day() -> Market:
    return a_day()


@given(
    offsets=st.lists(st.tuples(st.integers(0, 28), st.integers(0, 15)), min_size=1, max_size=8),
    distance=st.sampled_from((1, 3, 100)),
)
def test_a_book_is_the_same_whichever_way_it_came_to_an_offset(
    offsets: list[tuple[int, int]], distance: int
) -> None:
    """Forwards or back, from the start or from a mark: all records before the offset, none from it on."""
    market = same_day()
    assert [len(market.kept.log("ticks", p)) for p in range(2)] == [29, 15]

    async def partials() -> list[list[Partial]]:
        async with open_replay(market.kept, Compositions(market.kept)) as replay:
            return [await replay.partials({0: first, 1: second}) for first, second in offsets]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stream.archive.replay.FIRST_DISTANCE", distance)
        found = asyncio.run(partials())

    for (first, second), both in zip(offsets, found, strict=True):
        market.start({0: first, 1: second})
        for partition, partial in enumerate(both):
            expected = market.intake.books[partition].partial()
            assert partial.offsets == {partition: (first, second)[partition]}
            assert partial.standing == expected.standing
            assert partial.same_values(expected)


def test_marks_are_bounded_and_never_beyond_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However long the log: the nearest one at or before an offset."""
    monkeypatch.setattr("stream.archive.replay.FIRST_DISTANCE", 2)
    book = Market().intake.books[0]
    marks = Marks(book.state())
    for offset in range(1, 1_000):
        book.offset = offset
        marks.pass_by(book)

    known = sorted({marks.before(offset).offset for offset in range(1_000)})

    assert 8 <= len(known) <= MOST_MARKS
    for offset in range(1_000):
        assert marks.before(offset).offset == max(one for one in known if one <= offset)
    assert max(b - a for a, b in pairwise(known)) <= 2 * min(b - a for a, b in pairwise(known))
