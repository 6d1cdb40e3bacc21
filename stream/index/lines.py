"""Lines: the feeds that bring one partition's ticks, and the gaps in each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.index.tape import MAX_SLOTS, Tape
from stream.index.ticks import Kind, Ticks, Verdict

#: Most lines that are followed; the sources that come after them are counted as one.
MAX_LINES = MAX_SLOTS

#: Most numbers of a partition that may wait for a line.
WINDOW = 4096

#: Counters stop here, which a damaged frame number may bring about: it is the largest number that checkpoints can hold.
LARGEST_COUNT = 2**63 - 1

_Slots = NDArray[np.int8]
_Places = NDArray[np.int64]

_NOT_FOLLOWED = -1
_NEVER = -1
_ONE = np.uint64(1)


@dataclass(frozen=True, slots=True)
class Frames:
    """Headers of frames in the order of their log; every array has shape (n,).

    Attributes
    ----------
    message
        int64: position of the frame among the messages that were decoded, as for ticks.
    source
        uint32: names the line.
    seq
        uint64: number of the frame on its line and partition; 0 where it has none.
    """

    message: NDArray[np.int64]
    source: NDArray[np.uint32]
    seq: NDArray[np.uint64]

    @classmethod
    def none(cls) -> Frames:
        """Give no headers."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.uint64))

    def within(self, first: int, last: int) -> Frames:
        """Give those of the messages from `first` up to, not including, `last`."""
        start, stop = np.searchsorted(self.message, (first, last)).tolist()
        return Frames(self.message[start:stop], self.source[start:stop], self.seq[start:stop])

    def __len__(self) -> int:
        return len(self.message)


@dataclass(frozen=True, slots=True)
class LineCounts:
    """What is known of one line's gaps in one partition.

    Attributes
    ----------
    frames_missing
        Frame numbers that were left out.
    frames_restarted
        Frame numbers that were repeated or lower: the numbering began anew, which is no gap.
    ticks_missing
        Numbered ticks that another line brought and this one has passed without.
    ticks_restarted
        Tick numbers that were repeated or lower.
    ticks_undecided
        Numbered ticks that another line brought while this one was too far behind, or about to restart.
    """

    frames_missing: int
    frames_restarted: int
    ticks_missing: int
    ticks_restarted: int
    ticks_undecided: int


