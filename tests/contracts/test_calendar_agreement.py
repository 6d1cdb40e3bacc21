"""The bundled calendar against pandas_market_calendars, minute by minute."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pandas_market_calendars
import pytest
from numpy.typing import NDArray

import calendar_table
from oracle import NEW_YORK, NS
from stream.session.calendar import Calendar, CashPhase, Phase

# It calls an old name of pandas.
pytestmark = pytest.mark.filterwarnings("ignore:Series.dt.weekday is deprecated")

FIRST = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * NS
LAST = int(datetime(2028, 1, 1, tzinfo=UTC).timestamp()) * NS
MINUTES = range(FIRST, LAST, 60 * NS)

#: Dates in New York on which it is known to be wrong, and what is right.
KNOWN = {
    date(
        2025, 1, 9
    ): "equity futures closed at 08:30 Chicago time on the day of mourning for Jimmy Carter "
    "(CME Group's notice of 30 December 2024); it has a whole session",
}


def schedule(name: str) -> list[Any]:
    """Read a year more than is compared, so that no edge is missing."""
    calendar = pandas_market_calendars.get_calendar(name)
    return list(
        calendar.schedule("2024-12-01", "2028-01-31", market_times="all")
        .map(lambda moment: moment.value)
        .itertuples()
    )


def fill(phases: NDArray[np.int8], start: int, end: int, phase: int) -> None:
    """Set the minutes that begin in a span."""
    low, high = (max(-(-(ts - FIRST) // (60 * NS)), 0) for ts in (start, end))
    phases[low:high] = phase


def expected_cash() -> NDArray[np.int8]:
    phases = np.full(len(MINUTES), CashPhase.CLOSED, np.int8)
    for row in schedule("NYSE"):
        fill(phases, row.pre, row.market_open, CashPhase.PRE_MARKET)
        fill(phases, row.market_open, row.market_close, CashPhase.REGULAR)
        fill(phases, row.market_close, row.post, CashPhase.POST_MARKET)
    return phases


def expected(cash: NDArray[np.int8]) -> NDArray[np.int8]:
    phases = np.full(len(MINUTES), Phase.OVERNIGHT, np.int8)
    for phase in (Phase.PRE_MARKET, Phase.REGULAR, Phase.POST_MARKET):
        phases[cash == CashPhase[phase.name]] = phase
    for row, following in pairwise(schedule("CME Globex Equity")):
        closed, opens = (
            datetime.fromtimestamp(ts // NS, NEW_YORK).date()
            for ts in (row.market_close, following.market_open)
        )
        gap = Phase.MAINTENANCE if closed == opens else Phase.CLOSED
        fill(phases, row.market_close, following.market_open, gap)
    return phases


def dates_that_differ(ours: NDArray[np.int8], theirs: NDArray[np.int8]) -> set[date]:
    return {
        datetime.fromtimestamp(MINUTES[place] // NS, NEW_YORK).date()
        for place in np.flatnonzero(ours != theirs)
    }


def test_every_minute_of_three_years_has_the_phases_of_the_exchanges_calendars() -> None:
    """Phase and cash phase agree but on the dates known to be wrong, and on each of these they differ still."""
    calendar = Calendar.bundled()
    cash = expected_cash()

    ours_cash = np.fromiter(map(calendar.cash_phase, MINUTES), np.int8, len(MINUTES))
    ours = np.fromiter(map(calendar.phase, MINUTES), np.int8, len(MINUTES))

    assert dates_that_differ(ours_cash, cash) == set()
    assert dates_that_differ(ours, expected(cash)) == set(KNOWN)


def test_every_phase_is_compared() -> None:
    """The years compared have each phase for hours: an empty comparison would agree with anything."""
    cash = expected_cash()

    assert min(np.bincount(cash, minlength=len(CashPhase))) > 60 * 24
    assert min(np.bincount(expected(cash), minlength=len(Phase))) > 60 * 24


def test_the_bundled_table_is_the_one_that_the_script_writes() -> None:
    """Nobody mends the table by hand: `make calendar` would undo it."""
    assert calendar_table.TABLE.read_text(encoding="utf-8") == calendar_table.text()


@pytest.mark.parametrize("day", calendar_table.FUTURES_CLOSES)
def test_each_correction_is_needed_still(day: date) -> None:
    """Where pandas_market_calendars has learned the right time, the script's own goes."""
    (row,) = (
        pandas_market_calendars.get_calendar("CME Globex Equity").schedule(day, day).itertuples()
    )

    closes = row.market_close.tz_convert(NEW_YORK)
    assert f"{closes:%H:%M}" != calendar_table.FUTURES_CLOSES[day]
