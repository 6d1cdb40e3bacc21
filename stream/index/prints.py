"""The newest good print of every instrument, and which of a batch replace it (`design.md`, law 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.index.composition import Composition
from stream.index.partial import NO_EVENT
from stream.index.ticks import Ticks, Verdict

_Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Prints:
    """The newest good print of every instrument.

    Attributes
    ----------
    price
        int64, shape (n_rows,): 1/10000 dollar; the reference price where there is none, 0 of a contract.
    ts, seq
        int64 and uint64, shape (n_rows,): its event time, or NO_EVENT, and the highest tape number seen at that time.
    """

    price: NDArray[np.int64]
    ts: NDArray[np.int64]
    seq: NDArray[np.uint64]

    @classmethod
    def none(cls, composition: Composition) -> Prints:
        """Begin with the reference prices."""
        n_rows = len(composition.symbols)
        price = np.zeros(n_rows, np.int64)
        price[: len(composition.universe)] = composition.reference_price
        return cls(
            price,
            np.full(n_rows, NO_EVENT, np.int64),
            np.zeros(n_rows, np.uint64),
        )

    def at(self, rows: _Rows) -> Prints:
        """Give a copy of some rows."""
        return Prints(self.price[rows], self.ts[rows], self.seq[rows])

    def put(self, rows: _Rows, prints: Prints) -> None:
        """Set some rows."""
        self.price[rows], self.ts[rows], self.seq[rows] = prints.price, prints.ts, prints.seq


def newest_win(prints: Prints, ticks: Ticks) -> NDArray[np.uint8]:
    """Take the newest of each symbol; refuse what is older than its symbol's newest (law 3).

    Returns
    -------
    uint8 array, shape (n,)
        APPLIED, OLDER or DUPLICATE.
    """
    verdict = np.zeros(len(ticks), np.uint8)
    if len(ticks) == 0:
        return verdict
    newest_ts, newest_seq = prints.ts[ticks.row], prints.seq[ticks.row]
    if not _in_order(ticks.ts, ticks.seq):
        newest_ts, newest_seq = _newest_before(ticks, newest_ts, newest_seq)
    tie = ticks.ts == newest_ts
    late = (ticks.ts < newest_ts) | (tie & (ticks.seq != 0) & (ticks.seq <= newest_seq))
    # A tick without a number leaves the highest number of its instant in force.
    seq = np.where(tie & (ticks.seq == 0), newest_seq, ticks.seq)
    row, price, ts = ticks.row, ticks.price, ticks.ts
    if np.count_nonzero(late):
        verdict[late] = Verdict.OLDER
        verdict[late & tie & (ticks.seq == newest_seq)] = Verdict.DUPLICATE
        good = ~late
        row, price, ts, seq = row[good], price[good], ts[good], seq[good]
    # Where a row comes several times, numpy assigns the last value: the newest of the log.
    prints.price[row] = price
    prints.ts[row] = ts
    prints.seq[row] = seq
    return verdict


def _in_order(ts: NDArray[np.int64], seq: NDArray[np.uint64]) -> bool:
    """Tell whether no tick can be older than one before it, whatever their symbols.

    The common case: one feed writes a partition in order of time, and numbers all of its ticks or none.
    """
    if np.count_nonzero(ts[1:] < ts[:-1]):
        return False
    return not np.count_nonzero(seq) or not np.count_nonzero(seq[1:] <= seq[:-1])


def _newest_before(
    ticks: Ticks, ts: NDArray[np.int64], seq: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Find, for each tick, the newest (ts, seq) of its symbol before it: in the book, or earlier in the batch.

    Ranks by (row, ts, seq) grow from row to row, so that one running maximum over the ticks sorted by row never reaches
    from one symbol into the next.
    """
    n = len(ticks)
    rank = np.empty(n, np.int64)
    rank[np.lexsort((ticks.seq, ticks.ts, ticks.row))] = np.arange(n)
    # 16-bit keys are sorted by radix, several times faster than wider ones.
    by_row = np.argsort(ticks.row.astype(np.uint16), kind="stable")
    holder_of_rank = np.empty(n, np.int64)
    holder_of_rank[rank] = np.arange(n)
    highest = np.maximum.accumulate(rank[by_row])
    before = by_row[1:]
    same_row = ticks.row[before] == ticks.row[by_row[:-1]]
    before, holder = before[same_row], holder_of_rank[highest[:-1][same_row]]
    ts, seq = ts.copy(), seq.copy()
    newer = (ticks.ts[holder] > ts[before]) | (
        (ticks.ts[holder] == ts[before]) & (ticks.seq[holder] > seq[before])
    )
    ts[before[newer]] = ticks.ts[holder[newer]]
    seq[before[newer]] = ticks.seq[holder[newer]]
    return ts, seq
