"""The product between a log and a sink in memory: its feed's encoding, intake, books, aggregator and publisher, all real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import numpy as np
from aiokafka.record.default_records import DefaultRecord
from faust.types import TP

from stream.feed.producer import Format, Message, frame_messages, json_messages, partition_of
from stream.feed.sessions import by_session
from stream.feed.trades import Trades
from stream.index.aggregate import Aggregator
from stream.index.composition import Composition
from stream.index.control import Control, OriginRecord, Roll
from stream.index.price_rules import PriceRules
from stream.pipeline.dead_letters import DeadLetters
from stream.pipeline.intake import Intake
from stream.pipeline.transport import FetchedBatch
from stream.publish.publisher import Publisher
from stream.publish.redis import Message as Publication
from stream.session.calendar import Calendar, Session
from stream.wire import checkpoints, control

TOPIC = "ticks"
FRAME_SIZE = 64
#: A feed that is not paced: each record is stamped with its event time.
_NOW_MS = 0
#: A publisher's loop turns so often at most before it has published.
_TURNS = 20


class MemorySink:
    """Keeps what is published: of each index the newest snapshot, and the codes of the last publication.

    Attributes
    ----------
    newest
        Snapshots by code, numbers as they are written.
    published
        Codes of those that came with the last publication; empty where nothing did.
    n_snapshots
        All so far.
    """

    def __init__(self) -> None:
        self.newest: dict[str, dict[str, Any]] = {}
        self.published: list[str] = []
        self.n_snapshots = 0
        self.sequence: dict[str, int] = {}

    async def publish(self, messages: list[Publication], *, epoch: int, again: bool) -> None:
        del epoch, again
        for message in messages:
            self.newest[message.code] = json.loads(message.data, parse_float=str)
            # A number is used once, and none is left out.
            assert message.seq == self.sequence.get(message.code, 0) + 1
            self.sequence[message.code] = message.seq
        self.published = [message.code for message in messages]
        self.n_snapshots += len(messages)

    async def publish_packed(self, messages: list[Publication], *, epoch: int, again: bool) -> None:
        await self.publish(messages, epoch=epoch, again=again)

    async def beat(self, heartbeat: bytes, *, epoch: int) -> bool:
        del heartbeat, epoch
        return True

    async def write_closes(self, closes: Sequence[tuple[str, str, int]], *, epoch: int) -> None:
        del closes, epoch


class Played:
    """One worker's part of the road, without a clock and without sockets.

    Attributes
    ----------
    sink, publisher
        Where snapshots end, and who makes them.
    restarts
        How often a book went on from its encoded checkpoint.
    """

    def __init__(self, composition: Composition, *, n_partitions: int, form: Format) -> None:
        self.calendar = Calendar.bundled()
        self.restarts = 0
        self.sink = MemorySink()
        self._composition = composition
        self._form = form
        self._partition_of = np.array(
            [partition_of(symbol, n_partitions) for symbol in composition.symbols]
        )
        self._log: list[list[DefaultRecord]] = [[] for _ in range(n_partitions)]
        self._offset = [0] * n_partitions
        self._session: Session | None = None
        self._intake = Intake(
            composition,
            calendar=self.calendar,
            rules=PriceRules(),
            dead_letters=DeadLetters(per_s=0),
            topic=TOPIC,
        )
        self._intake.own(range(n_partitions))
        self._aggregator = Aggregator(composition, n_partitions=n_partitions)
        self.publisher = Publisher(
            self._aggregator,
            self.sink,
            epoch=1,
            cadence_s=0,
            packed_above=10**6,
            observe_delay=lambda _: None,
            calendar=self.calendar,
        )
        self._say(OriginRecord("simulated"), ts=0)

    @property
    def partitions(self) -> list[int]:
        """Partition of each row."""
        partitions: list[int] = self._partition_of.tolist()
        return partitions

    @property
    def refused(self) -> dict[str, int]:
        """Give the ticks that were refused, by reason."""
        return dict(self._intake.account.refused)

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Let the publisher run."""
        task = asyncio.create_task(self.publisher.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # ---- the feed --------------------------------------------------------------------------------

    def sessions(self, trades: Trades) -> Iterable[tuple[Trades, Session, bool]]:
        """Cut trades where a session begins, as the feed does; tell with which parts one does."""
        for part, reached in by_session(trades, self._session, self.calendar):
            begins = reached != self._session
            self._session = reached
            yield part, reached, begins

    def roll(self, session: Session) -> None:
        """Write to all partitions that a session begins."""
        self._say(Roll(*session), ts=session.starts_ns)

    def _say(self, said: Control, *, ts: int) -> None:
        for partition in range(len(self._log)):
            self._append(partition, [(ts // 10**6, b"", control.encode(said))])

    def write(self, trades: Trades) -> None:
        """Write trades to their partitions."""
        partition = self._partition_of[trades.symbol]
        for number in range(len(self._log)):
            part = trades.take(partition == number)
            if len(part):
                self._append(number, self._messages(part))

    def _messages(self, trades: Trades) -> Iterable[Message]:
        if self._form == "json":
            return json_messages(trades, now_ms=_NOW_MS)
        return frame_messages(trades, now_ms=_NOW_MS, frame_size=FRAME_SIZE)

    def _append(self, partition: int, messages: Iterable[Message]) -> None:
        log = self._log[partition]
        for stamp, key, value in messages:
            log.append(DefaultRecord(self._offset[partition], stamp, 0, key, value, []))
            self._offset[partition] += 1

    # ---- the worker ------------------------------------------------------------------------------

    def deliver(self, partitions: Iterable[int] | None = None, *, restarts: bool = False) -> None:
        """Let the books of some partitions read their logs to the end, and the aggregator hear of it.

        Parameters
        ----------
        partitions
            All, where None.
        restarts
            In the middle, let each book end, and go on from its checkpoint, written and read.
        """
        which = range(len(self._log)) if partitions is None else partitions
        batches = [self._batch(number) for number in which if self._log[number]]
        if restarts:
            self._apply([self._half(batch) for batch in batches])
            self._restart(batch.partition for batch in batches)
        self._apply(batches)
        for batch in batches:
            self._log[batch.partition].clear()
            self._aggregator.add(self._intake.books[batch.partition].partial())

    def _apply(self, batches: Sequence[FetchedBatch]) -> None:
        self._intake.apply(batches)

    def _batch(self, partition: int) -> FetchedBatch:
        end = self._offset[partition]
        return FetchedBatch(TP(TOPIC, partition), list(self._log[partition]), end, end)

    @staticmethod
    def _half(batch: FetchedBatch) -> FetchedBatch:
        records = batch.records[: len(batch.records) // 2]
        end = records[-1].offset + 1 if records else batch.records[0].offset
        return FetchedBatch(batch.tp, records, end, batch.highwater)

    def _restart(self, partitions: Iterable[int]) -> None:
        for number in partitions:
            state = self._intake.books[number].state()
            known = checkpoints.Checkpoint(state, TOPIC, len(self._log))
            self._intake.restore(checkpoints.decode(checkpoints.encode(known)).state)
            self.restarts += 1

    async def publish(self) -> None:
        """Let the publisher publish what it owes."""
        self.sink.published = []
        self.publisher.wake()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if self.publisher.idle:
                return
        raise AssertionError("the publisher did not come to rest")

    def recorded(self) -> list[dict[str, Any]]:
        """Take away what the publisher's record has kept since it was asked last."""
        waiting = self.publisher.record.waiting
        entries = [json.loads(entry.data) for entry in waiting]
        waiting.clear()
        return entries

    @property
    def ends(self) -> dict[str, int]:
        """Give the end of each log, as an audit names them."""
        return {str(number): offset for number, offset in enumerate(self._offset)}

    def recomputed(self) -> bool:
        """Tell whether running sums are those that the books give from nothing (law 2)."""
        return all(
            book.partial().same_values(book.recomputed()) for book in self._intake.books.values()
        )

    def closes(self) -> dict[tuple[str, str], Decimal]:
        """Give the official closes that the publisher found, by code and date."""
        known = self.publisher.closes.known
        return {key: Decimal(close).scaleb(-8) for key, close in known.items()}
