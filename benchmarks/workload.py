"""The tape that every workload reads, and the levels that it must end in.

A tape of n ticks is the beginning of every longer one: ticks come in chunks, each with a seed of its own. Symbols are drawn
uniformly, which is the worst case for an index engine: a batch touches as many instruments as it can. Arrays are made
afresh at each call; nothing here looks at the clock but the timestamps of Kafka's records.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from numpy.typing import NDArray

from stream.feed.producer import partition_of
from stream.index.composition import Composition
from stream.index.units import LEVEL_SCALE
from stream.topics import ensure_topic
from stream.wire import frames
from stream.wire.conditions import condition_bits

SEED = 20260717

#: 2026-07-17 12:00 in New York, a Friday: regular hours, and the date of the bundled prices.
START_NS = 1_784_304_000_000_000_000
STEP_NS = 1_000
CHUNK = 1_000_000

N_PARTITIONS = 4
SIZE = 100
VENUE = "N"
COND = "@"

Format = Literal["json", "frame64", "frame1000"]
FRAME_TICKS: dict[Format, int] = {"frame64": 64, "frame1000": 1_000}

_DOLLAR = 10_000
_CENT = 100
#: Prices stay within a fiftieth of the reference price, and half a cent of rounding.
_SPREAD = 50

_BATCH_BYTES = 512 * 1024
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive ticks of the tape; every array has shape (n,).

    Attributes
    ----------
    row
        int64: row of the instrument.
    price
        int64: 1/10000 dollar.
    ts
        int64: event time, ns since 1970 UTC.
    seq
        int64: number on the tape, from 1.
    """

    row: NDArray[np.int64]
    price: NDArray[np.int64]
    ts: NDArray[np.int64]
    seq: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.row)