class Lines:
    """Follows the lines of one partition's log; a pure function of it, however it is cut into batches.

    Parameters
    ----------
    n_rows
        Instruments.
    window
        Most numbers that may wait for a line; a multiple of 16.

    Attributes
    ----------
    other
        Ticks and frames of sources beyond the first MAX_LINES: they are not followed.
    gaps
        Frame gaps that no other line covered.

    Notes
    -----
    *Frames* are numbered by their line, one after another. A number more than one higher than the last is a gap. A gap is
    *covered* by another line that delivers a frame or tick between this line's last numbered frame before the gap and its
    first one after it, in the order of the log, and on which no gap of its own comes to light in between. A gap that no line
    covers makes all rows seen so far doubtful, each until a trade of it is applied.

    *Ticks* are numbered by their tape, on all lines alike: `Tape` compares them. Cancels and corrections name the number of
    another tick, and are left out. What one line lost and another brought stands, and is only counted.
    """

    __slots__ = (
        "_doubtful",
        "_frame_at",
        "_frame_seq",
        "_frames_missing",
        "_frames_restarted",
        "_gap_at",
        "_place",
        "_seen",
        "_seen_at",
        "_slot_of",
        "_tape",
        "gaps",
        "other",
    )

    def __init__(self, n_rows: int, *, window: int = WINDOW) -> None:
        self.other = 0
        self.gaps = 0
        self._slot_of: dict[int, int] = {}
        self._tape = Tape(n_rows, window=window)
        # The last place is that of unknown symbols, whose row is -1.
        self._seen = np.zeros(n_rows + 1, bool)
        self._doubtful = np.zeros(n_rows + 1, bool)
        self._frames_missing = [0] * MAX_LINES
        self._frames_restarted = np.zeros(MAX_LINES, np.int64)
        self._frame_seq = np.zeros(MAX_LINES, np.uint64)
        # Ticks and frames have places in the log, counted from its beginning. By line: the places of its last numbered
        # frame, of its last frame or tick, and of its last frame after a gap.
        self._place = 0
        self._frame_at = np.full(MAX_LINES, _NEVER, np.int64)
        self._seen_at = np.full(MAX_LINES, _NEVER, np.int64)
        self._gap_at = np.full(MAX_LINES, _NEVER, np.int64)

    @property
    def counts(self) -> dict[int, LineCounts]:
        """Counters by source."""
        tape = self._tape
        return {
            source: LineCounts(
                self._frames_missing[slot],
                int(self._frames_restarted[slot]),
                int(tape.missing[slot]),
                int(tape.restarted[slot]),
                int(tape.undecided[slot]),
            )
            for source, slot in self._slot_of.items()
        }

    @property
    def doubtful(self) -> NDArray[np.bool_]:
        """Rows of which a tick may be lost, bool, shape (n_rows,)."""
        return self._doubtful[:-1]

    @property
    def single_line(self) -> NDArray[np.int64]:
        """How many ticks of each row some line passed without, int64, shape (n_rows,); counted once a line."""
        return self._tape.missed[:-1]

    def see(
        self,
        ticks: Ticks,
        verdict: NDArray[np.uint8],
        *,
        source: NDArray[np.uint32],
        message: NDArray[np.int64],
        frames: Frames,
    ) -> None:
        """Go on by the next ticks and frames of the log.

        Parameters
        ----------
        ticks
            In the order of the log.
        verdict
            uint8, shape (n_ticks,): what the book made of them.
        source, message
            uint32 and int64, shape (n_ticks,): line and message of each tick, as decoded.
        frames
            Of the same messages, those without a good tick among them.

        Notes
        -----
        O(n), microseconds for thousands of ticks of one line, with or without numbers.
        """
        if len(ticks) + len(frames) == 0 or self._pass_by(ticks, verdict, source, message, frames):
            return
        slot, frame_slot = self._slots(source, message, frames)
        stretch = _Stretch(self._place, message, slot, frames, frame_slot)
        self.other += int(np.count_nonzero(slot < 0) + np.count_nonzero(frame_slot < 0))
        gap = self._see_frames(stretch)
        self._mark(ticks, verdict, gap_before=None if gap is None else stretch.ticks_before(gap))
        self._see_numbers(ticks, slot)
        for one in range(len(self._slot_of)):
            self._seen_at[one] = max(self._seen_at[one], stretch.last_place(one))
        self._place += len(ticks) + len(frames)

    def renumber(
        self, source: NDArray[np.int64], target: NDArray[np.int64], *, n_rows: int
    ) -> None:
        """Go over to another composition.

        Parameters
        ----------
        source, target
            int64, shape (n,): rows of instruments in the old composition and in the new one.
        n_rows
            Instruments of the new one; what is known of those that are not in it is forgotten.
        """
        for name in ("_seen", "_doubtful"):
            old, new = getattr(self, name), np.zeros(n_rows + 1, bool)
            new[target] = old[source]
            setattr(self, name, new)
        self._tape.renumber(source, target, n_rows)

    def state(self) -> dict[str, Any]:
        """Give all that is known, as a plain structure of numbers, lists, bytes and dictionaries.

        Notes
        -----
        At most 90 KB, 2 bits a row, and 12 bytes for each row that has missed a tick on some line; usually a fraction of it.
        """
        return {
            "rows": len(self._seen) - 1,
            "sources": list(self._slot_of),
            "place": self._place,
            "other": self.other,
            "gaps": self.gaps,
            "frames_missing": list(self._frames_missing),
            "seen": np.packbits(self._seen).tobytes(),
            "doubtful": np.packbits(self._doubtful).tobytes(),
            "tape": self._tape.state(),
        } | {name: getattr(self, name).tolist() for name in _LISTS}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Lines:
        """Make one that goes on as the one whose state this is."""
        lines = cls(state["rows"])
        lines._slot_of = {source: slot for slot, source in enumerate(state["sources"])}
        lines._place, lines.other, lines.gaps = state["place"], state["other"], state["gaps"]
        lines._frames_missing = list(state["frames_missing"])
        for name in ("seen", "doubtful"):
            bits = np.frombuffer(state[name], np.uint8)
            getattr(lines, "_" + name)[:] = np.unpackbits(bits, count=state["rows"] + 1)
        for name in _LISTS:
            getattr(lines, name)[:] = state[name]
        lines._tape = Tape.restore(state["tape"])
        return lines

    def _pass_by(
        self,
        ticks: Ticks,
        verdict: NDArray[np.uint8],
        source: NDArray[np.uint32],
        message: NDArray[np.int64],
        frames: Frames,
    ) -> bool:
        """Go on by ticks and frames of one line that follow on each other, which is told in few steps: nearly always so."""
        name = source[0] if len(source) else frames.source[0]
        one = self._slot_of.get(int(name))
        if one is None or np.count_nonzero(source != name) or np.count_nonzero(ticks.kind):
            return False
        if len(frames) and not self._follow(one, frames):
            return False
        if np.count_nonzero(ticks.seq) and not self._tape.pass_by(one, ticks.seq):
            return False
        end = self._place + len(ticks) + len(frames)
        if len(frames):
            ticks_after = len(message) - np.searchsorted(message, frames.message[-1])
            self._frame_at[one], self._frame_seq[one] = end - ticks_after - 1, frames.seq[-1]
        self._seen_at[one] = end - 1
        self._place = end
        self._mark(ticks, verdict, gap_before=None)
        return True

    def _follow(self, one: int, frames: Frames) -> bool:
        """Tell whether frames are the next of their line."""
        seq, last = frames.seq, int(self._frame_seq[one])
        # The last one says that the differences do not wrap around.
        return (
            int(seq[-1]) == last + len(seq)
            and not np.count_nonzero(seq[1:] - seq[:-1] != 1)
            and not np.count_nonzero(frames.source != frames.source[0])
            and self._slot_of.get(int(frames.source[0])) == one
        )

    def _slots(
        self, source: NDArray[np.uint32], message: NDArray[np.int64], frames: Frames
    ) -> tuple[_Slots, _Slots]:
        """Find the lines of ticks and frames; lines are followed in the order in which they come."""
        slot, frame_slot = self._known(source), self._known(frames.source)
        while len(self._slot_of) < MAX_LINES:
            tick, frame = np.flatnonzero(slot < 0)[:1], np.flatnonzero(frame_slot < 0)[:1]
            if len(tick) and (not len(frame) or message[tick] < frames.message[frame]):
                newcomer = source[tick[0]]
            elif len(frame):
                newcomer = frames.source[frame[0]]
            else:
                break
            number = len(self._slot_of)
            self._slot_of[int(newcomer)] = number
            slot[source == newcomer] = number
            frame_slot[frames.source == newcomer] = number
        return slot, frame_slot

    def _known(self, source: NDArray[np.uint32]) -> _Slots:
        if len(source) and np.count_nonzero(source != source[0]) == 0:
            return np.full(len(source), self._slot_of.get(int(source[0]), _NOT_FOLLOWED), np.int8)
        slot = np.full(len(source), _NOT_FOLLOWED, np.int8)
        for name, number in self._slot_of.items():
            slot[source == name] = number
        return slot

    def _see_frames(self, stretch: _Stretch) -> int | None:
        """Count what is missing, and give the place of the last frame after a gap that no other line covered."""
        gaps = {}
        for one in range(len(self._slot_of)):
            place, seq = stretch.numbered_frames(one)
            if len(seq):
                gaps[one] = self._gaps_of(one, place, seq)
        open_gaps = [self._open_gaps(one, gaps, stretch) for one in gaps if len(gaps[one].after)]
        for one, found in gaps.items():
            if len(found.after):
                self._gap_at[one] = found.after[-1]
        self.gaps += sum(map(len, open_gaps))
        return max((int(places[-1]) for places in open_gaps if len(places)), default=None)

    def _gaps_of(self, one: int, place: _Places, seq: NDArray[np.uint64]) -> _Gaps:
        before = np.concatenate([self._frame_at[one : one + 1], place[:-1]])
        seq_before = np.concatenate([self._frame_seq[one : one + 1], seq[:-1]])
        known = before != _NEVER
        higher = seq > seq_before
        self._frames_restarted[one] += np.count_nonzero(~higher)
        left_out = np.where(known & higher, seq - seq_before - _ONE, np.uint64(0))
        gap = left_out != 0
        missing = self._frames_missing[one] + sum(left_out[gap].tolist())
        self._frames_missing[one] = min(missing, LARGEST_COUNT)
        self._frame_at[one], self._frame_seq[one] = place[-1], seq[-1]
        return _Gaps(before[gap], place[gap])

    def _open_gaps(self, one: int, gaps: Mapping[int, _Gaps], stretch: _Stretch) -> _Places:
        """Find the gaps of a line that no other covered."""
        before, after = gaps[one].before, gaps[one].after
        covered = np.zeros(len(after), bool)
        for other in range(len(self._slot_of)):
            if other != one:
                seen = np.append(self._seen_at[other], stretch.places(other))
                broken = self._gap_at[other : other + 1]
                if other in gaps:
                    broken = np.append(broken, gaps[other].after)
                covered |= (_last_before(after, seen) > before) & (
                    _last_before(after, broken) <= before
                )
        return after[~covered]

    def _mark(self, ticks: Ticks, verdict: NDArray[np.uint8], *, gap_before: int | None) -> None:
        """Mark the rows that are seen, and those that are doubtful from a gap before a tick until their next print."""
        row = ticks.row
        if gap_before is not None:
            self._seen[row[:gap_before]] = True
            self._doubtful[:-1] = self._seen[:-1]
        self._seen[row] = True
        if np.count_nonzero(self._doubtful):
            printed = (verdict == Verdict.APPLIED) & (ticks.kind == Kind.TRADE)
            self._doubtful[row[gap_before or 0 :][printed[gap_before or 0 :]]] = False

    def _see_numbers(self, ticks: Ticks, slot: _Slots) -> None:
        if np.count_nonzero(ticks.seq) == 0:
            return
        numbered = (ticks.seq != 0) & (slot >= 0)
        if np.count_nonzero(ticks.kind):
            numbered &= (ticks.kind != Kind.CANCEL) & (ticks.kind != Kind.CORRECTION)
        if numbered.all():
            self._tape.see(slot, ticks.seq, ticks.row)
        else:
            self._tape.see(slot[numbered], ticks.seq[numbered], ticks.row[numbered])


