"""The topics on Kafka: made where they are missing, and asked how far their events have come (`formats.md`, Kafka)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    for_code,
)

from stream.errors import ServiceError, SetupError
from stream.settings import Settings
from stream.wire.messages import decode_messages
from stream.wire.symbols import SymbolTable

CONNECT_S = 10.0

_MS_PER_DAY = 24 * 60 * 60 * 1000

#: Ticks are kept for eight days. Simulated time runs ahead of the clock, and brokers refuse record timestamps more than
#: an hour ahead unless a topic allows them.
TICKS_CONFIG: Mapping[str, str] = {
    "retention.ms": str(8 * _MS_PER_DAY),
    "message.timestamp.after.max.ms": str(2**63 - 1),
}

#: What aiokafka says, after trying again for a while, of brokers that are gone.
_UNREACHABLE = (
    KafkaConnectionError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
)

#: A whole universe in one record: a checkpoint, a composition.
LARGEST_RECORD = 16 * 1024 * 1024

#: Whoever takes over reads these from their start or from some seconds back, so they are kept short: segments are closed,
#: and then compacted, after minutes.
PARTIALS_CONFIG: Mapping[str, str] = {
    "cleanup.policy": "compact",
    "segment.ms": str(5 * 60 * 1000),
    "min.cleanable.dirty.ratio": "0.1",
    "delete.retention.ms": str(10 * 60 * 1000),
}
CHECKPOINTS_CONFIG: Mapping[str, str] = {
    **PARTIALS_CONFIG,
    "max.message.bytes": str(LARGEST_RECORD),
}
COMPOSITIONS_CONFIG: Mapping[str, str] = {
    "cleanup.policy": "compact",
    "max.message.bytes": str(LARGEST_RECORD),
}
#: Numbers of control records are offsets, and books remember them: the list is kept whole.
CONTROL_CONFIG: Mapping[str, str] = {"retention.ms": "-1"}
#: Official prices are kept.
CLOSES_CONFIG: Mapping[str, str] = {"cleanup.policy": "compact"}
LEVELS_CONFIG: Mapping[str, str] = {"retention.ms": str(8 * _MS_PER_DAY)}
DEAD_LETTERS_CONFIG: Mapping[str, str] = {"retention.ms": str(30 * _MS_PER_DAY)}

_MOST_REPLICAS = 3
_POLL_S = 0.05

#: The newest tick stands among the last records of its partition, unless more control records than this follow it.
_LAST_RECORDS = 16


@asynccontextmanager
async def reaching(kafka_url: str, *, within_s: float | None = None) -> AsyncIterator[None]:
    """Turn what goes wrong with Kafka into one sentence that names its address.

    Parameters
    ----------
    kafka_url
        Address of the brokers.
    within_s
        Seconds after which the brokers count as unreachable; None waits for aiokafka's own limits.

    Raises
    ------
    ServiceError
        In place of any error of aiokafka's or the network's.
    """
    try:
        async with asyncio.timeout(within_s):
            yield
    except TimeoutError as error:
        raise ServiceError(f"Kafka at {kafka_url}: no answer in time") from error
    except (KafkaError, OSError) as error:
        raise ServiceError(f"Kafka at {kafka_url}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, InvalidTimestampError):
        return (
            "the topic refuses records stamped so far ahead of the clock: set its "
            f"message.timestamp.after.max.ms to {TICKS_CONFIG['message.timestamp.after.max.ms']}"
        )
    if isinstance(error, _UNREACHABLE):
        return "cannot be reached"
    return str(error).partition("\n")[0] or type(error).__name__


async def ensure_topics(settings: Settings) -> int:
    """Create the topics of a worker that are missing, and give the number of tick partitions.

    Raises
    ------
    SetupError
        Where the topic of checkpoints has not as many partitions as that of the ticks.
    ServiceError
        Where Kafka cannot be reached, or does not create a topic.
    """
    async with _administering(settings.kafka_url) as admin:
        ticks = await _ensure(admin, settings.ticks_topic, settings.partitions, TICKS_CONFIG)
        for topic, config in (
            (settings.partials_topic, PARTIALS_CONFIG),
            (settings.compositions_topic, COMPOSITIONS_CONFIG),
            (settings.control_topic, CONTROL_CONFIG),
            (settings.levels_topic, LEVELS_CONFIG),
            (settings.closes_topic, CLOSES_CONFIG),
            (settings.index_closes_topic, CLOSES_CONFIG),
            (settings.dead_letters_topic, DEAD_LETTERS_CONFIG),
        ):
            await _ensure(admin, topic, 1, config)
        kept = await _ensure(admin, settings.checkpoints_topic, ticks, CHECKPOINTS_CONFIG)
    if kept != ticks:
        raise SetupError(
            f"topic {settings.ticks_topic} has {ticks} partitions and {settings.checkpoints_topic} {kept}: symbols have "
            "moved between partitions; begin with new topics (CAPSTREAM_TICKS_TOPIC, CAPSTREAM_CHECKPOINTS_TOPIC, "
            "CAPSTREAM_PARTIALS_TOPIC, CAPSTREAM_CONTROL_TOPIC)"
        )
    return ticks


async def ensure_topic(
    kafka_url: str, topic: str, *, partitions: int, config: Mapping[str, str] = TICKS_CONFIG
) -> int:
    """Create a topic where it is missing, and give its number of partitions.

    Parameters
    ----------
    kafka_url
        Address of the brokers.
    topic
        Its name.
    partitions, config
        How it is created; one that exists is used as it is.

    Returns
    -------
    int
        Partitions that the topic has.

    Raises
    ------
    ServiceError
        Where Kafka cannot be reached within ten seconds, or does not create the topic.
    """
    async with _administering(kafka_url) as admin:
        return await _ensure(admin, topic, partitions, config)


async def _ensure(
    admin: AIOKafkaAdminClient, topic: str, partitions: int, config: Mapping[str, str]
) -> int:
    found = await _partitions(admin, topic)
    if not found:
        await _create(admin, topic, partitions=partitions, config=config)
    while not found:
        await asyncio.sleep(_POLL_S)
        found = await _partitions(admin, topic)
    return found


async def count_partitions(kafka_url: str, topic: str) -> int:
    """Give a topic's number of partitions, 0 where it does not exist; changes nothing.

    Parameters
    ----------
    kafka_url
        Address of the brokers.
    topic
        Its name.

    Returns
    -------
    int

    Raises
    ------
    ServiceError
        Where Kafka cannot be reached within ten seconds.
    """
    async with _administering(kafka_url) as admin:
        return await _partitions(admin, topic)


@asynccontextmanager
async def _administering(kafka_url: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=kafka_url, request_timeout_ms=int(CONNECT_S * 1000)
    )
    async with reaching(kafka_url, within_s=CONNECT_S):
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


async def _partitions(admin: AIOKafkaAdminClient, topic: str) -> int:
    # Asked about one topic by name, a broker may create it with settings of its own.
    described = await admin.describe_topics()
    return next((len(each["partitions"]) for each in described if each["topic"] == topic), 0)


async def _create(
    admin: AIOKafkaAdminClient, topic: str, *, partitions: int, config: Mapping[str, str]
) -> None:
    cluster = await admin.describe_cluster()
    replicas = min(_MOST_REPLICAS, len(cluster["brokers"]))
    new = NewTopic(topic, partitions, replicas, topic_configs=dict(config))
    answer = await admin.create_topics([new])
    for name, code, message in answer.topic_errors:
        # Another program may have been faster.
        if code not in (0, TopicAlreadyExistsError.errno):
            raise for_code(code)(f"topic {name}: {message or for_code(code).__name__}")


async def newest_event(kafka_url: str, topic: str, *, partitions: int) -> int | None:
    """Find the newest event time among the last ticks of every partition.

    Parameters
    ----------
    kafka_url
        Address of the brokers.
    topic
        A topic of ticks that exists.
    partitions
        How many it has.

    Returns
    -------
    int or None
        ns since 1970 UTC, or None where the topic holds no tick.

    Raises
    ------
    ServiceError
        Where Kafka cannot be reached.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka_url, request_timeout_ms=int(CONNECT_S * 1000)
    )
    async with reaching(kafka_url, within_s=CONNECT_S):
        try:
            await consumer.start()
            all_of_it = [TopicPartition(topic, number) for number in range(partitions)]
            messages = await _last_messages(consumer, all_of_it)
        finally:
            await consumer.stop()
    ticks = decode_messages(messages, np.zeros(len(messages), np.int64), SymbolTable(())).ticks
    return int(ticks.ts.max()) if len(ticks) else None


async def _last_messages(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition]
) -> list[bytes | None]:
    consumer.assign(partitions)
    first = await consumer.beginning_offsets(partitions)
    end = await consumer.end_offsets(partitions)
    for partition in partitions:
        consumer.seek(partition, max(first[partition], end[partition] - _LAST_RECORDS))
    unread = {partition for partition in partitions if end[partition] > first[partition]}
    messages: list[bytes | None] = []
    while unread:
        fetched = await consumer.getmany(*unread, timeout_ms=int(CONNECT_S * 1000))
        messages += [record.value for records in fetched.values() for record in records]
        unread = {each for each in unread if await consumer.position(each) < end[each]}
    return messages
