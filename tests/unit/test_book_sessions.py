"""The book's sessions, compositions and operators' decisions, one rule at a time."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

import oracle
from figures import figures_of, state_of
from oracle import NS, Line, Plan, Print, World
from strategies import composition_of, ticks_of
from stream.index.book import Book
from stream.index.control import Announcement, Contested, OriginRecord, Override, Roll
from stream.index.partial import NO_EVENT, Origin
from stream.index.ticks import Verdict
from stream.session.calendar import Calendar

NEW_YORK = Calendar.bundled()
WED, THU, FRI = "2026-07-15", "2026-07-16", "2026-07-17"
NEXT_DAY = {WED: THU, THU: FRI, FRI: "2026-07-18"}
REFERENCE = 10_000


def world_of(*prices: int, shares: int = 1000) -> World:
    lines = tuple(
        Line(f"S{i}", price, Fraction(shares), None, frozenset(("ALL",)))
        for i, price in enumerate(prices)
    )
    return World(lines, (Plan("ALL", "price", None, None, Decimal(1000), None),))


def book_of(world: World, partition: int = 0) -> Book:
    return Book(composition_of(world), calendar=NEW_YORK, partition=partition)


def noon(day: str) -> int:
    return oracle.nanoseconds(day, "12:00:00")


def roll(day: str, number: int = 0) -> Roll:
    starts = oracle.nanoseconds(day, "00:00:00")
    return Roll(day, starts, oracle.nanoseconds(NEXT_DAY[day], "00:00:00"), number)


def override(action: str, *, row: int = 0, price: int = 0, ts: int = 0, home: int = 0) -> Override:
    return Override(f"S{row}", action, "desk", "why", ts, price, home)  # type: ignore[arg-type]


def trade(book: Book, ts: int, price: int, *, row: int = 0, seq: int = 0) -> str:
    one = Print(row, price, ts, seq, 1, 0, ts)
    return Verdict(book.apply(ticks_of([one]))[0]).reason


def last(book: Book, session: str) -> dict[int, tuple[int, int, int]]:
    """Give time, number and price of the last prints of the session in force, "now", or of those that wait, "later"."""
    held = state_of(book)[session]
    return {row: (one.ts, one.seq, one.price) for row, one in held.items() if one.ts != NO_EVENT}


def shown(book: Book) -> tuple[int, int, int, int]:
    """Give last price and close of the first stock, in 1/10000 dollar, and how many are priced, and up less down."""
    [figures] = figures_of(book.partial())
    return (
        int(book.price[0]),
        int(book.close[0]),
        figures["priced"],
        figures["up"] - figures["down"],
    )


def test_at_a_roll_last_prices_become_closes() -> None:
    """Counts begin anew, the level goes on."""
    book = book_of(world_of(REFERENCE))
    book.obey(roll(WED))
    trade(book, noon(WED), 11_000)
    before = book.partial().value.tolist()

    assert shown(book) == (11_000, REFERENCE, 1, 1)
    assert book.obey(roll(THU)) is True

    assert shown(book) == (11_000, 11_000, 0, 0)
    assert book.partial().value.tolist() == before
    assert book.partial().session == THU
    trade(book, noon(THU), 10_500)
    assert shown(book) == (10_500, 11_000, 1, -1)


@pytest.mark.parametrize("day", [WED, THU])
def test_a_roll_to_the_session_in_force_or_an_earlier_one_does_nothing(day: str) -> None:
    """It happens once, and never goes back."""
    book = book_of(world_of(REFERENCE))
    book.obey(roll(THU))
    trade(book, noon(THU), 11_000)

    assert book.obey(roll(day)) is False

    assert (book.session, shown(book)) == (THU, (11_000, REFERENCE, 1, 1))


def test_prints_of_the_session_itself_may_come_before_a_logs_first_roll() -> None:
    """They are of it all the same: the close is that before them."""
    book = book_of(world_of(REFERENCE, REFERENCE))
    trade(book, noon(WED), 12_000, row=1)
    trade(book, noon(THU), 11_000)
    assert shown(book) == (11_000, REFERENCE, 2, 2)

    book.obey(roll(THU))

    assert shown(book) == (11_000, REFERENCE, 1, 1)
    assert book.close.tolist() == [REFERENCE, 12_000]


@pytest.mark.parametrize(("before", "close"), [(0, REFERENCE), (1, 11_000)])
def test_a_print_at_the_first_instant_of_a_logs_first_session_is_of_it(
    before: int, close: int
) -> None:
    """To the nanosecond: one before it makes the close."""
    book = book_of(world_of(REFERENCE))
    trade(book, noon(WED) - before, 11_000)

    book.obey(Roll(WED, noon(WED), noon(WED) + 9))

    assert shown(book) == (11_000, close, 1 - before, 1 - before)


def test_prints_of_a_later_session_wait_for_its_roll() -> None:
    """One that ends at an instant does not hold it; until then prints of the session in force go on (law 5)."""
    book = book_of(world_of(REFERENCE))
    book.obey(roll(WED))
    assert trade(book, noon(WED), 11_000) == "applied"
    assert trade(book, noon(THU), 15_000) == "applied"
    assert trade(book, noon(THU) - 1, 16_000) == "older"
    assert trade(book, noon(WED) + 1, 12_000) == "applied"

    assert shown(book) == (12_000, REFERENCE, 1, 1)
    book.obey(roll(THU))
    assert shown(book) == (15_000, 12_000, 1, 1)
    assert trade(book, noon(THU) - 1, 16_000) == "older"


@pytest.mark.parametrize(("before", "price"), [(1, 12_000), (0, 11_000)])
def test_a_session_holds_its_first_instant_and_not_its_last(before: int, price: int) -> None:
    """Half-open, to the nanosecond."""
    book = book_of(world_of(REFERENCE))
    edge = noon(WED)
    book.obey(Roll(WED, edge - 10, edge))
    trade(book, edge - 5, 11_000)

    trade(book, edge - before, 12_000)

    assert shown(book)[0] == price
    assert shown(book)[2] == 1
    book.obey(Roll(THU, edge, edge + 1))
    assert shown(book)[2] == 1 - before
    book.obey(Roll(FRI, edge + 1, edge + 2))
    assert shown(book)[2] == 0


def test_prints_beyond_the_next_session_go_on_waiting() -> None:
    """They are promoted at their own roll."""
    book = book_of(world_of(REFERENCE, REFERENCE))
    book.obey(roll(WED))
    trade(book, noon(FRI), 13_000)
    trade(book, noon(THU), 12_000, row=1)

    book.obey(roll(THU))
    assert book.price.tolist() == [REFERENCE, 12_000]
    assert last(book, "later") == {0: (noon(FRI), 0, 13_000)}
    book.obey(roll(FRI))

    assert book.price.tolist() == [13_000, 12_000]
    assert book.close.tolist() == [REFERENCE, 12_000]
    assert state_of(book)["later"] == {}


def test_prints_of_a_session_that_the_log_leaves_out_are_the_close_of_the_next() -> None:
    """They came before it began: last prices become previous closes."""
    book = book_of(world_of(REFERENCE))
    book.obey(roll(WED))
    trade(book, noon(THU), 12_000)

    book.obey(roll(FRI))

    assert shown(book) == (12_000, 12_000, 0, 0)


def test_a_less_real_origin_begins_without_a_session() -> None:
    """What waited for a roll is in force at once, and is not put over newer prints at the next one."""
    book = book_of(world_of(REFERENCE))
    book.obey(roll(WED))
    trade(book, noon(THU), 12_000)

    assert book.obey(OriginRecord("simulated")) is True

    assert (book.session, book.origin) == ("", Origin.SIMULATED)
    assert shown(book) == (12_000, REFERENCE, 1, 1)
    trade(book, noon(THU) + NS, 13_000)
    book.obey(roll(THU))
    assert shown(book) == (13_000, REFERENCE, 1, 1)
    for origin in ("live", "replay", "simulated"):
        assert book.obey(OriginRecord(origin)) is False
    assert (book.session, book.origin) == (THU, Origin.SIMULATED)


def test_an_older_number_is_not_obeyed_and_an_equal_one_neither() -> None:
    """Whatever it says; the number stands in every partial."""
    book = book_of(world_of(REFERENCE))

    assert book.obey(roll(WED, number=5)) is True
    assert book.obey(roll(THU, number=5)) is False
    assert book.obey(roll(FRI, number=4)) is False
    assert book.obey(replace(override("exclude"), number=3)) is False

    assert (book.session, book.control, book.partial().control) == (WED, 5, 5)
    assert trade(book, noon(WED), 11_000) == "applied"


def test_a_price_that_an_operator_sets_stands_until_the_next_good_print() -> None:
    """Older prints do not replace it; it is of its own partition alone, in bounds, and not older than the newest print."""
    book = book_of(world_of(REFERENCE))
    trade(book, noon(WED), 11_000, seq=7)

    assert book.obey(override("price", price=12_000, ts=noon(WED) - 1)) is False
    assert book.obey(override("price", price=12_000, ts=noon(WED) + 9, home=1)) is False
    assert book.obey(override("price", price=80_001, ts=noon(WED) + 9)) is False
    assert book.obey(override("price", price=12_000, ts=noon(WED) + 9)) is True

    assert shown(book) == (12_000, REFERENCE, 1, 1)
    assert trade(book, noon(WED) + 8, 13_000, seq=99) == "older"
    assert trade(book, noon(WED) + 9, 13_000, seq=1) == "applied"


def test_a_price_set_at_the_instant_of_the_newest_print_leaves_its_number_in_force() -> None:
    """So a second line cannot undo it."""
    book = book_of(world_of(REFERENCE))
    trade(book, noon(WED), 11_000, seq=7)

    assert book.obey(override("price", price=12_000, ts=noon(WED))) is True

    assert trade(book, noon(WED), 11_000, seq=7) == "duplicate"
    assert shown(book)[0] == 12_000


def test_a_price_may_be_set_before_anything_has_traded() -> None:
    """At any time, the first there is included."""
    book = book_of(world_of(REFERENCE))

    assert book.obey(override("price", price=12_000, ts=0)) is True

    restored = Book.restore(book.state(), book.composition, calendar=NEW_YORK)
    for one in (book, restored):
        assert shown(one) == (12_000, REFERENCE, 1, 1)


def test_a_print_that_waited_does_not_replace_a_newer_price_that_was_set() -> None:
    """Not even where the operator's clock was ahead of the session."""
    book = book_of(world_of(REFERENCE))
    book.obey(roll(WED))
    trade(book, noon(THU), 13_000)
    book.obey(override("price", price=12_000, ts=noon(THU)))

    book.obey(roll(THU))

    assert shown(book)[:2] == (12_000, 12_000)
    assert trade(book, noon(THU) + 1, 13_500) == "applied"


