"""The book's verdicts and bounds, one law at a time."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from figures import figures_of
from oracle import NS, Ledger, Line, Plan, Print, World
from strategies import CLOSING, OPENING, composition_of, ticks_of
from stream.index.book import Book
from stream.index.partial import NO_EVENT, Origin
from stream.index.ticks import Kind, Verdict
from stream.session.calendar import Calendar

NEW_YORK = Calendar.bundled()


def world_of(n: int, *, price: int = 10_000, float_shares: int = 1000) -> World:
    lines = tuple(
        Line(f"S{i}", price, Fraction(float_shares), None, frozenset(("ALL",))) for i in range(n)
    )
    return World(lines, (Plan("ALL", "float_cap", None, None, Decimal(1000), None),))


def book_of(world: World, partition: int = 0) -> Book:
    return Book(composition_of(world), calendar=NEW_YORK, partition=partition)


def at(
    ts: int,
    *,
    row: int = 0,
    price: int = 10_100,
    seq: int = 0,
    cond: int = 1,
    kind: int = 0,
    lag: int = 0,
) -> Print:
    return Print(row, price, ts, seq, cond, kind, ts - lag)


def verdicts(*prints: Print, one_by_one: bool = False) -> list[str]:
    book = book_of(world_of(2))
    batches = [[one] for one in prints] if one_by_one else [list(prints)]
    return [Verdict(v).reason for batch in batches for v in book.apply(ticks_of(batch))]


@pytest.mark.parametrize("one_by_one", [True, False])
@pytest.mark.parametrize(
    ("log", "expected"),
    [
        pytest.param([(5, 0), (4, 0)], ["applied", "older"], id="late"),
        pytest.param([(5, 0), (5, 0)], ["applied", "applied"], id="ties follow the log"),
        pytest.param([(5, 3), (5, 3)], ["applied", "duplicate"], id="duplicate"),
        pytest.param([(5, 3), (5, 2)], ["applied", "older"], id="lower number"),
        pytest.param([(5, 3), (5, 4)], ["applied", "applied"], id="higher number"),
        pytest.param([(5, 3), (6, 1)], ["applied", "applied"], id="time before number"),
        pytest.param([(5, 0), (5, 1)], ["applied", "applied"], id="numbered after unnumbered"),
        pytest.param(
            [(5, 3), (5, 0), (5, 3)],
            ["applied", "applied", "duplicate"],
            id="number stays in force",
        ),
        pytest.param(
            [(5, 3), (5, 0), (5, 2)], ["applied", "applied", "older"], id="lower than that in force"
        ),
        pytest.param(
            [(5, 3), (4, 9), (5, 3)], ["applied", "older", "duplicate"], id="late changes nothing"
        ),
        pytest.param(
            [(5, 2**64 - 1), (5, 2**64 - 1)], ["applied", "duplicate"], id="largest number"
        ),
    ],
)
def test_log_order_then_event_time(
    log: list[tuple[int, int]], expected: list[str], *, one_by_one: bool
) -> None:
    """Older times and numbers are refused, ties without a number follow the log (law 3)."""
    prints = [at(OPENING + ts, seq=seq) for ts, seq in log]

    assert verdicts(*prints, one_by_one=one_by_one) == expected


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (at(OPENING - 1), "applied"),
        (at(OPENING), "applied"),
        (at(CLOSING - 1), "applied"),
        (at(CLOSING), "applied"),
        (at(OPENING, cond=2), "ineligible"),
        (at(OPENING, cond=1 | 32), "ineligible"),
        (at(OPENING, cond=0), "applied"),
        (at(OPENING, price=80_000), "applied"),
        (at(OPENING, price=80_001), "out_of_bounds"),
        (at(OPENING, price=2**63 - 1), "out_of_bounds"),
        (at(OPENING, price=1), "applied"),
        (at(OPENING, lag=2 * NS), "applied"),
        (at(OPENING, lag=2 * NS + 1), "future"),
        (at(OPENING, lag=-3600 * NS), "applied"),
        (at(OPENING, row=-1), "unknown_symbol"),
        (at(OPENING, row=-1, lag=3 * NS, price=2**62, cond=2), "unknown_symbol"),
        (at(OPENING, lag=3 * NS, price=2**62, cond=2), "future"),
        (at(OPENING, price=2**62, cond=2), "ineligible"),
        (at(OPENING, kind=Kind.CANCEL), "unmatched"),
        (at(OPENING, kind=Kind.CORRECTION, price=2**62), "out_of_bounds"),
        (at(OPENING, kind=Kind.CORRECTION), "unmatched"),
        (at(OPENING, kind=Kind.QUOTE_MID), "ineligible"),
        (at(OPENING, kind=Kind.CANCEL, lag=3 * NS), "future"),
    ],
)
def test_a_tick_is_applied_or_refused_for_one_reason(one: Print, expected: str) -> None:
    """Of several reasons the first in the order of the accounts counts (law 9)."""
    neighbour = at(OPENING, row=1)

    assert verdicts(one) == [expected]
    assert verdicts(neighbour, one, at(OPENING, row=1)) == ["applied", expected, "applied"]


def test_refused_ticks_leave_no_trace() -> None:
    """A book that has refused everything equals a new one."""
    book = book_of(world_of(1))
    fresh = book.partial()

    book.apply(ticks_of([at(OPENING, cond=2), at(OPENING, row=-1), at(OPENING, price=2**62)]))

    assert book.partial().same_values(fresh)
    assert book.ts.tolist() == [NO_EVENT]


def test_an_empty_batch_changes_nothing() -> None:
    """A fetch may hold control records alone."""
    book = book_of(world_of(1))

    assert book.apply(ticks_of([])).tolist() == []
    assert book.partial().same_values(book.recomputed())


def test_a_partial_names_partition_offset_origin_and_composition() -> None:
    """It is a function of its partition's log up to an offset (law 5)."""
    book = book_of(world_of(1), partition=3)
    book.offset, book.origin = 17, Origin.REPLAY

    partial, fresh = book.partial(), book.recomputed()

    assert partial.offsets == fresh.offsets == {3: 17}
    assert partial.origin is fresh.origin is Origin.REPLAY
    assert partial.composition == book.composition.id


