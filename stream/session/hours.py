"""Regular trading hours by event time: one setting, until the calendar of holidays and early closes exists."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from stream.errors import SettingsError

DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
NS_PER_S = 1_000_000_000
_DAY_NS = 86_400 * NS_PER_S
_LAST_NS = 2**63 - 1

_PATTERN = re.compile(
    r"(?P<first>[A-Z][a-z]{2})(-(?P<last>[A-Z][a-z]{2}))? "
    r"(?P<open>\d\d:\d\d)-(?P<close>\d\d:\d\d) (?P<zone>[A-Za-z_]+(/[A-Za-z_]+)*)"
)


@dataclass(frozen=True, slots=True)
class RegularHours:
    """The same hours on some days of the week, half-open: the opening instant is inside, the closing one is not.

    Attributes
    ----------
    weekdays
        Numbers of the days, Monday 0.
    opens, closes
        Local times.
    zone
        Where they are local.
    """

    weekdays: frozenset[int]
    opens: time
    closes: time
    zone: ZoneInfo
    _years: dict[int, NDArray[np.int64]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> RegularHours:
        """Read hours as written in settings.

        Raises
        ------
        SettingsError
            Where the text is not of that form.

        Examples
        --------
        >>> RegularHours.parse("Mon-Fri 09:30-16:00 America/New_York").closes
        datetime.time(16, 0)
        """
        match = _PATTERN.fullmatch(text)
        try:
            if match is None:
                raise ValueError
            first = DAY_NAMES.index(match["first"])
            last = DAY_NAMES.index(match["last"]) if match["last"] else first
            opens, closes = time.fromisoformat(match["open"]), time.fromisoformat(match["close"])
            zone = ZoneInfo(match["zone"])
            if first > last or opens >= closes:
                raise ValueError
        except (ValueError, OSError, ZoneInfoNotFoundError) as error:
            raise SettingsError(
                f"hours {text!r}: expected days, hours and zone, such as "
                "'Mon-Fri 09:30-16:00 America/New_York'"
            ) from error
        return cls(frozenset(range(first, last + 1)), opens, closes, zone)

    def contains(self, ts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which instants lie in regular hours.

        Parameters
        ----------
        ts
            int64, shape (n,): ns since 1970 UTC.

        Returns
        -------
        bool array, shape (n,)

        Notes
        -----
        O(n) where all instants lie in one day's hours, else O(n log days).
        """
        if len(ts) == 0:
            return np.zeros(0, dtype=bool)
        first, last = int(ts.min()), int(ts.max())
        if self.covers(first, last):
            return np.ones(len(ts), dtype=bool)
        # Edges alternate open, close: an instant is inside if an odd number of them lies at or before it.
        return (np.searchsorted(self._edges(first, last), ts, side="right") & 1).astype(bool)

    def covers(self, first: int, last: int) -> bool:
        """Tell whether two instants, and so all between them, lie in the regular hours of one day."""
        edges = self._edges(first, last)
        low, high = np.searchsorted(edges, [first, last], side="right")
        return bool(low == high and low & 1)

    def opening(self, day: date) -> int:
        """Give the instant of a day's opening, in ns since 1970 UTC."""
        return self._instant(day, self.opens)

    def _edges(self, first: int, last: int) -> NDArray[np.int64]:
        # A day to each side: the local year may differ from that of UTC.
        years = range(_year(first - _DAY_NS), _year(last + _DAY_NS) + 1)
        return self._year_edges(years[0]) if len(years) == 1 else self._many(years)

    def _many(self, years: range) -> NDArray[np.int64]:
        return np.concatenate([self._year_edges(year) for year in years])

    def _year_edges(self, year: int) -> NDArray[np.int64]:
        edges = self._years.get(year)
        if edges is None:
            day, edge = date(year, 1, 1), []
            while day.year == year:
                if day.weekday() in self.weekdays:
                    edge += [self._instant(day, self.opens), self._instant(day, self.closes)]
                day += timedelta(days=1)
            # No tick is later than 64 bits can say, so edges beyond (in 2262) are never asked for.
            edges = self._years[year] = np.array([e for e in edge if e <= _LAST_NS], dtype=np.int64)
        return edges

    def _instant(self, day: date, at: time) -> int:
        return int(datetime.combine(day, at, self.zone).timestamp()) * NS_PER_S


def _year(ts: int) -> int:
    return datetime.fromtimestamp(ts // NS_PER_S, UTC).year
