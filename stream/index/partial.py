"""A partial: what one partition, or several together, contributes to every index (`design.md`, the road of a tick)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from stream.index.composition import Composition

#: `event_ns` of an index whose constituents have not traded.
NO_EVENT = -1


class Origin(IntEnum):
    """Where prices come from; of several, the least real names the whole."""

    LIVE = 0
    REPLAY = 1
    SIMULATED = 2


#: Rows of `Partial.columns`.
(
    VALUE,
    PRICED,
    UP,
    DOWN,
    PRICED_CLOSE,
    CLOSE,
    OPENED_CLOSE,
    OPEN_VALUE,
    OFFICIAL,
    CORRECTED,
    HALTED_CLOSE,
    EXTENDED_VALUE,
    EXTENDED_BASE,
    EXTENDED_CLOSE,
    COVERED_CLOSE,
    STALE,
) = range(16)
N_COLUMNS = 16

#: Rows of `Partial.futures`.
FUTURES_PRICE, FUTURES_TS, FUTURES_CLOSE, FUTURES_CLOSE_TS, FUTURES_HALTED = range(5)
N_FUTURES_COLUMNS = 5


@dataclass(frozen=True, slots=True)
class Partial:
    """Additive integers per index, and which part of which logs they stand for.

    Attributes
    ----------
    composition, session
        Id of the composition that the values belong to, and trade date; only partials that agree in both add up.
    offsets
        For each partition, the offset of the next record of its log: all before it is contained.
    control
        Number of the last control record that each of its logs has obeyed.
    origin
        Of the prices.
    columns
        int64, shape (N_COLUMNS, n_indexes), of what adds up; values count the index's 10^-(4+k) dollar.

        - VALUE: market value at the last regular or official closing prices, less the reference value.
        - PRICED, UP, DOWN: constituents with a regular print of the session, and with one above or below the previous close.
        - PRICED_CLOSE: value at the previous close of those with a regular print of the session.
        - CLOSE: as VALUE, at the previous close.
        - OPENED_CLOSE: value at the previous close of those whose primary exchange has opened.
        - OPEN_VALUE: as VALUE, at the first primary opening price, else the last price.
        - OFFICIAL, CORRECTED: constituents with an official close of the session, and with one that was corrected since.
        - HALTED_CLOSE: value at the previous close of the halted.
        - EXTENDED_VALUE: what those with a live extended print, newer than their last price, are worth more by it.
        - EXTENDED_BASE: value of the same at their last prices.
        - EXTENDED_CLOSE: value at the previous close of those with any extended print of the session.
        - COVERED_CLOSE: value at the previous close of those with any print of the session.
        - STALE: constituents that should have traded since, by the hours and their weight.
    event_ns
        int64, shape (n_indexes,): event time of the newest price in it, or NO_EVENT.
    oldest_ns
        int64, shape (n_indexes,): that of the oldest price among those of the session, or NO_EVENT.
    clock_ns
        Event time of the newest good tick of any symbol, or NO_EVENT.
    futures
        int64, shape (N_FUTURES_COLUMNS, n_contracts): FUTURES_PRICE and FUTURES_TS, last price in 1/10000 point and its
        event time, 0 and NO_EVENT where there is none; FUTURES_CLOSE and FUTURES_CLOSE_TS, the price that was in force at
        the last cash close, and that close; FUTURES_HALTED, 1 while halted.
    touched
        uint8, shape (ceil(n_rows / 8),): bits of the rows that have a price here (law 7).
    """

    composition: str
    session: str
    offsets: Mapping[int, int]
    control: int
    origin: Origin
    columns: NDArray[np.int64]
    event_ns: NDArray[np.int64]
    oldest_ns: NDArray[np.int64]
    clock_ns: int
    futures: NDArray[np.int64]
    touched: NDArray[np.uint8]

    @classmethod
    def zero(cls, composition: Composition) -> Partial:
        """Give the partial of nothing: the neutral element of addition."""
        n = len(composition.indexes)
        return cls(
            composition=composition.id,
            session="",
            offsets={},
            control=0,
            origin=Origin.LIVE,
            columns=np.zeros((N_COLUMNS, n), np.int64),
            event_ns=np.full(n, NO_EVENT, np.int64),
            oldest_ns=np.full(n, NO_EVENT, np.int64),
            clock_ns=NO_EVENT,
            futures=no_futures(len(composition.futures.contracts)),
            touched=np.zeros((len(composition.symbols) + 7) // 8, np.uint8),
        )

    @property
    def value(self) -> NDArray[np.int64]:
        """Market value less the reference value, in the index's 10^-(4+k) dollar."""
        return self._column(VALUE)

    @property
    def priced(self) -> NDArray[np.int64]:
        """Number of constituents with a price of the session."""
        return self._column(PRICED)

    @property
    def up(self) -> NDArray[np.int64]:
        """Number of constituents above their previous close."""
        return self._column(UP)

    @property
    def down(self) -> NDArray[np.int64]:
        """Number of constituents below their previous close."""
        return self._column(DOWN)

    @property
    def priced_close(self) -> NDArray[np.int64]:
        """Value at the previous close of the constituents with a regular print, in the index's 10^-(4+k) dollar."""
        return self._column(PRICED_CLOSE)

    @property
    def standing(self) -> tuple[str, str]:
        """What partials must agree in to add up: composition and session."""
        return self.composition, self.session

    def _column(self, number: int) -> NDArray[np.int64]:
        column: NDArray[np.int64] = self.columns[number]
        return column

    def __add__(self, other: Partial) -> Partial:
        """Add the contributions of two disjoint sets of partitions.

        Raises
        ------
        ValueError
            Where the two belong to different compositions or sessions, or share a partition.
        """
        if self.standing != other.standing:
            raise ValueError(f"partials of {self.standing} and {other.standing} do not add")
        if self.offsets.keys() & other.offsets.keys():
            raise ValueError(f"partition {min(self.offsets.keys() & other.offsets.keys())} twice")
        return _sum((self, other))

    def same_values(self, other: Partial) -> bool:
        """Tell whether every integer agrees, whatever logs they came from."""
        return (
            all(
                np.array_equal(getattr(self, name), getattr(other, name))
                for name in ("columns", "event_ns", "oldest_ns", "futures", "touched")
            )
            and self.clock_ns == other.clock_ns
        )


