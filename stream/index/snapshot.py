"""Snapshots: what a screen needs of one index, worked out from the sum of all partials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
    origin
        Of the prices.
    event_ns
        Event time of the newest tick in it, ns since 1970 UTC, or None before the first.
    level, previous_close, change
        In 10^-8 index points.
    change_pct
        In 1/100 percent, rounded half away from zero.
    market_value
        Dollars, 4 places, as text.
    divisor
        Dollars per index point, as text.
    constituents, priced, up, down, unchanged
        Counts; the last three among the priced, against the reference price.
    coverage
        Share of the reference weight that has a price, in 10^-6.
    held
        A stock of it is counted on two partitions, so the level is the last one before that was seen.
    """

    code: str
    name: str
    composition: str
    origin: Origin
    event_ns: int | None
    level: int
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
    held: bool = False


def snapshots(composition: Composition, positions: Sequence[int], total: Partial) -> list[Snapshot]:
    """Work out the snapshots of some indexes.

    Parameters
    ----------
    composition
        In force.
    positions
        Of the indexes in it.
    total
        Sum of the partials of all partitions.

    Returns
    -------
    list of Snapshot
        In the order of the positions.

    Notes
    -----
    O(positions); some microseconds each.
    """
    return [
        _snapshot(composition.id, composition.indexes[position], total.origin, row, event_ns)
        for position, row, event_ns in zip(
            positions,
            total.columns[:, positions].T.tolist(),
            total.event_ns[positions].tolist(),
            strict=True,
        )
    ]


def _snapshot(
    composition: str,
    index: Index,
    origin: Origin,
    row: list[int],
    event_ns: int,
) -> Snapshot:
    gain, priced, up, down, priced_reference = row
    value = index.reference_value + gain
    level = index.divisor.level(value)
    change = level - index.reference_level
    return Snapshot(
        code=index.code,
        name=index.name,
        composition=composition,
        origin=origin,
        event_ns=None if event_ns == NO_EVENT else event_ns,
        level=level,
        previous_close=index.reference_level,
        change=change,
        change_pct=divide_half_away(change * 100 * 10**PERCENT_DECIMALS, index.reference_level),
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
