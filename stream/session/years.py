"""One year of a calendar as instants: made when first asked for, from the rules in local time."""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import IntEnum
from functools import cached_property
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.session.rules import DAY_MINUTES, NS_PER_S, Rules

_LAST_NS = 2**63 - 1


class Phase(IntEnum):
    """What futures are doing, split by the cash market while they trade; outside, `name.lower()`."""

    OVERNIGHT = 0
    PRE_MARKET = 1
    REGULAR = 2
    POST_MARKET = 3
    MAINTENANCE = 4
    CLOSED = 5


class CashPhase(IntEnum):
    """What equities are doing; outside, `name.lower()`."""

    PRE_MARKET = 0
    REGULAR = 1
    POST_MARKET = 2
    CLOSED = 3


class Venue(IntEnum):
    """By whose clock a session begins."""

    FUTURES = 0
    EQUITIES = 1


class Session(NamedTuple):
    """A cash trading day and the event times that count for it.

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


class Stretch(NamedTuple):
    """A time in which neither phase changes.

    Attributes
    ----------
    phase, cash_phase
        What they are.
    starts_ns, ends_ns
        Half-open, ns since 1970 UTC.
    """

    phase: Phase
    cash_phase: CashPhase
    starts_ns: int
    ends_ns: int


class Year:
    """What is asked of one year of UTC; each part is worked out when first asked for.

    Parameters
    ----------
    rules
        The calendar in local time.
    year
        Its number.

    Notes
    -----
    About 10 ms in all.
    """

    def __init__(self, rules: Rules, year: int) -> None:
        self._rules = rules
        self._year = year
        # From the last that is over before the year begins, to the first that begins after it has ended.
        self._cash_days = rules.cash.between(
            rules.cash.before(date(year - 1, 12, 31)), rules.cash.after(date(year + 1, 1, 1))
        )

    @cached_property
    def stretches(self) -> list[Stretch]:
        """They tile the year; the first and the last are cut at its ends."""
        return _stretches(
            _cash_edges(self._rules, self._cash_days),
            _futures_edges(self._rules, self._year),
            self._year,
        )

    @cached_property
    def sessions(self) -> tuple[list[Session], list[Session]]:
        """By venue: those that touch the year, and neighbours."""
        rules, days = self._rules, self._cash_days
        # The first is reckoned from the close of one before, and the last ends where one after begins.
        days = [rules.cash.before(days[0]), *days, rules.cash.after(days[-1])]
        return _sessions(rules, days, Venue.FUTURES), _sessions(rules, days, Venue.EQUITIES)

    @cached_property
    def closes(self) -> list[tuple[int, str]]:
        """Closing instants of cash days and the days' names, from the last before the year on."""
        return [(regular_hours(self._rules, day)[1], day.isoformat()) for day in self._cash_days]

    @cached_property
    def regular(self) -> NDArray[np.int64]:
        """Opening and closing instants in turn, ns, of the cash days that bear this year in their name."""
        own = [day for day in self._cash_days if day.year == self._year]
        edges = [edge for day in own for edge in regular_hours(self._rules, day)]
        # No tick is later than 64 bits can say, so edges beyond (in 2262) are never asked for.
        return np.array([edge for edge in edges if edge <= _LAST_NS], dtype=np.int64)


