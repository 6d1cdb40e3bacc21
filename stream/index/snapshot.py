"""Snapshots: what a screen needs of one index, worked out from the sum of all partials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.errors import SettingsError
from stream.index.aggregate import Doubt
from stream.index.composition import Composition, Index
from stream.index.estimate import (
    COVERAGE_DECIMALS,
    NOTHING,
    Estimate,
    EstimateRules,
    Estimator,
    Method,
    reaches,
)
from stream.index.partial import (
    CLOSE,
    CORRECTED,
    COVERED_CLOSE,
    DOWN,
    HALTED_CLOSE,
    NO_EVENT,
    OFFICIAL,
    OPEN_VALUE,
    OPENED_CLOSE,
    PRICED,
    STALE,
    UP,
    VALUE,
    Origin,
    Partial,
)
from stream.index.status import Facts, Status, status_of
from stream.index.units import (
    LEVEL_DECIMALS,
    NS_PER_S,
    PRICE_DECIMALS,
    decimal_text,
    divide_half_away,
    divide_half_even,
)
from stream.session.calendar import Calendar, CashPhase, Phase

PERCENT_DECIMALS = 2

_COVERAGE_SCALE = 10**COVERAGE_DECIMALS
_HALF = (1, 2)
_DOUBTS = tuple(Doubt)
_BUNDLED_RULES = EstimateRules()


class Snapshot(NamedTuple):
    """One index at one moment, in integers; the wire writes them as decimals.

    Attributes
    ----------
    code, name, composition
        Of the index.
    session
        Trade date, `YYYY-MM-DD`, or None before the first roll.
    phase, cash_phase
        Of the moment.
    status
        How far the level is to be relied on.
    origin
        Of the prices.
    event_ns
        Event time of the newest price in it, ns since 1970 UTC, or None before the first.
    level, previous_close
        In 10^-8 index points; the level stands at the official close outside regular hours.
    indicative
        In 10^-8 index points, or None: see `Estimate`, as for the next three.
    indicative_method, indicative_age_s, indicative_coverage
        How it was estimated, age of its newest price, and share of the market value with an extended-hours price, in 10^-6.
    last
        What a screen shows: the indicative level where there is one, else the level.
    change, change_pct
        Of `last` against the previous close: in 10^-8 index points, and in 1/100 percent, rounded half away from zero.
    open, high, low
        Of the levels published in the session, in 10^-8 index points; None outside a session, and where none is published.
    market_value
        Dollars, 4 places, as text.
    divisor
        Dollars per index point, as text.
    constituents, priced, stale, up, down, unchanged
        Counts; the last three among those with a regular print of the session, against the previous close.
    coverage
        Share of the previous close that has a price of the session, regular or extended, in 10^-6.
    age_s, oldest_age_s
        Of the newest price in it, and of the oldest of the session; None where there is none.
    soq, soq_opened
        Special opening quotation in 10^-8 index points, and share of the previous close that has opened, in 10^-6; None on
        days that settle nothing.
    doubt
        Of the aggregator.
    """

    code: str
    name: str
    composition: str
    session: str | None
    phase: Phase
    cash_phase: CashPhase
    status: Status
    origin: Origin
    event_ns: int | None
    level: int
    indicative: int | None
    indicative_method: Method | None
    indicative_age_s: int | None
    indicative_coverage: int | None
    last: int
    previous_close: int
    change: int
    change_pct: int
    open: int | None
    high: int | None
    low: int | None
    market_value: str
    divisor: str
    constituents: int
    priced: int
    stale: int
    coverage: int
    age_s: int | None
    oldest_age_s: int | None
    up: int
    down: int
    unchanged: int
    soq: int | None = None
    soq_opened: int | None = None
    doubt: Doubt = Doubt.NONE


@dataclass(frozen=True, slots=True)
class Moment:
    """When snapshots are made: the same for all indexes.

    Attributes
    ----------
    now_ns
        ns since 1970 UTC, in the time that the prices are of.
    phase, cash_phase
        Then.
    hours
        Opening and closing instant of the session's cash day, in ns; None without a session.
    closed_ns
        The newest cash close, in ns.
    feed_silent
        No tick of any symbol has come for longer than it should.
    """

    now_ns: int
    phase: Phase
    cash_phase: CashPhase
    hours: tuple[int, int] | None
    closed_ns: int
    feed_silent: bool = False

    @property
    def regular(self) -> bool:
        """Whether the cash market is in its regular hours."""
        return self.cash_phase is CashPhase.REGULAR

    def settles(self, composition: Composition) -> bool:
        """Tell whether the day has opened, and a contract expires on it: its settlement needs the opening prices."""
        if self.hours is None or self.now_ns < self.hours[0]:
            return False
        opens, closes = self.hours
        return any(opens <= each.expires_ns < closes for each in composition.futures.contracts)


def moment_of(
    calendar: Calendar, total: Partial, now_ns: int, *, feed_silent: bool = False
) -> Moment:
    """Place a sum of partials in time.

    Parameters
    ----------
    calendar
        Gives phases and hours.
    total
        Sum of the partials of all partitions: where its prices are not live, their newest tick is the clock.
    now_ns
        The clock, ns since 1970 UTC.
    feed_silent
        No tick of any symbol has come for longer than it should.

    Returns
    -------
    Moment
    """
    if total.origin is not Origin.LIVE and total.clock_ns != NO_EVENT:
        now_ns = total.clock_ns
    _, closed_ns = calendar.last_close(now_ns)
    return Moment(
        now_ns=now_ns,
        phase=calendar.phase(now_ns),
        cash_phase=calendar.cash_phase(now_ns),
        hours=_hours(calendar, total.session),
        closed_ns=closed_ns,
        feed_silent=feed_silent,
    )


@lru_cache(maxsize=16)
def _hours(calendar: Calendar, session: str) -> tuple[int, int] | None:
    try:
        return calendar.regular_hours(session) if session else None
    except SettingsError:
        # Another program may roll to a day that is no trading day here: it has no close to wait for.
        return None


class Extremes:
    """Open, high and low of each index: of the levels that were published in its session.

    Attributes
    ----------
    by_code
        For each code: session, open, high, low, the last three in 10^-8 index points.
    """

    __slots__ = ("by_code",)

    def __init__(self, by_code: Mapping[str, tuple[str, int, int, int]] | None = None) -> None:
        self.by_code: dict[str, tuple[str, int, int, int]] = dict(by_code or {})

    def learn(self, code: str, session: str, opened: int, high: int, low: int) -> None:
        """Take open, high and low that an earlier publisher had reached."""
        known = self.by_code.get(code)
        if known is None or known[0] < session:
            self.by_code[code] = (session, opened, high, low)
        elif known[0] == session:
            self.by_code[code] = (session, known[1], max(known[2], high), min(known[3], low))

    def take(self, code: str, session: str, level: int) -> tuple[int, int, int]:
        """Take the level that is about to be published, and give open, high and low with it."""
        known = self.by_code.get(code)
        if known is None or known[0] != session:
            self.by_code[code] = (session, level, level, level)
            return level, level, level
        _, opened, high, low = known
        if level > high or level < low:
            high, low = max(high, level), min(low, level)
            self.by_code[code] = (session, opened, high, low)
        return opened, high, low


def snapshots(
    composition: Composition,
    positions: Sequence[int],
    total: Partial,
    extremes: Extremes | None = None,
    *,
    moment: Moment,
    doubts: NDArray[np.uint8] | None = None,
    rules: EstimateRules = _BUNDLED_RULES,
    soq: bool = False,
) -> list[Snapshot]:
    """Work out the snapshots of some indexes.

    Parameters
    ----------
    composition
        In force.
    positions
        Of the indexes in it.
    total
        Sum of the partials of all partitions.
    extremes
        Takes the levels, where they are about to be published.
    moment
        When.
    doubts
        uint8, shape (n_indexes,): a `Doubt` for each index of the composition; None where there is none.
    rules
        Thresholds.
    soq
        Give the special opening quotation also where nothing settles.

    Returns
    -------
    list of Snapshot
        In the order of the positions.

    Notes
    -----
    O(positions); some 10 us each.
    """
    maker = _Maker(
        composition,
        total,
        moment,
        rules,
        soq=soq or moment.settles(composition),
    )
    rows = total.columns[:, positions].T.tolist()
    newest, oldest = total.event_ns[positions].tolist(), total.oldest_ns[positions].tolist()
    doubt = [0] * len(rows) if doubts is None else doubts[positions].tolist()
    figures = zip(positions, rows, newest, oldest, doubt, strict=True)
    return [
        maker.snapshot(composition.indexes[position], row, new, old, _DOUBTS[doubtful], extremes)
        for position, row, new, old, doubtful in figures
    ]


def held(snapshot: Snapshot, moment: Moment) -> Snapshot:
    """Hold a snapshot: its prices stand, its phases and ages are those of the moment.

    Parameters
    ----------
    snapshot
        The last good one.
    moment
        Now.

    Returns
    -------
    Snapshot
        In regular hours without an indicative level: the contract knows none there.
    """
    age_s = _age(moment.now_ns, snapshot.event_ns)
    older_s = age_s - snapshot.age_s if age_s is not None and snapshot.age_s is not None else 0
    shot = snapshot._replace(
        phase=moment.phase,
        cash_phase=moment.cash_phase,
        status=Status.HELD,
        doubt=Doubt.HELD,
        age_s=age_s,
        oldest_age_s=_later(snapshot.oldest_age_s, older_s),
        indicative_age_s=_later(snapshot.indicative_age_s, older_s),
    )
    if not moment.regular:
        return shot
    change, change_pct = _change(shot.level, shot.previous_close)
    return shot._replace(
        indicative=None,
        indicative_method=None,
        indicative_age_s=None,
        indicative_coverage=None,
        last=shot.level,
        change=change,
        change_pct=change_pct,
    )


class _Maker:
    """Makes the snapshots of one moment."""

    __slots__ = ("_closing", "_estimator", "_moment", "_opened", "_rules", "_soq", "_total")

    def __init__(
        self,
        composition: Composition,
        total: Partial,
        moment: Moment,
        rules: EstimateRules,
        *,
        soq: bool,
    ) -> None:
        self._total, self._moment, self._rules = total, moment, rules
        self._soq = soq
        self._opened = rules.opened_weight.as_integer_ratio()
        self._closing = awaits_closes(moment, rules)
        self._estimator = Estimator(
            composition,
            total,
            now_ns=moment.now_ns,
            phase=moment.phase,
            closed_ns=moment.closed_ns,
            rules=rules,
        )

    def snapshot(
        self,
        index: Index,
        row: Sequence[int],
        event_ns: int,
        oldest_ns: int,
        doubt: Doubt,
        extremes: Extremes | None,
    ) -> Snapshot:
        moment, total, divisor = self._moment, self._total, index.divisor
        value = index.reference_value + row[VALUE]
        close_value = index.reference_value + row[CLOSE]
        level = divisor.level(value)
        close = divisor.level(close_value) if row[CLOSE] else index.reference_level
        estimate, status = self._judge(index, row, close_value, event_ns, doubt)
        opened, high, low = (
            extremes.take(index.code, total.session, level)
            if extremes is not None and total.session
            else (None, None, None)
        )
        last = level if estimate.level is None else estimate.level
        change, change_pct = _change(last, close)
        priced, up, down = row[PRICED], row[UP], row[DOWN]
        newest = None if event_ns == NO_EVENT else event_ns
        return Snapshot(
            code=index.code,
            name=index.name,
            composition=total.composition,
            session=total.session or None,
            phase=moment.phase,
            cash_phase=moment.cash_phase,
            status=status,
            origin=total.origin,
            event_ns=newest,
            level=level,
            indicative=estimate.level,
            indicative_method=estimate.method,
            indicative_age_s=estimate.age_s,
            indicative_coverage=estimate.coverage,
            last=last,
            previous_close=close,
            change=change,
            change_pct=change_pct,
            open=opened,
            high=high,
            low=low,
            market_value=market_value_text(index, value),
            divisor=divisor.text,
            constituents=len(index.row),
            priced=priced,
            stale=row[STALE],
            coverage=_share(row[COVERED_CLOSE], close_value),
            age_s=_age(moment.now_ns, newest),
            oldest_age_s=_age(moment.now_ns, None if oldest_ns == NO_EVENT else oldest_ns),
            up=up,
            down=down,
            unchanged=priced - up - down,
            soq=divisor.level(index.reference_value + row[OPEN_VALUE]) if self._soq else None,
            soq_opened=_share(row[OPENED_CLOSE], close_value) if self._soq else None,
            doubt=doubt,
        )

    def _judge(
        self, index: Index, row: Sequence[int], close_value: int, event_ns: int, doubt: Doubt
    ) -> tuple[Estimate, Status]:
        """Estimate an index where that is called for, and find its status."""
        regular = self._moment.regular
        opening = regular and not reaches(row[OPENED_CLOSE], close_value, self._opened)
        estimate = (
            self._estimator.estimate(index, row, event_ns, opening=opening)
            if opening or not regular
            else NOTHING
        )
        status = status_of(
            Facts(
                doubt=doubt,
                regular=regular,
                halted=reaches(row[HALTED_CLOSE], close_value, _HALF),
                silent=self._moment.feed_silent or 2 * row[STALE] > len(index.row),
                futures_stale=estimate.stale,
                opening=opening,
                closing=self._closing and row[OFFICIAL] < row[PRICED],
                indicative=estimate.level is not None,
                corrected=row[CORRECTED] > 0,
                priced=event_ns != NO_EVENT,
            )
        )
        # In regular hours only an index that opens, and is not in doubt, has an indicative level.
        return (NOTHING if regular and status is not Status.OPENING else estimate), status


def awaits_closes(moment: Moment, rules: EstimateRules = _BUNDLED_RULES) -> bool:
    """Tell whether official closes of the session are waited for."""
    if moment.regular or moment.hours is None:
        return False
    closes = moment.hours[1]
    return closes <= moment.now_ns < closes + rules.closing_s * NS_PER_S


def _change(last: int, close: int) -> tuple[int, int]:
    change = last - close
    percent = divide_half_away(change * 100 * 10**PERCENT_DECIMALS, close) if close else 0
    return change, percent


def _share(part: int, whole: int) -> int:
    return divide_half_even(part * _COVERAGE_SCALE, whole) if whole else 0


def _age(now_ns: int, ts: int | None) -> int | None:
    # A price may be some milliseconds ahead of the clock.
    return None if ts is None else max(0, now_ns - ts) // NS_PER_S


def _later(age_s: int | None, older_s: int) -> int | None:
    return None if age_s is None else age_s + older_s


def market_value_text(index: Index, value: int) -> str:
    """Write a market value in dollars with 4 places, rounded half to even where k is positive.

    Parameters
    ----------
    index
        Whose market value it is.
    value
        In 10^-(4+k) dollar.
    """
    if index.k > 0:
        value = divide_half_even(value, 10**index.k)
    else:
        value *= 10**-index.k
    return decimal_text(value, PRICE_DECIMALS)


def level_text(level: int) -> str:
    """Write a level with its 8 places.

    Examples
    --------
    >>> level_text(100583333333)
    '1005.83333333'
    """
    return decimal_text(level, LEVEL_DECIMALS)
