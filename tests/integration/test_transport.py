"""The laws of the coalescing transport: every record of the log reaches the book exactly once, in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from aiokafka import codec
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecord, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from integration.conftest import (
    MS,
    OPEN_NS,
    Lab,
    all_in,
    eventually,
    frame,
    is_ready,
    running,
    tick,
)
from stream.pipeline.dead_letters import DeadLetters
from stream.pipeline.intake import Intake
from stream.pipeline.transport import MAX_RECORDS, drain
from stream.session.calendar import Calendar
from stream.settings import Settings

pytestmark = pytest.mark.timeout(120)

TP = TopicPartition("t", 0)


def numbered(n: int, *, first: int = 1) -> list[bytes]:
    """Ticks of one symbol: one that came twice, or late, would be refused as duplicate or older."""
    return [tick("BAC", "14", OPEN_NS + i * MS, seq=i) for i in range(first, first + n)]


async def cut_log(settings: Settings, offset: int) -> None:
    """Let the log begin at an offset, as retention would."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_url)
    await admin.start()
    try:
        where = TopicPartition(settings.ticks_topic, 0)
        await admin.delete_records({where: RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()


# ---- on a real Kafka -----------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "gzip", "lz4", "snappy", "zstd"])
async def test_record_batches_of_any_size_and_compression(
    lab: Lab, compression: str | None
) -> None:
    """Each number is applied once: none twice, none late, none missing, whatever the producer made of them."""
    if compression and not getattr(codec, f"has_{compression}")():
        pytest.skip(f"no library for {compression}")
    settings = lab.settings()
    await lab.make_topic(settings)
    sizes = [1, 2, 500, 3, 1_000, 7]
    async with lab.sender(settings, compression_type=compression) as sender:
        await sender.send_batches(numbered(5_000), sizes)
    worker = lab.worker(settings)

    async with running(worker) as task:
        await all_in(worker, 5_000, task)
        async with lab.sender(settings) as sender:
            await sender.send_batches(numbered(500, first=5_001), [1])
        await all_in(worker, 5_500, task)
        await eventually(lambda: lab.read_up(worker), within_s=5, watch=task)

    assert worker.intake.account.applied == worker.intake.account.ticks == 5_500


async def test_a_hundred_thousand_single_ticks_are_counted_exactly(lab: Lab) -> None:
    """Law 9 at speed, over two partitions, while they are being written."""
    settings = lab.settings(partitions=2, publish_backlog=True)
    worker = lab.worker(settings)
    random.seed(3)
    sizes = [random.randint(1, 2_000) for _ in range(17)]
    async with lab.sender(settings) as sender, running(worker) as task:
        await eventually(lambda: is_ready(worker), watch=task)
        await sender.send_batches(numbered(60_000), sizes)
        ibm = (tick("IBM", "184", OPEN_NS + i, seq=i) for i in range(1, 40_001))
        await sender.send_batches(ibm, sizes, partition=1)
        await all_in(worker, 100_000, task)
        # What would come twice would come now.
        await sender.send(tick("IBM", "185", OPEN_NS + MS * MS), partition=1)
        await all_in(worker, 100_001, task)

    account = worker.intake.account
    assert (account.ticks, account.applied) == (100_001, 100_001)


async def test_reading_begins_in_the_middle_of_a_record_batch(lab: Lab) -> None:
    """A fetch returns whole record batches; what lies before the first retained record is not applied."""
    settings = lab.settings()
    await lab.make_topic(settings)
    async with lab.sender(settings) as sender:
        await sender.send_batches(numbered(1_000), [1_000])
    await cut_log(settings, 617)
    worker = lab.worker(settings)

    async with running(worker) as task:
        await all_in(worker, 383, task)

    assert (worker.intake.account.ticks, worker.intake.account.applied) == (383, 383)


async def test_offsets_with_gaps_lose_nothing(lab: Lab) -> None:
    """Transaction markers take offsets but hold no ticks: every record counts, and the log is read to its end."""
    settings = lab.settings()
    await lab.make_topic(settings)
    values = numbered(600)
    async with lab.sender(settings, transactional_id=settings.group) as sender:
        for first in range(0, 600, 60):
            async with sender.producer.transaction():
                await sender.send_batches(values[first : first + 60], [7])
    worker = lab.worker(settings)

    async with running(worker) as task:
        await all_in(worker, 600, task)
        await eventually(lambda: not worker.not_ready(), within_s=5, watch=task)
        async with lab.sender(settings) as sender:
            await sender.send_batches(numbered(5, first=601), [5])
        await all_in(worker, 605, task)
        await eventually(lambda: lab.read_up(worker), within_s=5, watch=task)

    assert worker.intake.account.applied == worker.intake.account.ticks == 605


async def test_a_log_of_nothing_but_a_marker_is_caught_up(lab: Lab) -> None:
    """Where retention has left only a transaction's marker there is nothing to wait for."""
    settings = lab.settings()
    await lab.make_topic(settings)
    async with (
        lab.sender(settings, transactional_id=settings.group) as sender,
        sender.producer.transaction(),
    ):
        await sender.send_batches(numbered(60), [60])
    await cut_log(settings, 60)
    worker = lab.worker(settings)

    async with running(worker) as task:
        await eventually(lambda: not worker.not_ready(), within_s=8, watch=task)

    assert worker.intake.account.ticks == 0


async def test_a_marker_after_a_full_fetch_is_caught_up(lab: Lab) -> None:
    """A backlog whose last record fills a message of the transport, with a marker behind it, has an end too."""
    settings = lab.settings()
    await lab.make_topic(settings)
    async with (
        lab.sender(settings, transactional_id=settings.group) as sender,
        sender.producer.transaction(),
    ):
        await sender.send_batches(numbered(MAX_RECORDS), [1_024])
    worker = lab.worker(settings)

    async with running(worker) as task:
        await eventually(
            lambda: worker.intake.account.ticks == MAX_RECORDS and not worker.not_ready(),
            within_s=10,
            watch=task,
        )


async def test_frames_and_single_ticks_mix_in_one_log(lab: Lab) -> None:
    """Order is that of the log, whatever a message holds."""
    settings = lab.settings()
    worker = lab.worker(settings)
    values = []
    for i in range(300):
        ts = OPEN_NS + i * MS
        one = tick("BAC", "14", ts)
        values += [frame(("BAC", ts, 140_000), ("BAC", ts, 140_100)) if i % 3 else one, one]
    async with lab.sender(settings) as sender, running(worker) as task:
        await sender.send_batches(values, [1, 50, 3])
        await all_in(worker, 800, task)

    assert worker.intake.account.applied == worker.intake.account.ticks == 800


async def test_rebalances_while_ticks_flow_lose_and_double_nothing(lab: Lab) -> None:
    """A worker that comes and goes takes partitions and gives them back; the books end at the last tick."""
    settings = lab.settings(partitions=2, partials="topic", checkpoint_s=0.05)
    worker, guest = lab.worker(settings), lab.worker(settings)
    symbols = lab.composition.universe.symbols
    rows = [symbols.index(name) for name in ("AIG", "IBM")]
    async with lab.sender(settings) as sender, running(worker) as task:
        await eventually(lambda: is_ready(worker), watch=task)
        flow = asyncio.create_task(_flow(sender.send, 400))
        async with running(guest) as other:
            await eventually(lambda: guest.intake.books, watch=other)
        await flow
        await eventually(
            lambda: (
                len(worker.intake.books) == 2
                and all(
                    int(worker.intake.books[partition].layer.prints.seq[row]) == 400
                    for partition, row in enumerate(rows)
                )
            ),
            watch=task,
        )

    for partition, row in enumerate(rows):
        assert int(worker.intake.books[partition].price[row]) == 100_000 + 100 * 399
    # A reader that comes back begins anew or goes on; either way no number is older than one it has seen.
    assert worker.intake.account.refused.total() == 0


async def _flow(send: object, n: int) -> None:
    for i in range(n):
        for partition, name in enumerate(("AIG", "IBM")):
            await send(  # type: ignore[operator]
                tick(name, f"{10 + i / 100:.2f}", OPEN_NS + i * MS, seq=i + 1), partition=partition
            )


# ---- the parts, on real record batches -----------------------------------------------------------


def record_batch(first: int, n: int, *, gzipped: bool = False) -> bytearray:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=1 if gzipped else 0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=1 << 20,
    )
    for i, value in enumerate(numbered(n, first=first + 1)):
        assert builder.append(i, timestamp=OPEN_NS // MS + n, key=b"k", value=value, headers=[])
    data = bytearray(builder.build())
    data[:8] = first.to_bytes(8, "big")
    return data


def fetched(data: bytes, *, at: int) -> FetchResult:
    """Make a fetch of a partition that stands at an offset."""
    state = SimpleNamespace(paused=False, position=at, highwater=10_000)
    state.consumed_to = lambda offset: setattr(state, "position", offset)
    assignment = SimpleNamespace(active=True, state_value=lambda _: state)
    records = PartitionRecords(TP, MemoryRecords(data), [], at, None, None, True, 0)  # noqa: FBT003
    return FetchResult(TP, assignment=assignment, partition_records=records, backoff=0)


def offsets(records: Iterable[DefaultRecord]) -> list[int]:
    return [record.offset for record in records]


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("at", [0, 1, 4, 5, 8, 11])
def test_a_fetch_is_drained_from_its_position_on(at: int, *, gzipped: bool) -> None:
    """Three record batches, the position in any of them: what is before it is skipped, all else comes in order."""
    batches = ((0, 5), (5, 1), (8, 4))
    # A broker begins with the batch that holds the position.
    data = b"".join(record_batch(i, n, gzipped=gzipped) for i, n in batches if i + n > at)

    batch = drain(fetched(data, at=at))

    assert batch is not None
    assert offsets(batch.records) == [i for i in (*range(6), *range(8, 12)) if i >= at]
    assert (batch.next_offset, batch.highwater, batch.partition) == (12, 10_000, 0)


def test_a_large_fetch_is_drained_in_pieces() -> None:
    """A limit ends a piece at the end of a record batch; the next goes on there, and then there is nothing more."""
    result = fetched(b"".join(record_batch(first, 5) for first in (0, 5, 10)), at=2)

    pieces = []
    while result.has_more():
        piece = drain(result, limit=4)
        assert piece is not None
        pieces.append(offsets(piece.records))

    assert pieces == [[2, 3, 4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]


@pytest.mark.parametrize("byte", [30, 70, -1])
def test_a_corrupted_record_is_an_error(byte: int) -> None:
    """A flipped bit anywhere under the checksum is not silence."""
    data = record_batch(0, 5)
    data[byte] ^= 1

    with pytest.raises(CorruptRecordException):
        drain(fetched(bytes(data), at=0))


def test_records_that_a_book_has_seen_are_passed_over(lab: Lab) -> None:
    """A seek back, or a second delivery, changes nothing: twice the batch, and halves that overlap, count once."""
    whole = drain(fetched(bytes(record_batch(0, 100)), at=0))
    assert whole is not None
    intake = Intake(
        lab.composition,
        calendar=Calendar.bundled(),
        dead_letters=DeadLetters(per_s=10),
        topic="t",
    )
    intake.own([0])
    halves = [
        replace(whole, records=whole.records[:60], next_offset=60),
        replace(whole, records=whole.records[40:]),
    ]
    for batch in (*halves, whole, whole, *halves):
        (book,) = intake.apply([batch])

    assert (intake.account.ticks, intake.account.applied) == (100, 100)
    assert book.offset == 100
    assert np.count_nonzero(book.ts >= 0) == 1


def test_a_batch_of_a_partition_that_was_given_away_is_left_alone(lab: Lab) -> None:
    """What was buffered before a rebalance belongs to the new owner."""
    whole = drain(fetched(bytes(record_batch(0, 10)), at=0))
    assert whole is not None
    intake = Intake(
        lab.composition,
        calendar=Calendar.bundled(),
        dead_letters=DeadLetters(per_s=10),
        topic="t",
    )
    intake.own([1])

    assert intake.apply([whole]) == []
    assert intake.account.ticks == 0