@dataclass(frozen=True, slots=True)
class _Gaps:
    """Frame gaps of one line: places of the numbered frames before and after each."""

    before: _Places
    after: _Places


class _Stretch:
    """Places of the ticks and frames of a batch, the header of a frame before its ticks."""

    __slots__ = ("_first", "_frame_slot", "_frames", "_message", "_slot")

    def __init__(
        self, first: int, message: _Places, slot: _Slots, frames: Frames, frame_slot: _Slots
    ) -> None:
        self._first, self._message, self._slot = first, message, slot
        self._frames, self._frame_slot = frames, frame_slot

    def numbered_frames(self, one: int) -> tuple[_Places, NDArray[np.uint64]]:
        """Give places and numbers of a line's frames."""
        own = np.flatnonzero((self._frame_slot == one) & (self._frames.seq != 0))
        return self._of_frames(own), self._frames.seq[own]

    def places(self, one: int) -> _Places:
        """Give the places of all that a line delivered, in ascending order."""
        ticks, frames = np.flatnonzero(self._slot == one), np.flatnonzero(self._frame_slot == one)
        return np.sort(np.concatenate([self._of_ticks(ticks), self._of_frames(frames)]))

    def last_place(self, one: int) -> int:
        """Give the place of the last that a line delivered."""
        ticks, frames = np.flatnonzero(self._slot == one), np.flatnonzero(self._frame_slot == one)
        last = np.concatenate([self._of_ticks(ticks[-1:]), self._of_frames(frames[-1:])])
        return int(last.max(initial=_NEVER))

    def ticks_before(self, place: int) -> int:
        """Count the ticks before a place."""
        return int(np.searchsorted(self._of_ticks(np.arange(len(self._message))), place))

    def _of_ticks(self, which: _Places) -> _Places:
        frames_before = np.searchsorted(self._frames.message, self._message[which], side="right")
        return self._first + which + frames_before

    def _of_frames(self, which: _Places) -> _Places:
        ticks_before = np.searchsorted(self._message, self._frames.message[which])
        return self._first + which + ticks_before


def _last_before(at: _Places, places: _Places) -> _Places:
    """Find the last of some places before each of others; the first is before them all."""
    return places[np.searchsorted(places, at) - 1]


#: Attributes that are stored as lists of MAX_LINES numbers.
_LISTS = ("_frames_restarted", "_frame_seq", "_frame_at", "_seen_at", "_gap_at")
