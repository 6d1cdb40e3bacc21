"""The bundled calendar: days that people know, written down by hand."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from oracle import NEW_YORK, NS
from stream.errors import SettingsError
from stream.session.calendar import Calendar, CashPhase, Phase, Session, Venue

CALENDAR = Calendar.bundled()
LONDON, TOKYO, UTC = ZoneInfo("Europe/London"), ZoneInfo("Asia/Tokyo"), ZoneInfo("UTC")


def at(text: str, zone: ZoneInfo = NEW_YORK) -> int:
    """Give an instant from a local time, YYYY-MM-DD HH:MM."""
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * NS


def local(ts: int, zone: ZoneInfo = NEW_YORK) -> str:
    return f"{datetime.fromtimestamp(ts // NS, zone):%Y-%m-%d %H:%M}"


def day_and_time(ts: int, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(ts // NS, zone):%a %H:%M}"


def listing(start: str, end: str) -> list[str]:
    """Write the phases of a span, one line each: start in New York, phase, cash phase."""
    return [
        f"{datetime.fromtimestamp(one.starts_ns // NS, NEW_YORK):%d %H:%M} {one.phase.name} {one.cash_phase.name}"
        for one in CALENDAR.stretches(at(start), at(end))
    ]


#: V54: Globex opens on Sunday, the cash market on Monday: around each change of clocks in 2026.
DST_ROWS = [
    (
        "2026-01-11",
        "2026-01-11T23:00",
        "Mon 08:00",
        "Sun 23:00",
        "14:30",
        "21:00",
        "23:30",
        "22:00",
    ),
    (
        "2026-03-08",
        "2026-03-08T22:00",
        "Mon 07:00",
        "Sun 22:00",
        "13:30",
        "20:00",
        "22:30",
        "21:00",
    ),
    (
        "2026-03-22",
        "2026-03-22T22:00",
        "Mon 07:00",
        "Sun 22:00",
        "13:30",
        "20:00",
        "22:30",
        "21:00",
    ),
    (
        "2026-07-12",
        "2026-07-12T22:00",
        "Mon 07:00",
        "Sun 23:00",
        "13:30",
        "20:00",
        "22:30",
        "21:00",
    ),
    (
        "2026-10-25",
        "2026-10-25T22:00",
        "Mon 07:00",
        "Sun 22:00",
        "13:30",
        "20:00",
        "22:30",
        "21:00",
    ),
    (
        "2026-11-01",
        "2026-11-01T23:00",
        "Mon 08:00",
        "Sun 23:00",
        "14:30",
        "21:00",
        "23:30",
        "22:00",
    ),
    (
        "2026-11-08",
        "2026-11-08T23:00",
        "Mon 08:00",
        "Sun 23:00",
        "14:30",
        "21:00",
        "23:30",
        "22:00",
    ),
]


@pytest.mark.parametrize("row", DST_ROWS, ids=lambda row: row[0])
def test_clock_changes_of_three_continents(row: tuple[str, ...]) -> None:
    """V54: the week opens, the cash market opens and closes, and futures pause, when each city's clock says so."""
    sunday, globex_utc, globex_tokyo, globex_london, opens_utc, closes_utc, opens_tokyo, pause = row
    opens = CALENDAR.next_change(at(f"{sunday} 12:00"))
    monday = CALENDAR.session_at(opens)
    cash_opens, cash_closes = CALENDAR.regular_hours(monday.name)
    paused = CALENDAR.next_change(cash_closes)

    assert CALENDAR.phase(opens - 1) is Phase.CLOSED
    assert CALENDAR.phase(opens) is Phase.OVERNIGHT
    assert opens == monday.starts_ns == at(globex_utc, UTC)
    assert day_and_time(opens, TOKYO) == globex_tokyo
    assert day_and_time(opens, LONDON) == globex_london
    assert day_and_time(cash_opens, UTC) == f"Mon {opens_utc}"
    assert day_and_time(cash_closes, UTC) == f"Mon {closes_utc}"
    assert day_and_time(cash_opens, TOKYO) == f"Mon {opens_tokyo}"
    assert day_and_time(paused, UTC) == f"Mon {pause}"
    assert CALENDAR.phase(paused) is Phase.MAINTENANCE
    assert CALENDAR.next_change(paused) - paused == 3600 * NS


def test_an_ordinary_day() -> None:
    """Futures give the phase, the cash market splits it, and goes on through the daily break."""
    assert listing("2026-07-14 17:00", "2026-07-15 18:00") == [
        "14 17:00 MAINTENANCE POST_MARKET",
        "14 18:00 POST_MARKET POST_MARKET",
        "14 20:00 OVERNIGHT CLOSED",
        "15 04:00 PRE_MARKET PRE_MARKET",
        "15 09:30 REGULAR REGULAR",
        "15 16:00 POST_MARKET POST_MARKET",
        "15 17:00 MAINTENANCE POST_MARKET",
    ]


