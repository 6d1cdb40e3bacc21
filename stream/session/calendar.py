"""The calendar: which session and which phase an instant belongs to, by event time alone."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from stream.errors import FileError, SettingsError
from stream.session.rules import NS_PER_S, Rules
from stream.session.table import read_rules
from stream.session.years import (
    CashPhase,
    Phase,
    Session,
    Stretch,
    Venue,
    Year,
    regular_hours,
    session_start,
    year_of,
)

__all__ = ["Calendar", "CashPhase", "Phase", "Session", "Stretch", "Venue"]

_DAY_NS = 86_400 * NS_PER_S
_EPOCH_YEAR = 1970
_FRIDAY = 4

#: Of a batch that touches more, only the years that it names are looked at.
_ADJACENT_YEARS = 2

#: A year takes about half a megabyte.
_KEPT_YEARS = 16


class Calendar:
    """Phases and sessions of futures and equities, from a table of weekly hours and dated exceptions.

    Parameters
    ----------
    rules
        The table.

    Attributes
    ----------
    rules
        The table.
    zone
        The zone whose clock the markets follow.

    Notes
    -----
    Years are worked out when first asked for (about 10 ms each) and kept. An answer inside the stretch that the last
    one lay in costs less than 1 us, others a few.
    """

    __slots__ = ("_last", "_years", "rules", "zone")

    def __init__(self, rules: Rules) -> None:
        self.zone: ZoneInfo = rules.zone
        self.rules = rules
        self._years: dict[int, Year] = {}
        self._last = Stretch(Phase.CLOSED, CashPhase.CLOSED, 0, 0)

    @classmethod
    def bundled(cls) -> Calendar:
        """Give the calendar that comes with the package, always the same object."""
        return _bundled()

    @classmethod
    def load(cls, path: Traversable | None) -> Calendar:
        """Read the bundled calendar, and over it a file of the user's.

        Parameters
        ----------
        path
            A `pathlib.Path` or a packaged file, in the form of `docs/calendar.md`; None for the bundled calendar alone.

        Raises
        ------
        FileError
            Naming file, key and value of what is wrong.
        """
        if path is None:
            return cls.bundled()
        return cls.over_bundled(read_table(path), file=str(path))

    @classmethod
    def over_bundled(cls, text: str, *, file: str) -> Calendar:
        """Read the bundled calendar, and over it the text of a user's file; no text leaves it as it is.

        Raises
        ------
        FileError
            Naming file, key and value of what is wrong.
        """
        if not text:
            return cls.bundled()
        return cls(read_rules(text, file=file, base=_bundled_rules()))

    @classmethod
    def read(cls, text: str, *, file: str) -> Calendar:
        """Read a calendar that stands on its own from the text of a file.

        Raises
        ------
        FileError
            Naming file, key and value of what is wrong.
        """
        return cls(read_rules(text, file=file))

    def phase(self, ts: int) -> Phase:
        """Give the phase of an instant (ns since 1970 UTC)."""
        return self.stretch(ts).phase

    def cash_phase(self, ts: int) -> CashPhase:
        """Give the cash phase of an instant (ns since 1970 UTC)."""
        return self.stretch(ts).cash_phase

    def next_change(self, ts: int) -> int:
        """Give the first instant after another at which phase or cash phase changes, in ns."""
        here = self.stretch(ts)
        there = self.stretch(here.ends_ns)
        while there[:2] == here[:2]:
            there = self.stretch(there.ends_ns)
        return there.starts_ns

    def stretches(self, start_ns: int, end_ns: int) -> Iterator[Stretch]:
        """Tile a span of time: the first and the last stretch are cut at its ends.

        Parameters
        ----------
        start_ns, end_ns
            Half-open, ns since 1970 UTC.

        Yields
        ------
        Stretch
            In order, without gaps; neighbours differ.
        """
        while start_ns < end_ns:
            phase, cash_phase, _, _ = self.stretch(start_ns)
            stop = min(self.next_change(start_ns), end_ns)
            yield Stretch(phase, cash_phase, start_ns, stop)
            start_ns = stop

    def session_at(self, ts: int, venue: Venue = Venue.FUTURES) -> Session:
        """Give the session in which an instant lies, by a venue's clock.

        Parameters
        ----------
        ts
            ns since 1970 UTC.
        venue
            With futures a session begins when they open for the first time after the previous cash close; with equities
            at a time of the evening after it.

        Examples
        --------
        >>> Calendar.bundled().session_at(1381153800000000000)
        Session(name='2013-10-07', starts_ns=1381096800000000000, ends_ns=1381183200000000000)
        """
        sessions = self._year(year_of(ts)).sessions[venue]
        return sessions[bisect_right(sessions, ts, key=lambda session: session.starts_ns) - 1]

    def session(self, name: str, venue: Venue = Venue.FUTURES) -> Session:
        """Give the session of a cash trading day.

        Raises
        ------
        SettingsError
            Where the name is not that of one.
        """
        day = self._cash_day(name)
        previous, following = self.rules.cash.before(day), self.rules.cash.after(day)
        return Session(
            name,
            session_start(self.rules, previous, day, venue),
            session_start(self.rules, day, following, venue),
        )

    def regular_hours(self, session: str) -> tuple[int, int]:
        """Give the opening and the closing instant of a session's cash day, in ns since 1970 UTC.

        Raises
        ------
        SettingsError
            Where the name is not that of a cash trading day.
        """
        return regular_hours(self.rules, self._cash_day(session))

    def last_close(self, ts: int) -> tuple[str, int]:
        """Give the newest cash close at or before an instant: its session's name, and the instant in ns."""
        closes = self._year(year_of(ts)).closes
        closed, name = closes[bisect_right(closes, ts, key=lambda close: close[0]) - 1]
        return name, closed

    def contains(self, ts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which instants lie in regular hours of the cash market.

        Parameters
        ----------
        ts
            int64, shape (n,): ns since 1970 UTC.

        Returns
        -------
        bool array, shape (n,)

        Notes
        -----
        O(n) where neither phase changes between the instants, else O(n log days).
        """
        if len(ts) == 0:
            return np.zeros(0, dtype=bool)
        first, last = int(ts.min()), int(ts.max())
        here = self.stretch(first)
        if last < here.ends_ns:
            return np.full(len(ts), here.cash_phase is CashPhase.REGULAR)
        # Edges alternate open, close: an instant is inside if an odd number of them lies at or before it.
        return (np.searchsorted(self._edges(ts, first, last), ts, side="right") & 1).astype(bool)

    def covers(self, first: int, last: int) -> bool:
        """Tell whether two instants, and so all between them, lie in the regular hours of one day."""
        here = self.stretch(first)
        return here.cash_phase is CashPhase.REGULAR and here.starts_ns <= last < here.ends_ns

    def trades_on(self, day: date) -> bool:
        """Tell whether a date is a cash trading day."""
        return self.rules.cash.times(day) is not None

    def is_holiday(self, day: date) -> bool:
        """Tell whether the cash market is shut on a date on which the week's rule has it trade."""
        cash = self.rules.cash
        return not self.trades_on(day) and day.weekday() in cash.week(day).weekdays

    def closes_early(self, day: date) -> bool:
        """Tell whether the cash market closes before its usual time on a date."""
        cash = self.rules.cash
        times = cash.times(day)
        return times is not None and times["close"] < cash.week(day).times["close"]

    def trade_date_after(self, day: date) -> date:
        """Give the first cash trading day after a date."""
        return self.rules.cash.after(day)

    def trade_date_before(self, day: date) -> date:
        """Give the last cash trading day before a date."""
        return self.rules.cash.before(day)

    def expiry(self, year: int, month: int) -> date:
        """Give the day on which a contract expires: the third Friday, or the last cash trading day before it.

        Examples
        --------
        >>> Calendar.bundled().expiry(2026, 6)
        datetime.date(2026, 6, 18)
        """
        fifteenth = date(year, month, 15)
        friday = fifteenth + timedelta((_FRIDAY - fifteenth.weekday()) % 7)
        return friday if self.trades_on(friday) else self.rules.cash.before(friday)

    def _cash_day(self, name: str) -> date:
        try:
            day = date.fromisoformat(name)
        except ValueError as error:
            raise SettingsError(f"session {name!r}: expected a date, YYYY-MM-DD") from error
        if not self.trades_on(day):
            raise SettingsError(f"session {name!r}: expected a cash trading day; this is none")
        return day

    def stretch(self, ts: int) -> Stretch:
        """Give the stretch of one phase and one cash phase in which an instant (ns since 1970 UTC) lies."""
        last = self._last
        if last.starts_ns <= ts < last.ends_ns:
            return last
        stretches = self._year(year_of(ts)).stretches
        place = bisect_right(stretches, ts, key=lambda stretch: stretch.starts_ns)
        self._last = last = stretches[place - 1]
        return last

    def _year(self, year: int) -> Year:
        made = self._years.get(year)
        if made is None:
            if len(self._years) == _KEPT_YEARS:
                self._years.pop(next(iter(self._years)))
            made = self._years[year] = Year(self.rules, year)
        return made

    def _edges(self, ts: NDArray[np.int64], first: int, last: int) -> NDArray[np.int64]:
        # A day to each side: the local year may differ from that of UTC.
        years = range(year_of(first - _DAY_NS), year_of(last + _DAY_NS) + 1)
        if len(years) > _ADJACENT_YEARS:
            # One wild instant in a batch must not have all the years up to its own worked out.
            named = np.unique(ts.astype("M8[ns]").astype("M8[Y]").astype(np.int64)) + _EPOCH_YEAR
            return self._many({year + n for year in named.tolist() for n in (-1, 0, 1)})
        return self._many(years)

    def _many(self, years: Iterable[int]) -> NDArray[np.int64]:
        return np.concatenate([self._year(year).regular for year in sorted(years)])


def read_table(path: Traversable) -> str:
    """Read the text of a calendar's file.

    Raises
    ------
    FileError
        Where it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path}: expected UTF-8, found {error.object[error.start]:#04x}"
        ) from error
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error


@cache
def _bundled_rules() -> Rules:
    table = resources.files("stream.session") / "bundled" / "calendar.toml"
    return read_rules(read_table(table), file="calendar.toml")


@cache
def _bundled() -> Calendar:
    return Calendar(_bundled_rules())
