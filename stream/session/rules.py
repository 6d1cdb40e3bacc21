"""The rules of a calendar in local time: what holds every week, and the dates on which something else does."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

NS_PER_S = 1_000_000_000
DAY_MINUTES = 24 * 60
DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

#: Times of a day by their key in the file, in minutes after local midnight.
Times = Mapping[str, int]

_DAY = timedelta(days=1)


class CashDay(NamedTuple):
    """A day of the cash market, in minutes after its local midnight.

    Attributes
    ----------
    pre_market
        The pre-market's start; negative where that is on the evening before.
    opens, closes
        Regular hours, half-open.
    post_market
        The post-market's end; beyond 1440 where that is on the next morning.
    """

    pre_market: int
    opens: int
    closes: int
    post_market: int

    @classmethod
    def place(cls, times: Times) -> CashDay:
        """Put times around the regular hours: a pre-market that starts later than these starts the evening before.

        Raises
        ------
        ValueError
            Where the regular hours do not end after they start.
        """
        pre_market, opens, closes = times["pre_market"], times["open"], times["close"]
        post_market = times["post_market"]
        if opens >= closes:
            raise ValueError(f"open {clock(opens)} is not before close {clock(closes)}")
        return cls(
            pre_market if pre_market <= opens else pre_market - DAY_MINUTES,
            opens,
            closes,
            post_market if post_market >= closes else post_market + DAY_MINUTES,
        )


class FuturesDay(NamedTuple):
    """A trade date of futures, in minutes after its local midnight.

    Attributes
    ----------
    opens
        Negative where that is on the evening before.
    closes
        The end, exclusive.
    """

    opens: int
    closes: int

    @classmethod
    def place(cls, times: Times) -> FuturesDay:
        """Put times of the clock on a trade date: one that opens no earlier than it closes opens the evening before."""
        opens, closes = times["open"], times["close"]
        return cls(opens if opens < closes else opens - DAY_MINUTES, closes)


@dataclass(frozen=True, slots=True)
class Week:
    """What holds from a date on.

    Attributes
    ----------
    since
        The first trade date it holds for.
    weekdays
        Numbers of the days with trading, Monday 0.
    times
        Every time that the market has.
    """

    since: date
    weekdays: frozenset[int]
    times: Times


@dataclass(frozen=True, slots=True)
class Market:
    """One market's hours.

    Attributes
    ----------
    weeks
        By their first date; the first of them holds before that, too.
    closed
        Dates without trading.
    special
        Dates with trading, and the times in which they differ from the week.
    """

    weeks: tuple[Week, ...]
    closed: frozenset[date]
    special: Mapping[date, Times]

    def week(self, day: date) -> Week:
        """Give the week's rule that is in force on a date."""
        place = bisect_right(self.weeks, day, key=lambda week: week.since)
        return self.weeks[max(place - 1, 0)]

    def times(self, day: date) -> Times | None:
        """Give the times of a trade date, or None where there is no trading."""
        if day in self.closed:
            return None
        week, special = self.week(day), self.special.get(day)
        if special is not None:
            return {**week.times, **special}
        return week.times if day.weekday() in week.weekdays else None

    def after(self, day: date) -> date:
        """Give the first trade date after a date."""
        day += _DAY
        while self.times(day) is None:
            day += _DAY
        return day

    def before(self, day: date) -> date:
        """Give the last trade date before a date."""
        day -= _DAY
        while self.times(day) is None:
            day -= _DAY
        return day

    def between(self, first: date, last: date) -> list[date]:
        """Give the trade dates from one date to another, both included."""
        days = ((last - first).days + 1) * [first]
        return [
            one for n, day in enumerate(days) if self.times(one := day + timedelta(n)) is not None
        ]


@dataclass(frozen=True, slots=True)
class Roll:
    """When sessions begin, from a date on.

    Attributes
    ----------
    since
        The first session it holds for.
    times
        For each venue, minutes after local midnight; None for the opening of futures.
    """

    since: date
    times: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Rules:
    """A whole calendar in local time.

    Attributes
    ----------
    zone
        Where times are local.
    cash, futures
        Hours of the two markets.
    rolls
        By their first date; the first of them holds before that, too.
    """

    zone: ZoneInfo
    cash: Market
    futures: Market
    rolls: tuple[Roll, ...]

    def cash_day(self, day: date) -> CashDay | None:
        """Give the hours of a cash trading day, or None where the date is none."""
        times = self.cash.times(day)
        return None if times is None else CashDay.place(times)

    def futures_day(self, day: date) -> FuturesDay | None:
        """Give the hours of a trade date of futures, or None where the date is none."""
        times = self.futures.times(day)
        return None if times is None else FuturesDay.place(times)

    def roll(self, day: date, venue: str) -> int | None:
        """Give the local time at which a venue's session of a date begins, or None for the opening of futures."""
        place = bisect_right(self.rolls, day, key=lambda roll: roll.since)
        return self.rolls[max(place - 1, 0)].times[venue]

    def instant(self, day: date, minutes: int) -> int:
        """Turn a local time into an instant.

        Parameters
        ----------
        day
            A date.
        minutes
            After its local midnight by the clock on the wall; negative on the days before.

        Returns
        -------
        int
            ns since 1970 UTC.
        """
        local = datetime.combine(day, time()) + timedelta(minutes=minutes)
        return int(local.replace(tzinfo=self.zone).timestamp()) * NS_PER_S

    def local_date(self, ts: int) -> date:
        """Give the local date of an instant (ns since 1970 UTC)."""
        return datetime.fromtimestamp(ts // NS_PER_S, UTC).astimezone(self.zone).date()


def clock(minutes: int) -> str:
    """Write a time as files do.

    Examples
    --------
    >>> clock(570)
    '09:30'
    """
    return f"{minutes // 60:02}:{minutes % 60:02}"
