"""Laws 1 to 3 of the design: the book against a ledger kept one tick at a time in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import oracle
from figures import figures_of
from oracle import Ledger, Print, World
from strategies import composition_of, cuts, histories, logs, selecting_worlds, ticks_of
from stream.index.book import Book
from stream.index.composition import Composition
from stream.index.partial import overlap, total
from stream.index.snapshot import snapshots
from stream.index.ticks import Verdict
from stream.session.hours import RegularHours

NEW_YORK = RegularHours.parse("Mon-Fri 09:30-16:00 America/New_York")


def new_book(composition: Composition, partition: int = 0) -> Book:
    return Book(composition, hours=NEW_YORK, partition=partition)


def apply(book: Book, prints: list[Print]) -> list[str]:
    return [Verdict(v).reason for v in book.apply(ticks_of(prints))]


@given(st.data())
def test_a_book_judges_and_values_every_tick_as_the_law_says_one_by_one(
    data: st.DataObject,
) -> None:
    """However a log is cut into batches, verdicts and integers are those of law 3 applied tick by tick."""
    world, log = data.draw(histories())
    book, ledger = new_book(composition_of(world)), Ledger(world)

    start = 0
    for stop in data.draw(cuts(len(log))):
        assert apply(book, log[start:stop]) == [ledger.apply(one) for one in log[start:stop]]
        if data.draw(st.booleans(), label="partial in between"):
            assert figures_of(book.partial()) == ledger.figures()
        start = stop

    assert figures_of(book.partial()) == ledger.figures()


@given(st.data())
def test_verdicts_and_partials_do_not_depend_on_batches(data: st.DataObject) -> None:
    """One log in one batch, or in any others, gives the same verdicts and the same partial."""
    world = data.draw(selecting_worlds())
    log = data.draw(logs(world, plain=True))
    composition = composition_of(world)
    whole, parts = new_book(composition), new_book(composition)
    expected = apply(whole, log)

    verdicts, start = [], 0
    for stop in data.draw(cuts(len(log))):
        verdicts += apply(parts, log[start:stop])
        start = stop

    assert verdicts == expected
    assert parts.partial().same_values(whole.partial())
    assert np.array_equal(parts.price, whole.price)
    assert np.array_equal(parts.ts, whole.ts)
    assert np.array_equal(parts.prints.seq, whole.prints.seq)


@given(st.data())
def test_the_order_of_ticks_of_different_symbols_changes_nothing(data: st.DataObject) -> None:
    """Any shuffle that keeps each symbol's own order gives each tick its verdict and the same partial."""
    world, log = data.draw(histories())
    composition = composition_of(world)
    rows = data.draw(st.permutations([one.row for one in log]))
    of_row = {row: [i for i, one in enumerate(log) if one.row == row] for row in rows}
    order = [of_row[row].pop(0) for row in rows]
    straight, shuffled = new_book(composition), new_book(composition)

    verdicts = apply(straight, log)
    others = apply(shuffled, [log[i] for i in order])

    assert others == [verdicts[i] for i in order]
    assert shuffled.partial().same_values(straight.partial())


@given(st.data())
def test_any_partitioning_by_symbol_adds_up_to_one_book(data: st.DataObject) -> None:
    """Partials of books that share the symbols out among them add up, in any order, to that of a single book."""
    world, log = data.draw(histories())
    composition = composition_of(world)
    n = len(world.lines)
    partition = [*data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), 0]
    whole = new_book(composition)
    apply(whole, log)
    partials = []
    for number in range(4):
        book = new_book(composition, number)
        apply(book, [one for one in log if partition[one.row] == number])
        partials.append(book.partial())

    merged = total(composition, data.draw(st.permutations(partials)))
    a, b, c, d = partials

    assert merged.same_values(whole.partial())
    assert ((a + b) + (c + d)).same_values(a + (b + (c + d)))
    assert merged.offsets == dict.fromkeys(range(4), 0)
    assert len(overlap(partials, n_rows=n)) == 0


