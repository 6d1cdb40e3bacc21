"""The aggregator: the newest partial of every partition, added up once all are there (laws 5 and 7)."""

from __future__ import annotations

from collections.abc import Container

import numpy as np
from numpy.typing import NDArray

from stream.index.composition import Composition
from stream.index.partial import Partial, overlap, total


class Aggregator:
    """Sums the contributions of all partitions.

    Parameters
    ----------
    composition
        Constituents in force; partials of another one are ignored.
    n_partitions
        Of the ticks topic: no level is known before each has been heard of.

    Attributes
    ----------
    contested
        int64: rows that several partitions have touched, ascending.
    """

    __slots__ = ("_by_partition", "_held", "_total", "composition", "contested", "n_partitions")

    def __init__(self, composition: Composition, *, n_partitions: int) -> None:
        self.composition = composition
        self.n_partitions = n_partitions
        self.contested = np.zeros(0, np.int64)
        self._by_partition: dict[int, Partial] = {}
        self._held = np.zeros(len(composition.indexes), bool)
        self._total: Partial | None = None

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
        if partial.composition != self.composition.id:
            return False
        known = self._by_partition.get(partition)
        if known is not None and known.offsets[partition] > offset:
            return False
        self._by_partition[partition] = partial
        self._total = None
        if known is None or not np.array_equal(known.touched, partial.touched):
            self._find_contested()
        return True

    def keep(self, partitions: Container[int]) -> None:
        """Forget the partials of all other partitions."""
        self._by_partition = {p: x for p, x in self._by_partition.items() if p in partitions}
        self._total = None
        self._find_contested()

    @property
    def complete(self) -> bool:
        """Whether every partition has been heard of."""
        return len(self._by_partition) >= self.n_partitions

    @property
    def held(self) -> NDArray[np.bool_]:
        """Bool, shape (n_indexes,): indexes that hold a stock counted on two partitions."""
        return self._held

    def total(self) -> Partial:
        """Add up the newest partials.

        Notes
        -----
        O(partitions x indexes), once per change.
        """
        if self._total is None:
            self._total = total(self.composition, self._by_partition.values())
        return self._total

    def _find_contested(self) -> None:
        rows = overlap(self._by_partition.values(), n_rows=len(self.composition.universe))
        self.contested = rows
        self._held[:] = False
        if len(rows):
            membership, _ = self.composition.memberships.of_rows(rows)
            self._held[self.composition.memberships.index[membership]] = True


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
    if before is None or before.origin != now.origin or before.composition != now.composition:
        return np.arange(len(now.value), dtype=np.int64)
    differs = (now.columns != before.columns).any(axis=0)
    return np.flatnonzero(differs | (now.event_ns != before.event_ns))
