"""An independent reading of the gap counters: one tick at a time, in sets and dictionaries, with the whole log at hand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import itemgetter

import numpy as np
from hypothesis import strategies as st

from stream.index.lines import Frames, Lines
from stream.index.ticks import Ticks

MOST_LINES = 16

TRADE, CANCEL, CORRECTION, HALT = 0, 1, 2, 4
APPLIED, OLDER = 0, 7


@dataclass(frozen=True)
class Tick:
    """One tick of a log."""

    source: int
    seq: int
    row: int
    kind: int = TRADE
    verdict: int = APPLIED


@dataclass(frozen=True)
class Message:
    """One tick, or a frame of some: then it has a header, source and number."""

    ticks: tuple[Tick, ...]
    header: tuple[int, int] | None = None


def frame(source: int, number: int, *ticks: Tick) -> Message:
    """Write a frame."""
    return Message(ticks, (source, number))


def single(source: int, seq: int, row: int = 0, kind: int = TRADE, verdict: int = 0) -> Message:
    """Write a tick by itself."""
    return Message((Tick(source, seq, row, kind, verdict),))


def feed(lines: Lines, messages: Sequence[Message]) -> None:
    """Give messages to the counters under test, all in one batch."""
    ticks = [(number, tick) for number, one in enumerate(messages) for tick in one.ticks]
    heads = [(number, *one.header) for number, one in enumerate(messages) if one.header]
    n = len(ticks)
    lines.see(
        Ticks(
            row=np.array([tick.row for _, tick in ticks], np.int32),
            price=np.ones(n, np.int64),
            ts=np.ones(n, np.int64),
            seq=np.array([tick.seq for _, tick in ticks], np.uint64),
            cond=np.ones(n, np.uint16),
            kind=np.array([tick.kind for _, tick in ticks], np.uint8),
            recorded=np.ones(n, np.int64),
            size=np.ones(n, np.uint32),
            venue=np.zeros(n, np.uint8),
        ),
        np.array([tick.verdict for _, tick in ticks], np.uint8),
        source=np.array([tick.source for _, tick in ticks], np.uint32),
        message=np.array([number for number, _ in ticks], np.int64),
        frames=Frames(
            np.array([number for number, _, _ in heads], np.int64),
            np.array([source for _, source, _ in heads], np.uint32),
            np.array([seq for _, _, seq in heads], np.uint64),
        ),
    )


@dataclass
class Line:
    """What the oracle remembers of one line: everything."""

    delivered: list[int] = field(default_factory=list)
    frames: list[tuple[int, int]] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)
    last: int = 0
    #: Where its comparison begins, None while it takes no part.
    beyond: int | None = None
    frames_missing: int = 0
    frames_restarted: int = 0
    ticks_missing: int = 0
    ticks_restarted: int = 0
    ticks_undecided: int = 0

    def figures(self) -> tuple[int, int, int, int, int]:
        """Give the counters in the order of LineCounts."""
        return (
            self.frames_missing,
            self.frames_restarted,
            self.ticks_missing,
            self.ticks_restarted,
            self.ticks_undecided,
        )

    def awaits(self, number: int) -> bool:
        """Tell whether a number that others brought may still come on this line."""
        return self.beyond is not None and number > max(self.beyond, self.last)


class Ledger:
    """Follows lines one tick at a time."""

    def __init__(self, n_rows: int, window: int) -> None:
        self.lines: dict[int, Line] = {}
        self.other = 0
        self.gaps = 0
        self.single_line = [0] * n_rows
        self.doubtful: set[int] = set()
        self.seen: set[int] = set()
        self.place = 0
        self.window = window
        self.n_numbers = 0
        self.to_wait = 0
        self.highest = 0
        #: Numbers brought in the comparison: row, and by whom.
        self.brought: dict[int, tuple[int, set[int]]] = {}

    def message(self, message: Message) -> None:
        """Go on by a message."""
        if message.header:
            self.header(*message.header)
        for tick in message.ticks:
            self.tick(tick)

    def line(self, source: int) -> Line | None:
        """Find a line, or begin to follow it."""
        self.place += 1
        if source not in self.lines and len(self.lines) == MOST_LINES:
            self.other += 1
            return None
        return self.lines.setdefault(source, Line())

    def header(self, source: int, number: int) -> None:
        """Go on by a frame's header."""
        line = self.line(source)
        if line is None:
            return
        if number and line.frames:
            before, last = line.frames[-1]
            if number <= last:
                line.frames_restarted += 1
            elif number > last + 1:
                line.frames_missing = min(line.frames_missing + number - last - 1, 2**63 - 1)
                if not any(
                    any(before < place < self.place for place in other.delivered)
                    and not any(before < place < self.place for place in other.gaps)
                    for other in self.lines.values()
                    if other is not line
                ):
                    self.gaps += 1
                    self.doubtful = set(self.seen)
                line.gaps.append(self.place)
        line.delivered.append(self.place)
        if number:
            line.frames.append((self.place, number))

    def tick(self, tick: Tick) -> None:
        """Go on by a tick."""
        line = self.line(tick.source)
        if tick.row >= 0:
            self.seen.add(tick.row)
        if tick.kind == TRADE and tick.verdict == APPLIED:
            self.doubtful.discard(tick.row)
        if line is None:
            return
        line.delivered.append(self.place)
        if tick.seq and tick.kind not in (CANCEL, CORRECTION):
            self.number(tick.source, line, tick.seq, tick.row)

    def number(self, source: int, line: Line, number: int, row: int) -> None:
        """Go on by a tick's number."""
        before, line.last = line.last, number
        if number <= before:
            line.ticks_restarted += 1
            for one in self.lines.values():
                # Its own `last` is already that of the new numbering.
                waits_from = before if one is line else one.last
                self.leave(one, waits_from)
            self.brought = {}
            self.highest = 0
            self.to_wait = self.window // 16
        if self.to_wait:
            self.to_wait -= 1
        elif line.beyond is None:
            self.highest = max(self.highest, number)
            line.beyond = self.highest
        else:
            self.compare(source, line, before, number, row)
        self.n_numbers += 1
        if self.n_numbers % (self.window // 2) == 0:
            self.look_at_window()

    def compare(self, source: int, line: Line, before: int, number: int, row: int) -> None:
        """Go on by a number of a line that takes part."""
        assert line.beyond is not None
        self.highest = max(self.highest, number)
        for waiting, (its_row, bringers) in self.brought.items():
            if max(before, line.beyond) < waiting < number and source not in bringers:
                line.ticks_missing += 1
                self.miss(its_row)
        if number <= line.beyond:
            return
        if number in self.brought:
            self.brought[number][1].add(source)
            return
        self.brought[number] = (row, {source})
        for other in self.lines.values():
            if other.beyond is not None and other.beyond < number < other.last:
                other.ticks_missing += 1
                self.miss(row)

    def miss(self, row: int) -> None:
        """Count a tick that a line passed without."""
        if row >= 0:
            self.single_line[row] += 1

    def leave(self, line: Line, last: int) -> None:
        """Take a line out of the comparison."""
        if line.beyond is not None:
            line.ticks_undecided += sum(number > max(line.beyond, last) for number in self.brought)
        line.beyond = None

    def waiting(self) -> set[int]:
        """Give the numbers that some line has not reached."""
        return {
            number
            for number in self.brought
            if any(line.awaits(number) for line in self.lines.values())
        }

    def look_at_window(self) -> None:
        """Let the slowest lines go while too many numbers wait."""
        while len(self.waiting()) > self.window:
            part = [line for line in self.lines.values() if line.beyond is not None]
            furthest = {id(line): max(line.beyond or 0, line.last) for line in part}
            slowest = min(furthest.values())
            for line in part:
                if furthest[id(line)] == slowest:
                    self.leave(line, line.last)


# ---------------------------------------------------------------------------------------------
# Logs

N_ROWS = 5


def tape(seed: int) -> list[Message]:
    """Make a log of one tape on one to three lines, which lag, lose, frame and restart each in its own way."""
    rng = random.Random(seed)
    steps = rng.choices((1, 1, 2, 5), k=rng.choice((6, 20, 70)))
    tape = [(number, rng.randrange(-1, N_ROWS)) for number in accumulate(steps)]
    if rng.random() < 0.3:
        # A new session: the numbering begins again.
        tape += [(number, row) for number, row in tape[: rng.randrange(len(tape))]]
    arrivals: list[tuple[float, Message]] = []
    for source in rng.choice(((1,), (1, 2), (1, 2), (1, 2), (7, 0, 3))):
        loss, pause = rng.choice((0.0, 0.05, 0.3)), rng.choice((0, 0, 10, 30))
        away = rng.randrange(len(tape))
        ticks = [
            (i, Tick(source, number, row, verdict=rng.choice((APPLIED, OLDER))))
            for i, (number, row) in enumerate(tape)
            if rng.random() >= loss and not away <= i < away + pause
        ]
        size = rng.choice((0, 0, 1, 3))
        messages = _singles(ticks) if size == 0 else _frames(ticks, source, size, rng)
        lag, jitter = rng.choice((0, 0, 3, 25, 60)), rng.choice((0, 2, 8))
        times = sorted(at + lag + rng.uniform(0, jitter) for at, _ in messages)
        arrivals += zip(times, (message for _, message in messages), strict=True)
    return [message for _, message in sorted(arrivals, key=itemgetter(0))]


def _singles(ticks: Sequence[tuple[int, Tick]]) -> list[tuple[int, Message]]:
    return [(at, Message((tick,))) for at, tick in ticks]


def _frames(
    ticks: Sequence[tuple[int, Tick]], source: int, size: int, rng: random.Random
) -> list[tuple[int, Message]]:
    first, loss = rng.choice((1, 1, 2**64 - 500)), rng.choice((0.0, 0.1))
    frames = []
    for number, start in enumerate(range(0, len(ticks), size), start=first):
        part = ticks[start : start + size]
        if rng.random() >= loss:
            frames.append((part[-1][0], frame(source, number, *(tick for _, tick in part))))
    return frames


_SEQS = st.sampled_from((0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 2**64 - 1))


def _noise(sources: st.SearchStrategy[int]) -> st.SearchStrategy[Message]:
    ticks = st.builds(
        Tick,
        sources,
        _SEQS,
        st.integers(-1, N_ROWS - 1),
        st.sampled_from((TRADE, TRADE, TRADE, CANCEL, CORRECTION, HALT)),
        st.sampled_from((APPLIED, APPLIED, OLDER)),
    )
    return st.one_of(
        st.builds(lambda tick: Message((tick,)), ticks),
        sources.flatmap(
            lambda source: st.builds(
                lambda number, some: Message(
                    tuple(Tick(source, one.seq, one.row, one.kind, one.verdict) for one in some),
                    (source, number),
                ),
                _SEQS,
                st.lists(ticks, max_size=3),
            )
        ),
    )


@st.composite
def logs(draw: st.DrawFn) -> list[Message]:
    """Draw a log: lines of one tape interleaved, noise, or noise of many lines."""
    match draw(st.sampled_from(("tape", "tape", "tape", "tape", "noise", "many"))):
        case "noise":
            return draw(st.lists(_noise(st.integers(0, 2)), max_size=40))
        case "many":
            return draw(st.lists(_noise(st.integers(0, 20)), min_size=20, max_size=60))
        case _:
            log = tape(draw(st.integers(0, 2**32)))
            for one in draw(st.lists(_noise(st.integers(0, 3)), max_size=2)):
                log.insert(draw(st.integers(0, len(log))), one)
            return log
