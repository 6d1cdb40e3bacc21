"""Laws 1 to 5 of the design over several sessions: rolls, compositions and operators' decisions in the log.

The book is measured against a ledger kept one entry at a time in plain numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from figures import assert_same, assert_same_sums, without_stale
from oracle import BELIEVED, Ledger, Rules
from strategies import (
    HIGHEST_PRICE,
    RULES,
    Entry,
    History,
    Tick,
    cuts,
    rules_of,
    session_histories,
    tell,
    ticks_of,
)
from stream.index.book import Book, BookState
from stream.index.control import (
    UNNUMBERED,
    Announcement,
    Control,
    OriginRecord,
    Override,
    Roll,
)
from stream.index.partial import total
from stream.index.snapshot import moment_of, snapshots
from stream.index.ticks import Verdict
from stream.session.calendar import Calendar
from stream.wire import checkpoints

NEW_YORK = Calendar.bundled()


def open_book(history: History, partition: int = 0, *, rules: Rules = BELIEVED) -> Book:
    return Book(history.composition, calendar=NEW_YORK, rules=rules_of(rules), partition=partition)


def runs(entries: Sequence[Entry], cut: Sequence[int]) -> Iterator[list[Tick] | Control]:
    """Give a log as batches of ticks that end at control records and at cuts."""
    batch: list[Tick] = []
    for i, entry in enumerate(entries):
        if i in cut or not isinstance(entry, Tick):
            yield batch
            batch = []
        if isinstance(entry, Tick):
            batch.append(entry)
        else:
            yield entry
    yield batch


def obey(book: Book, control: Control, history: History) -> bool:
    announced = history.by_id(control.composition) if isinstance(control, Announcement) else None
    return book.obey(control, composition=announced)


def follow(book: Book, history: History, run: list[Tick] | Control) -> list[str] | bool:
    """Apply a batch or obey a control record, and say what became of it."""
    if not isinstance(run, list):
        return obey(book, run, history)
    prints = [tick.at(history.worlds[book.composition.id]) for tick in run]
    return [Verdict(v).reason for v in book.apply(ticks_of(prints))]


def expect(ledger: Ledger, history: History, run: list[Tick] | Control) -> list[str] | bool:
    """Say what should become of it."""
    if not isinstance(run, list):
        return tell(ledger, run, history.worlds)
    return [ledger.apply(tick.at(ledger.world)) for tick in run]


def same_bits(one: BookState, other: BookState) -> bool:
    """Tell whether two states agree in every number and type."""
    pairs = zip(leaves(astuple(one)), leaves(astuple(other)), strict=True)
    return all(a == b for a, b in pairs)


def leaves(fields: Sequence[object]) -> Iterator[object]:
    for one in fields:
        if isinstance(one, tuple):
            yield from leaves(one)
        else:
            yield (one.dtype.str, one.tolist()) if isinstance(one, np.ndarray) else one


@given(st.data())
def test_a_book_obeys_its_log_as_the_laws_say_entry_by_entry(data: st.DataObject) -> None:
    """However a log is cut into batches: verdicts, effects, state and integers are those of the laws, one by one."""
    history, rules = data.draw(session_histories()), data.draw(RULES)
    cut = data.draw(cuts(len(history.log)))
    book, ledger = open_book(history, rules=rules), history.ledger(rules=rules)

    for run in runs(history.log, cut):
        assert follow(book, history, run) == expect(ledger, history, run)
        if data.draw(st.booleans(), label="looked at in between"):
            assert_same(book, ledger)

    assert_same(book, ledger)


@given(st.data())
def test_incremental_equals_recomputed_after_any_history(data: st.DataObject) -> None:
    """The running integers equal a fresh sum, and asking for them changes nothing (law 2)."""
    history, rules = data.draw(session_histories()), data.draw(RULES)
    asked, silent = open_book(history, rules=rules), open_book(history, rules=rules)

    for run in runs(history.log, data.draw(cuts(len(history.log)))):
        follow(asked, history, run)
        follow(silent, history, run)
        assert asked.partial().same_values(asked.recomputed())
        assert asked.partial().same_values(asked.partial())

    assert silent.partial().same_values(asked.partial())


@given(st.data())
def test_a_book_restored_anywhere_has_the_same_future(data: st.DataObject) -> None:
    """A checkpoint's bytes hold all that a book knows: nothing tells the restored one from the other (law 4)."""
    history, rules = data.draw(session_histories()), data.draw(RULES)
    straight, book = open_book(history, rules=rules), open_book(history, rules=rules)

    for run in runs(history.log, data.draw(cuts(len(history.log)))):
        assert follow(book, history, run) == follow(straight, history, run)
        straight.offset = book.offset = book.offset + 1
        if data.draw(st.booleans(), label="killed here"):
            book = revived(book, history, rules)
        assert book.partial().same_values(straight.partial())
        assert same_bits(book.state(), straight.state())