def test_an_excluded_symbol_keeps_its_last_price_whatever_its_feed_says() -> None:
    """Before and after the exclusion: what waits for a roll is its feed's word, too. Others go on."""
    book = book_of(world_of(REFERENCE, REFERENCE))
    book.obey(roll(WED))
    trade(book, noon(WED), 11_000)
    trade(book, noon(THU), 79_000)

    assert book.obey(override("exclude")) is True
    assert trade(book, noon(WED) + 1, 12_000) == "ineligible"
    assert trade(book, noon(WED) + 1, 12_000, row=1) == "applied"
    book.obey(roll(THU))

    assert book.price.tolist() == [11_000, 12_000]
    assert book.obey(override("include")) is True
    assert trade(book, noon(THU), 11_500) == "applied"


def test_a_lifted_bound_admits_prices_up_to_it() -> None:
    """It is never lowered, and stands over a roll."""
    book = book_of(world_of(REFERENCE))
    assert trade(book, noon(WED), 80_001) == "out_of_bounds"

    assert book.obey(override("bound", price=100_000)) is True
    assert book.obey(override("bound", price=90_000)) is False
    assert book.obey(override("bound", price=100_000)) is False

    assert trade(book, noon(WED), 100_000) == "applied"
    book.obey(roll(THU))
    assert trade(book, noon(THU), 100_001) == "out_of_bounds"
    assert trade(book, noon(THU), 100_000) == "applied"


