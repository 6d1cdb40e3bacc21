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
VALUE, PRICED, UP, DOWN, PRICED_REFERENCE, CLOSE = range(6)
N_COLUMNS = 6


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
        int64, shape (N_COLUMNS, n_indexes), of what adds up: VALUE, market value less the reference value in the index's
        10^-(4+k) dollar; PRICED, UP, DOWN, constituents with a price of the session, and with one above or below the
        previous close; PRICED_REFERENCE, reference value of the priced constituents; CLOSE, as VALUE, at the previous close.
    event_ns
        int64, shape (n_indexes,): event time of the newest tick in it, or NO_EVENT.
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
            touched=np.zeros((len(composition.universe) + 7) // 8, np.uint8),
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
    def priced_reference(self) -> NDArray[np.int64]:
        """Reference value of the priced constituents, in the index's 10^-(4+k) dollar."""
        return self._column(PRICED_REFERENCE)

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
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("columns", "event_ns", "touched")
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
        touched=np.bitwise_or.reduce([term.touched for term in terms]),
    )


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
