"""How long it took: from a fault to the first publication which proves that somebody else has gone on."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from chaos.checker import Law, Sight

Way = Literal["restarted", "taken over", "woken", "cut off"]

#: Bounds, in seconds, of a kill after which nothing else happened. The session timeout is added where others take over.
RESTARTED_WITHIN_S = 5.0
TAKEN_OVER_WITHIN_S = 3.0

BARS = 40
#: Upper bounds of the histogram, seconds.
STEPS_S = (0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30)


class Mark(NamedTuple):
    """What a worker held when a fault hit it.

    Attributes
    ----------
    number
        Of the fault in the schedule.
    at
        Moment, on `time.monotonic`.
    worker
        Name.
    way
        How others, or the worker itself, are to go on: restarted at once; taken over while it is away, while it is paused,
        or while it is cut off.
    partitions
        Those that it owned; of a worker that published, all of them, since nobody published after it.
    publisher
        Whether it published.
    known
        By partition, the offset up to which it can have told of the log: nobody else's doing lies before it.
    disturbed
        Whether an earlier fault was at work, or what it had broken was not whole again.
    alone_s
        How long it took until the next fault came.
    """

    number: int
    at: float
    worker: str
    way: Way
    partitions: frozenset[int]
    publisher: bool
    known: Mapping[int, int] | None
    disturbed: bool
    alone_s: float


@dataclass(frozen=True, slots=True)
class Recovery:
    """What came of a mark.

    Attributes
    ----------
    mark
        The mark.
    seconds
        Until every partition had moved on, or None where one never did.
    stale_after_s
        When the first of its indexes said that it was stale, or None where none did.
    """

    mark: Mark
    seconds: float | None
    stale_after_s: float | None

    @property
    def disturbed(self) -> bool:
        """Whether another fault was at work before it was over."""
        mark = self.mark
        return mark.disturbed or self.seconds is None or self.seconds > mark.alone_s


def recoveries_of(
    marks: Iterable[Mark],
    sights: Sequence[Sequence[Sight]],
    ticks_before: Callable[[int, int], int],
    *,
    until: float,
) -> list[Recovery]:
    """Measure all recoveries; one that begins before an earlier one has ended is disturbed.

    Parameters
    ----------
    marks, sights, ticks_before, until
        As in `recovery`.
    """
    found: list[Recovery] = []
    whole_at = 0.0
    for mark in sorted(marks, key=lambda mark: mark.at):
        began_whole = mark._replace(disturbed=mark.disturbed or mark.at < whole_at)
        one = recovery(began_whole, sights, ticks_before, until=until)
        if one is not None:
            found.append(one)
            ended_at = mark.at + one.seconds if one.seconds is not None else float("inf")
            whole_at = max(whole_at, ended_at)
    return found


def recovery(
    mark: Mark,
    sights: Sequence[Sequence[Sight]],
    ticks_before: Callable[[int, int], int],
    *,
    until: float,
) -> Recovery | None:
    """Measure one recovery.

    Parameters
    ----------
    mark
        What was hit, and when.
    sights
        By partition, what its own index proved.
    ticks_before
        Of a partition and an offset, how many of its ticks stand before it.
    until
        Moment from which on too little of the log was left to prove anything by.

    Returns
    -------
    Recovery or None
        None where the worker held nothing, or too little is known of what it had done, or the log ended too soon.

    Notes
    -----
    A publication counts for a partition when even the shortest prefix of the log that it can stand for is longer than what
    the worker had told of: none of the worker's own partials can be behind it.
    """
    if not mark.partitions or mark.known is None:
        return None
    ended_at: list[float] = []
    stale_at: list[float] = []
    for partition in mark.partitions:
        had = ticks_before(partition, mark.known.get(partition, 0))
        after = [sight for sight in sights[partition] if sight.at > mark.at]
        moved = next((sight.at for sight in after if sight.fewest > had), None)
        if moved is None:
            return Recovery(mark, None, None) if mark.at < until else None
        ended_at.append(moved)
        stale_at += [s.at for s in after if s.at <= moved and s.status == "stale"][:1]
    seconds = max(ended_at) - mark.at
    return Recovery(mark, seconds, min(stale_at) - mark.at if stale_at else None)


def bounds(recoveries: Iterable[Recovery], *, session_timeout_s: float) -> Law:
    """Check the time of every recovery, where no other fault came within the time that it is given."""
    law = Law("a restarted worker goes on within 5 s, a successor within session timeout + 3 s")
    limit_s: dict[Way, float] = {
        "restarted": RESTARTED_WITHIN_S,
        "taken over": session_timeout_s + TAKEN_OVER_WITHIN_S,
        "woken": session_timeout_s + TAKEN_OVER_WITHIN_S,
    }
    for one in recoveries:
        limit = limit_s.get(one.mark.way)
        if limit is not None and not one.mark.disturbed and one.mark.alone_s >= limit:
            took = "never" if one.seconds is None else f"{one.seconds:.2f} s"
            whom = f"fault {one.mark.number}, {one.mark.worker} {one.mark.way}"
            law.expect(one.seconds is not None and one.seconds <= limit, f"{whom}: {took}")
    return law


def staleness(recoveries: Iterable[Recovery], *, within_s: float) -> Law:
    """Check that indexes said that they were stale, where somebody was there to say it and it lasted long enough."""
    law = Law("indexes of a worker that is gone say that they are stale")
    for one in recoveries:
        lasted = one.seconds is not None and one.seconds > within_s
        alone = not one.mark.disturbed and one.mark.alone_s >= within_s
        if lasted and alone and not one.mark.publisher:
            whom = f"fault {one.mark.number}, {one.mark.worker} {one.mark.way}"
            found = one.stale_after_s
            law.expect(
                found is not None and found <= within_s,
                f"{whom}, {one.seconds:.2f} s: stale {'never' if found is None else f'after {found:.2f} s'}",
            )
    return law


class Figures(NamedTuple):
    """Of some recoveries, in seconds."""

    n: int
    median: float
    p90: float
    worst: float


def figures(seconds: Sequence[float]) -> Figures:
    """Sum up some times; there is at least one."""
    ordered = sorted(seconds)
    # The smallest time that nine tenths do not exceed.
    p90 = ordered[max(-(-len(ordered) * 9 // 10) - 1, 0)]
    return Figures(len(ordered), statistics.median(ordered), p90, ordered[-1])


def histogram(seconds: Sequence[float]) -> list[str]:
    """Draw times as lines of text: upper bound, bar, count."""
    counts = [0] * (len(STEPS_S) + 1)
    for one in seconds:
        counts[next((i for i, step in enumerate(STEPS_S) if one <= step), len(STEPS_S))] += 1
    filled = [i for i, n in enumerate(counts) if n]
    if not filled:
        return []
    most = max(counts)
    lines = []
    for i in range(filled[0], filled[-1] + 1):
        bound = f"{STEPS_S[i]:4g} s" if i < len(STEPS_S) else "  more"
        bar = "#" * -(-counts[i] * BARS // most)
        lines.append(f"{bound} {bar:<{BARS}} {counts[i]:4}")
    return lines
