"""Staleness: who should have traded by now."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import oracle
from oracle import NS, Line, Plan, World
from strategies import composition_of
from stream.index.partial import NO_EVENT
from stream.index.staleness import Staleness
from stream.session.calendar import Calendar

DAY = "2026-07-17"
OPENING, NOON, CLOSING = (
    oracle.nanoseconds(DAY, at) for at in ("09:30:00", "12:00:00", "16:00:00")
)
ALL, LIGHT = frozenset(("ALL",)), frozenset(("ALL", "LIGHT"))
#: The heaviest, one of a hundredth and one of a hundred-millionth of its value.
WORLD = World(
    (
        Line("BIG", 10_000, Fraction(10**8), None, ALL),
        Line("MID", 10_000, Fraction(10**6), None, LIGHT),
        Line("TINY", 10_000, Fraction(1), None, LIGHT),
    ),
    tuple(Plan(code, "float_cap", None, None, Decimal(1000), None) for code in ("ALL", "LIGHT")),
    (("/RTYZ6", "ALL"),),
)
#: How long each may be silent, in seconds: the root of a hundred is ten; nobody longer than an hour.
PATIENCE = {0: 60, 1: 600, 2: 3600}


@pytest.fixture(scope="module")
def staleness() -> Staleness:
    return Staleness(composition_of(WORLD), Calendar.bundled())


def seen(*ts: int) -> np.ndarray:
    """Give newest times, and one of a contract, which is never stale."""
    return np.array([*ts, OPENING], np.int64)


@pytest.mark.parametrize("row", PATIENCE)
def test_a_stock_may_be_silent_the_longer_the_lighter_it_is(staleness: Staleness, row: int) -> None:
    """And not a nanosecond longer."""
    ts = seen(*(NOON - PATIENCE[row] * NS if other == row else NOON for other in PATIENCE))

    assert staleness.count(ts, NOON).tolist() == [0, 0]
    assert staleness.count(ts, NOON + 1).tolist() == [1, int(row > 0)]


@pytest.mark.parametrize(
    ("clock", "count"),
    [
        pytest.param(OPENING - 1, 0, id="before the opening"),
        pytest.param(OPENING + 60 * NS, 0, id="silence counts from the opening"),
        pytest.param(OPENING + 60 * NS + 1, 1, id="a minute after it"),
        pytest.param(OPENING + 600 * NS + 1, 2, id="ten minutes after it"),
        pytest.param(CLOSING - 1, 3, id="to the close"),
        pytest.param(CLOSING, 0, id="at the close"),
        pytest.param(CLOSING + 3600 * NS, 0, id="in the evening"),
        pytest.param(NO_EVENT, 0, id="before the first tick"),
    ],
)
def test_only_regular_hours_make_prices_stale(staleness: Staleness, clock: int, count: int) -> None:
    """Prices of the day before are as old as the opening."""
    ts = seen(*[OPENING - 86_400 * NS] * 3)

    assert staleness.count(ts, clock).tolist()[0] == count


def test_what_has_never_traded_is_not_stale(staleness: Staleness) -> None:
    """Nothing is known of it that could be old."""
    assert staleness.count(seen(NO_EVENT, NO_EVENT, NOON), CLOSING - 1).tolist() == [1, 1]


def test_the_oldest_is_the_least_of_the_session(staleness: Staleness) -> None:
    """Prices of the session before, and what has none, do not count."""
    assert staleness.oldest(seen(9, 7, 8), 0).tolist() == [7, 7]
    assert staleness.oldest(seen(7, NO_EVENT, 8), 0).tolist() == [7, 8]
    assert staleness.oldest(seen(6, 8, 7), 7).tolist() == [7, 7]
    assert staleness.oldest(seen(8, 6, NO_EVENT), 7).tolist() == [8, NO_EVENT]
