"""Books that outlive their worker: checkpoints on a compacted topic, with the offset each stands for (laws 4 and 6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from aiokafka.structs import ConsumerRecord

from stream.errors import SetupError, WireError
from stream.index.book import Book
from stream.pipeline.compositions import Compositions
from stream.pipeline.intake import Intake
from stream.pipeline.log import KafkaLog
from stream.pipeline.transport import LogRange
from stream.settings import Settings
from stream.wire import checkpoints as wire
from stream.wire.checkpoints import BOOK, CLAIM_KEY, Checkpoint

log = logging.getLogger(__name__)


class Checkpoints:
    """Opens the books of partitions that are assigned, and writes them down as they go on.

    Parameters
    ----------
    kafka
        To read and write with.
    settings
        Names of the topics.
    intake
        Holds the books.
    compositions
        Gives those that checkpoints name.
    partitions
        Of the ticks topic.

    Attributes
    ----------
    written
        Offset of each book's last checkpoint.
    failures
        Checkpoints that could not be written.
    """

    def __init__(
        self,
        kafka: KafkaLog,
        settings: Settings,
        intake: Intake,
        compositions: Compositions,
        *,
        partitions: int,
    ) -> None:
        self.written: dict[int, int] = {}
        self.failures = 0
        self._kafka = kafka
        self._settings = settings
        self._intake = intake
        self._compositions = compositions
        self._partitions = partitions
        self._epochs: dict[int, int] = {}
        self._older: dict[int, set[bytes]] = {}
        # The timer and a hand-over may want the same book written at once.
        self._writing = asyncio.Lock()

    def epoch(self, partition: int) -> int:
        """Give the epoch of this owner of a partition: it grows with every owner."""
        return self._epochs.get(partition, 0)

    def partial_key(self, partition: int) -> bytes:
        """Give the key of a partition's partials: no one else writes under it."""
        return f"{partition}/{self.epoch(partition)}".encode()

    async def open(self, ranges: Mapping[int, LogRange]) -> dict[int, int]:
        """Claim partitions, and bring their books as far as anyone has written them down.

        Parameters
        ----------
        ranges
            For each partition, the first retained offset and the end of its log.

        Returns
        -------
        dict of int to int
            Where the log of each partition goes on.

        Raises
        ------
        SetupError
            Where a checkpoint is not of this log.
        ServiceError
            Where Kafka does not answer.
        """
        topic = self._settings.checkpoints_topic
        for partition in ranges:
            # The claim comes before the first write, and its offset grows with every owner.
            claim = await self._kafka.append(topic, CLAIM_KEY, b"claim", partition=partition)
            self._epochs[partition] = claim + 1
        records = await self._kafka.read(topic, list(ranges))
        for partition, span in ranges.items():
            newest = self._newest(partition, records[partition])
            book = self._intake.books.get(partition)
            if newest is not None and (book is None or newest.state.offset > book.offset):
                await self._check(newest, partition, span)
                await self._restore(newest)
            elif book is None:
                # Written down at once: whoever opens it next, with other files perhaps, must begin as it began.
                self._intake.begin(partition, offset=span.start)
                await self.write(self._intake.books[partition])
        return {partition: self._intake.books[partition].offset for partition in ranges}

    async def write(self, book: Book) -> None:
        """Write a book down as it stands.

        Raises
        ------
        ServiceError
            Where Kafka does not take it.
        """
        async with self._writing:
            await self._write(book)

    async def _write(self, book: Book) -> None:
        partition, offset = book.partition, book.offset
        if self._intake.books.get(partition) is not book:
            # Given away while another was written.
            return
        checkpoint = Checkpoint(
            book.state(),
            self._settings.ticks_topic,
            self._partitions,
            lines=self._intake.lines[partition].state(),
        )
        epoch = self._epochs[partition]
        await self._kafka.append(
            self._settings.checkpoints_topic,
            wire.key(BOOK, epoch),
            wire.encode(checkpoint),
            partition=partition,
        )
        self.written[partition] = offset
        if self._epochs[partition] == epoch:
            # Else this worker has claimed it anew meanwhile, and what it wrote here is among what it found then: perhaps it
            # is the only one.
            await self._bury(partition)

    async def _bury(self, partition: int) -> None:
        """Drop what earlier owners wrote, now that something newer stands there."""
        older = self._older.get(partition)
        if not older:
            return
        epochs = [key.rpartition(b"/")[2] for key in sorted(older)]
        await self._kafka.append_all(
            self._settings.checkpoints_topic,
            [(key, None) for key in sorted(older)],
            partition=partition,
        )
        if self._settings.partials == "topic":
            keys = [b"%d/%b" % (partition, epoch) for epoch in epochs]
            await self._kafka.append_all(
                self._settings.partials_topic, [(key, None) for key in keys]
            )
        if self._older.get(partition) is older:
            # A new claim may have found others meanwhile.
            del self._older[partition]

    def _newest(self, partition: int, records: Sequence[ConsumerRecord]) -> Checkpoint | None:
        """Find the checkpoint with the highest offset, whoever wrote it."""
        newest = {record.key: record.value for record in records if _is_book(record.key)}
        kept = {key: value for key, value in newest.items() if value is not None}
        own = wire.key(BOOK, self._epochs[partition])
        self._older[partition] = kept.keys() - {own}
        found: Checkpoint | None = None
        for key, value in kept.items():
            try:
                checkpoint = wire.decode(value)
            except WireError as error:
                log.warning(
                    "checkpoint_unreadable partition=%d key=%s error=%s", partition, key, error
                )
                continue
            if found is None or checkpoint.state.offset > found.state.offset:
                found = checkpoint
        return found

    async def _check(self, checkpoint: Checkpoint, partition: int, span: LogRange) -> None:
        settings, offset = self._settings, checkpoint.state.offset
        where = f"the checkpoint of partition {partition} in {settings.checkpoints_topic}"
        mend = "begin with a new topic of checkpoints (CAPSTREAM_CHECKPOINTS_TOPIC), so that the log is read from its start"
        if checkpoint.topic != settings.ticks_topic:
            raise SetupError(
                f"{where} is of topic {checkpoint.topic}, not {settings.ticks_topic}: {mend}"
            )
        if checkpoint.partitions != self._partitions:
            raise SetupError(
                f"{where} is of a topic with {checkpoint.partitions} partitions, not {self._partitions}: {mend}"
            )
        end = span.end
        if offset > end:
            # Whoever owned it a moment ago may have read on since that was asked.
            end = (await self._kafka.ends(settings.ticks_topic, [partition]))[partition]
        if not span.start <= offset <= end:
            raise SetupError(
                f"{where} stands for offset {offset}, but {settings.ticks_topic} holds {span.start} to {end}: it was "
                f"made anew, or has not been read for longer than it keeps its records; {mend}"
            )

    async def _restore(self, checkpoint: Checkpoint) -> None:
        composition = await self._compositions.get(checkpoint.state.composition)
        self._intake.know(composition)
        state = checkpoint.state
        self._intake.restore(state, checkpoint.lines)
        self.written[state.partition] = state.offset
        log.info("book_restored partition=%d offset=%d", state.partition, state.offset)


def _is_book(key: bytes | None) -> bool:
    return key is not None and key.startswith(BOOK.encode() + b"/")
