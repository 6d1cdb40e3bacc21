"""Opening and closing auctions of a simulated market: one print of each stock on its primary exchange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.feed.market import Path, on_grid
from stream.feed.shares import CLOSING, CONDITIONS, OFFICIAL_CLOSE, OFFICIAL_OPEN, OPENING
from stream.feed.trades import Trades
from stream.index.ticks import Kind
from stream.index.units import NS_PER_S

#: No stock opens later than this after the opening, nor has its closing print later than that after the close.
OPENING_WITHIN_NS = 600 * NS_PER_S
CLOSING_WITHIN_NS = 60 * NS_PER_S

_MS = NS_PER_S // 1000
NASDAQ, ARCA = ord("Q"), ord("P")

#: Most stocks open at once; of those not listed on Nasdaq this part does so later, by this much on average.
_OPENS_LATE = 0.15
_OPENS_LATER_NS = 90 * NS_PER_S
#: An exchange tells its official price so long after the auction.
_OFFICIAL_AFTER_NS = 5 * _MS
#: Another exchange's "official close" is near the true one, but not it.
_ELSEWHERE = 0.002
_CROSS_LOTS = 400


class Plan(NamedTuple):
    """The prints of one auction, in order of event time; arrays of shape (n,).

    Attributes
    ----------
    ends_ns
        None comes at or after it.
    ts
        int64: ns since 1970 UTC.
    row
        int32: the stock.
    venue
        uint8: ASCII letter.
    condition
        int32: position in `CONDITIONS`.
    """

    ends_ns: int
    ts: NDArray[np.int64]
    row: NDArray[np.int32]
    venue: NDArray[np.uint8]
    condition: NDArray[np.int32]


#: No auction.
NONE = Plan(
    0, np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(0, np.int32)
)


def opening(opens_ns: int, primary: NDArray[np.uint8], random: np.random.Generator) -> Plan:
    """Plan an opening: a print `O` of each stock, most at once, and on Nasdaq the official open `Q` after it.

    Parameters
    ----------
    opens_ns
        The opening, ns since 1970 UTC.
    primary
        uint8, shape (n_stocks,): letters of the primary exchanges.
    random
        Draws the moments.
    """
    n = len(primary)
    after = random.exponential(0.3 * NS_PER_S, n)
    late = (primary != NASDAQ) & (random.random(n) < _OPENS_LATE)
    after += np.where(late, random.exponential(_OPENS_LATER_NS, n), 0.0)
    opened = opens_ns + np.minimum(after, OPENING_WITHIN_NS - NS_PER_S).astype(np.int64)
    row = np.arange(n, dtype=np.int32)
    nasdaq = row[primary == NASDAQ]
    return _plan(
        opens_ns + OPENING_WITHIN_NS,
        [
            (opened, row, primary, OPENING),
            (opened[nasdaq] + _OFFICIAL_AFTER_NS, nasdaq, primary[nasdaq], OFFICIAL_OPEN),
        ],
    )


def closing(closes_ns: int, primary: NDArray[np.uint8], random: np.random.Generator) -> Plan:
    """Plan a close: a print `6` of each stock, and official closes `M`: Nasdaq's own, and Arca's of New York's stocks.

    Parameters
    ----------
    closes_ns
        The close, ns since 1970 UTC.
    primary, random
        As for `opening`.

    Notes
    -----
    As on the tape, New York sends no `M`; that of another exchange is not the official close.
    """
    n = len(primary)
    is_nasdaq = primary == NASDAQ
    mean = np.where(is_nasdaq, 0.3 * NS_PER_S, 8.0 * NS_PER_S)
    after = np.minimum(random.exponential(mean), CLOSING_WITHIN_NS - NS_PER_S)
    closed = closes_ns + _MS + after.astype(np.int64)
    row = np.arange(n, dtype=np.int32)
    nasdaq, elsewhere = row[is_nasdaq], row[primary == ord("N")]
    at_arca = closes_ns + _MS * (1 + random.integers(0, 500, len(elsewhere)))
    return _plan(
        closes_ns + CLOSING_WITHIN_NS,
        [
            (closed, row, primary, CLOSING),
            (closed[nasdaq] + _OFFICIAL_AFTER_NS, nasdaq, primary[nasdaq], OFFICIAL_CLOSE),
            (at_arca, elsewhere, np.full(len(elsewhere), ARCA, np.uint8), OFFICIAL_CLOSE),
        ],
    )


def _plan(
    ends_ns: int,
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8], int]],
) -> Plan:
    ts, row, venue = (np.concatenate([part[i] for part in parts]) for i in range(3))
    condition = np.concatenate([np.full(len(part[0]), part[3], np.int32) for part in parts])
    # Stable: an official price never comes before its auction.
    order = np.argsort(ts, kind="stable")
    return Plan(
        ends_ns,
        ts[order],
        row[order].astype(np.int32),
        venue[order].astype(np.uint8),
        condition[order],
    )


class Auctions:
    """Gives the planned prints their prices, when their time has come.

    Parameters
    ----------
    symbols
        What trades name: the stocks' symbols by row, and any more behind them.
    primary
        uint8, shape (n_stocks,): letters of the primary exchanges.
    random
        Draws sizes, and prices elsewhere.

    Attributes
    ----------
    crossed
        int64, shape (n_stocks,): prices of the newest auction, 1/10000 dollar; 0 where it has not been yet.
    """

    def __init__(
        self, symbols: Sequence[str], primary: NDArray[np.uint8], random: np.random.Generator
    ) -> None:
        self._symbols = symbols
        self._primary = primary
        self._random = random
        self.crossed = np.zeros(len(primary), np.int64)

    def begin(self) -> None:
        """Forget the auction before."""
        self.crossed[:] = 0

    def trades(self, plan: Plan, path: Path) -> Trades | None:
        """Give the prints of a span.

        Parameters
        ----------
        plan
            Of the auction that `begin` was called for.
        path
            Mid prices of the stocks.

        Returns
        -------
        Trades or None
            In order of event time, not numbered yet; None where there are none.
        """
        if path.starts_ns >= plan.ends_ns:
            return None
        first, last = np.searchsorted(plan.ts, [path.starts_ns, path.ends_ns])
        which = slice(int(first), int(last))
        ts, row, condition = plan.ts[which], plan.row[which], plan.condition[which]
        mid = path.mid(ts, row)
        is_cross = (condition == OPENING) | (condition == CLOSING)
        self.crossed[row[is_cross]] = on_grid(mid[is_cross])
        own = plan.venue[which] == self._primary[row]
        off = 1.0 + self._random.uniform(-_ELSEWHERE, _ELSEWHERE, len(ts))
        lots = self._random.integers(1, _CROSS_LOTS, len(ts))
        trades = Trades(
            symbols=self._symbols,
            conditions=CONDITIONS,
            symbol=row,
            ts=ts,
            price=np.where(own, self.crossed[row], on_grid(mid * off)),
            seq=np.zeros(len(ts), np.uint64),
            size=lots * 100,
            venue=plan.venue[which],
            condition=condition,
            kind=np.full(len(ts), Kind.TRADE, np.uint8),
        )
        # Where a feed begins between an auction and its official price, the latter has none.
        return trades.take(trades.price > 0)
