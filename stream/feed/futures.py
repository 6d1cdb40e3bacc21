"""Futures of a simulated market: their prices follow their indexes around the clock, a basis above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.feed.market import Path
from stream.feed.shares import CONDITIONS, REGULAR
from stream.feed.trades import Trades
from stream.index.composition import Composition, Index
from stream.index.ticks import Kind
from stream.index.units import NS_PER_S, PRICE_DECIMALS, PRICE_SCALE

#: The cost of carry, a year: a contract stands above its index by so much of it for each year until it expires.
CARRY = 0.025
#: Prices move in tenths of an index point.
TICK = PRICE_SCALE // 10
#: A contract trades from so long before it is the front one.
LISTED_AHEAD_NS = 14 * 86_400 * NS_PER_S

_YEAR_NS = 365 * 86_400 * NS_PER_S
#: Bid and ask lie around the fair price; trades lie within so many ticks of it before they are rounded.
_BOUNCE = 0.7
_MOST_CONTRACTS = 10


@dataclass(frozen=True, slots=True)
class _Line:
    symbol: int
    listed_ns: int
    expires_ns: int
    points: NDArray[np.float64]


class FuturesPit:
    """Draws trades of the contracts that are listed.

    Parameters
    ----------
    composition
        Its contracts trade; one that has none has no futures.
    random
        Draws.
    """

    def __init__(self, composition: Composition, random: np.random.Generator) -> None:
        self._random = random
        self._symbols = composition.symbols
        n_stocks = len(composition.universe)
        indexes = {index.code: index for index in composition.indexes}
        futures = composition.futures
        self._lines = [
            _Line(
                n_stocks + number,
                contract.front_from_ns - LISTED_AHEAD_NS,
                contract.expires_ns,
                _points(indexes[futures.underlyings[contract.root]], n_stocks),
            )
            for number, contract in enumerate(futures.contracts)
        ]

    def trades(self, path: Path, *, every_ns: int) -> Trades | None:
        """Draw the trades of a span.

        Parameters
        ----------
        path
            Mid prices of the stocks.
        every_ns
            Each contract trades once in every such interval, at a random moment of it.

        Returns
        -------
        Trades or None
            In order of event time, not numbered yet; None where there are none.
        """
        first = -(-path.starts_ns // every_ns)
        starts = np.arange(first, -(-path.ends_ns // every_ns), dtype=np.int64) * every_ns
        listed = [
            line for line in self._lines if line.listed_ns <= path.starts_ns < line.expires_ns
        ]
        if len(starts) == 0 or not listed:
            return None
        room = np.minimum(every_ns, path.ends_ns - starts)
        after = (self._random.random((len(listed), len(starts))) * room).astype(np.int64)
        ts, which = (starts + after).ravel(), np.repeat(np.arange(len(listed)), len(starts))
        order = np.argsort(ts, kind="stable")
        return self._drawn(path, listed, which[order], ts[order])

    def _drawn(
        self, path: Path, listed: list[_Line], which: NDArray[np.intp], ts: NDArray[np.int64]
    ) -> Trades:
        n = len(ts)
        level = np.column_stack([path.price @ line.points for line in listed])
        expires = np.array([line.expires_ns for line in listed])
        fair = level[path.step(ts), which] * np.exp(CARRY / _YEAR_NS * (expires[which] - ts))
        bounce = self._random.uniform(-_BOUNCE, _BOUNCE, n)
        ticks = np.maximum(np.rint(fair * PRICE_SCALE / TICK + bounce), 1.0)
        return Trades(
            symbols=self._symbols,
            conditions=CONDITIONS,
            symbol=np.array([line.symbol for line in listed], np.int32)[which],
            ts=ts,
            price=ticks.astype(np.int64) * TICK,
            seq=np.zeros(n, np.uint64),
            size=self._random.integers(1, _MOST_CONTRACTS, n, endpoint=True),
            venue=np.zeros(n, np.uint8),
            condition=np.full(n, REGULAR, np.int32),
            kind=np.full(n, Kind.TRADE, np.uint8),
        )


def _points(index: Index, n_stocks: int) -> NDArray[np.float64]:
    """Give the index points that each stock adds per 1/10000 dollar of its price, shape (n_stocks,)."""
    points = np.zeros(n_stocks)
    scale = 10.0 ** -(PRICE_DECIMALS + index.k) / float(index.divisor.value)
    points[index.row] = index.shares * scale
    return points
