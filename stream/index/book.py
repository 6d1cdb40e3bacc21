"""The book: last good prices of one tick partition, and the running integers they add up to."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

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
from stream.index.facts import FACTS, N_FACTS, WEIGHTED, facts_of
from stream.index.layer import Layer, Terms, no_details
from stream.index.partial import (
    DOWN,
    FUTURES_CLOSE,
    FUTURES_CLOSE_TS,
    FUTURES_HALTED,
    FUTURES_PRICE,
    FUTURES_TS,
    N_COLUMNS,
    NO_EVENT,
    STALE,
    UP,
    VALUE,
    Origin,
    Partial,
    no_futures,
)
from stream.index.price_rules import PriceRules
from stream.index.prints import Prints
from stream.index.staleness import Staleness
from stream.index.ticks import (
    EXTENDED_HOURS_CONDITIONS,
    OFFICIAL_CONDITIONS,
    REGULAR_HOURS_CONDITIONS,
    Condition,
    Kind,
    Ticks,
    Verdict,
)
from stream.index.units import INT64_LIMIT
from stream.session.calendar import Calendar

#: A tick this far ahead of its Kafka record is the work of a bad clock (law 3).
FUTURE_TOLERANCE_NS = 2_000_000_000

#: Sessions whose official prices wait to be written down, at most.
MOST_PAST = 64

_Rows = NDArray[np.int64]


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
    rows, prints, details, kept, close
        Instruments that differ from their reference; their newest prints, details, kept prints and previous closes.
    next_rows, next_prints, next_details, next_kept
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
    details: NDArray[np.void]
    kept: NDArray[np.void]
    close: NDArray[np.int64]
    next_rows: _Rows
    next_prints: Prints
    next_details: NDArray[np.void]
    next_kept: NDArray[np.void]
    excluded: _Rows
    refused: _Rows
    bound_rows: _Rows
    bounds: NDArray[np.int64]


class Past(NamedTuple):
    """The official prices of a session that is over.

    Attributes
    ----------
    session, composition
        Which, and in which its rows stand.
    prices
        As `Layer.official_prices`.
    """

    session: str
    composition: Composition
    prices: NDArray[np.void]


class Book:
    """State of the instruments seen in one partition's log (laws 1 to 5).

    Parameters
    ----------
    composition
        Constituents in force.
    calendar
        When prints set the last price, and when the extended one.
    rules
        For bad prices; None believes every print.
    partition
        Number of the tick partition whose log this book follows.

    Attributes
    ----------
    layer
        Prices of the session in force.
    offset
        Offset of the next record of the log.
    origin
        Of the prices, as the log's feed declared it.
    session
        Trade date as the log's last roll named it; empty before the first.
    control
        Number of the last control record that was obeyed.
    confirmed
        Suspects that another print has confirmed.
    past
        Sessions that are over, and their official prices: for whoever writes them down, who takes them away; bounded.

    Notes
    -----
    A batch only scatters prices and marks rows; what the indexes gain by it is worked out when a partial is asked for,
    once per marked row instead of once per tick.
    """

    __slots__ = (
        "_calendar",
        "_columns",
        "_ends_ns",
        "_event_ns",
        "_excluded",
        "_facts",
        "_later",
        "_reference",
        "_refused",
        "_rules",
        "_seen",
        "_staleness",
        "_starts_ns",
        "_terms",
        "_touched",
        "composition",
        "confirmed",
        "control",
        "layer",
        "offset",
        "origin",
        "partition",
        "past",
        "session",
    )

    def __init__(
        self,
        composition: Composition,
        *,
        calendar: Calendar,
        rules: PriceRules | None = None,
        partition: int,
    ) -> None:
        self.partition = partition
        self.offset = 0
        self.control = UNNUMBERED
        self.origin = Origin.LIVE
        self.session = ""
        self.confirmed = 0
        self.past: deque[Past] = deque(maxlen=MOST_PAST)
        self._starts_ns, self._ends_ns = 0, INT64_LIMIT - 1
        self._calendar = calendar
        self._rules = rules or PriceRules.none()
        self._open(composition)

    def _open(self, composition: Composition) -> None:
        """Begin with nothing but reference prices."""
        self.composition = composition
        self._terms = Terms(composition, self._calendar, self._rules)
        self._staleness = Staleness(composition, self._calendar)
        self.layer = Layer(self._terms, starts_ns=self._starts_ns)
        self._reference = self.layer.prints.price.copy()
        # Prices of a later session than the one in force; made when the first one comes.
        self._later: Layer | None = None
        self._excluded: NDArray[np.bool_] | None = None
        self._refused: NDArray[np.bool_] | None = None
        self._sum_up()

    @property
    def price(self) -> NDArray[np.int64]:
        """Last good prices of regular hours, int64, shape (n_rows,): 1/10000 dollar."""
        return self.layer.prints.price

    @property
    def ts(self) -> NDArray[np.int64]:
        """Event times of the newest good prints of regular hours, int64, shape (n_rows,): ns since 1970 UTC, or NO_EVENT."""
        return self.layer.prints.ts

    @property
    def close(self) -> NDArray[np.int64]:
        """Previous closes, int64, shape (n_rows,): 1/10000 dollar; the reference price before the first."""
        return self.layer.close

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
            return self.layer.take_plain(ticks)
        verdict = self._screen(ticks)
        good = verdict == Verdict.APPLIED
        later = good & (ticks.ts >= self._ends_ns)
        if later.any():
            verdict[later] = self._take_later(ticks.take(later))
            good &= ~later
        if good.any():
            verdict[good] = self.layer.take(ticks if good.all() else ticks.take(good))
            self._note_layer()
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
        newest_ts = self.layer.newest_ts
        clock_ns = int(newest_ts.max(initial=NO_EVENT))
        columns = self._columns.copy()
        columns[STALE] = self._staleness.count(self.ts, clock_ns)
        return Partial(
            composition=self.composition.id,
            session=self.session,
            offsets={self.partition: self.offset},
            control=self.control,
            origin=self.origin,
            columns=columns,
            event_ns=self._event_ns.copy(),
            oldest_ns=self._staleness.oldest(newest_ts, self._starts_ns),
            clock_ns=clock_ns,
            futures=self._futures(),
            touched=self._touched,
        )

    def _futures(self) -> NDArray[np.int64]:
        contracts = slice(len(self.composition.universe), None)
        details, ts = self.layer.details[contracts], self.ts[contracts]
        futures = no_futures(len(ts))
        futures[FUTURES_PRICE] = np.where(ts != NO_EVENT, self.price[contracts], 0)
        futures[FUTURES_TS] = ts
        futures[FUTURES_CLOSE] = details["official"]
        futures[FUTURES_CLOSE_TS] = details["official_ts"]
        futures[FUTURES_HALTED] = details["halted"]
        return futures

    def recomputed(self) -> Partial:
        """Sum the whole book afresh: what `partial` must always equal (law 2).

        Notes
        -----
        O(all memberships).
        """
        fresh = Book.restore(
            self.state(), self.composition, calendar=self._calendar, rules=self._rules
        )
        return fresh.partial()

    def state(self) -> BookState:
        """Give all that the book knows, as it stands at its offset.

        Notes
        -----
        A copy, of the rows that differ from the composition alone.
        """
        layer, later = self.layer, self._later
        rows = np.flatnonzero(
            (layer.prints.ts != NO_EVENT)
            | (layer.close != self._reference)
            | (layer.details != no_details(1))
        )
        next_rows = np.zeros(0, np.int64) if later is None else np.flatnonzero(later.changed)
        later = later or layer
        bound_rows = np.flatnonzero(layer.highest != self._terms.highest_price)
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
            prints=layer.prints.at(rows),
            details=layer.details_of(rows),
            kept=layer.kept.of_rows()[rows],
            close=layer.close[rows],
            next_rows=next_rows,
            next_prints=later.prints.at(next_rows),
            next_details=later.details_of(next_rows),
            next_kept=later.kept.of_rows()[next_rows],
            excluded=_rows_of(self._excluded),
            refused=_rows_of(self._refused),
            bound_rows=bound_rows,
            bounds=layer.highest[bound_rows],
        )

    @classmethod
    def restore(
        cls,
        state: BookState,
        composition: Composition,
        *,
        calendar: Calendar,
        rules: PriceRules | None = None,
    ) -> Book:
        """Open a book as it stood; what follows in the log changes it as it would have changed the other.

        Parameters
        ----------
        state
            Of a book of this composition.
        composition
            The one that the state names.
        calendar, rules
            As the other had them.

        Raises
        ------
        ValueError
            Where the state is of another composition.
        """
        if state.composition != composition.id:
            raise ValueError(f"state of {state.composition}, composition {composition.id}")
        book = cls(composition, calendar=calendar, rules=rules, partition=state.partition)
        book.offset, book.control, book.origin = state.offset, state.control, state.origin
        book.session = state.session
        book._starts_ns, book._ends_ns = state.starts_ns, state.ends_ns
        layer = book.layer
        layer.starts_ns = state.starts_ns
        if len(state.bound_rows):
            layer.highest = layer.highest.copy()
            layer.highest[state.bound_rows] = state.bounds
        layer.put(state.rows, state.prints, state.details, state.kept)
        layer.close[state.rows] = state.close
        if len(state.next_rows):
            book._later = book._layer_of_later()
            book._later.put(state.next_rows, state.next_prints, state.next_details, state.next_kept)
        if len(state.excluded):
            book._exclude(state.excluded, excluded=True)
        if len(state.refused):
            book.refuse(state.refused)
        book._sum_up()
        return book

    # ---- control records -------------------------------------------------------------------------

    def _declare(self, origin: Origin) -> bool:
        # Once a book holds prices of a simulation, its levels are simulated, whatever follows in the log.
        if origin <= self.origin:
            return False
        self.origin = origin
        # The new feed's sessions may lie before those of the old one.
        self.session = ""
        self._starts_ns, self._ends_ns = 0, INT64_LIMIT - 1
        self.layer.starts_ns = 0
        self._promote(before_ns=self._ends_ns)
        self._sum_up()
        return True

    def _roll(self, roll: Roll) -> bool:
        if roll.session <= self.session:
            return False
        first, before = not self.session, self.session
        # Prints of a session that the log has left out are last prices of the time before this one.
        self._promote(before_ns=roll.starts_ns)
        self.session, self._starts_ns, self._ends_ns = roll.session, roll.starts_ns, roll.ends_ns
        # Where no session was in force, prints of the one that begins may stand in the book already.
        over = self.ts < roll.starts_ns if first else np.ones(len(self.ts), bool)
        if self.layer.has_official_prices:
            self.past.append(Past(before, self.composition, self.layer.official_prices))
        self.layer.roll(roll.starts_ns, over)
        self._promote(before_ns=roll.ends_ns)
        if self._later is not None:
            self._later.starts_ns = roll.ends_ns
        self._sum_up()
        return True

    def _promote(self, *, before_ns: int) -> None:
        """Let prints that waited set last prices, but where an operator has excluded the symbol or set a newer price."""
        later = self._later
        if later is None:
            return
        due = later.changed & (later.heard_ts < before_ns)
        good = due.copy()
        if self._excluded is not None:
            good &= ~self._excluded
        self.layer.merge(later, np.flatnonzero(good))
        self.layer.forget_calm()
        later.forget(np.flatnonzero(due))
        if not later.changed.any():
            self._later = None

    def _compose(self, composition: Composition | None) -> bool:
        """Go over to another composition; last prices go along, unless the reference says that their basis changed.

        What is out of the new bounds stays behind, too, or sums could overflow (law 1).
        """
        if composition is None or composition.id == self.composition.id:
            return False
        old, layer, later = self.composition, self.layer, self._later
        excluded, refused = _rows_of(self._excluded), _rows_of(self._refused)
        pairs = [
            (row, composition.row_of[symbol])
            for row, symbol in enumerate(old.symbols)
            if symbol in composition.row_of
        ]
        source = np.array([row for row, _ in pairs], np.int64)
        target = np.array([row for _, row in pairs], np.int64)
        reference = self._reference
        self._open(composition)
        new = self.layer
        same = reference[source] == self._reference[target]
        for row, price in zip(
            target[same].tolist(), layer.highest[source[same]].tolist(), strict=True
        ):
            self._lift(row, price)
        bound = new.highest[target]
        new.carry(layer, source, target, same, bound)
        stays = same & (layer.close[source] <= bound)
        new.close[target[stays]] = layer.close[source[stays]]
        moved = dict(pairs)
        if later is not None:
            self._later = self._layer_of_later()
            at = later.changed[source] & (later.prints.price[source] <= bound)
            self._later.carry(later, source[at], target[at], same[at], bound[at])
            self._later.changed[target[at]] = True
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
        return here and self.layer.set_price(row, override.price, override.ts)

    def _lift(self, row: int, price: int) -> bool:
        """Lift a bound as far as no sum of any index can overflow (law 1)."""
        highest = self.layer.highest
        if price <= highest[row]:
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
                for s, h in zip(members.shares.tolist(), highest[members.row].tolist(), strict=True)
            )
            if bound + shares * (price - int(highest[row])) >= INT64_LIMIT:
                return False
        highest = highest.copy()
        highest[row] = price
        self.layer.highest = highest
        if self._later is not None:
            self._later.highest = highest
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
            for layer in (self.layer, self._later):
                if layer is not None:
                    layer.forget(np.array([row]))
            self.close[row] = self._reference[row]
            self._sum_up()

    # ---- ticks -----------------------------------------------------------------------------------

    def _all_pass(self, ticks: Ticks) -> bool:
        """Tell in few steps whether `_screen` would refuse none of the ticks, nor one wait for a roll: nearly always so."""
        if len(ticks) == 0 or self._refused is not None or self._excluded is not None:
            return False
        # An unknown row, -1, looks up some other instrument here; it is doubtful all the same.
        doubtful = ticks.row < 0
        doubtful |= ticks.ts > ticks.recorded + FUTURE_TOLERANCE_NS
        if np.count_nonzero(doubtful) or not self.layer.all_plain(ticks):
            return False
        first, last = int(np.minimum.reduce(ticks.ts)), int(np.maximum.reduce(ticks.ts))
        return last < self._ends_ns and self._calendar.covers(first, last)

    def _screen(self, ticks: Ticks) -> NDArray[np.uint8]:
        """Judge each tick by itself; where several reasons apply, the first of `Verdict` counts."""
        verdict = np.zeros(len(ticks), np.uint8)
        if len(ticks) == 0:
            return verdict
        known = ticks.row >= 0
        row = ticks.row if known.all() else np.where(known, ticks.row, 0)
        kind = ticks.kind
        # Written from the last reason to the first, so that the first one stays.
        priced = (kind != Kind.CANCEL) & (kind != Kind.HALT) & (kind != Kind.RESUME)
        verdict[priced & (ticks.price > self.layer.highest[row])] = Verdict.OUT_OF_BOUNDS
        verdict[self._ineligible(ticks, row)] = Verdict.INELIGIBLE
        if self._excluded is not None:
            verdict[known & self._excluded[row]] = Verdict.INELIGIBLE
        verdict[ticks.ts > ticks.recorded + FUTURE_TOLERANCE_NS] = Verdict.FUTURE
        if not known.all():
            verdict[~known] = Verdict.UNKNOWN_SYMBOL
        if self._refused is not None:
            verdict[known & self._refused[row]] = Verdict.WRONG_PARTITION
        return verdict

    def _ineligible(self, ticks: Ticks, row: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Find trades whose conditions set no price in the hours they were made in, and what is no price at all."""
        extended = EXTENDED_HOURS_CONDITIONS | (Condition.ODD_LOT if self._rules.odd_lots else 0)
        always = OFFICIAL_CONDITIONS & ~(Condition.OPENING | Condition.CLOSING)
        in_hours = np.uint16(~(REGULAR_HOURS_CONDITIONS | always) & 0xFFFF)
        out_of_hours = np.uint16(~(extended | always) & 0xFFFF)
        wrong = (ticks.cond & in_hours) != 0
        if np.count_nonzero(wrong):
            # For contracts every hour is as a regular one.
            outside = ~self._calendar.contains(ticks.ts) & (row < len(self.composition.universe))
            wrong &= ~outside
            wrong |= outside & ((ticks.cond & out_of_hours) != 0)
        ineligible: NDArray[np.bool_] = wrong & (ticks.kind == Kind.TRADE)
        ineligible |= ticks.kind == Kind.QUOTE_MID
        return ineligible

    def _take_later(self, ticks: Ticks) -> NDArray[np.uint8]:
        """Keep good ticks of a later session until the log rolls to it (law 5)."""
        if self._later is None:
            self._later = self._layer_of_later()
        verdict = self._later.take(ticks)
        self._later.changed |= self._later.moved
        self._count_confirmed(self._later)
        return verdict

    def _layer_of_later(self) -> Layer:
        later = Layer(self._terms, starts_ns=self._ends_ns)
        later.highest = self.layer.highest
        return later

    def _note_layer(self) -> None:
        """Take over what single ticks have told beyond prices."""
        layer = self.layer
        self._count_confirmed(layer)
        if layer.regressed:
            layer.regressed = False
            self._sum_up()

    def _count_confirmed(self, layer: Layer) -> None:
        self.confirmed += layer.confirmed
        layer.confirmed = 0

    # ---- running integers ------------------------------------------------------------------------

    def _sum_up(self) -> None:
        """Make the running integers from nothing."""
        n_indexes, n_rows = len(self.composition.indexes), len(self._reference)
        self._columns = np.zeros((N_COLUMNS, n_indexes), np.int64)
        self._event_ns = np.full(n_indexes, NO_EVENT, np.int64)
        # They stand for these facts; rows that have changed since are marked.
        self._facts = np.zeros((N_FACTS, n_rows), np.int64)
        self._seen = np.zeros(n_rows, bool)
        self._touched = np.packbits(self._seen)
        self.layer.changed[:] = True
        self._value_marked()

    def _value_marked(self) -> None:
        """Bring the running integers up to the book's prices."""
        layer = self.layer
        # A row whose primary exchange has not opened has more facts that follow its price.
        layer.changed |= layer.moved & layer.awaiting
        moved = np.flatnonzero(layer.moved & ~layer.changed)
        changed = np.flatnonzero(layer.changed)
        layer.moved[:] = False
        layer.changed[:] = False
        if len(moved):
            self._value_moved(moved)
        if len(changed):
            self._value_changed(changed)

    def _value_moved(self, rows: _Rows) -> None:
        """Take prices that have moved, of rows that had a price of the session before."""
        price, close = self.price[rows], self.close[rows]
        move = np.sign(price - close)
        facts = (
            (VALUE, price - self._reference[rows]),
            (UP, (move > 0).astype(np.int64)),
            (DOWN, (move < 0).astype(np.int64)),
        )
        self._add(rows, facts)

    def _value_changed(self, rows: _Rows) -> None:
        facts = facts_of(self.layer, rows, self._reference)
        self._add(rows, zip(FACTS, facts, strict=True))
        newly = ~self._seen[rows] & (self.layer.newest_ts[rows] != NO_EVENT)
        if newly.any():
            self._seen[rows[newly]] = True
            self._touched = np.packbits(self._seen)

    def _add(self, rows: _Rows, facts: Iterable[tuple[int, NDArray[np.int64]]]) -> None:
        """Add to the columns what facts are more than they were."""
        memberships = self.composition.memberships
        membership, nth = memberships.of_rows(rows)
        index, shares = memberships.index[membership], memberships.shares[membership]
        for column, fact in facts:
            gain = fact - self._facts[_PLACE[column], rows]
            if np.count_nonzero(gain):
                self._facts[_PLACE[column], rows] = fact
                weight = gain[nth] * shares if column in WEIGHTED else gain[nth]
                np.add.at(self._columns[column], index, weight)
        np.maximum.at(self._event_ns, index, self.layer.newest_ts[rows][nth])


#: Where a column's facts stand.
_PLACE = {column: place for place, column in enumerate(FACTS)}


def _rows_of(flags: NDArray[np.bool_] | None) -> _Rows:
    return np.zeros(0, np.int64) if flags is None else np.flatnonzero(flags)


def _through(rows: _Rows, moved: dict[int, int]) -> _Rows:
    return np.array([moved[row] for row in rows.tolist() if row in moved], np.int64)