def test_a_weekend_after_an_early_close() -> None:
    """Thanksgiving 2026: futures pause early on Thursday, and close early for the weekend on Friday."""
    assert listing("2026-11-25 20:00", "2026-11-30 04:00") == [
        "25 20:00 OVERNIGHT CLOSED",
        "26 13:00 MAINTENANCE CLOSED",
        "26 18:00 OVERNIGHT CLOSED",
        "27 04:00 PRE_MARKET PRE_MARKET",
        "27 09:30 REGULAR REGULAR",
        "27 13:00 POST_MARKET POST_MARKET",
        "27 13:15 CLOSED POST_MARKET",
        "27 17:00 CLOSED CLOSED",
        "29 18:00 OVERNIGHT CLOSED",
    ]


def test_an_ordinary_friday_evening() -> None:
    """Futures close for the weekend at 17:00, while shares trade on until 20:00."""
    assert listing("2026-07-17 16:00", "2026-07-19 19:00") == [
        "17 16:00 POST_MARKET POST_MARKET",
        "17 17:00 CLOSED POST_MARKET",
        "17 20:00 CLOSED CLOSED",
        "19 18:00 OVERNIGHT CLOSED",
    ]


@pytest.mark.parametrize(
    ("instant", "phase", "cash_phase"),
    [
        ("2026-04-03 09:14", Phase.OVERNIGHT, CashPhase.CLOSED),  # Good Friday
        ("2026-04-03 09:15", Phase.CLOSED, CashPhase.CLOSED),
        ("2026-06-19 12:59", Phase.OVERNIGHT, CashPhase.CLOSED),  # Juneteenth
        ("2026-06-19 13:00", Phase.CLOSED, CashPhase.CLOSED),
        ("2025-06-19 13:00", Phase.MAINTENANCE, CashPhase.CLOSED),
        ("2025-06-19 18:00", Phase.OVERNIGHT, CashPhase.CLOSED),
        ("2025-01-09 09:29", Phase.OVERNIGHT, CashPhase.CLOSED),  # a day of mourning
        ("2025-01-09 09:30", Phase.MAINTENANCE, CashPhase.CLOSED),
        ("2026-12-25 12:00", Phase.CLOSED, CashPhase.CLOSED),
        ("2026-01-01 17:59", Phase.CLOSED, CashPhase.CLOSED),
        ("2026-01-01 18:00", Phase.OVERNIGHT, CashPhase.CLOSED),
        ("2015-06-10 16:20", Phase.POST_MARKET, CashPhase.POST_MARKET),  # an old halt, not kept
        ("2012-10-30 09:15", Phase.MAINTENANCE, CashPhase.CLOSED),  # a hurricane
        ("2002-09-11 11:59", Phase.PRE_MARKET, CashPhase.PRE_MARKET),  # a late opening
        ("2002-09-11 12:00", Phase.REGULAR, CashPhase.REGULAR),
        ("2035-11-23 13:00", Phase.POST_MARKET, CashPhase.POST_MARKET),
        ("2036-07-04 12:00", Phase.REGULAR, CashPhase.REGULAR),  # beyond the table: the week's rule
        ("2036-07-05 12:00", Phase.CLOSED, CashPhase.CLOSED),
        ("1999-12-24 12:00", Phase.REGULAR, CashPhase.REGULAR),  # before it, too
    ],
)
def test_days_that_people_know(instant: str, phase: Phase, cash_phase: CashPhase) -> None:
    """Holidays, early closes of either market, and where the table ends."""
    assert CALENDAR.phase(at(instant)) is phase
    assert CALENDAR.cash_phase(at(instant)) is cash_phase


def test_the_holidays_and_early_closes_of_a_year() -> None:
    """2026 as the exchanges announced it."""
    days = [
        date.fromordinal(n)
        for n in range(date(2026, 1, 1).toordinal(), date(2027, 1, 1).toordinal())
    ]

    assert [f"{day:%m-%d}" for day in days if CALENDAR.is_holiday(day)] == (
        ["01-01", "01-19", "02-16", "04-03", "05-25", "06-19", "07-03", "09-07", "11-26", "12-25"]
    )
    assert [f"{day:%m-%d}" for day in days if CALENDAR.closes_early(day)] == ["11-27", "12-24"]
    assert sum(map(CALENDAR.trades_on, days)) == 251


