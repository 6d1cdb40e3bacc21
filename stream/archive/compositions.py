"""Compositions by their id, from the log in which they are kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from stream.archive.source import Log, LogRecord, Source
from stream.errors import SetupError, WireError
from stream.index.composition import Composition
from stream.index.control import Announcement
from stream.wire import compositions as wire
from stream.wire import control


class Compositions:
    """Reads a composition when it is first asked for.

    Parameters
    ----------
    source
        Where they are kept.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._known: dict[str, Composition] = {}

    @property
    def asked_for(self) -> frozenset[str]:
        """Ids of those that were given so far."""
        return frozenset(self._known)

    async def get(self, id: str) -> Composition:  # noqa: A002 - what it is called in the log
        """Give a composition.

        Raises
        ------
        SetupError
            Where it was not kept, or is not what it says.
        """
        if id not in self._known:
            self._known[id] = await self._read(id)
        return self._known[id]

    async def _read(self, id: str) -> Composition:  # noqa: A002 - as above
        newest: bytes | None = None
        async for record in read_all(self._source, "compositions"):
            if record.key == id.encode() and record.value is not None:
                newest = record.value
        if newest is None:
            raise SetupError(
                f"{self._source.name}: composition {id} is needed, and is not among the compositions kept"
            )
        try:
            composition = wire.decode(newest)
        except WireError as error:
            raise SetupError(f"{self._source.name}: {error}") from error
        if composition.id != id:
            raise SetupError(
                f"{self._source.name}: under the name of composition {id} stands {composition.id}"
            )
        return composition

    async def first(self) -> str:
        """Give the id of the composition in which a book without a past begins.

        Raises
        ------
        SetupError
            Where nothing tells.

        Notes
        -----
        The first that the control list announces: whoever began to read the logs wrote it there. Without a control list, the
        only one that is kept.
        """
        async with aclosing(read_all(self._source, "control")) as records:
            async for record in records:
                try:
                    said = control.decode(record.value or b"")
                except WireError:
                    # Workers pass over what they cannot read, and so does this.
                    continue
                if isinstance(said, Announcement):
                    return said.composition
        kept = {r.key.decode() async for r in read_all(self._source, "compositions") if r.key}
        if len(kept) == 1:
            return kept.pop()
        raise SetupError(
            f"{self._source.name}: no control record announces a composition, and {len(kept)} are kept"
        )


async def read_all(source: Source, log: Log) -> AsyncGenerator[LogRecord]:
    """Read all that there is of a log with one partition.

    Parameters
    ----------
    source
        Where it is kept.
    log
        Which.

    Yields
    ------
    LogRecord
        In order; none where the log does not exist.
    """
    span = (await source.spans(log)).get(0)
    if span is None or span.start >= span.end:
        return
    async with aclosing(source.read(log, 0, *span)) as batches:
        async for batch in batches:
            for record in batch:
                yield record
