"""The progress watchdog: how long a partition has held records that nobody reads."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from stream.pipeline.progress import Progress

NOTHING = (0.0, -1, 0)


class Look(NamedTuple):
    """What was seen at one moment; None where the brokers did not answer."""

    now_s: float
    logs: dict[int, tuple[int, int]] | None


def progress_of(looks: list[Look]) -> Progress:
    progress = Progress()
    for look in looks:
        if look.logs is None:
            progress.forget()
        else:
            progress.observe(
                {p: position for p, (position, _) in look.logs.items()},
                {p: end for p, (_, end) in look.logs.items()},
                now_s=look.now_s,
            )
    return progress


def stall(looks: list[Look], partition: int) -> tuple[float, int] | None:
    """Say since when a partition has stood still before waiting records: the literal rule, from the last look back."""
    since, waiting, stood_at = None, 0, None
    for look in reversed(looks):
        position, end = (look.logs or {}).get(partition, (0, 0))
        if position >= end or stood_at not in (None, position):
            break
        since, stood_at = look.now_s, position
        waiting = waiting or end - position
    return None if since is None else (since, waiting)


@given(st.data())
def test_a_stall_lasts_from_the_first_look_that_found_the_same_place(data: st.DataObject) -> None:
    """Whatever moved, came, went or was silent before: the longest time without movement before waiting records."""
    looks: list[Look] = []
    now_s = 0.0
    for _ in range(data.draw(st.integers(0, 8))):
        now_s += data.draw(st.sampled_from((0.5, 2.0, 30.0)))
        logs = data.draw(
            st.none()
            | st.dictionaries(
                st.integers(0, 2),
                st.tuples(st.integers(0, 2), st.integers(0, 3)),
                max_size=3,
            )
        )
        looks.append(Look(now_s, logs))
    found = {p: each for p in range(3) if (each := stall(looks, p)) is not None}

    progress = progress_of(looks)

    assert progress.stalled == found
    later = now_s + 7.0
    stalls = [(later - since, p, waiting) for p, (since, waiting) in found.items()]
    assert progress.worst(now_s=later) == max(stalls, default=NOTHING)


def test_a_log_that_is_read_to_its_end_does_not_stall() -> None:
    """Quiet is not stuck."""
    progress = progress_of([Look(t, {0: (5, 5)}) for t in (1.0, 100.0)])

    assert progress.worst(now_s=1_000.0) == NOTHING


def test_a_slow_reader_does_not_stall() -> None:
    """One record at each look is progress, however many wait."""
    progress = progress_of([Look(10.0 * i, {0: (i, 10**6)}) for i in range(10)])

    assert progress.worst(now_s=90.0) == (0.0, 0, 10**6 - 9)


def test_a_partition_without_an_end_is_not_judged() -> None:
    """It was given away between two questions."""
    progress = Progress()
    progress.observe({3: 7}, {}, now_s=1.0)
    progress.observe({3: 7}, {}, now_s=99.0)

    assert progress.worst(now_s=99.0) == NOTHING