@pytest.mark.parametrize(
    ("instant", "venue", "name", "starts", "ends"),
    [
        ("2026-07-14 17:59", Venue.FUTURES, "2026-07-14", "2026-07-13 18:00", "2026-07-14 18:00"),
        ("2026-07-14 18:00", Venue.FUTURES, "2026-07-15", "2026-07-14 18:00", "2026-07-15 18:00"),
        ("2026-07-14 18:00", Venue.EQUITIES, "2026-07-14", "2026-07-13 20:00", "2026-07-14 20:00"),
        ("2026-07-14 20:00", Venue.EQUITIES, "2026-07-15", "2026-07-14 20:00", "2026-07-15 20:00"),
        ("2026-07-18 12:00", Venue.FUTURES, "2026-07-17", "2026-07-16 18:00", "2026-07-19 18:00"),
        ("2026-07-18 12:00", Venue.EQUITIES, "2026-07-20", "2026-07-17 20:00", "2026-07-20 20:00"),
        # After a Monday holiday, a Thursday one, a Friday one, Christmas and New Year.
        ("2026-09-07 10:00", Venue.FUTURES, "2026-09-08", "2026-09-06 18:00", "2026-09-08 18:00"),
        ("2026-11-26 10:00", Venue.FUTURES, "2026-11-27", "2026-11-25 18:00", "2026-11-29 18:00"),
        ("2026-04-03 10:00", Venue.FUTURES, "2026-04-06", "2026-04-02 18:00", "2026-04-06 18:00"),
        ("2025-12-25 12:00", Venue.FUTURES, "2025-12-24", "2025-12-23 18:00", "2025-12-25 18:00"),
        ("2025-12-25 12:00", Venue.EQUITIES, "2025-12-26", "2025-12-24 20:00", "2025-12-26 20:00"),
        ("2025-12-31 23:59", Venue.FUTURES, "2025-12-31", "2025-12-30 18:00", "2026-01-01 18:00"),
        ("2026-01-01 17:59", Venue.FUTURES, "2025-12-31", "2025-12-30 18:00", "2026-01-01 18:00"),
        ("2026-01-01 18:00", Venue.FUTURES, "2026-01-02", "2026-01-01 18:00", "2026-01-04 18:00"),
    ],
)
def test_sessions_bear_the_date_of_a_cash_day(
    instant: str, venue: Venue, name: str, starts: str, ends: str
) -> None:
    """A session begins by its venue's clock after the cash close before it, and lasts until the next begins."""
    session = Session(name, at(starts), at(ends))

    assert CALENDAR.session_at(at(instant), venue) == session
    assert CALENDAR.session(name, venue) == session


@pytest.mark.parametrize(
    ("instant", "name", "closed"),
    [
        ("2026-07-14 15:59", "2026-07-13", "2026-07-13 16:00"),
        ("2026-07-14 16:00", "2026-07-14", "2026-07-14 16:00"),
        ("2026-07-20 09:30", "2026-07-17", "2026-07-17 16:00"),
        ("2026-11-30 09:00", "2026-11-27", "2026-11-27 13:00"),
        ("2027-01-03 12:00", "2026-12-31", "2026-12-31 16:00"),
    ],
)
def test_the_last_close(instant: str, name: str, closed: str) -> None:
    """The newest cash close at or before an instant, over weekends, early closes and the turn of a year."""
    assert CALENDAR.last_close(at(instant)) == (name, at(closed))


def test_regular_hours_of_a_session() -> None:
    """Opening and closing instant are those of the cash day, early closes and late openings included."""
    hours = {
        name: CALENDAR.regular_hours(name) for name in ("2026-07-14", "2026-11-27", "2002-09-11")
    }

    assert {name: [local(ts)[11:] for ts in both] for name, both in hours.items()} == {
        "2026-07-14": ["09:30", "16:00"],
        "2026-11-27": ["09:30", "13:00"],
        "2002-09-11": ["12:00", "16:00"],
    }


@pytest.mark.parametrize("name", ["2026-11-26", "2026-11-28", "yesterday", ""])
def test_a_name_that_is_no_sessions_is_refused(name: str) -> None:
    """Holidays, weekends and what is no date are named in the error."""
    with pytest.raises(SettingsError, match=f"session '{name}'"):
        CALENDAR.regular_hours(name)
    with pytest.raises(SettingsError, match=f"session '{name}'"):
        CALENDAR.session(name)


def test_batches_within_one_days_hours_are_covered() -> None:
    """Both ends must lie in the same day's regular hours, in either order; the closing instant is outside."""
    opens, closes = at("2026-07-14 09:30"), at("2026-07-14 16:00")

    assert CALENDAR.covers(opens, closes - 1)
    assert not CALENDAR.covers(opens, closes)
    assert not CALENDAR.covers(opens - 1, opens)
    assert not CALENDAR.covers(opens, opens - 1)
    assert CALENDAR.contains(np.array([opens, closes], np.int64)).tolist() == [True, False]
    assert not CALENDAR.covers(opens, at("2026-07-15 10:00"))
    assert not CALENDAR.covers(at("2026-11-27 12:00"), at("2026-11-27 13:00"))


