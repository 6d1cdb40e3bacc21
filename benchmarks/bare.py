"""Baselines in a process of their own, on aiokafka alone: what a loop that does the least can reach.

    python -m benchmarks.bare json|fetch|frames --bootstrap HOST:PORT --topic T --ticks N --index FILE
    python -m benchmarks.bare latency --bootstrap HOST:PORT --redis URL --rate R --seconds N

`json` decodes with orjson and keeps one level in floating point, `frames` does so with numpy on frames, `fetch` only counts
bytes, so nothing of it can be asserted but that all came. `latency` publishes the newest event time of each fetch and
nothing else. None of them has the duties of a worker: no filters, no order, no consumer group, no 39 other indexes.
The last line of the output is a JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import redis.asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition

CADENCE_S = 0.1
FETCH_BYTES = 4 * 1024 * 1024
N_PARTITIONS = 4
HEADER_BYTES = 32
RECORD = np.dtype([("symbol", "<u8"), ("ts", "<i8"), ("price", "<i8"), ("rest", "V16")])

Values = Iterable[bytes]


class JsonLevel:
    """One level from JSON ticks: last prices in a dictionary, a running market value."""

    def __init__(self, index: dict[str, Any]) -> None:
        self.ticks = 0
        self._shares: dict[str, float] = index["shares"]
        self._last: dict[str, float] = index["price"]
        self._divisor: float = index["divisor"]
        self._value: float = index["value"]

    def take(self, values: Values) -> None:
        loads, last, shares = orjson.loads, self._last, self._shares
        value = self._value
        n = 0
        for text in values:
            tick = loads(text)
            symbol, price = tick["symbol"], tick["price"]
            value += (price - last[symbol]) * shares[symbol]
            last[symbol] = price
            n += 1
        self._value = value
        self.ticks += n

    def level(self) -> float:
        return self._value / self._divisor


class FrameLevel:
    """One level from frames: last prices in an array, a sum over it for each level."""

    def __init__(self, index: dict[str, Any]) -> None:
        self.ticks = 0
        names = [symbol.encode().ljust(8, b"\0") for symbol in index["shares"]]
        key = np.frombuffer(b"".join(names), "<u8")
        order = np.argsort(key)
        self._key = key[order]
        self._shares = np.array(list(index["shares"].values()))[order]
        self._last = (np.array(list(index["price"].values()))[order] * 1e4).round().astype(np.int64)
        self._divisor: float = index["divisor"]

    def take(self, values: Values) -> None:
        record = np.frombuffer(b"".join([value[HEADER_BYTES:] for value in values]), RECORD)
        row = np.searchsorted(self._key, record["symbol"])
        self._last[row] = record["price"]
        self.ticks += len(record)

    def level(self) -> float:
        return float(self._last @ self._shares) / 1e4 / self._divisor


class Fetched:
    """No level: the ticks are counted by their bytes, one a message, or by the length of their frame."""

    def __init__(self, _index: dict[str, Any]) -> None:
        self.ticks = 0

    def take(self, values: Values) -> None:
        self.ticks += sum(
            (len(value) - HEADER_BYTES) // RECORD.itemsize if value[:4] == b"TICK" else 1
            for value in values
        )

    def level(self) -> float:
        return 0.0


async def read(
    bootstrap: str, topic: str, ticks: int, level_of: JsonLevel | FrameLevel | Fetched
) -> dict[str, float]:
    """Read a topic from its start, with a level every 100 ms; count the time from the first batch in hand."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, max_partition_fetch_bytes=FETCH_BYTES, enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(N_PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        levels: list[float] = []
        start = due = 0.0
        while level_of.ticks < ticks:
            fetched = await consumer.getmany(timeout_ms=10_000)
            if not fetched:
                sys.exit(f"only {level_of.ticks} of {ticks} ticks came")
            start = start or time.perf_counter()
            for records in fetched.values():
                level_of.take([record.value for record in records])
                if (now := time.perf_counter()) >= due:
                    levels.append(level_of.level())
                    due = now + CADENCE_S
        levels.append(level_of.level())
        seconds = time.perf_counter() - start
    finally:
        await consumer.stop()
    return {
        "ticks": level_of.ticks,
        "seconds": seconds,
        "ticks_per_s": ticks / seconds,
        "published": len(levels),
        "level": levels[-1],
    }


async def latency(bootstrap: str, url: str, rate: int, seconds: float) -> dict[str, float]:
    """Measure the loop below with the client of `capstream bench latency`."""
    # Imported here, so that the other baselines are free of our code.
    from benchmarks.workload import delete_topic  # noqa: PLC0415
    from stream.bench.latency import Target, run_client, summarise  # noqa: PLC0415
    from stream.files import load_composition  # noqa: PLC0415
    from stream.topics import ensure_topic  # noqa: PLC0415

    composition = load_composition()
    run = uuid.uuid4().hex[:12]
    topic, channel = f"bench-bare-{run}", f"bench-bare-{run}"
    await ensure_topic(bootstrap, topic, partitions=N_PARTITIONS)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, max_partition_fetch_bytes=FETCH_BYTES, enable_auto_commit=False
    )
    client = redis.asyncio.from_url(url)
    await consumer.start()
    consumer.assign([TopicPartition(topic, number) for number in range(N_PARTITIONS)])
    await consumer.seek_to_beginning()
    tune_collector()
    looping = asyncio.create_task(relay(consumer, client.publish, channel))
    try:
        target = Target(
            kafka_url=bootstrap,
            topic=topic,
            partitions=N_PARTITIONS,
            redis_url=url,
            channel=channel,
            symbols=composition.universe.symbols,
            prices=composition.reference_price.tolist(),
        )
        return dict(summarise(await run_client(target, rate=rate, seconds=seconds)))
    finally:
        looping.cancel()
        await asyncio.wait([looping])
        await consumer.stop()
        await client.aclose()
        await delete_topic(bootstrap, topic)


async def relay(consumer: AIOKafkaConsumer, publish: Callable[..., Any], channel: str) -> None:
    """Publish the newest event time of each fetch."""
    loads, newest = orjson.loads, 0
    while True:
        fetched = await consumer.getmany(timeout_ms=1_000)
        for records in fetched.values():
            newest = max(newest, *(loads(record.value)["ts"] for record in records))
        if fetched:
            await publish(channel, orjson.dumps({"event_ns": newest}))


def tune_collector() -> None:
    """Collect cycles as rarely as the product does, so that the baseline does not suffer from what ours does not."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare")
    parser.add_argument("what", choices=["json", "frames", "fetch", "latency"])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic")
    parser.add_argument("--ticks", type=int)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--redis")
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    if args.what == "latency":
        figures = asyncio.run(latency(args.bootstrap, args.redis, args.rate, args.seconds))
    else:
        index = json.loads(args.index.read_text())
        kinds: dict[str, Callable[..., JsonLevel | FrameLevel | Fetched]] = {
            "json": JsonLevel,
            "frames": FrameLevel,
            "fetch": Fetched,
        }
        tune_collector()
        figures = asyncio.run(read(args.bootstrap, args.topic, args.ticks, kinds[args.what](index)))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
