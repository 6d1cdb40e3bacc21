"""Laws 3 to 5, 7 and 9: whole logs of several partitions through the intake, in fetches of any cut.

Each partition is measured against a ledger of its own, kept one entry at a time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

import pytest
from aiokafka.record.default_records import DefaultRecord
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

import oracle
import wire_oracle
from figures import assert_same
from oracle import Ledger, Line, Plan, World
from strategies import NOBODYS, History, Tick, composition_of, session_histories, tell
from stream.index.book import Book
from stream.index.control import Announcement, Control, Override
from stream.pipeline import intake as intake_module
from stream.pipeline.dead_letters import DeadLetter, DeadLetters
from stream.pipeline.intake import Intake, MissingCompositionError
from stream.pipeline.transport import FetchedBatch
from stream.session.calendar import Calendar
from stream.wire import control as wire

NEW_YORK = Calendar.bundled()
PLAN = Plan("I", "price", None, None, Decimal(1000), None)
#: A letter for each bit of the conditions; `?` is none that the table knows.
LETTERS = "@IW4ZTO65CFQMPV?"
#: What goes to the dead letters; the rest can be found again in the log.
DEAD = {"malformed", "unknown_symbol", "future", "wrong_partition"}

#: Reason, partition, offset, and position of the tick in its message.
Letter = tuple[str, int, int, int | None]


@dataclass(frozen=True)
class Record:
    """A record of a partition's log, and what is in it: ticks, one control record, or nothing that can be read."""

    offset: int
    recorded_ms: int
    value: bytes | None
    meaning: tuple[Tick, ...] | Control | None

    def fetched(self) -> DefaultRecord:
        return DefaultRecord(self.offset, self.recorded_ms, 0, None, self.value, [])


def json_of(tick: Tick) -> dict[str, object]:
    return {
        "symbol": tick.symbol,
        "price": tick.price,
        "ts": tick.ts,
        "seq": tick.seq,
        "size": tick.size,
        "venue": tick.venue,
        "cond": "".join(letter for i, letter in enumerate(LETTERS) if tick.cond >> i & 1),
        "kind": oracle.KINDS[tick.kind],
    }


def json_text(tick: Tick) -> str:
    fields = {**json_of(tick), "price": 0}
    dollars = f"{tick.price // 10_000}.{tick.price % 10_000:04d}"
    return json.dumps(fields, separators=(",", ":")).replace('"price":0', f'"price":{dollars}')


def frame_of(ticks: Sequence[Tick]) -> bytes:
    return wire_oracle.frame(
        [
            wire_oracle.record(
                t.symbol.encode().ljust(8, b"\0"),
                t.ts,
                t.price,
                t.seq,
                t.size,
                t.cond,
                t.kind,
                ord(t.venue or "\0"),
            )
            for t in ticks
        ]
    )


@st.composite
def logs(draw: st.DrawFn, history: History, partition: int, homes: dict[str, int]) -> list[Record]:
    """Write a partition's share of a history as records: its own symbols' ticks, and every control record."""
    made: list[Record] = []
    offset = draw(st.integers(0, 3))
    for meaning in grouped(draw, history, partition, homes):
        if isinstance(meaning, tuple):
            # All ticks of a message have the timestamp of its record.
            ms = meaning[0].recorded_ms
            meaning = tuple(replace(tick, recorded_ms=ms) for tick in meaning)  # noqa: PLW2901
            texts = [json_text(tick) for tick in meaning]
            value: bytes | None = frame_of(meaning)
            if len(meaning) == 1 and draw(st.booleans(), label="JSON"):
                value = texts[0].encode()
            elif draw(st.booleans(), label="array"):
                value = f"[{','.join(texts)}]".encode()
        elif meaning is None:
            ms, value = 0, draw(st.sampled_from((None, b"", b"noise", b"CTRL{}")))
        else:
            ms, value = 0, wire.encode(meaning)
        made.append(Record(offset, ms, value, meaning))
        # Where compaction or a marker has left a gap, offsets jump.
        offset += draw(st.sampled_from((1, 1, 1, 3)))
    return made


def grouped(
    draw: st.DrawFn, history: History, partition: int, homes: dict[str, int]
) -> Iterator[tuple[Tick, ...] | Control | None]:
    group: list[Tick] = []
    room = 1
    for entry in history.log:
        if isinstance(entry, Tick) and homes[entry.symbol] != partition:
            continue
        if group and (len(group) >= room or not isinstance(entry, Tick)):
            yield tuple(group)
            group, room = [], draw(st.sampled_from((1, 1, 2, 4)))
        if isinstance(entry, Tick):
            group.append(entry)
        else:
            yield replace(entry, home=homes[entry.symbol]) if isinstance(entry, Override) else entry
        if draw(st.integers(0, 15)) == 15:
            if group:
                yield tuple(group)
                group = []
            yield None
    if group:
        yield tuple(group)


