"""The aggregator: the newest partial of every partition, added up while they agree (laws 5 and 7)."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from enum import IntEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from stream.index.composition import Composition
from stream.index.partial import Partial, overlap, total


class Doubt(IntEnum):
    """Why an index is not to be relied on; of several reasons, the gravest."""

    NONE = 0
    #: A partition with stocks of it has not been heard of lately.
    STALE = 1
    #: Its level is the last good one: a stock of it is counted twice, or partitions are of different sessions.
    HELD = 2


class Aggregator:
    """Sums the contributions of all partitions.

    Parameters
    ----------
    composition
        Constituents in force until partitions agree on another.
    n_partitions
        Of the ticks topic: no level is known before each has been heard of.

    Attributes
    ----------
    composition
        Of the sum.
    contested
        int64: rows that several partitions have touched, ascending.
    silent
        Partitions that have not been heard of lately.
    """

    def __init__(self, composition: Composition, *, n_partitions: int) -> None:
        self.composition = composition
        self.n_partitions = n_partitions
        self.contested = np.zeros(0, np.int64)
        self._known = {composition.id: composition}
        self._by_partition: dict[int, Partial] = {}
        # What was added up last: the newest partials while they agree, else those of the last moment when they did.
        self._terms: tuple[Partial, ...] = ()
        self._total: Partial | None = None
        self._agree = False
        self.silent: frozenset[int] = frozenset()
        self._doubts: NDArray[np.uint8] | None = None

    @property
    def partials(self) -> Mapping[int, Partial]:
        """Newest partial of each partition."""
        return MappingProxyType(self._by_partition)

    @property
    def unknown(self) -> frozenset[str]:
        """Ids of compositions that partials stand in, and that were never told of."""
        return frozenset(each.composition for each in self._by_partition.values()) - set(
            self._known
        )

    def know(self, composition: Composition) -> None:
        """Tell of a composition that partials may stand in; those that none stands in any more are forgotten."""
        in_use = {partial.composition for partial in self._by_partition.values()}
        in_use.add(self.composition.id)
        self._known = {id_: known for id_, known in self._known.items() if id_ in in_use}
        self._known[composition.id] = composition
        self._add_up()

    def add(self, partial: Partial) -> bool:
        """Take a partial of one partition, unless a newer one of it is known.

        Parameters
        ----------
        partial
            Of exactly one partition; who computed it does not matter.

        Returns
        -------
        bool
            Whether it was taken.
        """
        ((partition, offset),) = partial.offsets.items()
        known = self._by_partition.get(partition)
        if known is not None and known.offsets[partition] > offset:
            return False
        self._by_partition[partition] = partial
        if known is None or not _same_touch(known, partial):
            self._find_contested()
        self._add_up()
        return True

    def keep(self, partitions: Container[int]) -> None:
        """Forget the partials of all other partitions, and with them the sum."""
        kept = {p: x for p, x in self._by_partition.items() if p in partitions}
        if len(kept) < len(self._by_partition):
            self._by_partition = kept
            self._terms, self._total, self._agree = (), None, False
            self._find_contested()

    def silence(self, partitions: Collection[int]) -> None:
        """Tell which partitions have not been heard of lately."""
        if self.silent != frozenset(partitions):
            self.silent = frozenset(partitions)
            self._doubts = None

    @property
    def complete(self) -> bool:
        """Whether there is a sum: every partition has been heard of, and all agreed at least once."""
        return bool(self._terms)

    @property
    def crossing(self) -> bool:
        """Whether partitions stand in different compositions or sessions, so that the last sum is held."""
        return self.complete and not self._agree

    @property
    def doubts(self) -> NDArray[np.uint8]:
        """A `Doubt` for each index of the composition."""
        if self._doubts is None:
            self._doubts = self._find_doubts()
        return self._doubts

    def total(self) -> Partial:
        """Give the sum of the newest partials that agree.

        Notes
        -----
        O(partitions x indexes), once per change.
        """
        if self._total is None:
            self._total = total(self.composition, self._terms)
        return self._total

    def _add_up(self) -> None:
        """Take the newest partials for the sum, if they can be added."""
        standings = {each.standing for each in self._by_partition.values()}
        ids = {composition for composition, _ in standings}
        agree = (
            len(self._by_partition) >= self.n_partitions
            and len(standings) == 1
            and ids <= self._known.keys()
        )
        if agree != self._agree:
            self._agree, self._doubts = agree, None
        if agree:
            self._terms, self._total = tuple(self._by_partition.values()), None
            (composition,) = ids
            if composition != self.composition.id:
                self.composition = self._known[composition]
                self._find_contested()

    def _find_contested(self) -> None:
        same = [x for x in self._by_partition.values() if x.composition == self.composition.id]
        self.contested = overlap(same, n_rows=len(self.composition.symbols))
        self._doubts = None

    def _find_doubts(self) -> NDArray[np.uint8]:
        doubts = np.zeros(len(self.composition.indexes), np.uint8)
        if self.silent:
            doubts[self._indexes_of(self._rows_unheard_of())] = Doubt.STALE
        doubts[self._indexes_of(self.contested)] = Doubt.HELD
        if self.crossing:
            doubts[:] = Doubt.HELD
        return doubts

    def _rows_unheard_of(self) -> NDArray[np.int64]:
        """Find the stocks of silent partitions, and those that have not been seen anywhere, since they may be there."""
        heard = np.zeros((len(self.composition.symbols) + 7) // 8, np.uint8)
        for partition, partial in self._by_partition.items():
            if partition not in self.silent and partial.composition == self.composition.id:
                heard |= partial.touched
        n_rows = len(self.composition.symbols)
        return np.flatnonzero(np.unpackbits(heard, count=n_rows) == 0)

    def _indexes_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        membership, _ = self.composition.memberships.of_rows(rows)
        return self.composition.memberships.index[membership]


def _same_touch(one: Partial, other: Partial) -> bool:
    return one.composition == other.composition and (
        one.touched is other.touched or np.array_equal(one.touched, other.touched)
    )


def changed(now: Partial, before: Partial | None) -> NDArray[np.int64]:
    """Find the indexes whose snapshot would differ.

    Parameters
    ----------
    now
        Sum of all partials.
    before
        The sum that was published last, or None where nothing was.

    Returns
    -------
    int64 array, shape (n,)
        Positions of the indexes, ascending.
    """
    if before is None or before.origin != now.origin or before.standing != now.standing:
        return np.arange(len(now.value), dtype=np.int64)
    differs = (now.columns != before.columns).any(axis=0)
    return np.flatnonzero(differs | (now.event_ns != before.event_ns))
