"""Which part of the topic `levels` is a session's, and which part of the ticks its levels stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from stream.archive.published import Published, read_published
from stream.archive.source import Source
from stream.errors import SetupError, WireError


@dataclass(slots=True)
class Extent:
    """A session's part of the topic `levels`: from its first record to its last, with all that stands between.

    Attributes
    ----------
    session
        Trade date.
    start, end
        Offsets in the topic, half-open.
    codes
        Records of each index.
    least, most
        By tick partition, the lowest and the highest offset that a level of the session stands for.
    compositions
        Ids of those that its levels stand in.
    """

    session: str
    start: int
    end: int
    codes: Counter[str] = field(default_factory=Counter)
    least: dict[int, int] = field(default_factory=dict)
    most: dict[int, int] = field(default_factory=dict)
    compositions: set[str] = field(default_factory=set)

    @property
    def records(self) -> int:
        """How many levels were published in it."""
        return self.codes.total()

    def add(self, published: Published) -> None:
        """Take the next record of the session."""
        audit = published.audit
        self.end = published.offset + 1
        self.codes[audit.code] += 1
        self.compositions.add(audit.composition)
        for partition, offset in audit.offsets.items():
            self.least[partition] = min(offset, self.least.get(partition, offset))
            self.most[partition] = max(offset, self.most.get(partition, offset))


async def find_sessions(
    source: Source, on_records: Callable[[int, int], object] = lambda _, __: None
) -> list[Extent]:
    """Find the sessions whose levels are kept.

    Parameters
    ----------
    source
        Holds the topic `levels`.
    on_records
        Told, now and then, how many records were looked at, and of how many.

    Returns
    -------
    list of Extent
        In the order of their last records; levels that name no session belong to none.

    Raises
    ------
    SetupError
        Where there is no such topic.
    ServiceError, FileError
        Where it cannot be read.

    Notes
    -----
    O(records of the topic); some microseconds each.
    """
    span = (await source.spans("levels")).get(0)
    if span is None:
        raise SetupError(f"{source.name}: no levels were recorded (there is no topic of levels)")
    found: dict[str, Extent] = {}
    last: Extent | None = None
    unreadable: int | None = None
    async with aclosing(source.read("levels", 0, *span)) as batches:
        async for batch in batches:
            for record in batch:
                try:
                    published = read_published(record)
                except WireError:
                    # It belongs to the levels around it: whoever verifies these is told.
                    unreadable = record.offset if unreadable is None else unreadable
                    if last is not None:
                        last.end = record.offset + 1
                    continue
                session = published.audit.session
                if session:
                    start = record.offset if last or unreadable is None else unreadable
                    last = found.setdefault(session, Extent(session, start, 0))
                    last.add(published)
            on_records(batch[-1].offset + 1 - span.start, span.end - span.start)
    return sorted(found.values(), key=lambda extent: extent.end)


def choose(extents: list[Extent], session: str | None, *, name: str) -> Extent:
    """Give the extent of a session, or of the newest one.

    Parameters
    ----------
    extents
        As `find_sessions` gives them.
    session
        Trade date, or None for the newest.
    name
        Of their source, for the message.

    Raises
    ------
    SetupError
        Where no level of it is kept.
    """
    if not extents:
        raise SetupError(f"{name}: none of the levels kept belongs to a session")
    if session is None:
        return extents[-1]
    for extent in extents:
        if extent.session == session:
            return extent
    kept = ", ".join(extent.session for extent in extents)
    raise SetupError(f"{name}: no level of session {session} is kept; there are {kept}")
