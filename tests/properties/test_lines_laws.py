"""The gap counters against a ledger kept one tick at a time; however a log is cut, the same."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lines_oracle import N_ROWS, Ledger, Message, feed, logs
from strategies import cuts
from stream.index.lines import Lines

#: Small windows: so logs of some dozens of ticks fill and overflow them.
WINDOWS = st.sampled_from((16, 16, 32, 64))


def told(lines: Lines) -> tuple[object, ...]:
    counts = {
        source: (
            one.frames_missing,
            one.frames_restarted,
            one.ticks_missing,
            one.ticks_restarted,
            one.ticks_undecided,
        )
        for source, one in lines.counts.items()
    }
    return (
        counts,
        lines.other,
        lines.gaps,
        np.flatnonzero(lines.doubtful).tolist(),
        lines.single_line.tolist(),
    )


def expected(ledger: Ledger) -> tuple[object, ...]:
    return (
        {source: line.figures() for source, line in ledger.lines.items()},
        ledger.other,
        ledger.gaps,
        sorted(ledger.doubtful),
        ledger.single_line,
    )


@given(logs(), WINDOWS, st.data())
def test_lines_are_what_a_ledger_says_tick_by_tick(
    log: list[Message], window: int, data: st.DataObject
) -> None:
    """However a log is cut into batches, counters and doubtful rows are those of the rules applied one by one."""
    lines, ledger = Lines(N_ROWS, window=window), Ledger(N_ROWS, window)

    start = 0
    for stop in data.draw(cuts(len(log))):
        feed(lines, log[start:stop])
        for message in log[start:stop]:
            ledger.message(message)
        assert told(lines) == expected(ledger)
        start = stop


@given(logs(), WINDOWS, st.data())
def test_a_restored_state_has_the_same_future(
    log: list[Message], window: int, data: st.DataObject
) -> None:
    """State goes through msgpack and back at any point of a log; what follows is counted as if nothing had been."""
    stop = data.draw(st.integers(0, len(log)))
    straight = Lines(N_ROWS, window=window)
    feed(straight, log[:stop])

    packed = msgspec.msgpack.encode(straight.state())
    resumed = Lines.restore(msgspec.msgpack.decode(packed))

    assert told(resumed) == told(straight)
    start, rest = 0, log[stop:]
    for end in data.draw(cuts(len(rest))):
        feed(resumed, rest[start:end])
        feed(straight, rest[start:end])
        assert told(resumed) == told(straight)
        start = end
    assert resumed.state() == straight.state()


@given(logs(), WINDOWS, st.data())
def test_the_state_is_a_function_of_the_log(
    log: list[Message], window: int, data: st.DataObject
) -> None:
    """Not only what is told, all that is remembered is the same whatever the batches."""
    whole, parts = Lines(N_ROWS, window=window), Lines(N_ROWS, window=window)
    feed(whole, log)

    start = 0
    for stop in data.draw(cuts(len(log))):
        feed(parts, log[start:stop])
        start = stop

    assert parts.state() == whole.state()
