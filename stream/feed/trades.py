"""Trades as columns: what a tape holds and the simulated market makes, before it becomes messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.index.ticks import Kind, Ticks
from stream.wire.conditions import condition_bits
from stream.wire.symbols import SymbolTable

#: Those of `Trades` that are arrays, in its order.
COLUMNS = ("symbol", "ts", "price", "seq", "size", "venue", "condition", "kind")


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades in the order of their tape; every array has shape (n,).

    Texts are coded: a trade holds the position of its symbol and conditions in a list of distinct ones.

    Attributes
    ----------
    symbols
        Distinct symbols; not all of them need occur.
    conditions
        Distinct texts of sale conditions, such as `@` or `FT`.
    symbol
        int32: position in `symbols`.
    ts
        int64: event time, ns since 1970 UTC.
    price
        int64: 1/10000 dollar, positive.
    seq
        uint64: the tape's own number, from 1.
    size
        int64: shares, 0 to 2^32 - 1.
    venue
        uint8: ASCII letter, 0 for none.
    condition
        int32: position in `conditions`.
    kind
        uint8: a `Kind`. A halt or a resumption carries the last price; a cancel or a correction the `ts` and `seq` of the
        trade that it undoes.
    """

    symbols: Sequence[str]
    conditions: Sequence[str]
    symbol: NDArray[np.int32]
    ts: NDArray[np.int64]
    price: NDArray[np.int64]
    seq: NDArray[np.uint64]
    size: NDArray[np.int64]
    venue: NDArray[np.uint8]
    condition: NDArray[np.int32]
    kind: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.symbol)

    @property
    def cond(self) -> NDArray[np.uint16]:
        """Bits of the sale conditions, uint16, shape (n,)."""
        bits = np.array([condition_bits(text) for text in self.conditions], np.uint16)
        return bits[self.condition]

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Trades:
        """Give some of the trades, in the order asked for."""
        return Trades(
            self.symbols,
            self.conditions,
            self.symbol[which],
            self.ts[which],
            self.price[which],
            self.seq[which],
            self.size[which],
            self.venue[which],
            self.condition[which],
            self.kind[which],
        )


def tape_ticks(trades: Trades, symbols: SymbolTable) -> Ticks:
    """Turn trades into ticks for a book, as if each had been recorded when it happened.

    Parameters
    ----------
    trades
        Any trades.
    symbols
        Rows by symbol.

    Returns
    -------
    Ticks
        In the same order; the row is UNKNOWN_ROW where no instrument has the symbol.
    """
    return Ticks(
        row=symbols.rows(trades.symbols)[trades.symbol],
        price=trades.price,
        ts=trades.ts,
        seq=trades.seq,
        cond=trades.cond,
        kind=trades.kind,
        recorded=trades.ts,
        size=trades.size.astype(np.uint32),
        venue=trades.venue,
    )


def joined(parts: Sequence[Trades]) -> Trades:
    """Put trades of the same lists of symbols and conditions together, in order of event time.

    Parameters
    ----------
    parts
        At least one.

    Returns
    -------
    Trades
        Of one time, those of an earlier part come first.
    """
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS]
    whole = Trades(parts[0].symbols, parts[0].conditions, *columns)
    return whole.take(np.argsort(whole.ts, kind="stable"))


def inserted(trades: Trades, added: Trades, slot: int) -> Trades:
    """Put further trades of the same lists before the one at a position."""
    columns = [np.insert(getattr(trades, name), slot, getattr(added, name)) for name in COLUMNS]
    return Trades(trades.symbols, trades.conditions, *columns)


def one_trade(  # noqa: PLR0913 - a column each, all by name
    symbols: Sequence[str],
    conditions: Sequence[str],
    *,
    symbol: int,
    ts: int,
    price: int,
    size: int = 0,
    venue: int = 0,
    condition: int = 0,
    kind: Kind = Kind.TRADE,
) -> Trades:
    """Make columns of one trade, without a number; parameters as the columns of `Trades`."""
    return Trades(
        symbols=symbols,
        conditions=conditions,
        symbol=np.array([symbol], np.int32),
        ts=np.array([ts], np.int64),
        price=np.array([price], np.int64),
        seq=np.zeros(1, np.uint64),
        size=np.array([size], np.int64),
        venue=np.array([venue], np.uint8),
        condition=np.array([condition], np.int32),
        kind=np.array([kind], np.uint8),
    )