def test_a_bound_is_lifted_as_far_as_no_sum_can_overflow_and_no_further() -> None:
    """With all prices at their bounds the largest sum is 2^63 - 1 (law 1)."""
    lines = (
        Line("S0", 1, Fraction(2**59), None, frozenset(("ALL",))),
        Line("S1", 1, Fraction(1), None, frozenset(("ALL",))),
    )
    world = World(lines, (Plan("ALL", "float_cap", None, None, Decimal(1000), None),))
    [sheet] = oracle.sheets(world)
    assert (sheet.k, dict(sheet.shares)) == (0, {0: 2**59, 1: 1})
    room = 2**63 - 1 - 8 * 2**59
    book = book_of(world)

    assert book.obey(override("bound", row=0, price=16)) is False
    assert book.obey(override("bound", row=1, price=room + 1)) is False
    assert book.obey(override("bound", row=1, price=room)) is True
    assert book.obey(override("bound", row=0, price=9)) is False

    assert trade(book, noon(WED), 8) == "applied"
    assert trade(book, noon(WED), room, row=1) == "applied"
    [figures] = figures_of(book.partial())
    assert figures["value"] == 2**63 - 1 - sheet.reference


def test_a_contested_symbol_is_refused_until_it_is_included_where_it_is_at_home() -> None:
    """The other partitions forget it: its price, its close and what waits (law 7)."""
    home, other = book_of(world_of(REFERENCE), partition=0), book_of(world_of(REFERENCE), 1)
    for book in (home, other):
        trade(book, noon(WED), 11_000)
        book.obey(roll(THU))
        trade(book, noon(THU), 12_000)
        trade(book, noon(FRI), 13_000)
        assert book.obey(Contested(("S0", "unknown"))) is True
        assert trade(book, noon(THU) + 1, 14_000) == "wrong_partition"
        assert book.obey(override("include", home=0)) is True

    assert shown(home) == (12_000, 11_000, 1, 1)
    assert shown(other) == (REFERENCE, REFERENCE, 0, 0)
    assert (home.partial() + other.partial()).same_values(home.partial())
    assert state_of(other)["later"] == {}
    assert other.partial().touched.tolist() == [0]
    assert other.partial().event_ns.tolist() == [NO_EVENT]
    assert trade(home, noon(THU) + 1, 14_000) == "applied"
    home.obey(roll(FRI))
    assert shown(home) == (13_000, 14_000, 1, -1)


