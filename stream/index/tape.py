"""One tape on several lines: which of its numbers some line has passed without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Slots = NDArray[np.int8]
_Numbers = NDArray[np.uint64]
_Rows = NDArray[np.int32]

#: Lines that can be told apart: those that brought a number are the bits of a mask.
MAX_SLOTS = 16


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Numbers that some line has not reached, in ascending order: who brought them, and whose they are."""

    number: _Numbers
    brought: NDArray[np.uint16]
    row: _Rows

    @classmethod
    def none(cls) -> _Waiting:
        return cls(np.zeros(0, np.uint64), np.zeros(0, np.uint16), np.zeros(0, np.int32))

    def __len__(self) -> int:
        return len(self.number)

    def take(self, which: NDArray[np.bool_]) -> _Waiting:
        return _Waiting(self.number[which], self.brought[which], self.row[which])

    def merged(self, slot: _Slots, seq: _Numbers, row: _Rows) -> tuple[_Waiting, NDArray[np.bool_]]:
        """Add numbers that lines bring, and tell which of all were there before."""
        number = np.concatenate([self.number, seq])
        bit = np.left_shift(np.uint16(1), slot.astype(np.uint16))
        order = np.argsort(number, kind="stable")
        number = number[order]
        is_first = np.ones(len(number), bool)
        np.not_equal(number[1:], number[:-1], out=is_first[1:])
        starts = np.flatnonzero(is_first)
        first = order[starts]
        merged = _Waiting(
            number[starts],
            np.bitwise_or.reduceat(np.concatenate([self.brought, bit])[order], starts),
            np.concatenate([self.row, row])[first],
        )
        return merged, first < len(self)


