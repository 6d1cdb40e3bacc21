"""Sessions that a feed reaches, by the venue of each trade: futures are ahead of shares in the evening."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stream.feed.trades import Trades
from stream.session.calendar import Calendar, Session, Venue

_FUTURES_PREFIX = "/"


def by_session(
    trades: Trades, session: Session | None, calendar: Calendar
) -> Iterator[tuple[Trades, Session]]:
    """Cut trades where one reaches a later session, by its venue; those that come late stay in that which was reached.

    Parameters
    ----------
    trades
        In the order of their tape; not empty.
    session
        That which the trades before them had reached, or None.
    calendar
        Says when a session of futures or equities begins.

    Yields
    ------
    Trades
        Consecutive parts.
    Session
        Of each part, by the venue whose trade began it.
    """
    start, n = 0, len(trades)
    while start < n:
        rest = trades.take(slice(start, n))
        stop = 0 if session is None else _first_beyond(rest, session, calendar)
        if session is None or stop == 0:
            venue = Venue(int(_venues(rest, np.zeros(1, np.intp))[0]))
            session = calendar.session_at(int(rest.ts[0]), venue)
            stop = _first_beyond(rest, session, calendar)
        yield rest.take(slice(0, stop)), session
        start += stop


def _first_beyond(trades: Trades, session: Session, calendar: Calendar) -> int:
    """Count the trades before the first that belongs to a later session."""
    ends = _ends(calendar, session.name)
    late = np.flatnonzero(trades.ts >= ends.min())
    late = late[trades.ts[late] >= ends[_venues(trades, late)]] if len(late) else late
    return int(late[0]) if len(late) else len(trades)


def _venues(trades: Trades, which: NDArray[np.intp]) -> NDArray[np.intp]:
    """Give the venues of some trades, as numbers of `Venue`."""
    distinct, inverse = np.unique(trades.symbol[which], return_inverse=True)
    futures = [trades.symbols[symbol].startswith(_FUTURES_PREFIX) for symbol in distinct]
    return np.where(futures, Venue.FUTURES, Venue.EQUITIES)[inverse]


@lru_cache(maxsize=8)
def _ends(calendar: Calendar, name: str) -> NDArray[np.int64]:
    """Give the end of a session by each `Venue`, ns since 1970 UTC."""
    opens_ns, _ = calendar.regular_hours(name)
    return np.array([calendar.session_at(opens_ns, venue).ends_ns for venue in Venue], np.int64)
