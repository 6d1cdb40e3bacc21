"""Laws 1 to 3 of the design: the book against a ledger kept one tick at a time in exact fractions."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import oracle
from figures import assert_same, assert_same_sums, state_of, without_stale
from oracle import BELIEVED, Ledger, Line, Print, Rules, World
from strategies import (
    LATE,
    RULES,
    composition_of,
    cuts,
    histories,
    logs,
    rules_of,
    selecting_worlds,
    ticks_of,
)
from stream.index.book import Book
from stream.index.composition import Composition
from stream.index.partial import overlap, total
from stream.index.ticks import Verdict
from stream.session.calendar import Calendar

NEW_YORK = Calendar.bundled()


def new_book(composition: Composition, partition: int = 0, *, rules: Rules = BELIEVED) -> Book:
    return Book(composition, calendar=NEW_YORK, rules=rules_of(rules), partition=partition)


def apply(book: Book, prints: list[Print]) -> list[str]:
    return [Verdict(v).reason for v in book.apply(ticks_of(prints))]


@given(st.data())
def test_a_book_judges_and_values_every_tick_as_the_law_says_one_by_one(
    data: st.DataObject,
) -> None:
    """However a log is cut into batches, verdicts, state and integers are those of the laws, tick by tick."""
    (world, log), rules = data.draw(histories()), data.draw(RULES)
    composition = composition_of(world)
    book = new_book(composition, rules=rules)
    ledger = Ledger(world, composition=composition.id, rules=rules)

    start = 0
    for stop in data.draw(cuts(len(log))):
        assert apply(book, log[start:stop]) == [ledger.apply(one) for one in log[start:stop]]
        if data.draw(st.booleans(), label="looked at in between"):
            assert_same(book, ledger)
        start = stop

    assert_same(book, ledger)


@given(st.data())
def test_verdicts_and_partials_do_not_depend_on_batches(data: st.DataObject) -> None:
    """One log tick by tick, in one batch, or in any others, gives the same verdicts, the same partial and state."""
    world, rules = data.draw(selecting_worlds()), data.draw(RULES)
    log = data.draw(logs(world, plain=data.draw(st.booleans())))
    composition = composition_of(world)
    singly, whole, parts = (new_book(composition, rules=rules) for _ in range(3))
    expected = [reason for one in log for reason in apply(singly, [one])]

    verdicts, start = [], 0
    for stop in data.draw(cuts(len(log))):
        verdicts += apply(parts, log[start:stop])
        start = stop

    assert apply(whole, log) == verdicts == expected
    for book in (whole, parts):
        assert book.partial().same_values(singly.partial())
        assert state_of(book) == state_of(singly)


@given(st.data())
def test_the_order_of_ticks_of_different_symbols_changes_nothing(data: st.DataObject) -> None:
    """Any shuffle that keeps each symbol's own order gives each tick its verdict and the same partial."""
    (world, log), rules = data.draw(histories()), data.draw(RULES)
    composition = composition_of(world)
    rows = data.draw(st.permutations([one.row for one in log]))
    of_row = {row: [i for i, one in enumerate(log) if one.row == row] for row in rows}
    order = [of_row[row].pop(0) for row in rows]
    straight, shuffled = (new_book(composition, rules=rules) for _ in range(2))

    verdicts = apply(straight, log)
    others = apply(shuffled, [log[i] for i in order])

    assert others == [verdicts[i] for i in order]
    assert shuffled.partial().same_values(straight.partial())


@given(st.data())
def test_any_partitioning_by_symbol_adds_up_to_one_book(data: st.DataObject) -> None:
    """Partials of books that share the symbols out among them add up, in any order, to that of a single book."""
    (world, log), rules = data.draw(histories()), data.draw(RULES)
    composition = composition_of(world)
    n = len(composition.symbols)
    partition = [*data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), 0]
    whole = new_book(composition, rules=rules)
    apply(whole, log)
    partials = []
    for number in range(4):
        book = new_book(composition, number, rules=rules)
        apply(book, [one for one in log if partition[one.row] == number])
        partials.append(book.partial())

    merged = total(composition, data.draw(st.permutations(partials)))
    a, b, c, d = partials

    assert without_stale(merged).same_values(without_stale(whole.partial()))
    assert ((a + b) + (c + d)).same_values(a + (b + (c + d)))
    assert merged.offsets == dict.fromkeys(range(4), 0)
    assert len(overlap(partials, n_rows=n)) == 0


@given(st.data())
def test_what_comes_again_changes_no_digit(data: st.DataObject) -> None:
    """A second line, a replay of all or of the newest part of a log's trades leave prices and partials as they were."""
    world = data.draw(selecting_worlds())
    log = data.draw(logs(world, plain=True, unmixed=True))
    stop = data.draw(st.integers(0, len(log)))
    start = data.draw(st.integers(0, stop))
    composition = composition_of(world)
    once, again = new_book(composition), new_book(composition)
    apply(once, log)

    apply(again, log[:stop])
    apply(again, log[start:stop])
    apply(again, log[stop:])
    resumed = again.partial()
    apply(again, log)

    assert resumed.same_values(once.partial())
    assert again.partial().same_values(once.partial())
    assert np.array_equal(again.price, once.price)


