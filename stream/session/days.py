"""Sessions by the calendar day, until the calendar of trading sessions exists: midnight to midnight in one zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

NS_PER_S = 1_000_000_000


class Session(NamedTuple):
    """A trade date and its event times.

    Attributes
    ----------
    name
        `YYYY-MM-DD`.
    starts_ns, ends_ns
        Half-open, ns since 1970 UTC.
    """

    name: str
    starts_ns: int
    ends_ns: int


def session_at(ts: int, zone: ZoneInfo) -> Session:
    """Give the session in which an instant lies.

    Parameters
    ----------
    ts
        ns since 1970 UTC.
    zone
        Where days are counted.

    Examples
    --------
    >>> session_at(1381153800000000000, ZoneInfo("America/New_York"))
    Session(name='2013-10-07', starts_ns=1381118400000000000, ends_ns=1381204800000000000)
    """
    day = datetime.fromtimestamp(ts // NS_PER_S, UTC).astimezone(zone).date()
    return Session(day.isoformat(), _midnight(day, zone), _midnight(day + timedelta(days=1), zone))


def _midnight(day: date, zone: ZoneInfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * NS_PER_S