@given(st.data())
def test_what_comes_again_changes_no_digit(data: st.DataObject) -> None:
    """A second line, a replay of all or of the newest part of a log leave prices and partials as they were."""
    world = data.draw(selecting_worlds())
    log = data.draw(logs(world, unmixed=True))
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
def test_numbered_ticks_that_come_again_are_all_refused(data: st.DataObject) -> None:
    """With the tape's own numbers a repeated log is refused tick by tick: the newest as duplicate, the rest older."""
    world = data.draw(selecting_worlds())
    log = [
        Print(one.row, one.price, one.ts, one.seq or 9, one.cond, one.kind, one.recorded)
        for one in data.draw(logs(world, plain=True))
    ]
    book = new_book(composition_of(world))
    apply(book, log)

    verdicts = set(apply(book, log))

    assert verdicts <= {"duplicate", "older", "ineligible", "out_of_bounds"}


@given(st.data())
def test_incremental_equals_recomputed_whenever_it_is_asked(data: st.DataObject) -> None:
    """After any history the running integers equal a fresh sum, and asking for them changes nothing (law 2)."""
    world, log = data.draw(histories())
    composition = composition_of(world)
    asked, silent = new_book(composition), new_book(composition)
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
def test_levels_are_the_exact_quotient_rounded_once(data: st.DataObject) -> None:
    """Snapshots of any history hold the exact fractions, each rounded once as the contract says."""
    world, log = data.draw(histories(plain=True))
    composition = composition_of(world)
    book, ledger = new_book(composition), Ledger(world)
    apply(book, log)
    for one in log:
        ledger.apply(one)

    shots = snapshots(composition, range(len(composition.indexes)), book.partial())

    assert snapshots(composition, [0], book.partial()) == shots[:1]
    assert snapshots(composition, [], book.partial()) == []
    for shot, sheet, exact, figure in zip(
        shots, ledger.sheets, ledger.levels(), ledger.figures(), strict=True
    ):
        unit = Fraction(10) ** (4 + sheet.k)
        before = oracle.half_even(Fraction(sheet.reference) / unit / sheet.divisor * 10**8)
        assert shot.code == sheet.code
        assert shot.level == oracle.half_even(exact * 10**8)
        assert shot.previous_close == before
        assert shot.change == shot.level - before
        assert shot.change_pct == oracle.half_away(Fraction(shot.change * 10_000, before))
        assert Fraction(shot.market_value) == Fraction(
            oracle.half_even(Fraction(sheet.reference + figure["value"]) / unit * 10**4), 10**4
        )
        assert Fraction(shot.divisor) == sheet.divisor
        assert shot.coverage == oracle.half_even(
            Fraction(figure["priced_reference"] * 10**6, sheet.reference)
        )
        assert shot.unchanged == figure["priced"] - figure["up"] - figure["down"]
        assert shot.event_ns == (None if figure["event_ns"] == -1 else figure["event_ns"])


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
        touched.append(set(ledger.newest))
    expected = [row for row in range(len(world.lines)) if sum(row in seen for seen in touched) > 1]

    rows = overlap([book.partial() for book in books], n_rows=len(world.lines))

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
    assert figures_of(book.partial()) == ledger.figures()


@given(selecting_worlds())
def test_no_sum_overflows_when_every_price_stands_at_its_bound(world: World) -> None:
    """With all prices at 8 times their reference the int64 sums still equal those of unbounded integers."""
    book, ledger = new_book(composition_of(world)), Ledger(world)
    at = oracle.nanoseconds("2026-07-17", "12:00:00")
    log = [Print(row, 8 * line.price, at, 0, 1, 0, at) for row, line in enumerate(world.lines)]

    verdicts = apply(book, log)

    assert verdicts == [ledger.apply(one) for one in log]
    assert set(verdicts) == {"applied"}
    assert figures_of(book.partial()) == ledger.figures()
