"""The weeks, and what the calendar should say of them: from the exchanges' notices, by hand, and the zone's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
#: Whatever the clocks do, no phase, day or close begins within one: it is worked out once for each.
QUARTER = 15 * MINUTE

FOUR, HALF_PAST_NINE, FOUR_PM = time(4), time(9, 30), time(16)
FIVE_PM, SIX_PM, EIGHT_PM = time(17), time(18), time(20)
FRIDAY, SATURDAY, SUNDAY = 4, 5, 6

#: Days without cash trading, and days on which it ends early: closes, and ends of post-market.
CASH_HOLIDAYS = {date(2026, 11, 26), date(2026, 4, 3)}
CASH_EARLY = {date(2026, 11, 27): (time(13), time(17))}
#: Days on which futures stop early, and at what time.
FUTURES_EARLY = {
    date(2026, 11, 26): time(13),
    date(2026, 11, 27): time(13, 15),
    date(2026, 4, 3): time(9, 15),
}


@dataclass(frozen=True)
class Week:
    """One simulated span of time; times are New York's.

    Attributes
    ----------
    starts, ends
        Half-open.
    sessions
        Each trade date of it that begins in it, and the evening on which it does, at 18:00.
    """

    starts: datetime
    ends: datetime
    sessions: Mapping[str, date] = field(default_factory=dict)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


def _usual(monday: date, *, left_out: str = "") -> dict[str, date]:
    """Give the sessions of a week without surprises: each from the evening before its day."""
    days = (monday + timedelta(days) for days in range(5))
    return {str(day): day - timedelta(1) for day in days if str(day) != left_out}


def _from_friday(friday: date, *, left_out: str = "") -> dict[str, date]:
    """Give the sessions of a Friday and of the week after it."""
    first = {str(friday): friday - timedelta(1)}
    return first | _usual(friday + timedelta(3), left_out=left_out)


#: An ordinary one; one with a holiday and an early close; one across each change of clocks, in New York (8 March and
#: 1 November) and in London (29 March, whose Friday is a holiday, and 25 October), from the Friday before.
WEEKS = {
    "ordinary": Week(_at("2026-07-12T18:00"), _at("2026-07-17T20:00"), _usual(date(2026, 7, 13))),
    "holiday": Week(
        _at("2026-11-22T18:00"),
        _at("2026-11-27T20:00"),
        # Friday's session begins on Wednesday evening: Thursday has no cash trading.
        {**_usual(date(2026, 11, 23), left_out="2026-11-26"), "2026-11-27": date(2026, 11, 25)},
    ),
    "new-york-spring": Week(
        _at("2026-03-06T15:30"), _at("2026-03-13T20:00"), _from_friday(date(2026, 3, 6))
    ),
    "london-spring": Week(
        _at("2026-03-27T15:30"),
        _at("2026-04-03T09:15"),
        # Good Friday: what begins on Thursday evening is Monday's.
        {**_from_friday(date(2026, 3, 27), left_out="2026-04-03"), "2026-04-06": date(2026, 4, 2)},
    ),
    "london-autumn": Week(
        _at("2026-10-23T15:30"), _at("2026-10-30T20:00"), _from_friday(date(2026, 10, 23))
    ),
    "new-york-autumn": Week(
        _at("2026-10-30T15:30"), _at("2026-11-06T20:00"), _from_friday(date(2026, 10, 30))
    ),
}


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND


@lru_cache(maxsize=256)
def instant(day: date, at: time) -> int:
    """Give the instant of a time of a day in New York, ns since 1970 UTC."""
    return ns(datetime.combine(day, at, NEW_YORK))


def day_of(ts: int) -> date:
    return _day_of(ts // QUARTER)


@lru_cache(maxsize=4096)
def _day_of(quarter: int) -> date:
    return datetime.fromtimestamp(quarter * QUARTER // SECOND, NEW_YORK).date()


def trades_cash(day: date) -> bool:
    return day.weekday() < SATURDAY and day not in CASH_HOLIDAYS


@lru_cache(maxsize=64)
def hours(day: date) -> tuple[int, int]:
    """Give opening and close of a day with cash trading."""
    return instant(day, HALF_PAST_NINE), instant(day, CASH_EARLY.get(day, (FOUR_PM,))[0])


def last_close(ts: int) -> int:
    """Give the newest cash close at or before an instant."""
    return _last_close(ts // QUARTER)


@lru_cache(maxsize=4096)
def _last_close(quarter: int) -> int:
    ts = quarter * QUARTER
    day = day_of(ts)
    while not trades_cash(day) or hours(day)[1] > ts:
        day -= timedelta(1)
    return hours(day)[1]


def cash_phase(ts: int) -> str:
    return _cash_phase(ts // QUARTER)


@lru_cache(maxsize=4096)
def _cash_phase(quarter: int) -> str:
    ts = quarter * QUARTER
    day = day_of(ts)
    if not trades_cash(day):
        return "closed"
    opens, closes = hours(day)
    ends = instant(day, CASH_EARLY[day][1] if day in CASH_EARLY else EIGHT_PM)
    if opens <= ts < closes:
        return "regular"
    if instant(day, FOUR) <= ts < opens:
        return "pre_market"
    return "post_market" if closes <= ts < ends else "closed"


def phase(ts: int) -> str:
    """Give the phase of the futures session: they open at 18:00 of an evening, and stop on the next day."""
    return _phase(ts // QUARTER)


@lru_cache(maxsize=4096)
def _phase(quarter: int) -> str:
    ts = quarter * QUARTER
    day = day_of(ts)
    reopens = day.weekday() not in {FRIDAY, SATURDAY}
    if reopens and ts >= instant(day, SIX_PM):
        shut = False
    elif day.weekday() in {SATURDAY, SUNDAY}:
        return "closed"
    else:
        shut = ts >= instant(day, FUTURES_EARLY.get(day, FIVE_PM))
    if shut:
        return "maintenance" if reopens else "closed"
    cash = cash_phase(ts)
    return "overnight" if cash == "closed" else cash


def begins(week: Week, session: str) -> int:
    """Give the instant at which futures begin a session of a week, ns since 1970 UTC."""
    return instant(week.sessions[session], SIX_PM)


def begins_for_shares(session: str) -> int:
    """Give the instant at which shares do: 20:00 of the cash day before."""
    day = date.fromisoformat(session) - timedelta(1)
    while not trades_cash(day):
        day -= timedelta(1)
    return instant(day, EIGHT_PM)


def session_at(week: Week, ts: int) -> str:
    """Give the session that has begun last by an instant; before the first of the week, that of the cash day before."""
    begun = [each for each in week.sessions if begins(week, each) <= ts]
    if begun:
        return begun[-1]
    day = min(week.sessions.values())
    while not trades_cash(day):
        day -= timedelta(1)
    return str(day)