def year_of(ts: int) -> int:
    """Give the year of an instant in UTC."""
    return datetime.fromtimestamp(ts // NS_PER_S, UTC).year


def regular_hours(rules: Rules, day: date) -> tuple[int, int]:
    """Give the opening and the closing instant of a cash trading day, in ns."""
    hours = rules.cash_day(day)
    assert hours is not None
    return rules.instant(day, hours.opens), rules.instant(day, hours.closes)


def session_start(rules: Rules, previous: date, day: date, venue: Venue) -> int:
    """Give the instant at which the session of a cash trading day begins, in ns.

    Parameters
    ----------
    rules
        The calendar in local time.
    previous, day
        The cash trading day before it, and itself.
    venue
        By whose clock.
    """
    closed = regular_hours(rules, previous)[1]
    at = rules.roll(day, venue.name.lower())
    if at is None:
        start = _futures_open_after(rules, previous, closed)
    else:
        start = rules.instant(previous, at)
        if start < closed:
            start = rules.instant(previous, at + DAY_MINUTES)
    # Where futures stay shut for days, the session begins with its own regular hours.
    return min(start, regular_hours(rules, day)[0])


def _futures_open_after(rules: Rules, day: date, closed: int) -> int:
    while True:
        hours = rules.futures_day(day)
        if hours is not None and (opens := rules.instant(day, hours.opens)) >= closed:
            return opens
        day = rules.futures.after(day)


def _sessions(rules: Rules, cash_days: list[date], venue: Venue) -> list[Session]:
    starts = [session_start(rules, *days, venue) for days in pairwise(cash_days)]
    return [
        Session(day.isoformat(), start, end)
        for day, (start, end) in zip(cash_days[1:-1], pairwise(starts), strict=True)
    ]


def _cash_edges(rules: Rules, days: list[date]) -> list[tuple[int, CashPhase]]:
    """List when the cash phase changes: where hours of two days meet, the later day's begin when the earlier's are over."""
    edges: list[tuple[int, CashPhase]] = []
    free = rules.instant(days[0], -DAY_MINUTES)
    for day in days:
        hours = rules.cash_day(day)
        assert hours is not None
        pre_market, opens, closes, post_market = (rules.instant(day, at) for at in hours)
        edges += [
            (max(pre_market, free), CashPhase.PRE_MARKET),
            (opens, CashPhase.REGULAR),
            (closes, CashPhase.POST_MARKET),
            (post_market, CashPhase.CLOSED),
        ]
        free = post_market
    return edges


def _futures_edges(rules: Rules, year: int) -> list[tuple[int, Phase]]:
    """List when futures open (overnight stands for all phases of their session) and close, and into what."""
    first = rules.futures.before(date(year - 1, 12, 31))
    last = rules.futures.after(rules.futures.after(date(year + 1, 1, 1)))
    spans = []
    for day in rules.futures.between(first, last):
        hours = rules.futures_day(day)
        assert hours is not None
        spans.append((rules.instant(day, hours.opens), rules.instant(day, hours.closes)))
    edges: list[tuple[int, Phase]] = []
    for (opens, closes), (reopens, _) in pairwise(spans):
        same_day = rules.local_date(reopens) == rules.local_date(closes)
        edges += [
            (opens, Phase.OVERNIGHT),
            (closes, Phase.MAINTENANCE if same_day else Phase.CLOSED),
        ]
    return edges


_INSIDE = {
    CashPhase.PRE_MARKET: Phase.PRE_MARKET,
    CashPhase.REGULAR: Phase.REGULAR,
    CashPhase.POST_MARKET: Phase.POST_MARKET,
    CashPhase.CLOSED: Phase.OVERNIGHT,
}


def _stretches(
    cash_edges: list[tuple[int, CashPhase]], futures_edges: list[tuple[int, Phase]], year: int
) -> list[Stretch]:
    """Merge the changes of both markets, and cut at the ends of the year."""
    starts = [
        int(datetime(one, 1, 1, tzinfo=UTC).timestamp()) * NS_PER_S for one in (year, year + 1)
    ]
    cash, futures = CashPhase.CLOSED, Phase.CLOSED
    changes: list[tuple[int, Phase, CashPhase]] = []
    # Sorting is stable: of edges at one instant, the later day's comes last and holds.
    edges: list[tuple[int, Phase | CashPhase]] = [*cash_edges, *futures_edges]
    for at, edge in sorted(edges, key=itemgetter(0)):
        if isinstance(edge, CashPhase):
            cash = edge
        else:
            futures = edge
        phase = _INSIDE[cash] if futures is Phase.OVERNIGHT else futures
        at_or_start = max(at, starts[0])
        if changes and changes[-1][0] == at_or_start:
            changes.pop()
        if not changes or changes[-1][1:] != (phase, cash):
            changes.append((at_or_start, phase, cash))
    changes = [change for change in changes if change[0] < starts[1]]
    ends = [*(at for at, _, _ in changes[1:]), starts[1]]
    return [
        Stretch(phase, cash, start, end)
        for (start, phase, cash), end in zip(changes, ends, strict=True)
    ]
