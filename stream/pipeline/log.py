"""Kafka as a log of our own records: appended with an acknowledgement, read from the start to the end that there was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from stream.settings import Settings
from stream.topics import LARGEST_RECORD, reaching

#: A broker that takes a request and answers nothing counts as away after this long.
REQUEST_S = 10.0

#: Reading to the end takes milliseconds where the topic is kept short; a broker that restarts meanwhile, some seconds.
READ_WITHIN_S = 60.0

_POLL_MS = 500


class KafkaLog:
    """A producer whose appends are acknowledged by all replicas, and readers of whole partitions.

    Parameters
    ----------
    settings
        Kafka's address.

    Notes
    -----
    All failures are ServiceError, and nothing is retried here beyond what the client does: who calls knows what is newest.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = settings.kafka_url
        self._producer: AIOKafkaProducer | None = None
        self._watcher: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._url,
            enable_idempotence=True,
            max_request_size=LARGEST_RECORD,
            request_timeout_ms=int(REQUEST_S * 1000),
        )
        self._watcher = self._consumer()
        try:
            async with reaching(self._url, within_s=2 * REQUEST_S):
                await self._producer.start()
                await self._watcher.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in (self._producer, self._watcher):
            if client is not None:
                await client.stop()

    async def append(
        self, topic: str, key: bytes | None, value: bytes | None, *, partition: int = 0
    ) -> int:
        """Append a record, and give its offset once it is acknowledged.

        Raises
        ------
        ServiceError
            Where Kafka does not take it.
        """
        (offset,) = await self.append_all(topic, [(key, value)], partition=partition)
        return offset

    async def append_all(
        self,
        topic: str,
        records: Iterable[tuple[bytes | None, bytes | None]],
        *,
        partition: int | None = 0,
        headers: Iterable[Mapping[str, bytes]] | None = None,
    ) -> list[int]:
        """Append records in their order, and give their offsets once all are acknowledged.

        Parameters
        ----------
        topic
            Name of the topic.
        records
            Keys and values.
        partition
            Where; None lets the key say.
        headers
            Of each record.

        Raises
        ------
        ServiceError
            Where Kafka does not take one of them; some may stand in the log.
        """
        assert self._producer is not None
        async with reaching(self._url, within_s=2 * REQUEST_S):
            sent = [
                await self._producer.send(
                    topic, value, key=key, partition=partition, headers=list(of_it.items())
                )
                for (key, value), of_it in zip(records, headers or repeat({}), strict=False)
            ]
            return [int((await future).offset) for future in sent]

    async def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Give the end of each partition's log.

        Raises
        ------
        ServiceError
            Where Kafka does not answer.
        """
        assert self._watcher is not None
        asked = [TopicPartition(topic, partition) for partition in partitions]
        async with reaching(self._url, within_s=REQUEST_S):
            ends = await self._watcher.end_offsets(asked)
        return {tp.partition: int(end) for tp, end in ends.items()}

    async def read(
        self, topic: str, partitions: Sequence[int], *, start: Mapping[int, int] | None = None
    ) -> dict[int, list[ConsumerRecord]]:
        """Read partitions from their first retained record up to the end that they have now.

        Parameters
        ----------
        topic
            Name of the topic.
        partitions
            Which.
        start
            Where to begin instead, by partition.

        Returns
        -------
        dict of int to list of ConsumerRecord

        Raises
        ------
        ServiceError
            Where Kafka does not give all of it in time.
        """
        wanted = [TopicPartition(topic, partition) for partition in partitions]
        found: dict[int, list[ConsumerRecord]] = {tp.partition: [] for tp in wanted}
        if not wanted:
            return found
        async with reaching(self._url, within_s=READ_WITHIN_S):
            consumer = self._consumer()
            try:
                await consumer.start()
                consumer.assign(wanted)
                ends = await consumer.end_offsets(wanted)
                firsts = await consumer.beginning_offsets(wanted)
                for tp in wanted:
                    # Sought explicitly: a position asked for right after `assign` may be the end.
                    consumer.seek(tp, max(firsts[tp], (start or {}).get(tp.partition, 0)))
                unread = {tp for tp in wanted if await consumer.position(tp) < ends[tp]}
                while unread:
                    fetched = await consumer.getmany(*unread, timeout_ms=_POLL_MS)
                    for tp, records in fetched.items():
                        found[tp.partition] += records
                    unread = {tp for tp in unread if await consumer.position(tp) < ends[tp]}
            finally:
                await consumer.stop()
        return found

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._url,
            auto_offset_reset="earliest",
            request_timeout_ms=int(REQUEST_S * 1000),
            max_partition_fetch_bytes=LARGEST_RECORD,
        )
