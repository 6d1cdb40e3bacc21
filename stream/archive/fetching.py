"""Whole fetches of one partition, without a `ConsumerRecord` for each record, which would be most of the work."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchResult

from stream.pipeline.transport import FetchedBatch, drain

#: Records that are handed over at once, or somewhat more: up to the end of a record batch.
MAX_RECORDS = 5_000


async def fetched(
    consumer: AIOKafkaConsumer, where: TopicPartition, *, within_s: float
) -> FetchedBatch | None:
    """Take the next records that a consumer has fetched.

    Parameters
    ----------
    consumer
        Started, and assigned to the partition.
    where
        The partition.
    within_s
        How long to wait for a fetch.

    Returns
    -------
    FetchedBatch or None
        None where nothing came in time.

    Raises
    ------
    KafkaError
        What stands in the place of a fetch that failed.
    """
    # There is no public way to what a consumer has fetched but not unpacked yet.
    fetcher = consumer._fetcher  # noqa: SLF001
    if where not in fetcher._records:  # noqa: SLF001
        waiter = fetcher._create_fetch_waiter()  # noqa: SLF001
        await asyncio.wait([waiter], timeout=within_s)
        if not waiter.done():
            waiter.cancel()
            return None
        waiter.result()
    result = fetcher._records.get(where)  # noqa: SLF001
    if result is None:
        return None
    batch = drain(result, limit=MAX_RECORDS) if type(result) is FetchResult else None
    if batch is None or not result.has_more():
        # Forgotten, so that the consumer fetches on.
        del fetcher._records[where]  # noqa: SLF001
        fetcher._notify(fetcher._wait_consume_future)  # noqa: SLF001
    if type(result) is not FetchResult:
        result.check_raise()
    return batch
