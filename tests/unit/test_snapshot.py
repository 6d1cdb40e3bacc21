"""Snapshots: percentages as they are printed, and counts among the priced."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from oracle import Print
from strategies import ticks_of
from stream.index.aggregate import Doubt
from stream.index.book import Book
from stream.index.composition import Composition
from stream.index.control import Roll
from stream.index.definitions import Definition
from stream.index.snapshot import Extremes, Snapshot, snapshots
from stream.index.universe import read_universe
from stream.session.hours import RegularHours

NEW_YORK = RegularHours.parse("Mon-Fri 09:30-16:00 America/New_York")
NOON = oracle.nanoseconds("2026-07-17", "12:00:00")
COMPOSITION = Composition.build(
    read_universe(["symbol,price,float_shares", "A,100,1", "B,100,1", "C,100,2"]),
    [Definition("X", "An Index", {})],
)


def after(**prices: int) -> Snapshot:
    book = Book(COMPOSITION, hours=NEW_YORK, partition=0)
    prints = [Print("ABC".index(s), p, NOON + p, 0, 1, 0, NOON + p) for s, p in prices.items()]
    verdicts = book.apply(ticks_of(prints))
    assert not np.any(verdicts)
    [shot] = snapshots(COMPOSITION, [0], book.partial())
    return shot


@pytest.mark.parametrize(
    ("price", "percent"),
    [
        (1_000_200, 1),  # 0.005 %
        (999_800, -1),
        (1_000_600, 2),  # 0.015 %
        (999_400, -2),
        (1_001_000, 3),  # 0.025 %
        (999_000, -3),
        (1_000_199, 0),
        (999_801, 0),
        (2_000_000, 2500),
        (1, -2500),
    ],
)
def test_a_percentage_that_ties_is_rounded_away_from_zero(price: int, percent: int) -> None:
    """At two places, as index sheets print it, up and down alike."""
    assert after(A=price).change_pct == percent


def test_a_snapshot_is_worked_out_from_all_priced_constituents() -> None:
    """Level and change follow the value, the counts the reference prices, coverage the reference weight."""
    shot = after(A=1_010_000, B=1_000_000)

    assert (shot.code, shot.name, shot.composition) == ("X", "An Index", COMPOSITION.id)
    assert (shot.level, shot.previous_close, shot.change) == (
        1_002_50000000,
        1_000_00000000,
        2_50000000,
    )
    assert (shot.market_value, Decimal(shot.divisor)) == ("401.0000", Decimal("0.4"))
    assert (shot.constituents, shot.priced) == (3, 2)
    assert (shot.up, shot.down, shot.unchanged) == (1, 0, 1)
    assert shot.coverage == 500_000
    assert shot.event_ns == NOON + 1_010_000
    assert shot.doubt is Doubt.NONE
    assert shot.session is None


def rolled(**prices: int) -> Book:
    """Give a book with the prices of the day before, and a new session."""
    book = Book(COMPOSITION, hours=NEW_YORK, partition=0)
    before = NOON - 86_400 * oracle.NS
    book.apply(
        ticks_of([Print("ABC".index(s), p, before, 0, 1, 0, before) for s, p in prices.items()])
    )
    starts = oracle.nanoseconds("2026-07-17", "00:00:00")
    book.obey(Roll("2026-07-17", starts, starts + 86_400 * oracle.NS))
    return book


def test_the_previous_close_is_the_level_at_the_last_roll() -> None:
    """Change and percentage count from there; coverage and counts are of the session."""
    book = rolled(A=1_010_000)
    book.apply(ticks_of([Print(2, 1_010_000, NOON, 0, 1, 0, NOON)]))

    [shot] = snapshots(COMPOSITION, [0], book.partial())

    assert shot.session == "2026-07-17"
    assert (shot.level, shot.previous_close, shot.change) == (
        1_007_50000000,
        1_002_50000000,
        5_00000000,
    )
    assert shot.change_pct == 50  # 5 of 1002.50: 0.4988 percent
    assert (shot.priced, shot.up, shot.down) == (1, 1, 0)
    assert shot.coverage == 500_000


def test_open_high_and_low_are_of_the_levels_published_in_a_session() -> None:
    """The first is the open; each session and each index has its own."""
    extremes = Extremes()

    assert extremes.take("X", "2026-07-16", 500) == (500, 500, 500)
    assert extremes.take("X", "2026-07-16", 700) == (500, 700, 500)
    assert extremes.take("X", "2026-07-16", 300) == (500, 700, 300)
    assert extremes.take("X", "2026-07-16", 600) == (500, 700, 300)
    assert extremes.take("Y", "2026-07-16", 1) == (1, 1, 1)
    assert extremes.take("X", "2026-07-17", 600) == (600, 600, 600)
    assert extremes.by_code == {
        "X": ("2026-07-17", 600, 600, 600),
        "Y": ("2026-07-16", 1, 1, 1),
    }


@given(st.lists(st.tuples(st.sampled_from("XY"), st.integers(0, 2), st.integers(1, 9))), st.data())
def test_extremes_are_those_of_all_levels_since_the_session_began(
    levels: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    """And go on where an earlier publisher left them."""
    levels = sorted(levels, key=lambda one: one[1])
    extremes = Extremes()

    for i, (code, day, level) in enumerate(levels):
        if data.draw(st.booleans(), label="another publisher"):
            extremes = Extremes(extremes.by_code)
        so_far = [n for c, d, n in levels[: i + 1] if (c, d) == (code, day)]
        expected = (so_far[0], max(so_far), min(so_far))
        assert extremes.take(code, f"2026-07-1{day}", level) == expected


def test_a_session_open_high_and_low_stand_in_a_snapshot_that_is_published() -> None:
    """One that is not takes part in nothing; without a session there is nothing to take part in."""
    book, extremes = rolled(), Extremes()
    before = Book(COMPOSITION, hours=NEW_YORK, partition=0).partial()
    [outside] = snapshots(COMPOSITION, [0], before, extremes)
    [asked] = snapshots(COMPOSITION, [0], book.partial())
    assert extremes.by_code == {}
    shots = []
    for i, price in enumerate((1_010_000, 990_000, 1_004_000)):
        book.apply(ticks_of([Print(0, price, NOON + i, 0, 1, 0, NOON + i)]))
        shots += snapshots(COMPOSITION, [0], book.partial(), extremes)

    for shot in (outside, asked):
        assert (shot.open, shot.high, shot.low) == (None, None, None)
    high, low, last = 1_002_50000000, 997_50000000, 1_001_00000000
    assert [(s.open, s.high, s.low) for s in shots] == [
        (high, high, high),
        (high, high, low),
        (high, high, low),
    ]
    assert [s.level for s in shots] == [high, low, last]