@st.composite
def fetches(draw: st.DrawFn, parts: Sequence[list[Record]]) -> list[list[FetchedBatch]]:
    """Cut the logs of some partitions into fetches, some of which begin again with what came before."""
    made: list[list[FetchedBatch]] = []
    position = [0] * len(parts)
    while any(at < len(part) for at, part in zip(position, parts, strict=True)):
        order = draw(st.permutations(range(len(parts))))
        fetch = []
        for p in order[: draw(st.integers(1, len(parts)))]:
            first = max(0, position[p] - draw(st.sampled_from((0, 0, 2))))
            last = min(len(parts[p]), position[p] + draw(st.sampled_from((40, 8, 3, 1, 0))))
            if first < last:
                fetch.append(batch_of(parts[p][first:last], p))
                position[p] = last
        made.append(fetch)
    return made


def batch_of(records: Sequence[Record], partition: int) -> FetchedBatch:
    after = records[-1].offset + 1
    fetched = [record.fetched() for record in records]
    return FetchedBatch(TP("ticks", partition), fetched, after, after)


def replayed(
    part: Sequence[Record], ledger: Ledger, history: History, letters: list[Letter]
) -> Counter[str]:
    """Tell a ledger a whole log; give the number of ticks by what became of them."""
    account: Counter[str] = Counter()
    for record in part:
        if record.meaning is None:
            account["malformed"] += 1
            letters.append(("malformed", ledger.partition, record.offset, None))
        elif isinstance(record.meaning, tuple):
            single = (record.value or b"").startswith(b"{")
            for i, tick in enumerate(record.meaning):
                verdict = ledger.apply(tick.at(ledger.world))
                account[verdict] += 1
                if verdict in DEAD:
                    element = None if single else i
                    letters.append((verdict, ledger.partition, record.offset, element))
        else:
            tell(ledger, record.meaning, history.worlds)
    return account


def taken(dead_letters: DeadLetters) -> Iterator[Letter]:
    for letter in dead_letters.take(len(dead_letters)):
        assert isinstance(letter, DeadLetter)
        yield letter.reason, letter.partition, letter.offset, letter.element


def in_order(letters: Sequence[Letter]) -> list[tuple[str, int, int, int]]:
    return sorted((*letter[:3], -1 if letter[3] is None else letter[3]) for letter in letters)


@given(st.data())
def test_any_fetches_of_any_partitions_end_where_the_laws_say(data: st.DataObject) -> None:
    """State, sums, account and dead letters are those of the logs read entry by entry.

    However they are cut into messages, fetches and portions, whatever is fetched twice, and whenever an announced
    composition becomes known.
    """
    history = data.draw(session_histories(max_size=30))
    n = data.draw(st.integers(1, 3))
    homes = {s: data.draw(st.integers(0, n - 1)) for s in [*history.symbols, NOBODYS]}
    parts = [data.draw(logs(history, p, homes)) for p in range(n)]
    dead_letters = DeadLetters(per_s=10**9)
    intake = Intake(
        history.composition, calendar=NEW_YORK, dead_letters=dead_letters, topic="ticks"
    )
    for p in range(n):
        intake.begin(p, offset=0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake_module, "PORTION_BYTES", data.draw(st.sampled_from((10**6, 400, 1))))
        for batches in data.draw(fetches(parts)):
            books = apply(intake, batches, history)
            assert [book.partition for book in books] == [b.partition for b in batches]

    letters: list[Letter] = []
    account: Counter[str] = Counter()
    for p, part in enumerate(parts):
        ledger = history.ledger(p)
        account += replayed(part, ledger, history, letters)
        assert_same(intake.books[p], ledger)
        assert intake.books[p].offset == (part[-1].offset + 1 if part else 0)
    assert intake.account.applied == account["applied"]
    assert intake.account.refused == account - Counter(applied=account["applied"])
    assert intake.account.ticks == account.total()
    assert in_order(list(taken(dead_letters))) == in_order(letters)


def test_a_batch_that_was_seen_already_moves_its_book_nowhere() -> None:
    """Not even between two others, whose offsets are higher: what follows it in its log is still to come (law 4)."""
    world = World((Line("S0", 7, Fraction(1), None, frozenset("I")),), (PLAN,))
    intake = Intake(
        composition_of(world), calendar=NEW_YORK, dead_letters=DeadLetters(per_s=9), topic="ticks"
    )
    noise = [batch_of([Record(at, 0, b"noise", None)], p) for p, at in ((0, 70), (1, 7), (2, 80))]
    for p, at in ((0, 70), (1, 8), (2, 80)):
        intake.begin(p, offset=at)

    intake.apply(noise)

    assert {p: book.offset for p, book in intake.books.items()} == {0: 71, 1: 8, 2: 81}
    assert intake.account.ticks == 2


def apply(intake: Intake, batches: Sequence[FetchedBatch], history: History) -> list[Book]:
    """Apply a fetch, telling of announced compositions only when they are asked for."""
    # One that no book stands in any more is forgotten, and asked for again.
    announced = sum(isinstance(entry, Announcement) for entry in history.log)
    for _ in range(announced * len(batches) + 1):
        try:
            return intake.apply(batches)
        except MissingCompositionError as missing:
            intake.know(history.by_id(missing.composition))
    raise AssertionError("asked again for a composition that it was told of")
