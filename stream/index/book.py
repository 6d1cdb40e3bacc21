"""The book: last good prices of one tick partition, and the running integers they add up to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.index.composition import Composition
from stream.index.partial import (
    DOWN,
    N_COLUMNS,
    NO_EVENT,
    PRICED,
    PRICED_REFERENCE,
    UP,
    VALUE,
    Origin,
    Partial,
)
from stream.index.ticks import REGULAR_HOURS_CONDITIONS, Kind, Ticks, Verdict
from stream.session.hours import RegularHours

#: A tick this far ahead of its Kafka record is the work of a bad clock (law 3).
FUTURE_TOLERANCE_NS = 2_000_000_000

_NOT_ELIGIBLE = np.uint16(~REGULAR_HOURS_CONDITIONS & 0xFFFF)


class Book:
    """State of the instruments seen in one partition's log (laws 1 to 3).

    Parameters
    ----------
    composition
        Constituents in force.
    hours
        When prints set the last price.
    partition
        Number of the tick partition whose log this book follows.

    Attributes
    ----------
    price
        int64, shape (n_rows,): last good price in 1/10000 dollar; the reference price where there is none.
    ts, seq
        int64 and uint64, shape (n_rows,): event time of the newest good print, or NO_EVENT, and the highest tape
        number seen at that time.
    offset
        Offset of the next record of the log.
    origin
        Of the prices, as the log's feed declared it.

    Notes
    -----
    A batch only scatters prices and marks rows; what the indexes gain by it is worked out when a partial is asked for,
    once per marked row instead of once per tick.
    """

    __slots__ = (
        "_columns",
        "_event_ns",
        "_hours",
        "_marked",
        "_refused",
        "_touched",
        "_valued_price",
        "_valued_ts",
        "composition",
        "offset",
        "origin",
        "partition",
        "price",
        "seq",
        "ts",
    )

    def __init__(self, composition: Composition, *, hours: RegularHours, partition: int) -> None:
        n_rows, n_indexes = len(composition.universe), len(composition.indexes)
        self.composition = composition
        self.partition = partition
        self.offset = 0
        self.origin = Origin.LIVE
        self.price = composition.reference_price.copy()
        self.ts = np.full(n_rows, NO_EVENT, np.int64)
        self.seq = np.zeros(n_rows, np.uint64)
        self._hours = hours
        self._refused: NDArray[np.bool_] | None = None
        # The running integers stand for these prices; rows that have moved since are marked.
        self._valued_price = self.price.copy()
        self._valued_ts = self.ts.copy()
        self._marked = np.zeros(n_rows, bool)
        self._columns = np.zeros((N_COLUMNS, n_indexes), np.int64)
        self._touched = np.packbits(self._marked)
        self._event_ns = np.full(n_indexes, NO_EVENT, np.int64)

    def refuse(self, rows: NDArray[np.int64]) -> None:
        """Refuse further ticks of these rows: their symbols stand on another partition too (law 7)."""
        if self._refused is None:
            self._refused = np.zeros(len(self.price), bool)
        self._refused[rows] = True

    def apply(self, ticks: Ticks) -> NDArray[np.uint8]:
        """Apply a batch of ticks in the order of the log.

        Parameters
        ----------
        ticks
            The next ticks of this partition's log.

        Returns
        -------
        uint8 array, shape (n,)
            The `Verdict` of each tick.

        Notes
        -----
        O(n) for ticks in order of time, O(n log n) where ticks of one symbol are out of order.
        """
        if self._all_pass(ticks):
            return self._settle(ticks)
        verdict = self._screen(ticks)
        good = np.flatnonzero(verdict == Verdict.APPLIED)
        verdict[good] = self._settle(ticks.take(good))
        return verdict

    def partial(self) -> Partial:
        """Give this partition's contribution to every index.

        Notes
        -----
        O(marked rows and their memberships + n_indexes).
        """
        self._value_marked()
        return Partial(
            composition=self.composition.id,
            offsets={self.partition: self.offset},
            origin=self.origin,
            columns=self._columns.copy(),
            event_ns=self._event_ns.copy(),
            touched=self._touched,
        )

    def rows_newer_than(self, ts: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Find the rows whose newest print is not that of an earlier copy of `ts`.

        Parameters
        ----------
        ts
            int64, shape (n_rows,): the earlier copy, or None for all rows that have a price.
        """
        return np.flatnonzero(self.ts != (NO_EVENT if ts is None else ts))

    def recomputed(self) -> Partial:
        """Sum the whole book afresh: what `partial` must always equal (law 2).

        Notes
        -----
        O(all memberships).
        """
        fresh = Book(self.composition, hours=self._hours, partition=self.partition)
        fresh.price, fresh.ts = self.price.copy(), self.ts.copy()
        fresh.offset, fresh.origin = self.offset, self.origin
        fresh._marked = self.ts != NO_EVENT
        return fresh.partial()

    def _all_pass(self, ticks: Ticks) -> bool:
        """Tell in few steps whether `_screen` would refuse none of the ticks: nearly always so."""
        if len(ticks) == 0 or self._refused is not None:
            return False
        # An unknown row, -1, looks up some other instrument here; it is doubtful all the same.
        doubtful = ticks.price > self.composition.highest_price[ticks.row]
        doubtful |= ticks.row < 0
        doubtful |= ticks.kind != Kind.TRADE
        doubtful |= (ticks.cond & _NOT_ELIGIBLE) != 0
        doubtful |= ticks.ts > ticks.recorded + FUTURE_TOLERANCE_NS
        if np.count_nonzero(doubtful):
            return False
        first, last = np.minimum.reduce(ticks.ts), np.maximum.reduce(ticks.ts)
        return self._hours.covers(int(first), int(last))

    def _screen(self, ticks: Ticks) -> NDArray[np.uint8]:
        """Judge each tick by itself; where several reasons apply, the first of `Verdict` counts."""
        verdict = np.zeros(len(ticks), np.uint8)
        if len(ticks) == 0:
            return verdict
        known = ticks.row >= 0
        row = ticks.row if known.all() else np.where(known, ticks.row, 0)
        # Written from the last reason to the first, so that the first one stays.
        verdict[ticks.price > self.composition.highest_price[row]] = Verdict.OUT_OF_BOUNDS
        if ticks.kind.any():
            verdict[(ticks.kind == Kind.CANCEL) | (ticks.kind == Kind.CORRECTION)] = (
                Verdict.UNMATCHED
            )
            verdict[ticks.kind > Kind.CORRECTION] = Verdict.INELIGIBLE
        trade = ticks.kind == Kind.TRADE
        ineligible = (ticks.cond & _NOT_ELIGIBLE) != 0
        ineligible |= ~self._hours.contains(ticks.ts)
        verdict[ineligible & trade] = Verdict.INELIGIBLE
        verdict[ticks.ts > ticks.recorded + FUTURE_TOLERANCE_NS] = Verdict.FUTURE
        if not known.all():
            verdict[~known] = Verdict.UNKNOWN_SYMBOL
        if self._refused is not None:
            verdict[known & self._refused[row]] = Verdict.WRONG_PARTITION
        return verdict

    def _settle(self, ticks: Ticks) -> NDArray[np.uint8]:
        """Apply the newest of each symbol; refuse what is older than its symbol's newest (law 3)."""
        verdict = np.zeros(len(ticks), np.uint8)
        if len(ticks) == 0:
            return verdict
        newest_ts, newest_seq = self.ts[ticks.row], self.seq[ticks.row]
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
        self.price[row] = price
        self.ts[row] = ts
        self.seq[row] = seq
        self._marked[row] = True
        return verdict

    def _value_marked(self) -> None:
        """Bring the running integers up to the book's prices."""
        rows = np.flatnonzero(self._marked)
        if len(rows) == 0:
            return
        self._marked[rows] = False
        memberships = self.composition.memberships
        membership, nth = memberships.of_rows(rows)
        index = memberships.index[membership]
        gain = self.price[rows] - self._valued_price[rows]
        np.add.at(self._columns[VALUE], index, gain[nth] * memberships.shares[membership])
        np.maximum.at(self._event_ns, index, self.ts[rows][nth])
        self._count(rows, index, membership, nth)
        self._valued_price[rows] = self.price[rows]
        self._valued_ts[rows] = self.ts[rows]

    def _count(
        self,
        rows: NDArray[np.int64],
        index: NDArray[np.int64],
        membership: NDArray[np.int64],
        nth: NDArray[np.int64],
    ) -> None:
        reference = self.composition.reference_price[rows]
        now = np.sign(self.price[rows] - reference)
        before = np.sign(self._valued_price[rows] - reference)
        if np.count_nonzero(now != before):
            rose = (now > 0).astype(np.int64) - (before > 0)
            fell = (now < 0).astype(np.int64) - (before < 0)
            np.add.at(self._columns[UP], index, rose[nth])
            np.add.at(self._columns[DOWN], index, fell[nth])
        first = self._valued_ts[rows] == NO_EVENT
        if np.count_nonzero(first):
            of_first = first[nth]
            np.add.at(self._columns[PRICED], index, of_first.astype(np.int64))
            reference_value = self.composition.memberships.reference[membership]
            np.add.at(self._columns[PRICED_REFERENCE], index[of_first], reference_value[of_first])
            self._touched = np.packbits(self.ts != NO_EVENT)


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
