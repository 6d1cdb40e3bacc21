"""Trades of shares in a simulated market, as a real tape has them: activity, sizes, venues and sale conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.feed.market import Path, between, float_values, on_grid, rank_by_value
from stream.feed.trades import Trades
from stream.index.ticks import Kind
from stream.index.universe import Universe
from stream.wire.conditions import VENUES

#: Trades come in proportion to this power of the float value: the largest company trades some thousand times as often.
ACTIVITY_POWER = 0.6
#: Outside regular hours small companies hardly trade at all.
EXTENDED_POWER = 0.9

#: Half the spread between bid and ask, as part of the price; outside regular hours it is wider.
HALF_SPREAD_LARGEST = 0.0001
HALF_SPREAD_SMALLEST = 0.0010
EXTENDED_SPREAD = 3.0

#: Letters of all trades that a simulated market makes.
CONDITIONS = ("@", "F", "I", "T", "TI", "O", "Q", "6", "M", "5", "9")
REGULAR, SWEEP, ODD_LOT, EXTENDED, EXTENDED_ODD_LOT = range(5)
OPENING, OFFICIAL_OPEN, CLOSING, OFFICIAL_CLOSE, REOPENING, CORRECTED_CLOSE = range(5, 11)

#: How often each kind of trade comes: condition, venue (empty: the listing's own), 1 in 256.
_REGULAR_KINDS = (
    (REGULAR, "", 80),
    (REGULAR, "P", 20),
    (REGULAR, "Q", 20),
    (REGULAR, "Z", 20),
    (REGULAR, "D", 32),
    (SWEEP, "", 36),
    (SWEEP, "P", 16),
    (SWEEP, "Q", 12),
    (SWEEP, "Z", 12),
    (ODD_LOT, "", 5),
    (ODD_LOT, "D", 3),
)
_EXTENDED_KINDS = (
    (EXTENDED, "P", 36),
    (EXTENDED, "Q", 36),
    (EXTENDED, "D", 16),
    (EXTENDED_ODD_LOT, "P", 64),
    (EXTENDED_ODD_LOT, "Q", 64),
    (EXTENDED_ODD_LOT, "D", 40),
)
#: How often each size comes, 1 in 256: mostly the round lot.
_LOTS = ((100, 164), (200, 40), (300, 18), (400, 9), (500, 12), (1_000, 8), (2_500, 3), (10_000, 2))

_DRAW_BITS = 18


class _Kinds(NamedTuple):
    """Conditions and venues in proportion to their frequency, shape (256,): a random byte is then a random trade's."""

    condition: NDArray[np.int32]
    venue: NDArray[np.uint8]
    is_odd_lot: NDArray[np.bool_]


class Shares:
    """Draws trades of shares at given times and prices.

    Parameters
    ----------
    universe
        The stocks. The column `mic` is used where there is one.
    symbols
        What trades name: the stocks' symbols by row, and any more behind them.
    random
        Draws.

    Attributes
    ----------
    primary
        uint8, shape (n_stocks,): the letter of each stock's primary exchange.
    """

    def __init__(
        self, universe: Universe, symbols: Sequence[str], random: np.random.Generator
    ) -> None:
        self._random = random
        self._symbols = symbols
        value = float_values(universe)
        self._half_spread = between(
            HALF_SPREAD_LARGEST, HALF_SPREAD_SMALLEST, rank_by_value(universe)
        )
        self._extended_half_spread = EXTENDED_SPREAD * self._half_spread
        self._regular_row = _activity_table(value, ACTIVITY_POWER, least=1.0)
        self._extended_row = _activity_table(value, EXTENDED_POWER, least=0.0)
        self.primary = _primary_venues(universe)
        self._regular_kinds = _kind_table(_REGULAR_KINDS)
        self._extended_kinds = _kind_table(_EXTENDED_KINDS)
        self._lot = np.repeat([lot for lot, _ in _LOTS], [n for _, n in _LOTS]).astype(np.int64)

    def regular(self, ts: NDArray[np.int64], path: Path) -> Trades:
        """Draw trades of regular hours.

        Parameters
        ----------
        ts
            int64, shape (n,): when, in order, ns since 1970 UTC.
        path
            Mid prices of a span that holds all these times.

        Returns
        -------
        Trades
            One at each time, not numbered yet.

        Notes
        -----
        O(n); some 100 ns a trade.
        """
        return self._drawn(ts, path, self._regular_row, self._regular_kinds, self._half_spread)

    def extended(self, ts: NDArray[np.int64], path: Path) -> Trades:
        """Draw trades of extended hours, most of them odd lots and in large companies; see `regular`."""
        return self._drawn(
            ts, path, self._extended_row, self._extended_kinds, self._extended_half_spread
        )

    def _drawn(
        self,
        ts: NDArray[np.int64],
        path: Path,
        row: NDArray[np.int32],
        kinds: _Kinds,
        half_spread: NDArray[np.float64],
    ) -> Trades:
        n = len(ts)
        draw = self._random.integers(0, 2**32, n, np.uint32)
        bits = self._random.integers(0, 2**16, n, np.uint16)
        symbol = row[draw >> np.uint32(32 - _DRAW_BITS)]
        kind = (draw & np.uint32(0xFF)).astype(np.intp)
        venue = kinds.venue[kind]
        mid = path.mid(ts, symbol)
        off = half_spread[symbol] * np.where(bits & np.uint16(1), 1.0, -1.0)
        return Trades(
            symbols=self._symbols,
            conditions=CONDITIONS,
            symbol=symbol,
            ts=ts,
            price=on_grid(mid + mid * off),
            seq=np.zeros(n, np.uint64),
            size=np.where(kinds.is_odd_lot[kind], _odd_lot(bits), self._lot[bits >> np.uint16(8)]),
            venue=np.where(venue == 0, self.primary[symbol], venue),
            condition=kinds.condition[kind],
            kind=np.full(n, Kind.TRADE, np.uint8),
        )


def _kind_table(kinds: Sequence[tuple[int, str, int]]) -> _Kinds:
    often = [n for _, _, n in kinds]
    condition = np.repeat(np.array([c for c, _, _ in kinds], np.int32), often)
    venue = np.repeat(np.array([ord(v or "\0") for _, v, _ in kinds], np.uint8), often)
    return _Kinds(condition, venue, np.isin(condition, (ODD_LOT, EXTENDED_ODD_LOT)))


def _activity_table(value: NDArray[np.float64], power: float, *, least: float) -> NDArray[np.int32]:
    """Lay out rows in proportion to their activity: a random position is then a random trade's row."""
    slots = 2**_DRAW_BITS
    activity = value**power
    ends = np.cumsum(least + activity / activity.sum() * (slots - least * len(value)))
    return np.searchsorted(ends[:-1], np.arange(slots), side="right").astype(np.int32)


def _primary_venues(universe: Universe) -> NDArray[np.uint8]:
    letter = {mic: ord(name) for name, mic in reversed(VENUES.items()) if mic}
    default = ord("Q")
    return np.array(
        [letter.get(stock.attributes.get("mic", ""), default) for stock in universe.instruments],
        np.uint8,
    )


def _odd_lot(bits: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Make sizes of 1 to 99 from seven random bits, those above the lowest."""
    size: NDArray[np.int64] = 1 + ((bits.astype(np.int64) >> 1 & 0x7F) * 99 >> 7)
    return size
