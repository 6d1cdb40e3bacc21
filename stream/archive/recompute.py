"""Levels in the order of their topic, each with what it is when computed again."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from stream.archive.published import Published, read_published
from stream.archive.replay import Replay
from stream.archive.sessions import Extent
from stream.archive.source import LogRecord, Source
from stream.errors import WireError
from stream.index.aggregate import Doubt
from stream.index.partial import total
from stream.index.snapshot import Snapshot, moment_of, snapshots

#: Levels that are read ahead: those of one second are written in another order than they were published in.
WINDOW = 20_000


@dataclass(slots=True)
class Recomputed:
    """A record of the topic `levels`, and what came of it.

    Attributes
    ----------
    offset, key
        The record's own.
    published
        What it says, or None where it is no level.
    snapshot
        The same level computed again, without open, high and low; None where that cannot be done.
    why
        Why not; empty where the logs do not hold what it stands for (any more).
    done
        Whether it was tried.
    """

    offset: int
    key: bytes
    published: Published | None = None
    snapshot: Snapshot | None = None
    why: str = ""
    done: bool = False


#: A publication's epoch, and the offsets that it stands for.
_Publication = tuple[int, tuple[tuple[int, int], ...]]


async def recompute(
    source: Source, replay: Replay, extent: Extent, codes: Collection[str]
) -> AsyncGenerator[Recomputed]:
    """Compute the levels of a session again.

    Parameters
    ----------
    source
        Holds the topic `levels`.
    replay
        Takes the books to the offsets that levels name.
    extent
        The session's part of the topic.
    codes
        Indexes whose levels are wanted.

    Yields
    ------
    Recomputed
        In the order of the topic.

    Raises
    ------
    SetupError, ServiceError, FileError
        Where a log cannot be read, or a composition that it announces was not kept.
    """
    window: deque[Recomputed] = deque()
    async with aclosing(source.read("levels", 0, extent.start, extent.end)) as batches:
        async for batch in batches:
            window += [one for record in batch if (one := _read(record, codes)) is not None]
            while len(window) >= WINDOW:
                async with aclosing(_computed(replay, window, WINDOW // 2)) as levels:
                    async for one in levels:
                        yield one
    while window:
        async with aclosing(_computed(replay, window, WINDOW // 2)) as levels:
            async for one in levels:
                yield one


def _read(record: LogRecord, codes: Collection[str]) -> Recomputed | None:
    key = record.key or b""
    try:
        published = read_published(record)
    except WireError as error:
        return Recomputed(record.offset, key, why=str(error), done=True)
    return Recomputed(record.offset, key, published) if published.audit.code in codes else None


def _ready(window: deque[Recomputed]) -> Iterator[Recomputed]:
    while window and window[0].done:
        yield window.popleft()


async def _computed(
    replay: Replay, window: deque[Recomputed], n: int
) -> AsyncGenerator[Recomputed]:
    """Compute about so many levels, those of the lowest offsets, and give those whose turn has come."""
    publications: dict[_Publication, list[Recomputed]] = {}
    for one in window:
        if one.published is not None and not one.done:
            audit = one.published.audit
            key = audit.epoch, tuple(sorted(audit.offsets.items()))
            publications.setdefault(key, []).append(one)
    for one in _ready(window):
        yield one
    # Offsets only grow within an epoch: in the order of their sums, no book has to go back.
    for key in sorted(publications, key=lambda key: (key[0], sum(offset for _, offset in key[1]))):
        await _compute_publication(replay, dict(key[1]), publications[key])
        for one in _ready(window):
            yield one
        n -= len(publications[key])
        if n <= 0:
            return


async def _compute_publication(
    replay: Replay, offsets: Mapping[int, int], levels: Sequence[Recomputed]
) -> None:
    for one in levels:
        one.done = True
    if not offsets or not replay.reaches(offsets):
        return
    partials = await replay.partials(offsets)
    standings = sorted({partial.standing for partial in partials})
    if len(standings) > 1:
        for one in levels:
            one.why = f"a sum of partitions that stand in {standings}"
        return
    composition = replay.composition(partials[0].composition)
    added = total(composition, partials)
    for one in levels:
        assert one.published is not None
        audit = one.published.audit
        if audit.code not in composition.codes:
            one.why = f"no such index in composition {composition.id}"
            continue
        # Whether a worker was silent stands in no log; all that follows from it is computed.
        doubts = np.full(len(composition.indexes), Doubt.STALE if audit.stale else Doubt.NONE)
        moment = moment_of(replay.calendar, added, audit.published_ns)
        position = composition.codes.index(audit.code)
        (one.snapshot,) = snapshots(composition, [position], added, moment=moment, doubts=doubts)
