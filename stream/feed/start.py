"""Where simulated and replayed time begins and ends: now, in a phase, or at a time that somebody gives."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Literal, get_args

from stream.index.units import NS_PER_S
from stream.session.calendar import Calendar, CashPhase, Phase, Session

#: Phases in which a simulated market can begin; `opening` and `closing` are half a minute before the auctions.
StartPhase = Literal["regular", "overnight", "pre_market", "post_market", "opening", "closing"]
START_PHASES: tuple[StartPhase, ...] = get_args(StartPhase)

#: A moment that somebody gives: a date and time, or the time of a day; without an offset, New York's.
Moment = datetime | time

#: The nearest session with a phase lies within so many days: no holidays last longer.
_DAYS = 14

_MINUTE_NS = 60 * NS_PER_S
_DAY_NS = 86_400 * NS_PER_S
#: When most stocks have traded.
_AFTER_OPENING_NS = 30 * _MINUTE_NS
_AFTER_CLOSE_NS = 10 * _MINUTE_NS
_BEFORE_OPENING_NS = 60 * _MINUTE_NS
_INTO_NIGHT_NS = 120 * _MINUTE_NS
_BEFORE_AUCTION_NS = _MINUTE_NS // 2

_SHUT = (Phase.MAINTENANCE, Phase.CLOSED)


def nothing_trades(calendar: Calendar, ts: int) -> bool:
    """Tell whether neither futures nor shares trade at an instant, ns since 1970 UTC."""
    return calendar.phase(ts) in _SHUT and calendar.cash_phase(ts) is CashPhase.CLOSED


def beginning(
    calendar: Calendar,
    phase: StartPhase | None,
    start: Moment | None,
    *,
    now_ns: int,
    after_ns: int = 0,
) -> tuple[int, int]:
    """Find where simulated time begins.

    Parameters
    ----------
    calendar
        Phases of both markets.
    phase, start
        What is asked for; neither means now.
    now_ns
        The time, ns since 1970 UTC.
    after_ns
        Time begins after this instant.

    Returns
    -------
    asked : int
        What is meant, ns since 1970 UTC.
    possible : int
        The same, unless it lies before `after_ns` or nothing trades then: time begins when trading does, or with the last
        regular hours where nobody gave a start.
    """
    if start is not None:
        asked = last_instant(start, calendar, now_ns=now_ns)
    elif phase is not None:
        asked = phase_start(phase, calendar, now_ns=now_ns, after_ns=after_ns)
    else:
        asked = now_ns
    possible = max(asked, after_ns + 1)
    if start is None and nothing_trades(calendar, possible):
        possible = max(phase_start("regular", calendar, now_ns=now_ns), after_ns + 1)
    while nothing_trades(calendar, possible):
        possible = calendar.next_change(possible)
    return asked, possible


def phase_start(phase: StartPhase, calendar: Calendar, *, now_ns: int, after_ns: int = 0) -> int:
    """Find the newest moment of the past at which a phase can be watched, or the first later one.

    Parameters
    ----------
    phase
        Which.
    calendar
        Its phases.
    now_ns
        The time, ns since 1970 UTC.
    after_ns
        The moment lies after this one, even where it is none of the past.

    Returns
    -------
    int
        ns since 1970 UTC.

    Examples
    --------
    >>> calendar = Calendar.bundled()
    >>> sunday = int(datetime(2026, 7, 19, 12, tzinfo=calendar.zone).timestamp()) * NS_PER_S
    >>> start = phase_start("regular", calendar, now_ns=sunday)
    >>> datetime.fromtimestamp(start // NS_PER_S, calendar.zone).isoformat()
    '2026-07-17T10:00:00-04:00'
    """
    starts = list(_starts(phase, calendar, around_ns=now_ns))
    past = max(start for start in starts if start <= now_ns)
    if past > after_ns:
        return past
    return min(start for start in _starts(phase, calendar, around_ns=after_ns) if start > after_ns)


def first_instant(moment: Moment, calendar: Calendar, *, from_ns: int) -> int:
    """Give the instant of a moment, that of a time of day being the first at or after another instant.

    Parameters
    ----------
    moment
        A date and time, or a time of day.
    calendar
        Gives the zone of a moment without one.
    from_ns
        The other instant, ns since 1970 UTC.

    Returns
    -------
    int
        ns since 1970 UTC.
    """
    if isinstance(moment, datetime):
        return _ns(moment, calendar)
    day = _local_date(from_ns, calendar)
    instants = (_ns(datetime.combine(day + timedelta(days), moment), calendar) for days in range(3))
    return next(instant for instant in instants if instant >= from_ns)


def last_instant(moment: Moment, calendar: Calendar, *, now_ns: int) -> int:
    """Give the instant of a moment, that of a time of day being the newest of the past at which something traded.

    Parameters
    ----------
    moment
        A date and time, or a time of day.
    calendar
        Says what trades, and gives the zone of a moment without one.
    now_ns
        The time, ns since 1970 UTC.

    Returns
    -------
    int
        ns since 1970 UTC.
    """
    if isinstance(moment, datetime):
        return _ns(moment, calendar)
    today = _local_date(now_ns, calendar)
    instants = [
        _ns(datetime.combine(today - timedelta(days), moment), calendar) for days in range(_DAYS)
    ]
    past = [instant for instant in instants if instant <= now_ns]
    return next((each for each in past if not nothing_trades(calendar, each)), past[0])


def on_day(moment: Moment, calendar: Calendar, *, day_of: int) -> int:
    """Give the instant of a moment, that of a time of day being on the day on which another instant lies.

    Parameters
    ----------
    moment
        A date and time, or a time of day.
    calendar
        Gives the zone of the day, and of a moment without one.
    day_of
        The other instant, ns since 1970 UTC.

    Returns
    -------
    int
        ns since 1970 UTC.
    """
    if isinstance(moment, time):
        moment = datetime.combine(_local_date(day_of, calendar), moment)
    return _ns(moment, calendar)


def _starts(phase: StartPhase, calendar: Calendar, *, around_ns: int) -> Iterator[int]:
    """Give the moments of a phase in the sessions around an instant, in order."""
    session = calendar.session_at(max(0, around_ns - _DAYS * _DAY_NS))
    while session.starts_ns < around_ns + _DAYS * _DAY_NS:
        start = _start(phase, calendar, session)
        if start is not None:
            yield start
        session = calendar.session_at(session.ends_ns)


def _start(phase: StartPhase, calendar: Calendar, session: Session) -> int | None:
    opens, closes = calendar.regular_hours(session.name)
    if phase == "overnight":
        return _overnight(calendar, session)
    return {
        "regular": opens + min(_AFTER_OPENING_NS, (closes - opens) // 2),
        "pre_market": opens - _BEFORE_OPENING_NS,
        "post_market": closes + _AFTER_CLOSE_NS,
        "opening": opens - _BEFORE_AUCTION_NS,
        "closing": closes - _BEFORE_AUCTION_NS,
    }[phase]


def _overnight(calendar: Calendar, session: Session) -> int | None:
    for stretch in calendar.stretches(session.starts_ns, session.ends_ns):
        if stretch.phase is Phase.OVERNIGHT:
            return stretch.starts_ns + min(
                _INTO_NIGHT_NS, (stretch.ends_ns - stretch.starts_ns) // 2
            )
    return None


def _local_date(ts: int, calendar: Calendar) -> date:
    return datetime.fromtimestamp(ts // NS_PER_S, calendar.zone).date()


def _ns(moment: datetime, calendar: Calendar) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=calendar.zone)
    return int(aware.replace(microsecond=0).timestamp()) * NS_PER_S + aware.microsecond * 1_000
