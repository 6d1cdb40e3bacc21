"""Published levels computed again from the logs that they were made of, and compared digit for digit."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from stream.archive.compositions import Compositions
from stream.archive.judge import Judge
from stream.archive.outcome import Difference, Outcome
from stream.archive.recompute import recompute
from stream.archive.replay import Replay, open_replay
from stream.archive.sessions import Extent
from stream.archive.source import Source
from stream.errors import SetupError
from stream.index.book import BookState
from stream.index.composition import Index
from stream.pipeline.intake import MissingCompositionError
from stream.wire import checkpoints
from stream.wire.checkpoints import Checkpoint


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a verification has come.

    Attributes
    ----------
    passed, of
        Offsets of ticks.
    levels, of_levels
        Levels that were compared.
    """

    passed: int
    of: int
    levels: int
    of_levels: int


async def verify(
    source: Source,
    extent: Extent,
    *,
    codes: Collection[str] = (),
    every: bool = False,
    on_difference: Callable[[Difference], object] = lambda _: None,
    on_progress: Callable[[Progress], object] = lambda _: None,
) -> Outcome:
    """Compute the levels of a session again, and compare.

    Parameters
    ----------
    source
        Holds the logs.
    extent
        The session's part of the topic `levels`.
    codes
        Indexes to verify; none means all.
    every
        Go on after the first level that differs.
    on_difference
        Hears of each difference.
    on_progress
        Told, now and then, how far it is.

    Returns
    -------
    Outcome

    Raises
    ------
    SetupError
        Where a code has no level in the session, or something that is needed was not kept.
    ServiceError, FileError
        Where the logs cannot be read.

    Notes
    -----
    One pass over the ticks that the levels stand for, except where a publisher began at lower offsets than its predecessor
    had reached. Memory is that of some ten thousand levels and some copies of the books, however long the session.
    """
    unknown = sorted(set(codes) - extent.codes.keys())
    if unknown:
        raise SetupError(
            f"{source.name}: no level of {', '.join(unknown)} in session {extent.session}"
        )
    wanted = frozenset(codes or extent.codes)
    n_levels = sum(extent.codes[code] for code in wanted)
    outcome = Outcome(extent.session)

    def tell() -> None:
        on_progress(Progress(replay.passed, n_offsets, outcome.records, n_levels))

    async with (
        open_replay(source, Compositions(source), on_move=tell) as replay,
        aclosing(recompute(source, replay, extent, wanted)) as levels,
    ):
        n_offsets = replay.distance(extent.most)
        outcome.incomplete = dict(replay.incomplete)
        judge = Judge(outcome, index=partial(_index, replay), on_difference=on_difference)
        async for one in levels:
            judge.judge(one)
            if outcome.different and not every:
                break
        else:
            outcome.books_different = await _books_different(source, replay)
        tell()
    return outcome


async def _books_different(source: Source, replay: Replay) -> list[int]:
    """Find the partitions whose books do not stand at the ends of their logs as they are known to have stood."""
    different = []
    for partition, end in source.ends.items():
        track = replay.tracks[partition]
        await track.go(end.offset)
        if _as_bytes(track.book.state()) != _as_bytes(end):
            different.append(partition)
    return different


def _as_bytes(state: BookState) -> bytes:
    return checkpoints.encode(Checkpoint(state, topic="", partitions=0))


def _index(replay: Replay, composition: str, code: str) -> Index | None:
    try:
        indexes = replay.composition(composition).indexes
    except MissingCompositionError:
        return None
    return next((index for index in indexes if index.code == code), None)
