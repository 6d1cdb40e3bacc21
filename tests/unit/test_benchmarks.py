"""The benchmarks' tape is the same at every run, and the answers that they assert are right."""

from decimal import Decimal

import numpy as np
import pytest

from benchmarks import workload
from benchmarks.workload import expected_levels, frame_texts, json_texts, tape
from stream.feed.producer import partition_of
from stream.files import load_composition
from stream.index.book import Book
from stream.index.composition import Composition
from stream.index.snapshot import level_text, moment_of, snapshots
from stream.session.calendar import Calendar
from stream.wire.messages import decode_messages
from stream.wire.symbols import SymbolTable
from stream.wire.ticks_json import encode_tick

N = 3_000


@pytest.fixture(scope="module")
def composition() -> Composition:
    return load_composition()


def test_tape_is_the_same_at_every_run(composition: Composition) -> None:
    """The first and the last tick are written down here: changed ones are another workload."""
    (chunk,) = tape(composition, N)
    symbols = composition.universe.symbols
    ends = [(symbols[chunk.row[i]], int(chunk.price[i]), int(chunk.ts[i])) for i in (0, -1)]
    assert ends == [
        ("SYY", 820_600, 1_784_304_000_000_000_000),
        ("BX", 1_274_300, 1_784_304_000_002_999_000),
    ]
    assert chunk.seq[[0, -1]].tolist() == [1, N]


def test_short_tape_begins_a_long_one(
    composition: Composition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also across the border of two chunks."""
    monkeypatch.setattr(workload, "CHUNK", 100)
    short, long = (list(tape(composition, n)) for n in (150, 1_000))
    assert [len(chunk) for chunk in short] == [100, 50]
    for name in ("row", "price", "ts", "seq"):
        of_long = np.concatenate([getattr(chunk, name) for chunk in long])
        of_short = np.concatenate([getattr(chunk, name) for chunk in short])
        assert of_short.tolist() == of_long[:150].tolist()
    assert np.array_equal(np.concatenate([chunk.seq for chunk in long]), np.arange(1, 1_001))


def test_prices_are_what_a_tape_may_hold(composition: Composition) -> None:
    """Near the reference, above nothing, on cents from a dollar on, in regular hours."""
    (chunk,) = tape(composition, 100_000)
    reference = composition.reference_price[chunk.row]
    assert (chunk.price > 0).all()
    assert (np.abs(chunk.price - reference) <= reference // 50 + 50).all()
    assert (chunk.price[chunk.price >= 10_000] % 100 == 0).all()
    hours = Calendar.bundled()
    assert hours.contains(chunk.ts).all()


def test_messages_are_those_of_our_feed(composition: Composition) -> None:
    """The fast writer writes what the product's own encoder does."""
    (chunk,) = tape(composition, 50)
    symbols = composition.universe.symbols
    assert list(json_texts(composition, chunk)) == [
        encode_tick(symbols[row], price, ts, size=100, seq=seq, venue="N")
        for row, price, ts, seq in zip(
            chunk.row.tolist(),
            chunk.price.tolist(),
            chunk.ts.tolist(),
            chunk.seq.tolist(),
            strict=True,
        )
    ]


@pytest.mark.parametrize("form", ["json", "frames"])
def test_answers_are_those_of_the_engine(composition: Composition, form: str) -> None:
    """Fractions over the last prices give every level that a book gives for the same messages."""
    (chunk,) = tape(composition, N)
    messages = list(
        json_texts(composition, chunk)
        if form == "json"
        else frame_texts(composition, chunk, frame_ticks=64)
    )
    recorded_ms = np.full(len(messages), chunk.ts[-1] // 1_000_000)
    symbols = SymbolTable(composition.universe.symbols)
    decoded = decode_messages(messages, recorded_ms, symbols)
    hours = Calendar.bundled()
    book = Book(composition, calendar=hours, partition=0)
    assert not book.apply(decoded.ticks).any()
    total = book.partial()
    moment = moment_of(hours, total, int(chunk.ts[-1]))
    newest = snapshots(composition, range(len(composition.indexes)), total, moment=moment)
    assert {one.code: Decimal(level_text(one.level)) for one in newest} == expected_levels(
        composition, N
    )


def test_no_ticks_leave_the_reference_levels(composition: Composition) -> None:
    """The oracle's own ground: each index at the level that its divisor was made for."""
    expected = {
        index.code: Decimal(index.reference_level).scaleb(-8) for index in composition.indexes
    }
    assert expected_levels(composition, 0) == expected


def test_symbols_stay_on_their_partition(composition: Composition) -> None:
    """Four partitions, all in use, chosen as Kafka's clients do."""
    used = {partition_of(symbol, workload.N_PARTITIONS) for symbol in composition.universe.symbols}
    assert used == set(range(workload.N_PARTITIONS))
