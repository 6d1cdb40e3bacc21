"""How long a tick takes: from being produced to Kafka to the first message in Redis that covers it."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import numpy as np
import redis.asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from numpy.typing import NDArray

from stream.bench.ingest import PREFIX
from stream.errors import ServiceError
from stream.index.composition import Composition
from stream.pipeline.worker import Worker
from stream.settings import Settings
from stream.wire.ticks_json import encode_tick

ALWAYS_OPEN = Path(__file__).with_name("always_open.toml")

#: The index that every tick moves.
CODE = "US3000"
STEP_S = 0.001
WARM_UP_S = 2.0
SEED = 20260717
READY_WITHIN_S = 30.0
START_WITHIN_S = 30.0
POLL_S = 0.02
COVERED_WITHIN_S = 5.0


class _EventTime(msgspec.Struct):
    event_ns: int | None


@dataclass(frozen=True, slots=True)
class Target:
    """What the client writes to and listens to.

    Attributes
    ----------
    kafka_url, topic, partitions
        Where ticks go.
    redis_url, channel
        Where messages with an `event_ns` come from.
    symbols, prices
        What trades, and around which price in 1/10000 dollar.
    """

    kafka_url: str
    topic: str
    partitions: int
    redis_url: str
    channel: str
    symbols: Sequence[str]
    prices: Sequence[int]


async def measure_latency(
    settings: Settings, composition: Composition, *, rate: int, seconds: float
) -> dict[str, float | int]:
    """Measure a worker at cadence 0, fed at a steady rate with one JSON tick a message.

    Parameters
    ----------
    settings
        Addresses of Kafka and Redis.
    composition
        Constituents and indexes.
    rate
        Ticks a second.
    seconds
        For how long, after a warm-up.

    Returns
    -------
    dict
        Ticks, and latencies in ms: median, 99th percentile, largest.
    """
    settings = msgspec.structs.replace(
        settings,
        ticks_topic=f"bench-latency-{uuid.uuid4().hex[:12]}",
        group=f"capstream-bench-{uuid.uuid4().hex[:12]}",
        redis_prefix=PREFIX,
        calendar=str(ALWAYS_OPEN),
        cadence_ms=0,
    )
    worker = Worker(settings, composition)
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        while worker.not_ready():
            await asyncio.wait([running], timeout=0.05)
            if running.done() or time.monotonic() > deadline:
                raise ServiceError(f"the worker is not ready: {worker.not_ready()}")
        latencies = await run_client(
            Target(
                kafka_url=settings.kafka_url,
                topic=settings.ticks_topic,
                partitions=settings.partitions,
                redis_url=settings.redis_url,
                channel=settings.redis_names.level(CODE),
                symbols=composition.universe.symbols,
                prices=composition.reference_price.tolist(),
            ),
            rate=rate,
            seconds=seconds,
        )
    finally:
        stop.set()
        await running
    return summarise(latencies)


def summarise(latencies: NDArray[np.float64]) -> dict[str, float | int]:
    """Give the figures of some latencies, given in seconds, in ms."""
    median, p99 = np.percentile(latencies, [50, 99]) * 1e3
    return {
        "ticks": len(latencies),
        "median_ms": float(median),
        "p99_ms": float(p99),
        "max_ms": float(latencies.max() * 1e3),
    }


async def run_client(target: Target, *, rate: int, seconds: float) -> NDArray[np.float64]:
    """Produce ticks and listen for their levels, in a process of its own.

    Returns
    -------
    float64 array, shape (n,)
        Seconds from producing each tick, after the warm-up, to the first message that covers it.

    Raises
    ------
    ServiceError
        Where the client failed.
    """
    # A fresh interpreter: a forked one would share the worker's sockets and threads.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_client_process, args=(theirs, target, rate, seconds), daemon=True
    )
    process.start()
    theirs.close()
    within_s = START_WITHIN_S + WARM_UP_S + seconds + COVERED_WITHIN_S
    try:
        # Asked in short steps: a thread that waits without end would outlive an interrupted command.
        deadline = time.monotonic() + within_s
        while not ours.poll():
            if time.monotonic() > deadline:
                raise ServiceError(f"the client of the latency benchmark took over {within_s:g} s")
            await asyncio.sleep(POLL_S)
        received = ours.recv()
    except EOFError as error:
        raise ServiceError("the client of the latency benchmark ended without an answer") from error
    finally:
        ours.close()
        process.kill()
        process.join()
    if isinstance(received, str):
        raise ServiceError(f"the client of the latency benchmark failed: {received}")
    latencies: NDArray[np.float64] = received
    return latencies


def _client_process(connection: Connection, target: Target, rate: int, seconds: float) -> None:
    try:
        connection.send(asyncio.run(_client(target, rate, seconds)))
    except Exception as error:  # noqa: BLE001 (told to the other process, which raises it)
        connection.send(f"{type(error).__name__}: {error}")


async def _client(target: Target, rate: int, seconds: float) -> NDArray[np.float64]:
    messages: list[tuple[int, int]] = []
    client = redis.asyncio.from_url(target.redis_url)
    producer = AIOKafkaProducer(bootstrap_servers=target.kafka_url, acks=1)
    await producer.start()
    async with client.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.subscribe(target.channel)
        listening = asyncio.create_task(_listen(subscription.get_message, messages))
        born = await _produce(producer, target, rate, WARM_UP_S + seconds)
        await _until_covered(messages, int(born[-1]))
        listening.cancel()
    await producer.stop()
    await client.aclose()
    warm = born[born > born[0] + int(WARM_UP_S * 1e9)]
    event = np.array([event for event, _ in messages], np.int64)
    at = np.array([at for _, at in messages], np.int64)
    covering = np.searchsorted(np.maximum.accumulate(event), warm)
    latencies: NDArray[np.float64] = (at[covering] - warm) / 1e9
    return latencies


async def _listen(
    get_message: Callable[..., Awaitable[dict[str, bytes] | None]],
    messages: list[tuple[int, int]],
) -> None:
    decode = msgspec.json.Decoder(_EventTime).decode
    while True:
        message = await get_message(timeout=1.0)
        if message is not None:
            now, event = time.time_ns(), decode(message["data"]).event_ns
            if event is not None:
                messages.append((event, now))


async def _produce(
    producer: AIOKafkaProducer, target: Target, rate: int, seconds: float
) -> NDArray[np.int64]:
    random = np.random.default_rng(SEED)
    rows = random.integers(0, len(target.symbols), 1 << 16).tolist()
    moves = random.integers(-100, 101, 1 << 16).tolist()
    partition = [
        (murmur2(symbol.encode()) & 0x7FFFFFFF) % target.partitions for symbol in target.symbols
    ]
    born: list[int] = []
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for number in range(len(born), int(elapsed * rate)):
            row = rows[number % len(rows)]
            price = max(target.prices[row] + moves[number % len(moves)], 1)
            now = time.time_ns()
            born.append(now)
            value = encode_tick(target.symbols[row], price, now, seq=number + 1)
            await producer.send(target.topic, value, partition=partition[row])
        await asyncio.sleep(STEP_S)
    await producer.flush()
    return np.array(born, np.int64)


async def _until_covered(messages: list[tuple[int, int]], last: int) -> None:
    deadline = time.monotonic() + COVERED_WITHIN_S
    while not messages or messages[-1][0] < last:
        if time.monotonic() > deadline:
            raise ServiceError("the last tick was not covered in time")
        await asyncio.sleep(STEP_S)