def total(composition: Composition, partials: Iterable[Partial]) -> Partial:
    """Add any number of partials of one composition and session, and of different partitions."""
    terms = tuple(partials)
    return _sum(terms) if terms else Partial.zero(composition)


def _sum(terms: Sequence[Partial]) -> Partial:
    return Partial(
        composition=terms[0].composition,
        session=terms[0].session,
        offsets={p: offset for term in terms for p, offset in term.offsets.items()},
        control=min(term.control for term in terms),
        origin=max(term.origin for term in terms),
        columns=np.add.reduce([term.columns for term in terms]),
        event_ns=np.maximum.reduce([term.event_ns for term in terms]),
        oldest_ns=_oldest([term.oldest_ns for term in terms]),
        clock_ns=max(term.clock_ns for term in terms),
        futures=_newest([term.futures for term in terms]),
        touched=np.bitwise_or.reduce([term.touched for term in terms]),
    )


def no_futures(n_contracts: int) -> NDArray[np.int64]:
    """Give the futures columns of contracts that have no price yet."""
    futures = np.zeros((N_FUTURES_COLUMNS, n_contracts), np.int64)
    futures[FUTURES_TS] = futures[FUTURES_CLOSE_TS] = NO_EVENT
    return futures


def _oldest(terms: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Take the least of each column that is not NO_EVENT."""
    # As unsigned numbers, NO_EVENT is the greatest.
    least: NDArray[np.int64] = np.minimum.reduce([term.view(np.uint64) for term in terms]).view(
        np.int64
    )
    return least


def _newest(terms: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Take each contract as the partition tells it that has its newest price: a contract stands on one partition."""
    newest = terms[0]
    for term in terms[1:]:
        newer = term[FUTURES_TS] > newest[FUTURES_TS]
        # Without a price it may be halted: where nothing is known, every figure is the least there is.
        same = term[FUTURES_TS] == newest[FUTURES_TS]
        newest = np.where(same, np.maximum(term, newest), np.where(newer, term, newest))
    return newest


def overlap(partials: Iterable[Partial], *, n_rows: int) -> NDArray[np.int64]:
    """Find the rows that more than one partial has touched: one stock counted twice (law 7).

    Parameters
    ----------
    partials
        Each of its own partitions.
    n_rows
        Number of instruments.

    Returns
    -------
    int64 array, shape (n,)
        Rows, ascending.
    """
    seen: NDArray[np.uint8] | None = None
    twice: NDArray[np.uint8] | None = None
    for partial in partials:
        if seen is None or twice is None:
            seen, twice = partial.touched.copy(), np.zeros_like(partial.touched)
        else:
            twice |= seen & partial.touched
            seen |= partial.touched
    if twice is None or not twice.any():
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.unpackbits(twice, count=n_rows))
