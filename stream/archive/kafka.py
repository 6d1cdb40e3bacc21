"""The topics as a source: each part of a log is read by a consumer of its own, which belongs to no group."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.archive.fetching import fetched
from stream.archive.source import Log, LogRecord, Span
from stream.errors import ServiceError
from stream.index.book import BookState
from stream.settings import Settings
from stream.topics import CONNECT_S, count_partitions, reaching

#: Bytes that a broker may return in one fetch; each partition's reader holds up to two of these.
MAX_FETCH_BYTES = 4 * 1024 * 1024

#: Brokers that give nothing for so long, though the log goes on, are lost.
LOST_S = 15.0

POLL_S = 1.0


class KafkaSource:
    """Reads what the topics still hold.

    Parameters
    ----------
    settings
        Kafka's address, names of the topics, calendar and rules for prices.
    states, incomplete
        Books to begin with, by partition, as an export has left them, and what they may lack.

    Attributes
    ----------
    name, topic, calendar, price_rules, states, ends, incomplete
        As in `Source`.
    topics
        Name of each log's topic.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        states: Mapping[int, BookState] | None = None,
        incomplete: Mapping[int, int] | None = None,
    ) -> None:
        self.name = f"Kafka at {settings.kafka_url}"
        self.topic = settings.ticks_topic
        self.calendar = settings.calendar_text
        self.price_rules = settings.price_rules
        self.states: Mapping[int, BookState] = states or {}
        self.ends: Mapping[int, BookState] = {}
        self.incomplete: Mapping[int, int] = incomplete or {}
        self._url = settings.kafka_url
        self.topics: Mapping[Log, str] = {
            "ticks": settings.ticks_topic,
            "levels": settings.levels_topic,
            "compositions": settings.compositions_topic,
            "control": settings.control_topic,
        }

    async def spans(self, log: Log) -> Mapping[int, Span]:
        """Ask the brokers what they retain.

        Raises
        ------
        ServiceError
            Where they cannot be reached within ten seconds.
        """
        topic = self.topics[log]
        n_partitions = await count_partitions(self._url, topic)
        if not n_partitions:
            return {}
        partitions = [TopicPartition(topic, number) for number in range(n_partitions)]
        async with reaching(self._url, within_s=CONNECT_S), self._consumer() as consumer:
            starts = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
        return {tp.partition: Span(int(starts[tp]), int(ends[tp])) for tp in partitions}

    async def read(
        self, log: Log, partition: int, start: int, end: int
    ) -> AsyncGenerator[Sequence[LogRecord]]:
        """Read a part of a partition.

        Raises
        ------
        ServiceError
            Where the brokers are away, or no longer hold it.
        """
        if start >= end:
            return
        where = TopicPartition(self.topics[log], partition)
        async with reaching(self._url), self._consumer() as consumer:
            consumer.assign([where])
            consumer.seek(where, start)
            position, heard_at = start, time.monotonic()
            while position < end:
                batch = await fetched(consumer, where, within_s=POLL_S)
                if batch is not None:
                    position = batch.next_offset
                    records = [
                        LogRecord(one.offset, one.timestamp, one.key, one.value)
                        for one in batch.records
                        if one.offset < end
                    ]
                    if records:
                        yield records
                    # Afterwards: whoever reads may have taken his time.
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > LOST_S:
                    raise ServiceError(
                        f"{self.name}: {where.topic} gives nothing from offset {position} on, though it ends at {end}"
                    )

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._url,
            enable_auto_commit=False,
            # Records that are gone are an error, not a reason to begin elsewhere.
            auto_offset_reset="none",
            max_partition_fetch_bytes=MAX_FETCH_BYTES,
            request_timeout_ms=int(CONNECT_S * 1000),
        )
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()