def tape(composition: Composition, n: int) -> Iterator[Chunk]:
    """Make the first n ticks of the tape.

    Parameters
    ----------
    composition
        Whose instruments trade, near their reference prices.
    n
        How many ticks.
    """
    for number, first in enumerate(range(0, n, CHUNK)):
        random = np.random.default_rng([SEED, number])
        row = random.integers(0, len(composition.universe), CHUNK)
        reference = composition.reference_price[row]
        spread = reference // _SPREAD
        price = reference + random.integers(-spread, spread, endpoint=True)
        price = np.where(price >= _DOLLAR, (price + _CENT // 2) // _CENT * _CENT, price)
        size = min(CHUNK, n - first)
        position = np.arange(first, first + size, dtype=np.int64)
        yield Chunk(
            row=row[:size],
            price=np.maximum(price[:size], 1),
            ts=START_NS + position * STEP_NS,
            seq=position + 1,
        )


def expected_levels(composition: Composition, n: int) -> dict[str, Decimal]:
    """Work out the level of every index after n ticks, in fractions, without the engine.

    Parameters
    ----------
    composition
        Its index shares and divisors are taken as given.
    n
        How many ticks of the tape.
    """
    last = [int(price) for price in composition.reference_price]
    for chunk in tape(composition, n):
        # The first of each row in the reversed chunk is its last.
        rows, at = np.unique(chunk.row[::-1], return_index=True)
        for row, price in zip(rows.tolist(), chunk.price[::-1][at].tolist(), strict=True):
            last[row] = price
    levels = {}
    for index in composition.indexes:
        members = zip(index.row.tolist(), index.shares.tolist(), strict=True)
        value = sum(last[row] * shares for row, shares in members)
        dollars = Fraction(value) / (_DOLLAR * Fraction(10) ** index.k)
        # `round` of a fraction rounds half to even.
        points = round(dollars / Fraction(index.divisor.value) * LEVEL_SCALE)
        levels[index.code] = Decimal(points) / LEVEL_SCALE
    return levels


def json_texts(composition: Composition, chunk: Chunk) -> Iterator[bytes]:
    """Write ticks as JSON messages."""
    symbols = composition.universe.symbols
    for row, price, ts, seq in zip(
        chunk.row.tolist(),
        chunk.price.tolist(),
        chunk.ts.tolist(),
        chunk.seq.tolist(),
        strict=True,
    ):
        yield (
            f'{{"symbol":"{symbols[row]}","price":{price // _DOLLAR}.{price % _DOLLAR:04d},"ts":{ts},"size":{SIZE},'
            f'"seq":{seq},"source":0,"venue":"{VENUE}","cond":"{COND}","kind":"trade"}}'
        ).encode()


def frame_texts(composition: Composition, chunk: Chunk, *, frame_ticks: int) -> Iterator[bytes]:
    """Write ticks of one partition as frames; the last one may be shorter."""
    record = np.zeros(len(chunk), frames.RECORD)
    record["symbol"] = frames.symbol_keys(composition.universe.symbols)[chunk.row]
    record["ts"], record["price"], record["seq"] = chunk.ts, chunk.price, chunk.seq
    record["size"], record["cond"], record["venue"] = SIZE, condition_bits(COND), ord(VENUE)
    for start in range(0, len(record), frame_ticks):
        yield frames.encode(record[start : start + frame_ticks])


@asynccontextmanager
async def filled_topic(
    kafka_url: str, topic: str, composition: Composition, *, form: Format, ticks: int
) -> AsyncIterator[float]:
    """Create a topic, write the tape to it, and delete it in the end.

    Parameters
    ----------
    kafka_url
        Address of the brokers.
    topic
        Name that no topic has yet.
    composition
        Whose instruments trade.
    form
        `json` is one tick a message, the others as many a frame as they say.
    ticks
        How many.

    Yields
    ------
    float
        Ticks written a second.
    """
    await ensure_topic(kafka_url, topic, partitions=N_PARTITIONS)
    try:
        start = time.perf_counter()
        await _fill(kafka_url, topic, composition, form=form, ticks=ticks)
        yield ticks / (time.perf_counter() - start)
    finally:
        await delete_topic(kafka_url, topic)


async def delete_topic(kafka_url: str, topic: str) -> None:
    """Delete a topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_url)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()


async def _fill(
    kafka_url: str, topic: str, composition: Composition, *, form: Format, ticks: int
) -> None:
    symbols = composition.universe.symbols
    partition_of_row = np.array([partition_of(symbol, N_PARTITIONS) for symbol in symbols])
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka_url, max_batch_size=_BATCH_BYTES, acks=1, linger_ms=5
    )
    await producer.start()
    try:
        for chunk in tape(composition, ticks):
            partition = partition_of_row[chunk.row]
            for number in range(N_PARTITIONS):
                part = _taken(chunk, np.flatnonzero(partition == number))
                await _write(producer, topic, composition, number, part, form=form)
    finally:
        await producer.stop()


def _taken(chunk: Chunk, which: NDArray[np.int64]) -> Chunk:
    return Chunk(chunk.row[which], chunk.price[which], chunk.ts[which], chunk.seq[which])


async def _write(
    producer: AIOKafkaProducer,
    topic: str,
    composition: Composition,
    partition: int,
    chunk: Chunk,
    *,
    form: Format,
) -> None:
    keys = [symbol.encode() for symbol in composition.universe.symbols]
    if form == "json":
        texts = json_texts(composition, chunk)
        key_of = [keys[row] for row in chunk.row.tolist()]
        newest = chunk.ts
    else:
        step = FRAME_TICKS[form]
        texts = frame_texts(composition, chunk, frame_ticks=step)
        key_of = [keys[row] for row in chunk.row[::step].tolist()]
        newest = chunk.ts[np.minimum(np.arange(len(key_of)) * step + step, len(chunk)) - 1]
    # Stamped like our own feed's records: with the time, or the event time where that lies ahead.
    stamps = np.maximum(newest // _NS_PER_MS, time.time_ns() // _NS_PER_MS).tolist()
    sent: list[asyncio.Future[object]] = []
    batch = producer.create_batch()
    for stamp, key, text in zip(stamps, key_of, texts, strict=True):
        if batch.append(timestamp=stamp, key=key, value=text) is None:
            sent.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(timestamp=stamp, key=key, value=text)
    sent.append(await producer.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*sent)
