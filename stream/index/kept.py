"""The last good prints of every instrument, kept for cancels and corrections (`design.md`, law 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: So many prints of an instrument can be cancelled.
KEPT = 8

#: Prints that wait to be sorted into their instruments' places.
MOST_WAITING = 262_144

KEPT_PRINT = np.dtype(
    [
        ("price", "<i8"),
        ("ts", "<i8"),
        ("seq", "<u8"),
        ("size", "<u4"),
        ("extended", "?"),
        ("dead", "?"),
    ]
)

_NAMES = tuple(KEPT_PRINT.names or ())
#: Of a row and what is kept of a print.
_TYPES = (np.dtype("<i4"), *(KEPT_PRINT[name] for name in _NAMES))

_Rows = NDArray[np.int64]


class Kept:
    """Prints by row, the newest last; one without a price is none.

    Parameters
    ----------
    n_rows
        Instruments.

    Notes
    -----
    A batch is only laid aside: prints are sorted into their places some hundred thousand at a time, or when they are asked
    for.
    """

    __slots__ = ("_n_waiting", "_of_row", "_single", "_waiting")

    def __init__(self, n_rows: int) -> None:
        self._of_row = np.zeros((n_rows, KEPT), KEPT_PRINT)
        # Row, and what is kept of a print; made when the first one comes.
        self._waiting: list[NDArray[Any]] = []
        self._single: list[tuple[int, int, int, int, int, bool, bool]] = []
        self._n_waiting = 0

    def of_rows(self) -> NDArray[np.void]:
        """Give all prints, shape (n_rows, KEPT); what is changed there is changed here."""
        self._sort_in()
        return self._of_row

    def add(
        self,
        row: NDArray[np.int32],
        price: NDArray[np.int64],
        ts: NDArray[np.int64],
        seq: NDArray[np.uint64],
        size: NDArray[np.uint32],
    ) -> None:
        """Add good prints of regular hours, in the order of the log."""
        self._end_singles()
        self._lay_aside(len(row), (row, price, ts, seq, size, False, False))

    def add_one(
        self, row: int, price: int, ts: int, seq: int, size: int, *, extended: bool = False
    ) -> None:
        """Add one good print."""
        self._single.append((row, price, ts, seq, size, extended, False))
        if len(self._single) > MOST_WAITING:
            self._sort_in()

    def follow(self, later: Kept, rows: _Rows) -> None:
        """Add the prints of some rows that were kept apart, after those kept here."""
        theirs = later.of_rows()[rows]
        nth, place = np.nonzero(theirs["price"])
        found = theirs[nth, place]
        self._end_singles()
        self._lay_aside(len(nth), (rows[nth], *(found[name] for name in _NAMES)))

    def _end_singles(self) -> None:
        if self._single:
            columns = list(zip(*self._single, strict=True))
            self._single = []
            self._lay_aside(
                len(columns[0]),
                [np.array(column, kind) for column, kind in zip(columns, _TYPES, strict=True)],
            )

    def _lay_aside(self, n: int, columns: Sequence[NDArray[Any] | bool]) -> None:
        if self._n_waiting + n > MOST_WAITING:
            self._sort_waiting()
        if not self._waiting or n > len(self._waiting[0]):
            # Written over again and again: new memory would cost more than all else.
            self._waiting = [np.empty(max(n, MOST_WAITING), kind) for kind in _TYPES]
        place = slice(self._n_waiting, self._n_waiting + n)
        for waiting, column in zip(self._waiting, columns, strict=True):
            waiting[place] = column
        self._n_waiting += n

    def _sort_in(self) -> None:
        self._end_singles()
        self._sort_waiting()

    def _sort_waiting(self) -> None:
        n, self._n_waiting = self._n_waiting, 0
        if n == 0:
            return
        columns = [waiting[:n] for waiting in self._waiting]
        # 16-bit keys are sorted by radix, several times faster than wider ones.
        key = columns[0].astype(np.uint16) if len(self._of_row) <= 2**16 else columns[0]
        order = np.argsort(key, kind="stable")
        row = columns[0][order]
        starts = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
        ends = np.append(starts[1:], n)
        many = ends - starts >= KEPT
        self._put_many(row[starts[many]], ends[many], order, columns)
        self._put_few(row[starts[~many]], starts[~many], ends[~many], order, columns)

    def _put_many(
        self, rows: _Rows, ends: _Rows, order: _Rows, columns: Sequence[NDArray[Any]]
    ) -> None:
        """Keep the last prints of rows of which enough have come to replace all that were kept."""
        taken = order[ends[:, None] + np.arange(-KEPT, 0)]
        for name, column in zip(_NAMES, columns[1:], strict=True):
            self._of_row[name][rows] = column[taken]

    def _put_few(
        self,
        rows: _Rows,
        starts: _Rows,
        ends: _Rows,
        order: _Rows,
        columns: Sequence[NDArray[Any]],
    ) -> None:
        """Keep the prints of rows of which few have come, after the newest of those that were kept."""
        n_new = (ends - starts)[:, None]
        place = np.arange(KEPT)
        new = place >= KEPT - n_new
        taken = order[np.where(new, ends[:, None] - KEPT + place, 0)]
        moved = np.minimum(place + n_new, KEPT - 1)
        for name, column in zip(_NAMES, columns[1:], strict=True):
            kept = self._of_row[name]
            old = np.take_along_axis(kept[rows], moved, axis=1)
            kept[rows] = np.where(new, column[taken], old)


def newest(prints: NDArray[np.void], *, extended: bool) -> np.void | None:
    """Give the newest print of a row that stands, of regular or of extended hours."""
    for place in range(KEPT - 1, -1, -1):
        one: np.void = prints[place]
        if one["price"] and not one["dead"] and one["extended"] == extended:
            return one
    return None


def find(prints: NDArray[np.void], *, price: int, ts: int, seq: int, size: int) -> np.void | None:
    """Find the print that a cancel or a correction names: by (ts, seq), or by (ts, price, size) where it has no number.

    Parameters
    ----------
    prints
        Of a row, shape (KEPT,).
    price, ts, seq, size
        As the cancel names them.

    Returns
    -------
    numpy.void or None
        A view: what is changed in it is changed among the kept prints.
    """
    for place in range(KEPT - 1, -1, -1):
        one: np.void = prints[place]
        if one["ts"] != ts or one["price"] == 0:
            continue
        same = one["seq"] == seq if seq else one["price"] == price and one["size"] == size
        if same:
            return one
    return None
