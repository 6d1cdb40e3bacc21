"""Sessions of a feed: simulated ones, one after another with nothing between them, and those that a tape reaches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from stream.feed.trades import Trades
from stream.index.units import NS_PER_S
from stream.session.days import Session, session_at
from stream.session.hours import RegularHours

#: A simulated session begins this long after the opening, when most of a market's stocks have traded.
AFTER_OPENING = timedelta(minutes=30)


def session(day: date, hours: RegularHours) -> tuple[int, int]:
    """Give a day's simulated session: from half an hour after the opening to the close, half-open.

    Parameters
    ----------
    day
        A local date.
    hours
        Regular hours; where they last half an hour or less, the session is all of them.

    Returns
    -------
    tuple of int
        Start and end, ns since 1970 UTC.

    Examples
    --------
    >>> hours = RegularHours.parse("Mon-Fri 09:30-16:00 America/New_York")
    >>> session(date(2026, 7, 17), hours)
    (1784296800000000000, 1784318400000000000)
    """
    start = datetime.combine(day, hours.opens) + AFTER_OPENING
    end = datetime.combine(day, hours.closes)
    if start >= end:
        start -= AFTER_OPENING
    return _instant(start, hours), _instant(end, hours)


def last_past_session(now_ns: int, hours: RegularHours) -> int:
    """Give the start of the simulated session of the last trading day before today.

    Parameters
    ----------
    now_ns
        The time, ns since 1970 UTC; today is the date that it has where the hours are local.
    hours
        Regular hours.

    Returns
    -------
    int
        Start, ns since 1970 UTC.

    Examples
    --------
    >>> hours = RegularHours.parse("Mon-Fri 09:30-16:00 America/New_York")
    >>> sunday = int(datetime(2026, 7, 19, 12, tzinfo=hours.zone).timestamp()) * NS_PER_S
    >>> last_past_session(sunday, hours) == session(date(2026, 7, 17), hours)[0]
    True
    """
    day = _local_date(now_ns, hours) - timedelta(days=1)
    while day.weekday() not in hours.weekdays:
        day -= timedelta(days=1)
    return session(day, hours)[0]


def windows(start_ns: int, length_ns: int, hours: RegularHours) -> Iterator[tuple[int, int]]:
    """Cut simulated time into windows that lie within one session each.

    Parameters
    ----------
    start_ns
        Where to begin; outside a session, its next start.
    length_ns
        Length of a window; the last one of a session may be shorter.
    hours
        Regular hours; every one of their days trades, holidays too.

    Yields
    ------
    tuple of int
        Start and end of each window, half-open, ns since 1970 UTC; without end.
    """
    day = _local_date(start_ns, hours)
    at = start_ns
    while True:
        if day.weekday() in hours.weekdays:
            first, end = session(day, hours)
            at = max(at, first)
            while at < end:
                stop = min(at + length_ns, end)
                yield at, stop
                at = stop
        day += timedelta(days=1)


def by_session(
    trades: Trades, session: Session | None, zone: ZoneInfo
) -> Iterator[tuple[Trades, Session]]:
    """Cut trades where their event times reach a later session; late ones stay in that which was reached.

    Parameters
    ----------
    trades
        In the order of their tape; not empty.
    session
        That which the trades before them had reached, or None.
    zone
        Where days are counted.

    Yields
    ------
    Trades
        Consecutive parts.
    Session
        Of each part.
    """
    start, n = 0, len(trades)
    while start < n:
        if session is None or trades.ts[start] >= session.ends_ns:
            session = session_at(int(trades.ts[start]), zone)
        beyond = np.flatnonzero(trades.ts[start:] >= session.ends_ns)
        stop = start + int(beyond[0]) if len(beyond) else n
        yield trades.take(slice(start, stop)), session
        start = stop


def _local_date(ts: int, hours: RegularHours) -> date:
    return datetime.fromtimestamp(ts // NS_PER_S, hours.zone).date()


def _instant(local: datetime, hours: RegularHours) -> int:
    return int(local.replace(tzinfo=hours.zone).timestamp()) * NS_PER_S