@given(st.data())
def test_a_second_line_of_numbered_ticks_changes_nothing(data: st.DataObject) -> None:
    """Each numbered tick of any kind that comes twice in a row is refused the second time (law 3)."""
    (world, log), rules = data.draw(histories()), data.draw(RULES)
    numbered = [replace(one, seq=n) for n, one in enumerate(log, 1) if one.kind not in (1, 2)]
    composition = composition_of(world)
    once, twice = (new_book(composition, rules=rules) for _ in range(2))
    apply(once, numbered)

    for one in numbered:
        apply(twice, [one])
        assert apply(twice, [one]) != ["applied"]

    assert twice.partial().same_values(once.partial())
    assert state_of(twice) == state_of(once)


@given(st.data())
def test_incremental_equals_recomputed_whenever_it_is_asked(data: st.DataObject) -> None:
    """After any history the running integers equal a fresh sum, and asking for them changes nothing (law 2)."""
    (world, log), rules = data.draw(histories()), data.draw(RULES)
    composition = composition_of(world)
    asked, silent = (new_book(composition, rules=rules) for _ in range(2))
    apply(silent, log)

    start = 0
    for stop in data.draw(cuts(len(log))):
        apply(asked, log[start:stop])
        start = stop
        fresh = asked.recomputed()
        assert asked.partial().same_values(fresh)
        assert asked.partial().same_values(asked.partial())

    assert asked.partial().same_values(silent.partial())


@given(st.data())
def test_overlap_finds_exactly_the_rows_with_a_price_in_two_partials(data: st.DataObject) -> None:
    """A row is reported where, and only where, more than one partial has touched it (law 7)."""
    world = data.draw(selecting_worlds())
    composition = composition_of(world)
    books, touched = [], []
    for number in range(data.draw(st.integers(0, 3))):
        ledger, book = Ledger(world), new_book(composition, number)
        log = data.draw(logs(world, max_size=8))
        apply(book, log)
        for one in log:
            ledger.apply(one)
        books.append(book)
        touched.append(set(ledger.touched))
    n_rows = len(composition.symbols)
    expected = [row for row in range(n_rows) if sum(row in seen for seen in touched) > 1]

    rows = overlap([book.partial() for book in books], n_rows=n_rows)

    assert rows.tolist() == expected


@given(st.data())
def test_refused_rows_take_no_tick_and_others_are_untouched_by_it(data: st.DataObject) -> None:
    """Once a symbol is refused its ticks are of the wrong partition; all others are judged as before (law 7)."""
    world, log = data.draw(histories())
    rows = data.draw(st.frozensets(st.integers(0, len(world.lines) - 1)))
    book, ledger = new_book(composition_of(world)), Ledger(world, refused=rows)
    book.refuse(np.array(sorted(rows), np.int64))

    verdicts = apply(book, log)

    assert verdicts == [ledger.apply(one) for one in log]
    assert_same_sums(book.partial(), ledger)


@given(selecting_worlds())
def test_no_sum_overflows_when_every_price_stands_at_its_bound(world: World) -> None:
    """With all prices at 8 times their reference the int64 sums still equal those of unbounded integers."""
    book, ledger = new_book(composition_of(world)), Ledger(world)
    at = oracle.nanoseconds("2026-07-17", "12:00:00")
    log = [Print(row, 8 * line.price, at, 0, 1, 0, at) for row, line in enumerate(world.lines)]

    verdicts = apply(book, log)

    assert verdicts == [ledger.apply(one) for one in log]
    assert set(verdicts) == {"applied"}
    assert_same_sums(book.partial(), ledger)


@given(st.data())
def test_prices_that_are_believed_at_sight_are_good_whatever_came_before(
    data: st.DataObject,
) -> None:
    """Two prints just above and below a last good price may lie too far from each other: the rule holds one back."""
    world = data.draw(selecting_worlds())
    # One that no index holds is held back by the limit alone.
    light = Line("ZA", 1_000_000, Fraction(1), None, frozenset())
    world = replace(world, lines=(*world.lines, light))
    last = len(world.lines) - 1
    row = data.draw(st.sampled_from((*range(last), *(last,) * (last + 1))))
    base = world.lines[row].price
    composition, rules = composition_of(world), Rules(off=False)
    book = new_book(composition, rules=rules)
    ledger = Ledger(world, composition=composition.id, rules=rules)
    far = _nearest_suspect(ledger, row, base)
    parts = data.draw(st.lists(st.integers(-100, 100), max_size=6))
    prices = [base, *(max(1, base + far * part // 100) for part in parts)]
    log = [Print(row, price, LATE + n, n, 1, 0, LATE + n) for n, price in enumerate(prices, 1)]

    verdicts = [*apply(book, log[:1]), *apply(book, log[1:])]

    assert verdicts == [ledger.apply(one) for one in log]
    assert_same(book, ledger)


def _nearest_suspect(ledger: Ledger, row: int, base: int) -> int:
    """Find the least distance that is too far, by halving."""
    near, far = 0, base // 10 + 1
    while far - near > 1:
        middle = (near + far) // 2
        if ledger.moves_an_index(row, middle):
            far = middle
        else:
            near = middle
    return far