def test_a_wish_without_a_home_neither_sets_a_price_nor_settles_a_contest() -> None:
    """The control writer repeats it with one; an exclusion it may end all the same."""
    book = book_of(world_of(REFERENCE))
    trade(book, noon(WED), 11_000)
    book.obey(Contested(("S0",)))
    book.obey(override("exclude"))

    book.obey(override("price", price=12_000, ts=noon(WED), home=-1))
    book.obey(override("include", home=-1))

    assert shown(book)[0] == 11_000
    assert (state_of(book)["excluded"], state_of(book)["refused"]) == (set(), {0})


def test_including_a_symbol_that_was_not_contested_forgets_nothing() -> None:
    """Wherever its home is."""
    book = book_of(world_of(REFERENCE, REFERENCE))
    trade(book, noon(WED), 11_000)
    book.obey(Contested(("S1",)))

    book.obey(override("include", home=5))

    assert shown(book)[0] == 11_000
    assert trade(book, noon(WED), 11_000, row=1) == "wrong_partition"


def test_an_override_of_an_unknown_symbol_does_nothing() -> None:
    """The file may have lost it since; its number counts all the same."""
    book = book_of(world_of(REFERENCE))

    assert book.obey(replace(override("exclude"), symbol="ZZ", number=3)) is False

    assert book.control == 3
    assert trade(book, noon(WED), 11_000) == "applied"


def announce(book: Book, world: World) -> bool:
    composition = composition_of(world)
    return book.obey(Announcement(composition.id), composition=composition)


