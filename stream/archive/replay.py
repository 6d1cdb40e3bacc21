"""Books taken to any offset of their logs, by the same code that took them there when the levels were published."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from operator import attrgetter

from faust.types import TP

from stream.archive.compositions import Compositions
from stream.archive.source import LogRecord, Source, Span
from stream.errors import SetupError
from stream.index.book import Book, BookState
from stream.index.composition import Composition
from stream.index.partial import Partial
from stream.pipeline.dead_letters import DeadLetters
from stream.pipeline.intake import Intake, MissingCompositionError
from stream.pipeline.transport import FetchedBatch
from stream.session.calendar import Calendar

#: Books are remembered this many records apart at first; the distance doubles where a log is long.
FIRST_DISTANCE = 20_000
MOST_MARKS = 16

_offset = attrgetter("offset")

#: Hears of the records that were applied.
OnRecords = Callable[[Sequence[LogRecord]], object]


class Marks:
    """Books as they stood at some offsets of a log, so that it need not be read from its start to go back a little.

    Parameters
    ----------
    first
        At the start.
    """

    def __init__(self, first: BookState) -> None:
        self._states = [first]
        self._distance = FIRST_DISTANCE

    def pass_by(self, book: Book) -> None:
        """Remember a book, if the last mark is far enough behind it."""
        if book.offset - self._states[-1].offset < self._distance:
            return
        self._states.append(book.state())
        if len(self._states) > MOST_MARKS:
            del self._states[1::2]
            self._distance *= 2

    def before(self, offset: int) -> BookState:
        """Give the last mark at or before an offset; the first one where none is."""
        at = bisect_left(self._states, offset + 1, key=_offset)
        return self._states[max(at - 1, 0)]


class Track:
    """One partition's book and log.

    Parameters
    ----------
    source
        Gives the log.
    partition
        Which.
    span
        What there is of it.
    intake
        Holds the book, which stands at the start of what is to be replayed.
    compositions
        Give those that the log announces.
    on_move
        Called when the book has moved.

    Attributes
    ----------
    start
        Offset at which the book was opened.
    span
        As given.
    """

    def __init__(
        self,
        source: Source,
        partition: int,
        span: Span,
        intake: Intake,
        compositions: Compositions,
        on_move: Callable[[], object],
    ) -> None:
        self.span = span
        self.start = intake.books[partition].offset
        self._source = source
        self._partition = partition
        self._intake = intake
        self._compositions = compositions
        self._on_move = on_move
        self._marks = Marks(self.book.state())
        self._batches: AsyncGenerator[Sequence[LogRecord]] | None = None
        self._unapplied: Sequence[LogRecord] = ()
        self._partial: Partial | None = None

    @property
    def book(self) -> Book:
        """The book, as far as it was taken."""
        return self._intake.books[self._partition]

    def reaches(self, offset: int) -> bool:
        """Tell whether the book can be taken to an offset."""
        return self.start <= offset <= self.span.end

    async def partial(self, offset: int) -> Partial:
        """Take the book to an offset, forwards or back, and give its partial there.

        Raises
        ------
        SetupError, ServiceError, FileError
            Where the log or a composition that it announces cannot be read.
        """
        await self.go(offset)
        if self._partial is None:
            self._partial = self.book.partial()
        return self._partial

    async def go(
        self,
        offset: int,
        *,
        before: Callable[[LogRecord], bool] | None = None,
        on_records: OnRecords | None = None,
    ) -> bool:
        """Take the book to an offset: all records before it are applied, none from it on.

        Parameters
        ----------
        offset
            Where to.
        before
            Stop earlier, before the first record of which this is true.
        on_records
            Hears of the records as they are applied.

        Returns
        -------
        bool
            Whether it was stopped earlier.

        Raises
        ------
        SetupError, ServiceError, FileError
            As for `partial`.
        """
        if offset < self.book.offset:
            await self._go_back(offset)
        while self.book.offset < offset:
            records = await self._next()
            end = bisect_left(records, offset, key=_offset)
            stop = next((i for i in range(end) if before(records[i])), None) if before else None
            end = end if stop is None else stop
            # Without records up to there, markers and what compaction has removed fill the log.
            exhausted = not records or end < len(records)
            reached = records[stop].offset if stop is not None else offset
            await self._apply(records[:end], reached if exhausted else records[end - 1].offset + 1)
            if on_records is not None and end:
                on_records(records[:end])
            self._unapplied = records[end:]
            if stop is not None:
                return True
        return False

    async def close(self) -> None:
        """Let go of the log."""
        if self._batches is not None:
            await self._batches.aclose()
            self._batches = None
        self._unapplied = ()

    async def _next(self) -> Sequence[LogRecord]:
        """Give records that were read and not applied yet; none at the end of the log."""
        if self._unapplied:
            return self._unapplied
        if self._batches is None:
            self._batches = self._source.read(
                "ticks", self._partition, self.book.offset, self.span.end
            )
        return await anext(self._batches, ())

    async def _apply(self, records: Sequence[LogRecord], next_offset: int) -> None:
        self._partial = None
        where = TP(self._source.topic, self._partition)
        batch = FetchedBatch(where, list(records), next_offset, self.span.end)
        while True:
            try:
                self._intake.apply([batch])
                break
            except MissingCompositionError as missing:
                self._intake.know(await self._compositions.get(missing.composition))
        self._marks.pass_by(self.book)
        self._on_move()

    async def _go_back(self, offset: int) -> None:
        await self.close()
        self._partial = None
        self._intake.restore(self._marks.before(offset))


class Replay:
    """The books of all partitions; made by `open_replay`.

    Parameters
    ----------
    tracks
        By partition.
    intake
        Holds the books.
    incomplete
        As below.
    calendar
        By which the levels were published.

    Attributes
    ----------
    tracks, calendar
        As given.
    incomplete
        Partitions whose first records are gone, with no whole book in their place, and the first offset that is left.
    """

    def __init__(
        self,
        tracks: Mapping[int, Track],
        intake: Intake,
        incomplete: Mapping[int, int],
        calendar: Calendar,
    ) -> None:
        self.tracks = tracks
        self.calendar = calendar
        self.incomplete = incomplete
        self._intake = intake

    @property
    def passed(self) -> int:
        """Offsets that the books have been taken past, of all partitions together."""
        return sum(track.book.offset - track.start for track in self.tracks.values())

    def distance(self, offsets: Mapping[int, int]) -> int:
        """Give how many offsets lie between the starts of the logs and some offsets, of all partitions together."""
        return sum(max(o - self.tracks[p].start, 0) for p, o in offsets.items() if p in self.tracks)

    def composition(self, id: str) -> Composition:  # noqa: A002 - what it is called in the log
        """Give a composition that a book stands in."""
        return self._intake.composition(id)

    def reaches(self, offsets: Mapping[int, int]) -> bool:
        """Tell whether all books can be taken to these offsets, given by partition."""
        return all(
            p in self.tracks and self.tracks[p].reaches(offset) for p, offset in offsets.items()
        )

    async def partials(self, offsets: Mapping[int, int]) -> list[Partial]:
        """Take the books to these offsets, and give their partials.

        Raises
        ------
        SetupError, ServiceError, FileError
            As `Track.partial`.
        """
        return [await self.tracks[p].partial(offset) for p, offset in sorted(offsets.items())]


@asynccontextmanager
async def open_replay(
    source: Source, compositions: Compositions, *, on_move: Callable[[], object] = lambda: None
) -> AsyncIterator[Replay]:
    """Open the books of all partitions where their logs begin.

    Parameters
    ----------
    source
        Gives the logs, and books to begin with where it has any.
    compositions
        Those that the books stand in, and that the logs announce.
    on_move
        Called when a book has moved.

    Raises
    ------
    SetupError
        Where the books of the source do not belong to its logs, or a composition was not kept.
    ServiceError, FileError
        Where the logs cannot be read.
    """
    spans = await source.spans("ticks")
    if not spans:
        raise SetupError(f"{source.name}: there is no log of ticks (topic {source.topic})")
    without = spans.keys() - source.states.keys()
    first = await compositions.first() if without else source.states[min(spans)].composition
    calendar = Calendar.over_bundled(source.calendar, file=f"calendar of {source.name}")
    intake = Intake(
        await compositions.get(first),
        calendar=calendar,
        rules=source.price_rules,
        dead_letters=DeadLetters(per_s=0),
        topic=source.topic,
    )
    for partition, span in spans.items():
        if partition in without:
            intake.begin(partition, offset=span.start)
        else:
            state = source.states[partition]
            _check(source, state, span)
            intake.know(await compositions.get(state.composition))
            intake.restore(state)
    tracks = {p: Track(source, p, span, intake, compositions, on_move) for p, span in spans.items()}
    cut = {p: spans[p].start for p in sorted(without) if spans[p].start > 0}
    try:
        yield Replay(tracks, intake, {**source.incomplete, **cut}, calendar)
    finally:
        for track in tracks.values():
            await track.close()


def _check(source: Source, state: BookState, span: Span) -> None:
    if not span.start <= state.offset <= span.end:
        raise SetupError(
            f"{source.name}: the book of partition {state.partition} stands at offset {state.offset}, "
            f"but the log of {source.topic} holds {span.start} to {span.end}"
        )
