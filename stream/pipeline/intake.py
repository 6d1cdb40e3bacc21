"""The intake: batches of one partition's log into its book, and an account of every tick (law 9)."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from aiokafka.record.default_records import DefaultRecord
from numpy.typing import NDArray

from stream.index.book import Book, BookState
from stream.index.composition import Composition
from stream.index.control import Announcement, Control
from stream.index.lines import Lines
from stream.index.partial import Origin
from stream.index.price_rules import PriceRules
from stream.index.ticks import DEAD_LETTER_VERDICTS, Ticks, Verdict
from stream.pipeline.dead_letters import DeadLetter, DeadLetters
from stream.pipeline.transport import FetchedBatch
from stream.session.calendar import Calendar
from stream.wire.decoded import Decoded, Malformed
from stream.wire.messages import decode_messages
from stream.wire.symbols import SymbolTable

MALFORMED = "malformed"

#: Sale conditions that are not in the table come from outside: those that cannot be printed share one name.
OTHER = "other"

#: Frames are decoded and applied about this much at a time: larger arrays would travel to memory and back at every step.
PORTION_BYTES = 1024 * 1024


#: Ages are taken of about this many ticks of a fetch.
AGE_SAMPLES = 500

#: Upper bounds of the histogram of ages, in seconds.
AGE_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class AgeHistogram:
    """Ages of ticks when they were applied.

    Attributes
    ----------
    counts
        int64: ages up to each of AGE_BOUNDS_S and beyond the last, not cumulated.
    sum_s
        Of all ages, seconds.
    """

    __slots__ = ("_bounds_ns", "counts", "sum_s")

    def __init__(self) -> None:
        self._bounds_ns = (np.array(AGE_BOUNDS_S) * 1e9).astype(np.int64)
        self.counts = np.zeros(len(AGE_BOUNDS_S) + 1, np.int64)
        self.sum_s = 0.0

    def observe(self, age_ns: NDArray[np.int64]) -> None:
        """Count ages, given in ns."""
        self.counts += np.bincount(
            np.searchsorted(self._bounds_ns, age_ns), minlength=len(self.counts)
        )
        self.sum_s += float(age_ns.sum()) / 1e9


@dataclass(slots=True)
class Account:
    """What became of the ticks: applied + refused + malformed = ticks in (law 9).

    Attributes
    ----------
    ticks, applied
        Counts.
    refused
        Counts by reason, malformed ones included.
    unknown_conditions
        Sale conditions that are not in the table, by letter.
    """

    ticks: int = 0
    applied: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unknown_conditions: Counter[str] = field(default_factory=Counter)


class MissingCompositionError(Exception):
    """A log announces a composition that this worker has not been told of yet; nothing of that record was applied.

    Attributes
    ----------
    composition
        Its id.
    """

    def __init__(self, composition: str) -> None:
        super().__init__(composition)
        self.composition = composition


class Intake:
    """Holds the books of the partitions that this worker owns.

    Parameters
    ----------
    composition
        Constituents in force.
    calendar
        When prints set the last price.
    rules
        For bad prices; None believes every print.
    dead_letters
        Takes what cannot be found again by its reason alone.
    topic
        Name of the ticks topic, for dead letters.
    """

    def __init__(
        self,
        composition: Composition,
        *,
        calendar: Calendar,
        rules: PriceRules | None = None,
        dead_letters: DeadLetters,
        topic: str,
    ) -> None:
        self.account = Account()
        self.age = AgeHistogram()
        self.books: dict[int, Book] = {}
        self.lines: dict[int, Lines] = {}
        self._composition = composition
        self._compositions: dict[str, Composition] = {}
        self._symbols: dict[str, SymbolTable] = {}
        self._calendar, self._rules = calendar, rules
        self._dead_letters = dead_letters
        self._topic = topic
        self.know(composition)

    def know(self, composition: Composition) -> None:
        """Tell of a composition that logs may announce; those that no book stands in any more are forgotten."""
        in_use = {book.composition.id for book in self.books.values()} | {self._composition.id}
        for forgotten in self._compositions.keys() - in_use:
            del self._compositions[forgotten], self._symbols[forgotten]
        self._compositions[composition.id] = composition
        self._symbols[composition.id] = SymbolTable(composition.symbols)

    def composition(self, id: str) -> Composition:  # noqa: A002 - what it is called in the log
        """Give a composition that this intake was told of.

        Raises
        ------
        MissingCompositionError
            Where it was not.
        """
        if id not in self._compositions:
            raise MissingCompositionError(id)
        return self._compositions[id]

    def begin(self, partition: int, *, offset: int) -> None:
        """Open a new book of a partition whose log is read from this offset."""
        book = Book(
            self._composition, calendar=self._calendar, rules=self._rules, partition=partition
        )
        book.offset = offset
        self.books[partition] = book
        self.lines[partition] = Lines(len(self._composition.symbols))

    def restore(self, state: BookState, lines: Any = None) -> None:
        """Open a book as it stood, in a composition that this intake was told of.

        Parameters
        ----------
        state
            Of the book.
        lines
            Of its gap counters, where it is known.
        """
        composition = self.composition(state.composition)
        self.books[state.partition] = Book.restore(
            state, composition, calendar=self._calendar, rules=self._rules
        )
        self.lines[state.partition] = (
            Lines.restore(lines) if lines else Lines(len(composition.symbols))
        )

    def own(self, partitions: Iterable[int]) -> None:
        """Keep the books of these partitions, open those that are new, drop the others."""
        owned = set(partitions)
        for partition in self.books.keys() - owned:
            del self.books[partition], self.lines[partition]
        for partition in sorted(owned - self.books.keys()):
            self.begin(partition, offset=0)

    def apply(self, batches: Sequence[FetchedBatch]) -> list[Book]:
        """Apply the batches of a fetch to their books.

        Parameters
        ----------
        batches
            The next records of some partitions, one batch each; records that a book has seen already are passed over.

        Returns
        -------
        list of Book
            Those that have moved on; partitions that are not owned (any more) are left out.

        Raises
        ------
        MissingCompositionError
            Where a log announces a composition that is not known here: tell it, and apply the same batches again.
        """
        parts: list[_Part] = []
        records: list[DefaultRecord] = []
        for batch in batches:
            book = self.books.get(batch.partition)
            if book is not None:
                first = len(records)
                records += batch.after(book.offset).records
                parts.append(_Part(book, batch, first, len(records)))
        for first, last in _portions(records):
            inside = [part.within(first, last) for part in parts if part.meets(first, last)]
            self._apply_records(inside, records[first:last])
        for part in parts:
            part.book.offset = max(part.book.offset, part.batch.next_offset)
        return [part.book for part in parts]

    def _observe_age(self, origin: Origin, ticks: Ticks) -> None:
        # A simulated market has its own clock: there, the record's timestamp says when the tick was sent.
        born = ticks.ts if origin is Origin.LIVE else ticks.recorded
        self.age.observe(time.time_ns() - born[:: max(1, len(born) // AGE_SAMPLES)])

    def _apply_records(self, parts: Sequence[_Part], records: Sequence[DefaultRecord]) -> None:
        """Decode the records of all partitions together, then apply to each book its own."""
        composition = parts[0].book.composition.id
        if any(part.book.composition.id != composition for part in parts):
            self._apply_apart(parts, records)
            return
        recorded_ms = np.array([record.timestamp for record in records], np.int64)
        values = [record.value for record in records]
        decoded = decode_messages(values, recorded_ms, self._symbols[composition])
        cut = self._changes(decoded, composition)
        if cut is not None and (len(parts) > 1 or cut + 1 < len(records)):
            # What follows the announcement is to be read with the symbols of another composition.
            self._apply_apart(parts, records, cut=cut + 1)
            return
        edges = np.searchsorted(decoded.message, [part.first for part in parts] + [len(records)])
        verdicts: list[NDArray[np.uint8]] = []
        for part, start, stop in zip(parts, edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            verdicts += self._apply_part(part, decoded, start, stop)
            part.book.offset = max(part.book.offset, records[part.last - 1].offset + 1)
        verdict = np.concatenate(verdicts)
        self._observe_age(max(part.book.origin for part in parts), decoded.ticks)
        if self._count(decoded, verdict):
            self._bury(parts, records, decoded, verdict)

    def _apply_apart(
        self, parts: Sequence[_Part], records: Sequence[DefaultRecord], cut: int | None = None
    ) -> None:
        """Apply each partition's records by themselves, and those before a cut before the others."""
        for part in parts:
            edges = [part.first, part.last]
            if cut is not None and part.first < cut < part.last:
                edges.insert(1, cut)
            for first, last in pairwise(edges):
                self._apply_records([part.within(first, last)], records[first:last])

    def _changes(self, decoded: Decoded, composition: str) -> int | None:
        """Find the first message that announces another composition, once it is known here."""
        for message, control in decoded.controls:
            if isinstance(control, Announcement) and control.composition != composition:
                self.composition(control.composition)
                return message
        return None

    def _apply_part(
        self, part: _Part, decoded: Decoded, start: int, stop: int
    ) -> Iterator[NDArray[np.uint8]]:
        """Apply one partition's ticks, and between them its control records, in the order of the log."""
        first = part.first
        for message, control in decoded.controls:
            if part.first <= message < part.last:
                at = max(int(np.searchsorted(decoded.message, message)), start)
                yield self._apply_ticks(part.book, decoded, slice(start, at), first, message)
                start, first = at, message
                self._obey(part.book, control)
        yield self._apply_ticks(part.book, decoded, slice(start, stop), first, part.last)

    def _apply_ticks(
        self, book: Book, decoded: Decoded, which: slice, first: int, last: int
    ) -> NDArray[np.uint8]:
        """Apply the ticks of the messages from `first` up to, not including, `last`."""
        ticks = decoded.ticks.take(which)
        verdict = book.apply(ticks)
        self.lines[book.partition].see(
            ticks,
            verdict,
            source=decoded.source[which],
            message=decoded.message[which],
            frames=decoded.frames.within(first, last),
        )
        return verdict

    def _obey(self, book: Book, control: Control) -> None:
        if not isinstance(control, Announcement):
            book.obey(control)
            return
        before = book.composition
        book.obey(control, composition=self.composition(control.composition))
        if book.composition is not before:
            after = book.composition.row_of
            pairs = [(row, after[one]) for one, row in before.row_of.items() if one in after]
            source, target = np.array(pairs, np.int64).reshape(-1, 2).T
            self.lines[book.partition].renumber(
                source, target, n_rows=len(book.composition.symbols)
            )

    def _count(self, decoded: Decoded, verdict: NDArray[np.uint8]) -> bool:
        """Count what became of the ticks, and tell whether any was refused."""
        account = self.account
        account.ticks += len(verdict) + len(decoded.malformed)
        if decoded.unknown_conditions:
            for letter, count in decoded.unknown_conditions.items():
                account.unknown_conditions[letter if _is_plain(letter) else OTHER] += count
        if decoded.malformed:
            account.refused[MALFORMED] += len(decoded.malformed)
        elif not verdict.any():
            account.applied += len(verdict)
            return False
        counts = np.bincount(verdict, minlength=len(Verdict)).tolist()
        account.applied += counts[Verdict.APPLIED]
        for refused in Verdict:
            if refused is not Verdict.APPLIED and counts[refused]:
                account.refused[refused.reason] += counts[refused]
        return True

    def _bury(
        self,
        parts: Sequence[_Part],
        records: Sequence[DefaultRecord],
        decoded: Decoded,
        verdict: NDArray[np.uint8],
    ) -> None:
        dead = np.flatnonzero(np.isin(verdict, DEAD_LETTER_VERDICTS))
        n = len(decoded.malformed) + len(dead)
        room = self._dead_letters.admit(n, now=time.monotonic())
        faults = list(decoded.malformed[:room])
        reasons = [MALFORMED] * len(faults)
        for i in dead[: room - len(faults)]:
            message = int(decoded.message[i])
            single = (records[message].value or b"").startswith(b"{")
            faults.append(Malformed(message, None if single else int(decoded.element[i]), ""))
            reasons.append(Verdict(verdict[i]).reason)
        lasts = [part.last for part in parts]
        for fault, reason in zip(faults, reasons, strict=True):
            record = records[fault.message]
            letter = DeadLetter(
                key=record.key,
                value=record.value or b"",
                reason=reason,
                detail=fault.detail,
                topic=self._topic,
                partition=parts[bisect_right(lasts, fault.message)].batch.partition,
                offset=record.offset,
                element=fault.element,
            )
            self._dead_letters.add(letter)


@dataclass(frozen=True, slots=True)
class _Part:
    """A partition's share of the records of a fetch: from `first` up to, not including, `last`."""

    book: Book
    batch: FetchedBatch
    first: int
    last: int

    def meets(self, first: int, last: int) -> bool:
        """Tell whether any of its records lie in a portion."""
        return self.first < self.last and self.first < last and self.last > first

    def within(self, first: int, last: int) -> _Part:
        """Give its share of a portion, counted from the portion's own first record."""
        start, stop = max(self.first, first) - first, min(self.last, last) - first
        return replace(self, first=start, last=stop)


def _is_plain(letter: str) -> bool:
    return letter.isascii() and letter.isprintable()


def _portions(records: Sequence[DefaultRecord]) -> Iterator[tuple[int, int]]:
    """Cut the records of a fetch into portions that a processor's cache can hold, judged by the first record's size."""
    size = len(records[0].value or b"") if records else 0
    step = max(PORTION_BYTES // max(size, 1), 1)
    for first in range(0, len(records), step):
        yield first, min(first + step, len(records))