def test_prices_go_over_to_the_next_composition_by_symbol() -> None:
    """With what else is known of them: closes, waiting prints, decisions; rows may be others."""
    first = world_of(REFERENCE, 20_000, 30_000)
    second = World(first.lines[::-1], first.plans)
    book = book_of(first)
    book.obey(roll(WED))
    trade(book, noon(WED), 11_000, seq=3)
    book.obey(roll(THU))
    trade(book, noon(THU), 12_000, seq=4)
    trade(book, noon(FRI), 13_000, seq=5)
    book.obey(override("exclude", row=2))
    book.obey(Contested(("S1",)))

    assert announce(book, second) is True

    assert book.price.tolist() == [30_000, 20_000, 12_000]
    assert book.close.tolist() == [30_000, 20_000, 11_000]
    state = state_of(book)
    assert last(book, "now") == {2: (noon(THU), 4, 12_000)}
    assert last(book, "later") == {2: (noon(FRI), 5, 13_000)}
    assert (state["excluded"], state["refused"]) == ({0}, {1})
    assert announce(book, second) is False


def test_a_price_of_an_earlier_session_does_not_outlive_its_reference() -> None:
    """A split changes what a price means: the new reference stands for it, until the first print of the session."""
    first, second = world_of(REFERENCE, REFERENCE), world_of(5_000, 5_000)
    book = book_of(first)
    book.obey(roll(WED))
    trade(book, noon(WED), 11_000)
    trade(book, noon(WED), 11_000, row=1)
    book.obey(roll(THU))
    trade(book, noon(THU), 5_500, row=1)

    announce(book, second)

    assert book.price.tolist() == [5_000, 5_500]
    assert book.close.tolist() == [5_000, 5_000]
    assert book.ts.tolist() == [noon(WED), noon(THU)]
    assert shown(book)[2:] == (1, 1)


@pytest.mark.parametrize(("before", "price"), [(0, 11_000), (1, 5_000)])
def test_a_price_of_the_first_instant_of_a_session_outlives_its_reference(
    before: int, price: int
) -> None:
    """It is of the new basis; one a nanosecond earlier is not."""
    book = book_of(world_of(REFERENCE))
    trade(book, noon(WED) - before, 11_000)
    book.obey(Roll(WED, noon(WED), noon(WED) + 9))

    announce(book, world_of(5_000))

    assert book.price.tolist() == [price]


def test_what_is_out_of_the_new_bounds_stays_behind() -> None:
    """Prices of this session go over, but none that its new reference would have refused: sums could overflow (law 1)."""
    book = book_of(world_of(REFERENCE, REFERENCE))
    book.obey(roll(WED))
    for row, price in ((0, 40_001), (1, 40_000)):
        trade(book, noon(WED), price, row=row)
        trade(book, noon(THU), price, row=row)

    announce(book, world_of(5_000, 5_000))

    assert book.price.tolist() == [5_000, 40_000]
    assert list(state_of(book)["later"]) == [1]


def test_a_lifted_bound_goes_over_with_its_reference_as_far_as_sums_allow() -> None:
    """Where the next composition has no room for it, the price that needed it stays behind."""

    def world(shares: int) -> World:
        line = Line("S0", 10, Fraction(1), None, frozenset(("ALL",)))
        large = Line("S1", 1, Fraction(shares), None, frozenset(("ALL",)))
        return World((line, large), (Plan("ALL", "float_cap", None, None, Decimal(1000), None),))

    for shares, kept in ((1, True), (2**60 - 11, False)):
        book = book_of(world(2))
        book.obey(override("bound", price=10**6))
        trade(book, noon(WED), 10**6)
        book.obey(roll(THU))
        trade(book, noon(FRI), 10**6)

        announce(book, world(shares))

        assert int(book.price[0]) == (10**6 if kept else 10)
        assert int(book.close[0]) == (10**6 if kept else 10)
        assert (0 in state_of(book)["later"]) is kept
        assert trade(book, noon(THU), 10**6) == ("applied" if kept else "out_of_bounds")


def test_checkpoints_hold_what_differs_from_the_composition_alone() -> None:
    """A book that has seen one stock of many has one row to keep."""
    book = book_of(world_of(*[REFERENCE] * 50))
    trade(book, noon(WED), 11_000, row=7)
    trade(book, noon(WED), REFERENCE, row=9)

    assert book.state().rows.tolist() == [7, 9]