def test_regular_hours_are_half_open() -> None:
    """The opening nanosecond is inside and the closing one is not, in one batch across years and alone."""
    edges = [("2025-12-31 09:30", True), ("2025-12-31 16:00", False), ("2026-11-27 13:00", False)]
    edges += [("2026-11-26 12:00", False), ("2027-01-04 09:30", True)]
    instants = np.array([at(text) + n for text, _ in edges for n in (-1, 0)], np.int64)
    expected = [inside for _, opens in edges[:2] for inside in (not opens, opens)]
    expected += [True, False, False, False, False, True]

    assert CALENDAR.contains(instants).tolist() == expected
    assert [bool(CALENDAR.contains(instants[n : n + 1])[0]) for n in range(10)] == expected
    assert CALENDAR.contains(instants[:0]).tolist() == []


def test_the_turn_of_the_year_in_utc_is_no_change() -> None:
    """New Year's Eve at 19:00 in New York is like the hours around it."""
    assert CALENDAR.next_change(at("2026-12-31 17:30")) == at("2026-12-31 20:00")


@pytest.mark.parametrize("ts", [0, 2**62, 2**63 - 1])
def test_any_instant_of_64_bits_has_an_answer(ts: int) -> None:
    """From 1970 to 2262 the week's rule holds where the table ends."""
    session = CALENDAR.session_at(ts)

    assert session.starts_ns <= ts < session.ends_ns
    assert CALENDAR.next_change(ts) > ts
    assert CALENDAR.last_close(ts)[1] <= ts
    assert CALENDAR.contains(np.array([0, ts], np.int64)).shape == (2,)


#: V53: rank days, reviews and the first session after each, from 2026 to 2030.
REVIEWS = [
    (
        "2026-04-30",
        "2026-06-26",
        "2026-06-29",
        "2026-10-30",
        "2026-12-11",
        "2026-12-14",
        "03-20",
        "09-18",
    ),
    (
        "2027-04-30",
        "2027-06-25",
        "2027-06-28",
        "2027-10-29",
        "2027-12-10",
        "2027-12-13",
        "03-19",
        "09-17",
    ),
    (
        "2028-04-28",
        "2028-06-23",
        "2028-06-26",
        "2028-10-31",
        "2028-12-08",
        "2028-12-11",
        "03-17",
        "09-15",
    ),
    (
        "2029-04-30",
        "2029-06-22",
        "2029-06-25",
        "2029-10-31",
        "2029-12-14",
        "2029-12-17",
        "03-16",
        "09-21",
    ),
    (
        "2030-04-30",
        "2030-06-28",
        "2030-07-01",
        "2030-10-31",
        "2030-12-13",
        "2030-12-16",
        "03-15",
        "09-20",
    ),
]


@pytest.mark.parametrize("row", REVIEWS, ids=lambda row: row[0][:4])
def test_review_days(row: tuple[str, ...]) -> None:
    """V53: rank days are the last sessions of their months, and reviews take effect with the next session."""
    april, june, after_june, october, december, after_december, march, september = row
    year = int(april[:4])

    assert CALENDAR.trade_date_before(date(year, 5, 1)).isoformat() == april
    assert CALENDAR.trade_date_before(date(year, 11, 1)).isoformat() == october
    assert CALENDAR.trade_date_after(date.fromisoformat(june)).isoformat() == after_june
    assert CALENDAR.trade_date_after(date.fromisoformat(december)).isoformat() == after_december
    assert CALENDAR.expiry(year, 3).isoformat() == f"{year}-{march}"
    assert CALENDAR.expiry(year, 9).isoformat() == f"{year}-{september}"


@pytest.mark.parametrize(
    ("year", "month", "expected"),
    [
        (2026, 6, "2026-06-18"),  # the third Friday is Juneteenth
        (2026, 12, "2026-12-18"),
        (2026, 5, "2026-05-15"),  # the month's first day is a Friday
        (2026, 8, "2026-08-21"),  # the month's first day is a Saturday
        (2008, 3, "2008-03-20"),  # the third Friday is Good Friday
    ],
)
def test_expiries(year: int, month: int, expected: str) -> None:
    """The third Friday, or the cash trading day before it where that is a holiday."""
    assert CALENDAR.expiry(year, month).isoformat() == expected


def test_the_bundled_calendar_is_read_once() -> None:
    """Asking again, or for no file, gives the same object."""
    assert Calendar.bundled() is CALENDAR
    assert Calendar.load(None) is CALENDAR
    assert CALENDAR.zone.key == "America/New_York"
