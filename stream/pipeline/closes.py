"""Official opens and closes of constituents, from the books to the topic `closes` (`design.md`, the way back)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from stream.index.book import Book, Past
from stream.index.partial import NO_EVENT
from stream.pipeline.log import KafkaLog
from stream.session.calendar import Calendar, Venue
from stream.wire.closes import close_key, encode_close

#: Key and value.
_Record = tuple[bytes, bytes]

#: Records that travel together.
WRITTEN_AT_ONCE = 500


class ConstituentCloses:
    """Writes what books learn of official prices.

    Parameters
    ----------
    kafka
        To write with.
    topic
        Name of the topic.
    calendar
        Tells which session a close belongs to.

    Notes
    -----
    Who opens a book writes all official prices of its session once more: a record is the same whoever writes it.
    """

    def __init__(self, kafka: KafkaLog, topic: str, *, calendar: Calendar) -> None:
        self._kafka = kafka
        self._topic = topic
        self._calendar = calendar
        self._written: dict[int, tuple[Book, str, str, NDArray[np.void]]] = {}
        # Openings of the last session that was written, and of the one before, by symbol: a late close is of the latter.
        self._openings: dict[int, dict[str, dict[str, int]]] = {}
        # Two at once could write an older price after a newer one.
        self._one_at_a_time = asyncio.Lock()

    async def write(self, book: Book) -> None:
        """Write the official prices of a book that have changed since: when it is over, no session waits that has ended.

        Raises
        ------
        ServiceError
            Where Kafka does not take them; the next call tries again.
        """
        async with self._one_at_a_time:
            await self._write_past(book)
            now = Past(book.session, book.composition, book.layer.official_prices)
            await self._write_session(book, now)
            # What a roll has ended meanwhile would be in no checkpoint.
            await self._write_past(book)

    async def _write_past(self, book: Book) -> None:
        while book.past:
            one = book.past[0]
            await self._write_session(book, one)
            # The oldest is let go of where too many wait.
            if book.past and book.past[0] is one:
                book.past.popleft()

    async def _write_session(self, book: Book, one: Past) -> None:
        standing, prices = (book, one.composition.id, one.session), one.prices
        before = self._written.get(book.partition)
        rows = np.flatnonzero((prices["opening"] > 0) | (prices["official"] > 0))
        if before is not None and before[:3] == standing:
            rows = np.flatnonzero(prices != before[3])
        await self._append(self._records(book, one, rows))
        self._written[book.partition] = (*standing, prices)
        self._remember_openings(book.partition, one)

    def _remember_openings(self, partition: int, one: Past) -> None:
        openings = self._openings.setdefault(partition, {})
        rows = np.flatnonzero(one.prices["opening"])
        symbols = one.composition.symbols
        openings[one.session] = {
            symbols[row]: int(one.prices["opening"][row]) for row in rows.tolist()
        }
        for session in sorted(openings)[:-2]:
            del openings[session]

    async def _append(self, records: Iterable[_Record]) -> None:
        # The book goes on meanwhile.
        whole = list(records)
        for first in range(0, len(whole), WRITTEN_AT_ONCE):
            await self._kafka.append_all(self._topic, whole[first : first + WRITTEN_AT_ONCE])

    def forget(self, partitions: set[int]) -> None:
        """Forget the partitions that are another worker's now."""
        for partition in self._written.keys() & partitions:
            del self._written[partition]
            self._openings.pop(partition, None)

    def _records(self, book: Book, one: Past, rows: NDArray[np.int64]) -> Iterator[_Record]:
        session, symbols = one.session, one.composition.symbols
        earlier = self._openings.get(book.partition, {})
        for row in rows.tolist():
            symbol = symbols[row]
            opening, official, ts, corrected = one.prices[row].tolist()
            closed = self._calendar.last_close(ts)[0] if official else ""
            opened = session or closed or self._session_at(int(book.layer.heard_ts.max()))
            if closed and closed != opened:
                # Late, of the session before: the opening is not of that day.
                of_then = earlier.get(closed, {}).get(symbol, 0)
                yield _record(symbol, closed, of_then, official, ts, corrected=corrected)
                official, ts, corrected = 0, NO_EVENT, False
            if opening or official or not closed:
                yield _record(symbol, opened, opening, official, ts, corrected=corrected)

    def _session_at(self, ts: int) -> str:
        return self._calendar.session_at(ts, Venue.EQUITIES).name


def _record(
    symbol: str, date: str, opening: int, close: int, ts: int, *, corrected: bool
) -> _Record:
    value = encode_close(
        symbol, date=date, opening=opening, close=close, close_ts=ts, corrected=corrected
    )
    return close_key(date, symbol), value