def test_a_partial_does_not_change_with_its_book() -> None:
    """What was published stays as it was."""
    book = book_of(world_of(1))
    book.apply(ticks_of([at(OPENING)]))
    before = book.partial()
    values = before.value.tolist()

    book.apply(ticks_of([at(OPENING + 1, price=20_000)]))
    book.partial()

    assert before.value.tolist() == values
    assert before.event_ns.tolist() == [OPENING]


def test_the_event_time_of_an_index_is_that_of_its_newest_tick() -> None:
    """A later partial never goes back, though another stock's newest print is older."""
    book = book_of(world_of(2))
    book.apply(ticks_of([at(OPENING + 9, row=0)]))
    first = book.partial().event_ns.tolist()

    book.apply(ticks_of([at(OPENING + 2, row=1)]))

    assert first == book.partial().event_ns.tolist() == [OPENING + 9]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 1000])
def test_the_largest_universe_at_its_bound_does_not_overflow(n: int) -> None:
    """With as much value as 63 bits hold at k = 0, all prices at 8 times their reference add up exactly."""
    world = world_of(n, price=1, float_shares=(2**60 - 1) // n)
    books = [book_of(world, partition) for partition in range(2)]
    ledger = Ledger(world)
    log = [at(OPENING, row=row, price=8) for row in range(n)]

    for book, part in zip(books, (log[::2], log[1::2]), strict=True):
        book.apply(ticks_of(part))
    for one in log:
        ledger.apply(one)

    merged = books[0].partial() + books[1].partial()
    assert [sheet.k for sheet in ledger.sheets] == [0]
    assert merged.value.tolist() == [ledger.figures()[0]["value"]]
    assert 2**63 - 8 * n <= ledger.sheets[0].reference + ledger.figures()[0]["value"] < 2**63


def test_a_long_disordered_log_is_judged_as_one_by_one() -> None:
    """Tens of thousands of ticks of hundreds of symbols in one batch, in no order at all."""
    rng = random.Random(5)
    world = world_of(300)
    log = [
        at(
            OPENING + rng.randrange(2000),
            row=rng.randrange(300),
            price=rng.randrange(1, 90_000),
            seq=rng.choice((0, 0, rng.randrange(1, 50))),
        )
        for _ in range(20_000)
    ]
    book, ledger = book_of(world), Ledger(world)

    found = [Verdict(v).reason for v in book.apply(ticks_of(log))]

    assert found == [ledger.apply(one) for one in log]
    assert figures_of(book.partial()) == ledger.figures()
    assert np.array_equal(book.partial().value, book.recomputed().value)