def revived(book: Book, history: History, rules: Rules) -> Book:
    message = checkpoints.encode(checkpoints.Checkpoint(book.state(), topic="ticks", partitions=4))
    state = checkpoints.decode(message).state
    composition = history.by_id(state.composition)
    return Book.restore(state, composition, calendar=NEW_YORK, rules=rules_of(rules))


@given(st.data())
def test_a_numbered_record_that_comes_again_or_late_changes_nothing(data: st.DataObject) -> None:
    """Whatever the control writer repeats, or a late writer still sends: its number says that it was obeyed."""
    history = data.draw(session_histories(repeats=False))
    book = open_book(history)
    told: list[Control] = []

    for run in runs(history.log, data.draw(cuts(len(history.log)))):
        follow(book, history, run)
        if not isinstance(run, list | OriginRecord) and run.number != UNNUMBERED:
            told.append(run)
        if told:
            before, sums = book.state(), book.partial()
            again = data.draw(st.sampled_from(told))
            assert obey(book, again, history) is False
            assert same_bits(book.state(), before)
            assert book.partial().same_values(sums)


@given(st.data())
def test_a_roll_happens_once_and_never_goes_back(data: st.DataObject) -> None:
    """Numbered or not: a roll to the session in force, or to an earlier one, leaves everything as it was."""
    history = data.draw(session_histories())
    book = open_book(history)
    number = 10**6

    for run in runs(history.log, data.draw(cuts(len(history.log)))):
        follow(book, history, run)
        rolls = [one for one in history.log if isinstance(one, Roll)]
        for roll in rolls:
            if roll.session <= book.session:
                before = book.state()
                assert book.obey(replace(roll, number=UNNUMBERED)) is False
                assert same_bits(book.state(), before)
    session = book.session
    for roll in [one for one in history.log if isinstance(one, Roll)]:
        number += 1
        book.obey(replace(roll, number=number))
        assert book.session >= session
        session = book.session
        assert book.control == number


@given(st.data())
def test_no_sum_overflows_whatever_bounds_are_lifted(data: st.DataObject) -> None:
    """With every price at its bound, lifted as far as is allowed, int64 sums are those of unbounded integers (law 1)."""
    history = data.draw(session_histories(max_size=24, controls_in=2))
    book, ledger = open_book(history), history.ledger()
    lifts = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from(history.symbols),
                st.one_of(
                    st.integers(1, HIGHEST_PRICE), st.sampled_from((2**40, 2**50, 2**60 - 1))
                ),
            ),
            max_size=8,
        )
    )
    log: list[Entry] = [*history.log]
    for symbol, price in lifts:
        log.append(Override(symbol, "bound", "desk", "split not yet in the file", 0, price=price))
        log.append(noon(symbol, price))
    half = data.draw(st.integers(0, len(log)))
    log += [*log[:half], Roll("2026-07-19", oracle.nanoseconds("2026-07-19", "00:00:00"), 2**62)]
    monday = [noon(symbol, price, day="2026-07-20") for symbol, price in lifts]

    for run in runs([*log, *monday], data.draw(cuts(len(log)))):
        assert follow(book, history, run) == expect(ledger, history, run)
        assert_same_sums(book.partial(), ledger)
        for sheet in ledger.sheets:
            assert sum(units * ledger.bound[row] for row, units in sheet.shares.items()) < 2**63
            assert sum(units * ledger.price(row) for row, units in sheet.shares.items()) < 2**63
            assert sum(units * ledger.close(row) for row, units in sheet.shares.items()) < 2**63


