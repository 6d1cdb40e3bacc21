"""Snapshots: what a screen needs of one index, worked out from the sum of all partials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stream.index.aggregate import Doubt
from stream.index.composition import Composition, Index
from stream.index.partial import NO_EVENT, Origin, Partial
from stream.index.units import (
    LEVEL_DECIMALS,
    PRICE_DECIMALS,
    decimal_text,
    divide_half_away,
    divide_half_even,
)

PERCENT_DECIMALS = 2
COVERAGE_DECIMALS = 6


class Snapshot(NamedTuple):
    """One index at one moment, in integers; the wire writes them as decimals.

    Attributes
    ----------
    code, name, composition
        Of the index.
    session
        Trade date, `YYYY-MM-DD`, or None before the first roll.
    origin
        Of the prices.
    event_ns
        Event time of the newest tick in it, ns since 1970 UTC, or None before the first.
    level, previous_close, change
        In 10^-8 index points.
    open, high, low
        Of the levels published in the session, in 10^-8 index points; None outside a session, and where none is published.
    change_pct
        In 1/100 percent, rounded half away from zero.
    market_value
        Dollars, 4 places, as text.
    divisor
        Dollars per index point, as text.
    constituents, priced, up, down, unchanged
        Counts; the last three among those priced in the session, against the previous close.
    coverage
        Share of the reference weight that has a price of the session, in 10^-6.
    doubt
        Why the level is not to be relied on.
    """

    code: str
    name: str
    composition: str
    session: str | None
    origin: Origin
    event_ns: int | None
    level: int
    open: int | None
    high: int | None
    low: int | None
    previous_close: int
    change: int
    change_pct: int
    market_value: str
    divisor: str
    constituents: int
    priced: int
    up: int
    down: int
    unchanged: int
    coverage: int
    doubt: Doubt = Doubt.NONE


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

    Returns
    -------
    list of Snapshot
        In the order of the positions.

    Notes
    -----
    O(positions); some microseconds each.
    """
    return [
        _snapshot(composition.indexes[position], total, row, event_ns, extremes)
        for position, row, event_ns in zip(
            positions,
            total.columns[:, positions].T.tolist(),
            total.event_ns[positions].tolist(),
            strict=True,
        )
    ]


def _snapshot(
    index: Index, total: Partial, row: list[int], event_ns: int, extremes: Extremes | None
) -> Snapshot:
    gain, priced, up, down, priced_reference, close_gain = row
    value = index.reference_value + gain
    level = index.divisor.level(value)
    close = (
        index.divisor.level(index.reference_value + close_gain)
        if close_gain
        else index.reference_level
    )
    opened, high, low = (
        extremes.take(index.code, total.session, level)
        if extremes is not None and total.session
        else (None, None, None)
    )
    change = level - close
    return Snapshot(
        code=index.code,
        name=index.name,
        composition=total.composition,
        session=total.session or None,
        origin=total.origin,
        event_ns=None if event_ns == NO_EVENT else event_ns,
        level=level,
        open=opened,
        high=high,
        low=low,
        previous_close=close,
        change=change,
        change_pct=divide_half_away(change * 100 * 10**PERCENT_DECIMALS, close) if close else 0,
        market_value=market_value_text(index, value),
        divisor=index.divisor.text,
        constituents=len(index.row),
        priced=priced,
        up=up,
        down=down,
        unchanged=priced - up - down,
        coverage=divide_half_even(priced_reference * 10**COVERAGE_DECIMALS, index.reference_value),
    )


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
