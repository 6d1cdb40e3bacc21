"""The coalescing transport: Faust sees one message for each fetch of tick partitions, not one for each record.

Faust spends about 0.1 ms on every message it hands to an agent, whatever the agent does. So all records of a fetch travel as
one message, whose value is a `Fetch`, under the name of the first partition in it. Three parts of Faust then need to
know better, for these topics only:

- records come straight from aiokafka's record batches, without a `ConsumerRecord` for each;
- gaps between offsets are not accounted for: a coalesced range is one, and Faust would list every offset in it;
- a consumer starts where the application says (`CoalescingApp.positions`), not at a committed offset.

The broker URL `capstream://host:port` selects it, through the entry-point group `faust.transports`.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, ClassVar

import faust
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException
from aiokafka.record.default_records import DefaultRecord
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode.utils.futures import maybe_async

#: Records of one fetch at most, so that a batch of single ticks does not hold the loop for more than some 10 ms.
MAX_RECORDS = 8_192

#: Bytes that a broker may return in one fetch, for one partition and in all (a single larger record still comes). Frames
#: need large fetches, as each costs a round trip; memory wants them small.
MAX_PARTITION_BYTES = 4 * 1024 * 1024
MAX_FETCH_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FetchedBatch:
    """The records of one fetch of one partition.

    Attributes
    ----------
    tp
        Topic and partition.
    records
        aiokafka's records, in the order of the log: `offset`, `key`, `value`, `timestamp` in ms.
    next_offset
        Where the log goes on; beyond the last record where markers or compacted records follow.
    highwater
        End of the log, as the broker told with this fetch.
    """

    tp: TP
    records: list[DefaultRecord]
    next_offset: int
    highwater: int

    @property
    def partition(self) -> int:
        """Number of the partition."""
        return int(self.tp.partition)

    def after(self, offset: int) -> FetchedBatch:
        """Give the part of the batch at and beyond an offset."""
        first = bisect_left(self.records, offset, key=attrgetter("offset"))
        return replace(self, records=self.records[first:]) if first else self


@dataclass(frozen=True, slots=True)
class Fetch:
    """What one fetch has brought: the value of the one message that Faust sees.

    Attributes
    ----------
    batches
        One for each partition that had records; Faust takes the message for one of the first.
    """

    batches: tuple[FetchedBatch, ...]


@dataclass(frozen=True, slots=True)
class LogRange:
    """Offsets of a partition's log when it was assigned: of its first retained record, and of its end."""

    start: int
    end: int


class CoalescingApp(faust.App):
    """A Faust application that says which topics are coalesced, and where its partitions start."""

    coalesced: frozenset[str] = frozenset()
    request_timeout_s: float = 40.0

    async def positions(self, logs: Mapping[TP, LogRange]) -> Mapping[TP, int]:
        """Hear of the partitions now assigned and what each log retains, and say where to read each."""
        raise NotImplementedError


def drain(result: FetchResult, *, limit: int = MAX_RECORDS) -> FetchedBatch | None:
    """Take what a fetch has brought of one partition.

    Parameters
    ----------
    result
        aiokafka's buffer of the partition; not yet iterated.
    limit
        Stop after the record batch with which this many records are reached.

    Returns
    -------
    FetchedBatch or None
        None where there is nothing to be read (any more); a batch without records where only markers were.

    Raises
    ------
    CorruptRecordException
        Where a record batch fails its checksum.
    """
    tp = result._topic_partition
    if not result.check_assignment(tp) or not result.has_more():
        return None
    partition_records: PartitionRecords = result._partition_records
    records = partition_records._records
    position = partition_records.next_fetch_offset
    start = position
    found: list[DefaultRecord] = []
    while records.has_next() and len(found) < limit:
        batch = records.next_batch()
        if not batch.validate_crc():
            raise CorruptRecordException(f"invalid checksum in {tp}")
        if not batch.is_control_batch:
            # A fetch returns whole record batches, also where it began in the middle of one.
            whole = batch.base_offset >= position
            found += batch if whole else [one for one in batch if one.offset >= position]
        position = batch.next_offset
    partition_records.next_fetch_offset = position
    result._update_position()
    if not records.has_next():
        # Its iterator, never begun, refers back to it: without this a megabyte would wait for the garbage collector.
        partition_records._records_iterator = None
        result._partition_records = None
    if position == start:
        return None
    highwater = result._assignment.state_value(tp).highwater
    return FetchedBatch(TP(tp.topic, tp.partition), found, position, highwater)


