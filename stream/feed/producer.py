"""Ticks into Kafka: partitioned as Kafka's own clients do, in whole batches, never too many on their way at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Literal

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata
from numpy.typing import NDArray

from stream.feed.trades import Trades
from stream.index.control import Control, OriginRecord, Roll
from stream.index.ticks import Kind
from stream.session.calendar import Session
from stream.topics import CONNECT_S, reaching
from stream.wire import control, frames, ticks_json
from stream.wire.ticks_json import NS_PER_MS

Format = Literal["json", "frame"]

#: A frame of more ticks would come near Kafka's limit of a megabyte a message.
LARGEST_FRAME = 20_000

#: Brokers that take nothing for so long are lost: a restart takes less, and aiokafka tries without a pause meanwhile.
LOST_S = 15.0

_BATCH_BYTES = 512 * 1024

_KINDS = tuple(Kind)

#: Clears the sign, as Kafka's `Utils.toPositive` does.
_POSITIVE = 0x7FFFFFFF

#: Timestamp in ms, key and value of a Kafka record.
Message = tuple[int, bytes, bytes]


@lru_cache(maxsize=65_536)
def partition_of(symbol: str, n_partitions: int) -> int:
    """Choose the partition of a symbol as Kafka's default partitioner does.

    Parameters
    ----------
    symbol
        The key.
    n_partitions
        Partitions of the topic.

    Examples
    --------
    >>> partition_of("foobar", 4)
    2
    """
    return int(murmur2(symbol.encode()) & _POSITIVE) % n_partitions


def json_messages(trades: Trades, *, now_ms: int) -> Iterator[Message]:
    """Write each trade as a JSON message.

    Parameters
    ----------
    trades
        Any trades.
    now_ms
        The time, ms since 1970 UTC; a record is stamped with it, or with its event time where that lies ahead (law 8).
    """
    symbols, conditions = trades.symbols, trades.conditions
    for symbol, price, ts, size, seq, venue, condition, kind in zip(
        trades.symbol.tolist(),
        trades.price.tolist(),
        trades.ts.tolist(),
        trades.size.tolist(),
        trades.seq.tolist(),
        trades.venue.tolist(),
        trades.condition.tolist(),
        map(_KINDS.__getitem__, trades.kind.tolist()),
        strict=True,
    ):
        value = ticks_json.encode_tick(
            symbols[symbol],
            price,
            ts,
            size=size,
            seq=seq,
            venue=chr(venue) if venue else "",
            cond=conditions[condition],
            kind=kind,
        )
        yield max(now_ms, ts // NS_PER_MS), symbols[symbol].encode(), value


def frame_messages(
    trades: Trades, *, now_ms: int, frame_size: int, first_frame_seq: int = 1
) -> Iterator[Message]:
    """Write trades of one partition as frames.

    Parameters
    ----------
    trades
        Of symbols of one partition.
    now_ms
        The time, ms since 1970 UTC; a record is stamped with it, or with its newest event time where that lies ahead.
    frame_size
        Most ticks of a frame.
    first_frame_seq
        Number of the first frame on its partition.
    """
    record = _records(trades)
    for number, start in enumerate(range(0, len(record), frame_size), start=first_frame_seq):
        part = record[start : start + frame_size]
        newest_ms = int(part["ts"].max()) // NS_PER_MS
        key = trades.symbols[trades.symbol[start]].encode()
        yield max(now_ms, newest_ms), key, frames.encode(part, frame_seq=number)


def _records(trades: Trades) -> NDArray[np.void]:
    distinct, which = np.unique(trades.symbol, return_inverse=True)
    record: NDArray[np.void] = np.zeros(len(trades), frames.RECORD)
    record["symbol"] = frames.symbol_keys([trades.symbols[i] for i in distinct])[which]
    record["ts"], record["price"], record["seq"] = trades.ts, trades.price, trades.seq
    record["size"], record["cond"], record["venue"] = trades.size, trades.cond, trades.venue
    record["kind"] = trades.kind
    return record


class TickWriter:
    """Writes trades to the partitions of one topic, in their order.

    Made by `open_writer`.

    Parameters
    ----------
    producer
        Started.
    kafka_url
        Where it is connected to, for error messages.
    topic
        Where to.
    n_partitions
        How many the topic has.
    format
        `json` writes a message a tick, `frame` up to `frame_size` ticks a message.
    frame_size
        Most ticks of a frame, 1 to LARGEST_FRAME.
    now_ns
        Gives the time, ns since 1970 UTC.

    Attributes
    ----------
    topic
        As given.
    end_offsets
        By partition: the offset after the last record that Kafka has acknowledged.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        *,
        kafka_url: str,
        topic: str,
        n_partitions: int,
        format: Format,  # noqa: A002
        frame_size: int,
        now_ns: Callable[[], int],
    ) -> None:
        self.end_offsets: dict[int, int] = {}
        self._producer = producer
        self._kafka_url = kafka_url
        self.topic = topic
        self._n_partitions = n_partitions
        self._format = format
        self._frame_size = frame_size
        self._now_ns = now_ns
        self._n_frames = [0] * n_partitions
        self._symbols: Sequence[str] = ()
        self._partition_of = np.zeros(0, np.int64)
        self._unacknowledged: set[asyncio.Future[RecordMetadata]] = set()
        self._failure: BaseException | None = None

    async def announce(self, origin: Literal["replay", "simulated"], *, first_ts: int) -> None:
        """Write to each partition, and wait for it, where the ticks that follow come from.

        Parameters
        ----------
        origin
            Kind of feed.
        first_ts
            Event time of the first tick, ns since 1970 UTC.

        Raises
        ------
        ServiceError
            Where Kafka does not take it.
        """
        await self._say(OriginRecord(origin), first_ts=first_ts)

    async def roll(self, session: Session) -> None:
        """Write to each partition, and wait for it, that a session begins.

        Parameters
        ----------
        session
            Of the ticks that follow.

        Raises
        ------
        ServiceError
            Where Kafka does not take it.
        """
        await self._say(Roll(*session), first_ts=session.starts_ns)

    async def _say(self, said: Control, *, first_ts: int) -> None:
        record = control.encode(said)
        stamp = max(self._now_ns(), first_ts) // NS_PER_MS
        for partition in range(self._n_partitions):
            batch = self._producer.create_batch()
            batch.append(timestamp=stamp, key=None, value=record)
            await self._send(batch, partition)
        await self.flush()

    async def write(self, trades: Trades) -> None:
        """Hand trades over, waiting while two batches of a partition are on their way.

        Parameters
        ----------
        trades
            In the order of their tape.

        Raises
        ------
        ServiceError
            Where Kafka has not taken these or earlier ones.
        """
        partition = self._partitions(trades.symbols)[trades.symbol]
        order = np.argsort(partition, kind="stable")
        bounds = np.searchsorted(partition[order], np.arange(self._n_partitions + 1))
        now_ms = self._now_ns() // NS_PER_MS
        for number in range(self._n_partitions):
            part = order[bounds[number] : bounds[number + 1]]
            if len(part):
                messages = self._messages(trades.take(part), number, now_ms=now_ms)
                await self._write_messages(messages, number)

    async def flush(self) -> None:
        """Wait until Kafka has acknowledged everything.

        Raises
        ------
        ServiceError
            Where it has not taken something.
        """
        async with reaching(self._kafka_url):
            while self._unacknowledged and self._failure is None:
                await asyncio.wait(self._unacknowledged, return_when=asyncio.FIRST_COMPLETED)
            self._check()

    def _partitions(self, symbols: Sequence[str]) -> NDArray[np.int64]:
        if symbols is not self._symbols:
            chosen = [partition_of(symbol, self._n_partitions) for symbol in symbols]
            self._symbols, self._partition_of = symbols, np.array(chosen, np.int64)
        return self._partition_of

    def _messages(self, trades: Trades, partition: int, *, now_ms: int) -> Iterable[Message]:
        if self._format == "json":
            return json_messages(trades, now_ms=now_ms)
        first = self._n_frames[partition] + 1
        self._n_frames[partition] += -(-len(trades) // self._frame_size)
        return frame_messages(
            trades, now_ms=now_ms, frame_size=self._frame_size, first_frame_seq=first
        )

    async def _write_messages(self, messages: Iterable[Message], partition: int) -> None:
        batch = self._producer.create_batch()
        for stamp, key, value in messages:
            if batch.append(timestamp=stamp, key=key, value=value) is None:
                await self._send(batch, partition)
                # The first record of a batch always fits.
                batch = self._producer.create_batch()
                batch.append(timestamp=stamp, key=key, value=value)
        await self._send(batch, partition)

    async def _send(self, batch: BatchBuilder, partition: int) -> None:
        n_records = batch.record_count()
        async with reaching(self._kafka_url):
            self._check()
            future = await self._producer.send_batch(batch, self.topic, partition=partition)
        self._unacknowledged.add(future)
        future.add_done_callback(lambda done: self._acknowledge(done, partition, n_records))

    def _acknowledge(
        self, future: asyncio.Future[RecordMetadata], partition: int, n_records: int
    ) -> None:
        self._unacknowledged.discard(future)
        if future.cancelled():
            return
        self._failure = self._failure or future.exception()
        if future.exception() is None:
            self.end_offsets[partition] = future.result().offset + n_records

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure


@asynccontextmanager
async def open_writer(
    kafka_url: str,
    topic: str,
    *,
    n_partitions: int,
    format: Format,  # noqa: A002
    frame_size: int,
    now_ns: Callable[[], int],
) -> AsyncIterator[TickWriter]:
    """Connect a writer; leaving flushes it, however the feed ends.

    Parameters
    ----------
    kafka_url
        Address of the brokers.
    topic, n_partitions, format, frame_size, now_ns
        As in `TickWriter`.

    Raises
    ------
    ServiceError
        Where Kafka cannot be reached within ten seconds, or does not take a tick.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka_url,
        max_batch_size=_BATCH_BYTES,
        request_timeout_ms=int(LOST_S * 1000),
        # A batch that is sent again after a lost answer is neither written twice nor out of order.
        enable_idempotence=True,
    )
    try:
        async with reaching(kafka_url, within_s=CONNECT_S):
            await producer.start()
        writer = TickWriter(
            producer,
            kafka_url=kafka_url,
            topic=topic,
            n_partitions=n_partitions,
            format=format,
            frame_size=frame_size,
            now_ns=now_ns,
        )
        try:
            yield writer
        finally:
            await writer.flush()
    finally:
        await producer.stop()
