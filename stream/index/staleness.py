"""Which prices are old for their hours and their instrument: a heavy stock trades every few seconds, a light one seldom."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.index.composition import Composition
from stream.index.partial import NO_EVENT
from stream.index.units import NS_PER_S
from stream.session.calendar import Calendar, CashPhase

#: The heaviest instrument is stale after so long, others later, but all after an hour.
HEAVIEST_S = 60
LONGEST_S = 3_600


class Staleness:
    """Counts stale constituents, and finds the oldest price, of every index.

    Parameters
    ----------
    composition
        Constituents in force.
    calendar
        Tells regular hours, the only ones in which a price can be stale.

    Notes
    -----
    An instrument of a hundredth of the heaviest one's value may be silent ten times as long: trades of a stock grow about
    with the root of its size.
    """

    def __init__(self, composition: Composition, calendar: Calendar) -> None:
        self._calendar = calendar
        instruments = composition.universe.instruments
        value = np.array([float(each.float_shares * each.price) for each in instruments])
        patience_s = np.minimum(HEAVIEST_S * np.sqrt(value.max() / value), LONGEST_S)
        self._patience_ns = (patience_s * NS_PER_S).astype(np.int64)
        self._row = np.concatenate([index.row for index in composition.indexes])
        lengths = [len(index.row) for index in composition.indexes]
        self._start = np.cumsum([0, *lengths[:-1]])

    def count(self, ts: NDArray[np.int64], clock_ns: int) -> NDArray[np.int64]:
        """Count the constituents that have been seen and should have traded since.

        Parameters
        ----------
        ts
            int64, shape (n_rows,): event time of their newest regular print, or NO_EVENT.
        clock_ns
            Event time of the newest tick of any.

        Returns
        -------
        int64 array, shape (n_indexes,)
        """
        hours = self._calendar.stretch(max(clock_ns, 0))
        if hours.cash_phase is not CashPhase.REGULAR:
            return np.zeros(len(self._start), np.int64)
        ts = ts[: len(self._patience_ns)]
        since = np.maximum(ts, hours.starts_ns)
        stale = (ts != NO_EVENT) & (since < clock_ns - self._patience_ns)
        if not stale.any():
            return np.zeros(len(self._start), np.int64)
        return np.add.reduceat(stale[self._row].astype(np.int64), self._start)

    def oldest(self, ts: NDArray[np.int64], starts_ns: int) -> NDArray[np.int64]:
        """Find the oldest among the newest prices of an index's constituents that have one of the session.

        Parameters
        ----------
        ts
            int64, shape (n_rows,): event time of their newest price of any hours, or NO_EVENT.
        starts_ns
            Of the session.

        Returns
        -------
        int64 array, shape (n_indexes,)
            NO_EVENT where none has a price of the session.
        """
        # As unsigned numbers, NO_EVENT is the greatest.
        known = np.where(ts >= starts_ns, ts, NO_EVENT)[self._row].view(np.uint64)
        least: NDArray[np.int64] = np.minimum.reduceat(known, self._start).view(np.int64)
        return least