class LoopConsumer(driver.AIOKafkaConsumerThread):
    """Fetches in bulk, and in the application's own loop, where Faust would use a thread.

    Two threads that both compute in Python wait for each other's interpreter lock, up to 5 ms at each turn: under load that
    was most of the latency (`docs/performance.md`).
    """

    def __init__(
        self, consumer: driver.Consumer, *, loop: asyncio.AbstractEventLoop, **kwargs: Any
    ) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, **kwargs)
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start as a task of the loop."""
        self._thread_started.set()
        self._thread_running = self.parent_loop.create_future()
        self._serving = asyncio.create_task(self._serve(), name="consumer")
        try:
            await self._thread_running
        finally:
            self._thread_running = None

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call, since there is no other thread to hand the call to."""
        return await maybe_async(fun(*args, **kwargs))

    async def _gather_remaining_tasks(self) -> None:
        """Leave the loop's other tasks alone: they are the application's."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust has no setting for it, and aiokafka's default of 50 MB would be most of a worker's memory.
        consumer._fetch_max_bytes = MAX_FETCH_BYTES
        # Faust's setting bounds its own waiting for our books as well, which may take as long as Kafka is away.
        consumer._request_timeout_ms = consumer._client._request_timeout_ms = int(
            self.app.request_timeout_s * 1000  # type: ignore[attr-defined]
        )
        return consumer

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> dict[TP, list[Any]]:
        if not self.consumer.flow_active:
            return {}
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        deadline = time.monotonic() + (timeout or 0)
        with fetcher._subscriptions.fetch_context():
            while True:
                if fetcher._subscriptions.reassignment_in_progress:
                    await fetcher._subscriptions.wait_for_assignment()
                fetched = self._take(fetcher, active_partitions, max_records)
                left = deadline - time.monotonic()
                if fetched or left <= 0:
                    return fetched
                await _wait_for_records(fetcher, left)

    def _take(self, fetcher: Any, active: set[TP], max_records: int | None) -> dict[TP, list[Any]]:
        """Take what is buffered, as aiokafka's `Fetcher.fetched_records` does, but the coalesced topics as one."""
        coalesced = self.app.coalesced  # type: ignore[attr-defined]
        fetched: dict[TP, list[Any]] = {}
        batches: list[FetchedBatch] = []
        room = MAX_RECORDS
        for tp in list(fetcher._records):
            result = _result(fetcher, tp, active, raises=not (fetched or batches))
            if result is None:
                continue
            if tp.topic in coalesced:
                batch = drain(result, limit=room)
                batches += [batch] if batch is not None else []
                room -= len(batch.records) if batch is not None else 0
            elif records := result.getall(max_records):
                fetched[tp] = records
            if not result.has_more():
                _forget(fetcher, tp)
            if room <= 0:
                break
        if batches:
            fetched[batches[0].tp] = [Fetch(tuple(batches))]
        return fetched


def _result(fetcher: Any, tp: TP, active: set[TP], *, raises: bool) -> FetchResult | None:
    """Give the records that are buffered of a partition, or None; raise the error that stands in their place."""
    if active and tp not in active:
        if not fetcher._subscriptions.is_assigned(tp):
            del fetcher._records[tp]
        return None
    result = fetcher._records[tp]
    if type(result) is FetchResult:
        return result
    if raises:
        # Forgotten, so that the partition can be fetched again.
        _forget(fetcher, tp)
        result.check_raise()
    return None


def _forget(fetcher: Any, tp: TP) -> None:
    del fetcher._records[tp]
    fetcher._notify(fetcher._wait_consume_future)


async def _wait_for_records(fetcher: Any, timeout: float) -> None:
    waiter = fetcher._create_fetch_waiter()
    done, _ = await asyncio.wait([waiter], timeout=timeout)
    if not done:
        waiter.cancel()
    else:
        waiter.result()


class Consumer(driver.Consumer):
    """Faust's consumer, with the bookkeeping that coalesced topics need."""

    app: CoalescingApp

    def _new_consumer_thread(self) -> LoopConsumer:
        return LoopConsumer(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if not isinstance(record, Fetch):
            return super()._to_message(tp, record)
        first = record.batches[0]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            first.next_offset - 1,
            first.records[-1].timestamp / 1000.0 if first.records else 0.0,
            0,
            [],
            None,
            record,  # type: ignore[arg-type]  # the point of this transport
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        if tp.topic not in self.app.coalesced:
            await super()._add_gap(tp, offset_from, offset_to)

    def on_buffer_full(self, tp: TP) -> None:
        """Leave the partition active: the full queue itself holds the fetcher back.

        Faust would take the partition out of the fetch, and sleep a whole second where none is left.
        """

    def on_buffer_drop(self, tp: TP) -> None:
        """Nothing was taken out by `on_buffer_full`."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Skip Faust's check that offsets are committed: commits follow checkpoints."""

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek every assigned partition to where the application wants it, or to its first retained record."""
        assigned = [TP(tp.topic, tp.partition) for tp in self.assignment()]
        if not assigned:
            return {}
        firsts = await self.earliest_offsets(*assigned)
        ends = await self.highwaters(*assigned)
        positions = await self.app.positions(
            {tp: LogRange(firsts[tp], ends[tp]) for tp in assigned}
        )
        await self.seek_wait(positions)
        return positions

    async def commit_all(self, offsets: Mapping[TP, int]) -> None:
        """Commit offsets of partitions that are still assigned, past Faust's accounting of single messages.

        Raises
        ------
        KafkaError
            Where the brokers do not take them; Faust's own way would end the application.
        """
        consumer = self._thread._ensure_consumer()
        held = {
            TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
            if TopicPartition(tp.topic, tp.partition) in consumer.assignment()
        }
        if held:
            await consumer.commit(held)


class Transport(driver.Transport):
    """Faust's aiokafka transport with coalesced fetches."""

    Consumer: ClassVar[type] = Consumer