class Tape:
    """Compares the numbers that lines bring of one tape, each line being in order.

    Parameters
    ----------
    n_rows
        Instruments.
    window
        Most numbers that may wait for a line; a multiple of 16.

    Attributes
    ----------
    missing, restarted, undecided
        int64, shape (MAX_SLOTS,), by line: numbers that another line brought and it passed without; its own numbers that
        were repeated or lower; numbers that waited for it when it left the comparison.
    missed
        int64, shape (n_rows + 1,), by row: as `missing`; the last place is that of unknown symbols.

    Notes
    -----
    A line *joins* the comparison with a number, and is compared beyond it and beyond all that any line has brought by then.
    What another line brings there waits for it until it brings the same number, or a higher one: then it has passed
    without. With one line alone nothing waits.

    A repeated or lower number says that the numbering began anew. All lines leave, and may join again once `window / 16`
    numbers have come in order: where the numbers of a partition are not those of one tape, little is compared, at little
    cost.

    After every `window / 2` numbers of the log, while more than `window` of them wait, the lines furthest behind leave, to
    join again with their next number. So at most `window * 3 / 2` numbers wait, 14 bytes each.
    """

    __slots__ = (
        "_calm",
        "_compared",
        "_high",
        "_joined",
        "_last",
        "_ordinal",
        "_reach",
        "_waiting",
        "_window",
        "missed",
        "missing",
        "restarted",
        "undecided",
    )

    def __init__(self, n_rows: int, *, window: int) -> None:
        self.missing = np.zeros(MAX_SLOTS, np.int64)
        self.restarted = np.zeros(MAX_SLOTS, np.int64)
        self.undecided = np.zeros(MAX_SLOTS, np.int64)
        self.missed = np.zeros(n_rows + 1, np.int64)
        self._window = window
        self._last = np.zeros(MAX_SLOTS, np.uint64)
        # Numbers since the window was last looked at; numbers to come before lines may join.
        self._ordinal = 0
        self._calm = 0
        # Highest number brought since the numbering began.
        self._high = np.uint64(0)
        # A line in the comparison is compared beyond `joined`; up to `reach` nothing waits for it.
        self._compared = np.zeros(MAX_SLOTS, bool)
        self._joined = np.zeros(MAX_SLOTS, np.uint64)
        self._reach = np.zeros(MAX_SLOTS, np.uint64)
        self._waiting = _Waiting.none()

    def see(self, slot: _Slots, seq: _Numbers, row: _Rows) -> None:
        """Go on by the next numbers of the log.

        Parameters
        ----------
        slot, seq, row
            int8, uint64 and int32, shape (n,): the line that brings a number; the number, not 0; whose it is, -1
            for unknown symbols.

        Notes
        -----
        O(n) for a line alone; for several O(n + window), sorted in portions of half a window.
        """
        if len(seq) == 0:
            return
        restarts = self._restarts(slot, seq)
        edges = np.append(restarts, len(seq)).tolist()
        self._go_on(slot, seq, row, 0, edges[0])
        if len(restarts):
            # In a stretch between two restarts nothing happens unless it is long enough for lines to join.
            matters = np.diff(edges) > self._rest
            matters[-1] = True
            for i in np.flatnonzero(matters).tolist():
                self._begin_anew()
                self._go_on(slot, seq, row, edges[i], edges[i + 1])
        self._ordinal = (self._ordinal + len(seq)) % self._stride

    def pass_by(self, one: int, seq: _Numbers) -> bool:
        """Go on by numbers of a line that is compared with no other, unless there is more to it.

        Parameters
        ----------
        one
            The line's slot.
        seq
            uint64, shape (n,), n > 0.

        Returns
        -------
        bool
            Whether the numbers were in order, and the line alone; else nothing has changed.
        """
        if not self._compared[one] or np.count_nonzero(self._compared) > 1:
            return False
        if seq[0] <= self._last[one] or np.count_nonzero(seq[1:] <= seq[:-1]):
            return False
        self._last[one] = seq[-1]
        self._reach[one] = self._high = max(self._high, seq[-1])
        self._ordinal = (self._ordinal + len(seq)) % self._stride
        return True

    def renumber(self, source: NDArray[np.int64], target: NDArray[np.int64], n_rows: int) -> None:
        """Give rows that were `source` the places `target` among `n_rows`; the others are forgotten."""
        missed = np.zeros(n_rows + 1, np.int64)
        missed[target], missed[-1] = self.missed[source], self.missed[-1]
        place = np.full(len(self.missed), -1, np.int32)
        place[source] = target
        waiting = self._waiting
        self.missed = missed
        self._waiting = _Waiting(waiting.number, waiting.brought, place[waiting.row])

    def state(self) -> dict[str, Any]:
        """Give all that it knows as numbers, lists and bytes."""
        rows = np.flatnonzero(self.missed)
        state: dict[str, Any] = {name: getattr(self, name).tolist() for name in _LISTS}
        waiting = self._waiting
        return state | {
            "rows": len(self.missed) - 1,
            "window": self._window,
            "ordinal": self._ordinal,
            "calm": self._calm,
            "high": int(self._high),
            "missed_rows": rows.astype("<i4").tobytes(),
            "missed": self.missed[rows].astype("<i8").tobytes(),
            "number": waiting.number.astype("<u8").tobytes(),
            "brought": waiting.brought.astype("<u2").tobytes(),
            "row": waiting.row.astype("<i4").tobytes(),
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Tape:
        """Make one that goes on as the other would."""
        tape = cls(state["rows"], window=state["window"])
        for name in _LISTS:
            getattr(tape, name)[:] = state[name]
        tape._ordinal, tape._calm = state["ordinal"], state["calm"]
        tape._high = np.uint64(state["high"])
        rows = np.frombuffer(state["missed_rows"], "<i4")
        tape.missed[rows] = np.frombuffer(state["missed"], "<i8")
        tape._waiting = _Waiting(
            np.frombuffer(state["number"], "<u8").astype(np.uint64),
            np.frombuffer(state["brought"], "<u2").astype(np.uint16),
            np.frombuffer(state["row"], "<i4").astype(np.int32),
        )
        return tape

    @property
    def _rest(self) -> int:
        return self._window // 16

    @property
    def _stride(self) -> int:
        return self._window // 2

    def _restarts(self, slot: _Slots, seq: _Numbers) -> NDArray[np.int64]:
        """Count and find the numbers that are not above the one before them on their line."""
        found = []
        for one in range(int(slot.min()), int(slot.max()) + 1):
            own = np.flatnonzero(slot == one)
            if len(own):
                number = seq[own]
                lower = np.concatenate([number[:1] <= self._last[one], number[1:] <= number[:-1]])
                self.restarted[one] += np.count_nonzero(lower)
                self._last[one] = number[-1]
                found.append(own[lower])
        return np.sort(np.concatenate(found))

    def _begin_anew(self) -> None:
        for one in np.flatnonzero(self._compared).tolist():
            self._leave(one)
        self._waiting = _Waiting.none()
        self._high = np.uint64(0)
        self._calm = self._rest

    def _leave(self, one: int) -> None:
        self.undecided[one] += np.count_nonzero(self._waiting.number > self._reach[one])
        self._compared[one] = False

    def _go_on(self, slot: _Slots, seq: _Numbers, row: _Rows, at: int, stop: int) -> None:
        """Compare a stretch without restarts, once enough numbers have come in order."""
        passed_over = min(self._calm, stop - at)
        self._calm -= passed_over
        at += passed_over
        while at < stop:
            # Where one line is alone nothing waits, and there is no window to look at.
            alone = np.count_nonzero(self._compared) == 1
            end = stop if alone else min(stop, at + self._to_next_look(at))
            away = np.flatnonzero(~self._compared[slot[at:end]])
            if len(away) and away[0] == 0:
                end = at + 1
                self._join(int(slot[at]), seq[at])
            else:
                end = at + int(away[0]) if len(away) else end
                self._compare(slot[at:end], seq[at:end], row[at:end])
            if self._to_next_look(end) == self._stride:
                self._look_at_window()
            at = end

    def _to_next_look(self, at: int) -> int:
        return self._stride - (self._ordinal + at) % self._stride

    def _join(self, one: int, number: np.uint64) -> None:
        self._high = max(self._high, number)
        self._joined[one] = self._reach[one] = self._high
        self._compared[one] = True

    def _compare(self, slot: _Slots, seq: _Numbers, row: _Rows) -> None:
        """Go on by numbers of lines that are all in the comparison, none of them restarting."""
        self._high = max(self._high, seq.max())
        before = self._reach.copy()
        compared = np.flatnonzero(self._compared).tolist()
        for one in compared:
            own = np.flatnonzero(slot == one)
            if len(own):
                self._reach[one] = max(before[one], seq[own[-1]])
        if len(compared) == 1:
            return
        beyond = seq > self._joined[slot]
        self._waiting, old = self._waiting.merged(slot[beyond], seq[beyond], row[beyond])
        for one in compared:
            self._count_missing(one, before[one], old)
        self._forget_reached()

    def _count_missing(self, one: int, before: np.uint64, old: NDArray[np.bool_]) -> None:
        """Count what waited for a line that has gone on from `before`, and what others brought behind it."""
        number = self._waiting.number
        start = int(np.searchsorted(number, self._joined[one], side="right"))
        stop = int(np.searchsorted(number, self._reach[one]))
        lacks = (self._waiting.brought[start:stop] >> one) & 1 == 0
        if np.count_nonzero(lacks):
            # What it had passed by then has been counted.
            lacks &= ~old[start:stop] | (number[start:stop] > before)
            self.missing[one] += np.count_nonzero(lacks)
            np.add.at(self.missed, self._waiting.row[start:stop][lacks], 1)

    def _forget_reached(self) -> None:
        """Forget the numbers that all lines have brought or passed."""
        slowest = self._reach[self._compared].min()
        self._waiting = self._waiting.take(self._waiting.number > slowest)

    def _look_at_window(self) -> None:
        while len(self._waiting) > self._window:
            slowest = self._reach[self._compared].min()
            for one in np.flatnonzero(self._compared & (self._reach == slowest)).tolist():
                self._leave(one)
            self._forget_reached()


#: Attributes that are stored as lists of MAX_SLOTS numbers.
_LISTS = ("missing", "restarted", "undecided", "_last", "_compared", "_joined", "_reach")
