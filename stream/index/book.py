"""The book: last good prices of one tick partition, and the running integers they add up to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.index.composition import Composition
from stream.index.control import (
    UNNUMBERED,
    Announcement,
    Contested,
    Control,
    OriginRecord,
    Override,
    Roll,
)
from stream.index.partial import (
    CLOSE,
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
from stream.index.units import INT64_LIMIT
from stream.session.hours import RegularHours

#: A tick this far ahead of its Kafka record is the work of a bad clock (law 3).
FUTURE_TOLERANCE_NS = 2_000_000_000

_NOT_ELIGIBLE = np.uint16(~REGULAR_HOURS_CONDITIONS & 0xFFFF)

_Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Prints:
    """The newest good print of every instrument.

    Attributes
    ----------
    price
        int64, shape (n_rows,): 1/10000 dollar; the reference price where there is none.
    ts, seq
        int64 and uint64, shape (n_rows,): its event time, or NO_EVENT, and the highest tape number seen at that time.
    """

    price: NDArray[np.int64]
    ts: NDArray[np.int64]
    seq: NDArray[np.uint64]

    @classmethod
    def none(cls, composition: Composition) -> Prints:
        """Begin with the reference prices."""
        n_rows = len(composition.universe)
        return cls(
            composition.reference_price.copy(),
            np.full(n_rows, NO_EVENT, np.int64),
            np.zeros(n_rows, np.uint64),
        )

    def at(self, rows: _Rows) -> Prints:
        """Give a copy of some rows."""
        return Prints(self.price[rows], self.ts[rows], self.seq[rows])

    def put(self, rows: _Rows, prints: Prints) -> None:
        """Set some rows."""
        self.price[rows], self.ts[rows], self.seq[rows] = prints.price, prints.ts, prints.seq


@dataclass(frozen=True, slots=True)
class BookState:
    """All that a book knows at one offset of its log: what a checkpoint holds (law 4).

    Attributes
    ----------
    composition, session
        That it stands in.
    starts_ns, ends_ns
        Of the session.
    partition, offset, control, origin
        As the book's own.
    rows, prints, close
        Instruments that differ from their reference, their newest prints and previous closes.
    next_rows, next_prints
        Instruments with prints of a later session, and these.
    excluded, refused
        Rows that operators have excluded, and that stand on two partitions.
    bound_rows, bounds
        Rows whose bound was lifted, and to which price.
    """

    composition: str
    session: str
    starts_ns: int
    ends_ns: int
    partition: int
    offset: int
    control: int
    origin: Origin
    rows: _Rows
    prints: Prints
    close: NDArray[np.int64]
    next_rows: _Rows
    next_prints: Prints
    excluded: _Rows
    refused: _Rows
    bound_rows: _Rows
    bounds: NDArray[np.int64]


class Book:
    """State of the instruments seen in one partition's log (laws 1 to 5).

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
    prints
        Newest good prints.
    close
        int64, shape (n_rows,): price at the last roll, 1/10000 dollar; the reference price before the first.
    offset
        Offset of the next record of the log.
    origin
        Of the prices, as the log's feed declared it.
    session
        Trade date as the log's last roll named it; empty before the first.
    control
        Number of the last control record that was obeyed.

    Notes
    -----
    A batch only scatters prices and marks rows; what the indexes gain by it is worked out when a partial is asked for,
    once per marked row instead of once per tick.
    """

    __slots__ = (
        "_columns",
        "_ends_ns",
        "_event_ns",
        "_excluded",
        "_highest",
        "_hours",
        "_later",
        "_marked",
        "_refused",
        "_seen",
        "_starts_ns",
        "_touched",
        "_valued_price",
        "_valued_ts",
        "close",
        "composition",
        "control",
        "offset",
        "origin",
        "partition",
        "prints",
        "session",
    )

    def __init__(self, composition: Composition, *, hours: RegularHours, partition: int) -> None:
        self.partition = partition
        self.offset = 0
        self.control = UNNUMBERED
        self.origin = Origin.LIVE
        self.session = ""
        self._starts_ns, self._ends_ns = 0, INT64_LIMIT - 1
        self._hours = hours
        self._open(composition)

    def _open(self, composition: Composition) -> None:
        """Begin with nothing but reference prices."""
        n_rows = len(composition.universe)
        self.composition = composition
        self.prints = Prints.none(composition)
        self.close = composition.reference_price.copy()
        # Prints of a later session than the one in force; made when the first one comes.
        self._later: Prints | None = None
        self._highest = composition.highest_price
        self._excluded: NDArray[np.bool_] | None = None
        self._refused: NDArray[np.bool_] | None = None
        self._marked = np.zeros(n_rows, bool)
        self._sum_up()

    @property
    def price(self) -> NDArray[np.int64]:
        """Last good prices, int64, shape (n_rows,): 1/10000 dollar."""
        return self.prints.price

    @property
    def ts(self) -> NDArray[np.int64]:
        """Event times of the newest good prints, int64, shape (n_rows,): ns since 1970 UTC, or NO_EVENT."""
        return self.prints.ts

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
        good = verdict == Verdict.APPLIED
        later = good & (ticks.ts >= self._ends_ns)
        if later.any():
            verdict[later] = self._settle_later(ticks.take(later))
            good &= ~later
        verdict[good] = self._settle(ticks.take(good))
        return verdict

    def obey(self, control: Control, *, composition: Composition | None = None) -> bool:
        """Do what a control record of this partition's log says.

        Parameters
        ----------
        control
            The next record; one whose number was obeyed already says nothing new.
        composition
            The announced one, where the record is an `Announcement` of another than that in force.

        Returns
        -------
        bool
            Whether it took effect.
        """
        if isinstance(control, OriginRecord):
            return self._declare(Origin[control.origin.upper()])
        if control.number != UNNUMBERED:
            if control.number <= self.control:
                return False
            self.control = control.number
        match control:
            case Roll():
                return self._roll(control)
            case Announcement():
                return self._compose(composition)
            case Contested():
                rows = [self.composition.row_of.get(symbol) for symbol in control.symbols]
                self.refuse(np.array([row for row in rows if row is not None], np.int64))
                return True
            case Override():
                row = self.composition.row_of.get(control.symbol)
                return row is not None and self._override(row, control)

    def refuse(self, rows: _Rows) -> None:
        """Refuse further ticks of these rows: their symbols stand on another partition too (law 7)."""
        if self._refused is None:
            self._refused = np.zeros(len(self.price), bool)
        self._refused[rows] = True

    def partial(self) -> Partial:
        """Give this partition's contribution to every index.

        Notes
        -----
        O(marked rows and their memberships + n_indexes).
        """
        self._value_marked()
        return Partial(
            composition=self.composition.id,
            session=self.session,
            offsets={self.partition: self.offset},
            control=self.control,
            origin=self.origin,
            columns=self._columns.copy(),
            event_ns=self._event_ns.copy(),
            touched=self._touched,
        )

    def rows_newer_than(self, ts: NDArray[np.int64] | None) -> _Rows:
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
        return Book.restore(self.state(), self.composition, hours=self._hours).partial()

    def state(self) -> BookState:
        """Give all that the book knows, as it stands at its offset.

        Notes
        -----
        A copy, of the rows that differ from the composition alone.
        """
        rows = np.flatnonzero((self.ts != NO_EVENT) | (self.close != self._reference))
        later = self._later or Prints.none(self.composition)
        next_rows = np.flatnonzero(later.ts != NO_EVENT)
        bound_rows = np.flatnonzero(self._highest != self.composition.highest_price)
        return BookState(
            composition=self.composition.id,
            session=self.session,
            starts_ns=self._starts_ns,
            ends_ns=self._ends_ns,
            partition=self.partition,
            offset=self.offset,
            control=self.control,
            origin=self.origin,
            rows=rows,
            prints=self.prints.at(rows),
            close=self.close[rows],
            next_rows=next_rows,
            next_prints=later.at(next_rows),
            excluded=_rows_of(self._excluded),
            refused=_rows_of(self._refused),
            bound_rows=bound_rows,
            bounds=self._highest[bound_rows],
        )

    @classmethod
    def restore(cls, state: BookState, composition: Composition, *, hours: RegularHours) -> Book:
        """Open a book as it stood; what follows in the log changes it as it would have changed the other.

        Parameters
        ----------
        state
            Of a book of this composition.
        composition
            The one that the state names.
        hours
            When prints set the last price.

        Raises
        ------
        ValueError
            Where the state is of another composition.
        """
        if state.composition != composition.id:
            raise ValueError(f"state of {state.composition}, composition {composition.id}")
        book = cls(composition, hours=hours, partition=state.partition)
        book.offset, book.control, book.origin = state.offset, state.control, state.origin
        book.session = state.session
        book._starts_ns, book._ends_ns = state.starts_ns, state.ends_ns
        book.prints.put(state.rows, state.prints)
        book.close[state.rows] = state.close
        if len(state.next_rows):
            book._later = Prints.none(composition)
            book._later.put(state.next_rows, state.next_prints)
        if len(state.bound_rows):
            book._highest = composition.highest_price.copy()
            book._highest[state.bound_rows] = state.bounds
        if len(state.excluded):
            book._exclude(state.excluded, excluded=True)
        if len(state.refused):
            book.refuse(state.refused)
        book._sum_up()
        return book

    @property
    def _reference(self) -> NDArray[np.int64]:
        return self.composition.reference_price

    # ---- control records -------------------------------------------------------------------------

    def _declare(self, origin: Origin) -> bool:
        # Once a book holds prices of a simulation, its levels are simulated, whatever follows in the log.
        if origin <= self.origin:
            return False
        self.origin = origin
        # The new feed's sessions may lie before those of the old one.
        self.session = ""
        self._starts_ns, self._ends_ns = 0, INT64_LIMIT - 1
        self._promote(before_ns=self._ends_ns)
        self._sum_up()
        return True

    def _roll(self, roll: Roll) -> bool:
        if roll.session <= self.session:
            return False
        first = not self.session
        # Prints of a session that the log has left out are last prices of the time before this one.
        self._promote(before_ns=roll.starts_ns)
        self.session, self._starts_ns, self._ends_ns = roll.session, roll.starts_ns, roll.ends_ns
        # Where no session was in force, prints of the one that begins may stand in the book already.
        over = self.ts < roll.starts_ns if first else np.ones(len(self.ts), bool)
        self.close = np.where(over, self.price, self.close)
        self._promote(before_ns=roll.ends_ns)
        self._sum_up()
        return True

    def _promote(self, *, before_ns: int) -> None:
        """Let prints that waited set last prices, but where an operator has excluded the symbol or set a newer price."""
        if self._later is None:
            return
        due = (self._later.ts != NO_EVENT) & (self._later.ts < before_ns)
        good = due & (self._later.ts > self.ts)
        if self._excluded is not None:
            good &= ~self._excluded
        rows = np.flatnonzero(good)
        self.prints.put(rows, self._later.at(rows))
        over = np.flatnonzero(due)
        self._later.put(over, Prints.none(self.composition).at(over))

    def _compose(self, composition: Composition | None) -> bool:
        """Go over to another composition; last prices go along, unless the reference says that their basis changed.

        What is out of the new bounds stays behind, too, or sums could overflow (law 1).
        """
        if composition is None or composition.id == self.composition.id:
            return False
        old, prints, close, later = self.composition, self.prints, self.close, self._later
        highest = self._highest
        excluded, refused = _rows_of(self._excluded), _rows_of(self._refused)
        pairs = [
            (row, composition.row_of[symbol])
            for row, symbol in enumerate(old.universe.symbols)
            if symbol in composition.row_of
        ]
        source = np.array([row for row, _ in pairs], np.int64)
        target = np.array([row for _, row in pairs], np.int64)
        self._open(composition)
        self.prints.ts[target], self.prints.seq[target] = prints.ts[source], prints.seq[source]
        same = old.reference_price[source] == composition.reference_price[target]
        for row, price in zip(target[same].tolist(), highest[source[same]].tolist(), strict=True):
            self._lift(row, price)
        bound = self._highest[target]
        kept = (same | (prints.ts[source] >= self._starts_ns)) & (prints.price[source] <= bound)
        self.prints.price[target[kept]] = prints.price[source[kept]]
        kept = same & (close[source] <= bound)
        self.close[target[kept]] = close[source[kept]]
        moved = dict(pairs)
        if later is not None:
            self._later = Prints.none(composition)
            waiting = (later.ts[source] != NO_EVENT) & (later.price[source] <= bound)
            self._later.put(target[waiting], later.at(source[waiting]))
        if len(excluded):
            self._exclude(_through(excluded, moved), excluded=True)
        if len(refused):
            self.refuse(_through(refused, moved))
        self._sum_up()
        return True

    def _override(self, row: int, override: Override) -> bool:
        match override.action:
            case "price":
                return self._set_price(row, override)
            case "bound":
                return self._lift(row, override.price)
            case "exclude":
                self._exclude(np.array([row]), excluded=True)
                return True
            case "include":
                self._exclude(np.array([row]), excluded=False)
                self._settle_contest(row, home=override.home)
                return True

    def _set_price(self, row: int, override: Override) -> bool:
        here = override.home == self.partition
        good = override.price <= self._highest[row] and override.ts >= self.ts[row]
        if not here or not good:
            return False
        if override.ts > self.ts[row]:
            self.prints.ts[row], self.prints.seq[row] = override.ts, 0
        self.prints.price[row] = override.price
        self._marked[row] = True
        return True

    def _lift(self, row: int, price: int) -> bool:
        """Lift a bound as far as no sum of any index can overflow (law 1)."""
        if price <= self._highest[row]:
            return False
        memberships = self.composition.memberships
        first, last = memberships.start[row], memberships.start[row + 1]
        for index, shares in zip(
            memberships.index[first:last].tolist(),
            memberships.shares[first:last].tolist(),
            strict=True,
        ):
            members = self.composition.indexes[index]
            bound = sum(
                s * h
                for s, h in zip(
                    members.shares.tolist(), self._highest[members.row].tolist(), strict=True
                )
            )
            if bound + shares * (price - int(self._highest[row])) >= INT64_LIMIT:
                return False
        if self._highest is self.composition.highest_price:
            self._highest = self._highest.copy()
        self._highest[row] = price
        return True

    def _exclude(self, rows: _Rows, *, excluded: bool) -> None:
        if self._excluded is None:
            self._excluded = np.zeros(len(self.price), bool)
        self._excluded[rows] = excluded
        if not self._excluded.any():
            self._excluded = None

    def _settle_contest(self, row: int, *, home: int) -> None:
        """Let a symbol that stood on two partitions go on in one: the others forget it."""
        if home < 0 or self._refused is None or not self._refused[row]:
            return
        self._refused[row] = False
        if not self._refused.any():
            self._refused = None
        if home != self.partition:
            nothing = Prints.none(self.composition).at(np.array([row]))
            for prints in (self.prints, self._later):
                if prints is not None:
                    prints.put(np.array([row]), nothing)
            self.close[row] = self._reference[row]
            self._sum_up()

    # ---- ticks -----------------------------------------------------------------------------------

    def _all_pass(self, ticks: Ticks) -> bool:
        """Tell in few steps whether `_screen` would refuse none of the ticks, nor one wait for a roll: nearly always so."""
        if len(ticks) == 0 or self._refused is not None or self._excluded is not None:
            return False
        # An unknown row, -1, looks up some other instrument here; it is doubtful all the same.
        doubtful = ticks.price > self._highest[ticks.row]
        doubtful |= ticks.row < 0
        doubtful |= ticks.kind != Kind.TRADE
        doubtful |= (ticks.cond & _NOT_ELIGIBLE) != 0
        doubtful |= ticks.ts > ticks.recorded + FUTURE_TOLERANCE_NS
        if np.count_nonzero(doubtful):
            return False
        first, last = int(np.minimum.reduce(ticks.ts)), int(np.maximum.reduce(ticks.ts))
        return last < self._ends_ns and self._hours.covers(first, last)

    def _screen(self, ticks: Ticks) -> NDArray[np.uint8]:
        """Judge each tick by itself; where several reasons apply, the first of `Verdict` counts."""
        verdict = np.zeros(len(ticks), np.uint8)
        if len(ticks) == 0:
            return verdict
        known = ticks.row >= 0
        row = ticks.row if known.all() else np.where(known, ticks.row, 0)
        # Written from the last reason to the first, so that the first one stays.
        verdict[ticks.price > self._highest[row]] = Verdict.OUT_OF_BOUNDS
        if ticks.kind.any():
            verdict[(ticks.kind == Kind.CANCEL) | (ticks.kind == Kind.CORRECTION)] = (
                Verdict.UNMATCHED
            )
            verdict[ticks.kind > Kind.CORRECTION] = Verdict.INELIGIBLE
        trade = ticks.kind == Kind.TRADE
        ineligible = (ticks.cond & _NOT_ELIGIBLE) != 0
        ineligible |= ~self._hours.contains(ticks.ts)
        verdict[ineligible & trade] = Verdict.INELIGIBLE
        if self._excluded is not None:
            verdict[known & self._excluded[row]] = Verdict.INELIGIBLE
        verdict[ticks.ts > ticks.recorded + FUTURE_TOLERANCE_NS] = Verdict.FUTURE
        if not known.all():
            verdict[~known] = Verdict.UNKNOWN_SYMBOL
        if self._refused is not None:
            verdict[known & self._refused[row]] = Verdict.WRONG_PARTITION
        return verdict

    def _settle(self, ticks: Ticks) -> NDArray[np.uint8]:
        """Apply good ticks of the session in force, or of an earlier one, and mark their rows."""
        verdict, row = _newest_win(self.prints, ticks)
        self._marked[row] = True
        return verdict

    def _settle_later(self, ticks: Ticks) -> NDArray[np.uint8]:
        """Keep good ticks of a later session until the log rolls to it (law 5)."""
        if self._later is None:
            self._later = Prints.none(self.composition)
        return _newest_win(self._later, ticks)[0]

    # ---- running integers ------------------------------------------------------------------------

    def _sum_up(self) -> None:
        """Make the running integers from nothing."""
        n_indexes = len(self.composition.indexes)
        self._columns = np.zeros((N_COLUMNS, n_indexes), np.int64)
        self._event_ns = np.full(n_indexes, NO_EVENT, np.int64)
        # They stand for these prices; rows that have moved since are marked.
        self._valued_price = self._reference.copy()
        self._valued_ts = np.full(len(self._reference), NO_EVENT, np.int64)
        self._seen = np.zeros(len(self._reference), bool)
        self._touched = np.packbits(self._seen)
        self._add_closes()
        self._marked = (self.ts != NO_EVENT) | (self.price != self._reference)
        self._value_marked()

    def _add_closes(self) -> None:
        rows = np.flatnonzero(self.close != self._reference)
        memberships = self.composition.memberships
        membership, nth = memberships.of_rows(rows)
        gain = self.close[rows] - self._reference[rows]
        np.add.at(
            self._columns[CLOSE],
            memberships.index[membership],
            gain[nth] * memberships.shares[membership],
        )

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
        rows: _Rows,
        index: NDArray[np.int64],
        membership: NDArray[np.int64],
        nth: NDArray[np.int64],
    ) -> None:
        """Count who has a price of this session, and on which side of the previous close."""
        close = self.close[rows]
        priced = self.ts[rows] >= self._starts_ns
        was_priced = self._valued_ts[rows] >= self._starts_ns
        now = np.sign(self.price[rows] - close) * priced
        before = np.sign(self._valued_price[rows] - close) * was_priced
        if np.count_nonzero(now != before):
            rose = (now > 0).astype(np.int64) - (before > 0)
            fell = (now < 0).astype(np.int64) - (before < 0)
            np.add.at(self._columns[UP], index, rose[nth])
            np.add.at(self._columns[DOWN], index, fell[nth])
        first = priced & ~was_priced
        if np.count_nonzero(first):
            of_first = first[nth]
            np.add.at(self._columns[PRICED], index, of_first.astype(np.int64))
            reference_value = self.composition.memberships.reference[membership]
            np.add.at(self._columns[PRICED_REFERENCE], index[of_first], reference_value[of_first])
        if not np.all(self._seen[rows]):
            self._seen[rows] = self.ts[rows] != NO_EVENT
            self._touched = np.packbits(self._seen)


def _newest_win(prints: Prints, ticks: Ticks) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Take the newest of each symbol; refuse what is older than its symbol's newest (law 3).

    Returns
    -------
    verdict : uint8 array, shape (n,)
    row : int32 array, shape (m,)
        The rows that were set.
    """
    verdict = np.zeros(len(ticks), np.uint8)
    if len(ticks) == 0:
        return verdict, ticks.row
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
    return verdict, row


def _rows_of(flags: NDArray[np.bool_] | None) -> _Rows:
    return np.zeros(0, np.int64) if flags is None else np.flatnonzero(flags)


def _through(rows: _Rows, moved: dict[int, int]) -> _Rows:
    return np.array([moved[row] for row in rows.tolist() if row in moved], np.int64)


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
