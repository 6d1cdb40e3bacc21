"""What comes out, read past the proxies: messages and keys of Redis, records of Kafka's topics."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import redis.asyncio
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from chaos.checker import Letter, Observation, observation
from stream.errors import WireError
from stream.wire import partials
from stream.wire.names import RedisNames

#: A Redis that was away is asked again this soon: what it says before that is not heard.
AGAIN_S = 0.01
SETTLE_WITHIN_S = 5.0
STREAM_ENTRIES = 20_000


class Recorder:
    """Hears every level and heartbeat, and tells its watchers.

    Parameters
    ----------
    redis_url
        Of Redis itself, not of a proxy.
    names
        Keys and channels.

    Attributes
    ----------
    watchers
        Called with each level, in the order in which they were published.
    heartbeats
        Moments on `time.monotonic`.
    interruptions
        How often the connection was lost.
    last
        By code, the last message as it came.
    """

    def __init__(self, redis_url: str, names: RedisNames) -> None:
        self.watchers: list[Callable[[Observation], None]] = []
        self.heartbeats: list[float] = []
        self.interruptions = 0
        self.last: dict[str, bytes] = {}
        self._names = names
        self._redis = redis.asyncio.from_url(redis_url, protocol=2)
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen_on(), name="recorder")
        await self._ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._redis.aclose()

    def check(self) -> None:
        """Raise what ended the listening, if anything has."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def _listen_on(self) -> None:
        while True:
            try:
                await self._listen()
            except (RedisError, OSError):
                self.interruptions += self._ready.is_set()
                self._ready.clear()
                await asyncio.sleep(AGAIN_S)

    async def _listen(self) -> None:
        prefix = self._names.level("")
        async with self._redis.pubsub() as subscription:
            await subscription.psubscribe(self._names.every_level)
            await subscription.subscribe(self._names.heartbeat)
            async for message in subscription.listen():
                at = time.monotonic()
                if message["type"] == "pmessage":
                    self._take(
                        message["channel"].decode().removeprefix(prefix), message["data"], at
                    )
                elif message["type"] == "message":
                    self.heartbeats.append(at)
                else:
                    self._ready.set()

    def _take(self, code: str, data: bytes, at: float) -> None:
        self.last[code] = data
        one = observation(code, data, at=at)
        for watch in self.watchers:
            watch(one)


async def snapshots(client: Any, names: RedisNames) -> dict[str, dict[str, Any]]:
    """Read the snapshot key of every index that has one, every number as it is written."""
    found = {}
    async for key in client.scan_iter(match=names.snap("*"), count=1000):
        text = await client.get(key)
        if text is not None:
            found[key.decode().removeprefix(names.snap(""))] = json.loads(text, parse_float=str)
    return found


async def mirrored_prices(client: Any, names: RedisNames) -> dict[str, tuple[str, int]]:
    """Read the hash of prices: dollars as written, and event time, by symbol."""
    found = {}
    for symbol, text in (await client.hgetall(names.prices)).items():
        fields = json.loads(text, parse_float=str)
        found[symbol.decode()] = (fields["price"], fields["ts"])
    return found


async def stream_numbers(client: Any, names: RedisNames, code: str) -> list[tuple[int, int]]:
    """Read (epoch, seq) of the entries of an index's stream, oldest first."""
    entries = await client.xrevrange(names.stream(code), count=STREAM_ENTRIES)
    numbers = [(int(fields[b"epoch"]), int(fields[b"seq"])) for _, fields in entries]
    return numbers[::-1]


async def read_topic(kafka_url: str, topic: str) -> AsyncIterator[ConsumerRecord]:
    """Read a topic of one partition from its start to its present end."""
    where = TopicPartition(topic, 0)
    async with _assigned(kafka_url, where) as consumer:
        end = (await consumer.end_offsets([where]))[where]
        while await consumer.position(where) < end:
            for fetched in (await consumer.getmany(where, timeout_ms=500)).values():
                for record in fetched:
                    yield record


@asynccontextmanager
async def _assigned(kafka_url: str, where: TopicPartition) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka_url, fetch_max_bytes=4 * 1024 * 1024)
    await consumer.start()
    try:
        consumer.assign([where])
        await consumer.seek_to_beginning(where)
        yield consumer
    finally:
        await consumer.stop()


def letter(record: ConsumerRecord) -> Letter:
    """Read where a dead letter comes from off its headers."""
    headers = {name: value.decode() for name, value in record.headers}
    return Letter(headers["reason"], int(headers["partition"]), int(headers["offset"]))


class PartialsTail:
    """Follows the topic of partials: how much of each partition's log the workers have told of.

    Parameters
    ----------
    kafka_url
        Of Kafka itself, not of a proxy.
    topic
        Of partials.

    Attributes
    ----------
    highest
        By partition, the highest offset that a partial names.
    """

    def __init__(self, kafka_url: str, topic: str) -> None:
        self.highest: dict[int, int] = {}
        self._kafka_url = kafka_url
        self._where = TopicPartition(topic, 0)
        self._position = 0
        self._moved = asyncio.Condition()
        self._consumer: AIOKafkaConsumer | None = None
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def settle(self) -> dict[int, int] | None:
        """Give the highest offsets that have been told of up to now, or None where Kafka does not say in time."""
        assert self._consumer is not None
        try:
            async with asyncio.timeout(SETTLE_WITHIN_S):
                end = (await self._consumer.end_offsets([self._where]))[self._where]
                async with self._moved:
                    await self._moved.wait_for(lambda: self._position >= end)
        except (TimeoutError, KafkaError, OSError):
            return None
        return dict(self.highest)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow(), name="partials tail")
        await self._ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        async with _assigned(self._kafka_url, self._where) as consumer:
            self._consumer = consumer
            self._ready.set()
            while True:
                for fetched in (await consumer.getmany(self._where, timeout_ms=200)).values():
                    for record in fetched:
                        self._take(record)
                async with self._moved:
                    self._position = await consumer.position(self._where)
                    self._moved.notify_all()

    def _take(self, record: ConsumerRecord) -> None:
        try:
            partial = partials.decode(record.value or b"")
        except WireError:
            # A claim, a tombstone.
            return
        for partition, offset in partial.offsets.items():
            self.highest[partition] = max(self.highest.get(partition, 0), offset)