def noon(symbol: str, price: int, *, day: str = "2026-07-17") -> Tick:
    ts = oracle.nanoseconds(day, "12:00:00")
    return Tick(symbol, price, ts, 0, 1, 0, ts // 10**6)


@given(st.data())
def test_any_partitioning_adds_up_to_one_book_in_every_session(data: st.DataObject) -> None:
    """Partials of partitions that share the symbols out, and all obey the same control records, make that of one book."""
    history = data.draw(session_histories())
    homes = {symbol: data.draw(st.integers(0, 2)) for symbol in [*history.symbols, "ZZ"]}
    rules = data.draw(RULES)
    whole = open_book(history, rules=rules)
    books = [open_book(history, partition, rules=rules) for partition in range(3)]

    for run in runs(history.log, data.draw(cuts(len(history.log)))):
        if isinstance(run, list):
            follow(whole, history, run)
            for book in books:
                follow(book, history, [t for t in run if homes[t.symbol] == book.partition])
        else:
            follow(whole, history, at_home(run, {}))
            for book in books:
                follow(book, history, at_home(run, homes))

    merged = total(whole.composition, data.draw(st.permutations([b.partial() for b in books])))
    assert without_stale(merged).same_values(without_stale(whole.partial()))
    assert merged.standing == whole.partial().standing
    assert merged.control == whole.control


def at_home(control: Control, homes: Mapping[str, int]) -> Control:
    if isinstance(control, Override):
        return replace(control, home=homes.get(control.symbol, 0))
    return control


@given(st.data())
def test_snapshots_hold_the_exact_fractions_rounded_once(data: st.DataObject) -> None:
    """Of any history, at noon and at night: levels, now and at the last roll, changes, market values, shares and counts."""
    history, rules = data.draw(session_histories()), data.draw(RULES)
    book, ledger = open_book(history, rules=rules), history.ledger(rules=rules)
    for run in runs(history.log, ()):
        follow(book, history, run)
        expect(ledger, history, run)
    at = oracle.nanoseconds("2026-07-17", data.draw(st.sampled_from(("12:00:00", "20:30:00"))))

    partial = book.partial()
    moment = moment_of(NEW_YORK, partial, at)
    shots = snapshots(book.composition, range(len(ledger.sheets)), partial, moment=moment)

    assert snapshots(book.composition, [], partial, moment=moment) == []
    assert snapshots(book.composition, [0], partial, moment=moment) == shots[:1]
    exact = zip(ledger.sheets, ledger.levels(), ledger.closes(), ledger.figures(), strict=True)
    for shot, (sheet, level, close, figure) in zip(shots, exact, strict=True):
        unit = Fraction(10) ** (4 + sheet.k)
        at_close = sheet.reference + figure["close"]
        assert shot.code == sheet.code
        assert shot.session == (ledger.session or None)
        assert shot.level == oracle.half_even(level * 10**8)
        assert shot.previous_close == oracle.half_even(close * 10**8)
        assert shot.last == (shot.level if shot.indicative is None else shot.indicative)
        assert shot.change == shot.last - shot.previous_close
        assert shot.change_pct == percent(shot.change, shot.previous_close)
        assert Fraction(shot.market_value) == Fraction(
            oracle.half_even(Fraction(sheet.reference + figure["value"]) / unit * 10**4), 10**4
        )
        assert Fraction(shot.divisor) == sheet.divisor
        assert shot.coverage == oracle.half_even(
            Fraction(figure["covered_close"] * 10**6, at_close)
        )
        assert (shot.priced, shot.up, shot.down, shot.stale) == tuple(
            figure[name] for name in ("priced", "up", "down", "stale")
        )
        assert shot.unchanged == figure["priced"] - figure["up"] - figure["down"]
        assert shot.event_ns == (None if figure["event_ns"] == -1 else figure["event_ns"])


def percent(change: int, before: int) -> int:
    """Give a change in 1/100 percent, half away from zero; nothing of nothing."""
    return oracle.half_away(Fraction(change * 10_000, before)) if before else 0


@given(session_histories(max_size=0))
def test_the_state_of_another_composition_is_refused(history: History) -> None:
    """Rows of one are not those of another."""
    state = replace(open_book(history).state(), composition="2020-01-01-000000000000")

    with pytest.raises(ValueError, match="state of 2020-01-01-000000000000, composition "):
        Book.restore(state, history.composition, calendar=NEW_YORK)
