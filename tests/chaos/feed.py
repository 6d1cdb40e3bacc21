"""The feed: a tape into Kafka by a plain idempotent producer, and a note of the offset at which each tick stands."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from chaos.tape import MALFORMED_TEXTS, START_NS, Sort, Tape, dollars
from stream.index.control import Roll
from stream.session.calendar import Calendar
from stream.wire import control, frames
from stream.wire.conditions import condition_bits

Form = Literal["json", "frame", "mixed"]

#: Says that the ticks are no live ones, as every feed of made-up ticks must.
SIMULATED = b'CTRL{"type":"origin","origin":"simulated"}'

NS_PER_MS = 1_000_000
FRAME_TICKS = 50

#: Ticks that are turned into messages at once: a frame never reaches from one portion into the next.
PORTION = 2_000
BEAT_S = 0.05
BATCH_BYTES = 256 * 1024
#: The broker may be away for so long, and the batches still come.
DELIVERY_MS = 120_000

#: A tick that is this far ahead of its record is the work of a bad clock.
AHEAD_MS = 5_000

REGULAR, ODD_LOT = condition_bits("@"), condition_bits("I")

#: Timestamp in ms, or None for the time of writing; key; value; how many ticks it holds.
Message = tuple[int | None, bytes, bytes, int]


def messages(tape: Tape, positions: list[int], *, form: Form) -> Iterator[Message]:
    """Write ticks of one partition as messages.

    Parameters
    ----------
    tape
        All of it.
    positions
        Of ticks of one partition, ascending.
    form
        `json` is one tick a message; `frame` as many as fit, but malformed messages and ticks ahead of their record stand
        alone; `mixed` changes from one to the other with every FRAME_TICKS ticks.
    """
    ticks = _ticks(tape, positions)
    waiting: list[_Tick] = []
    for tick in ticks:
        framed = form == "frame" or (form == "mixed" and tick.position // FRAME_TICKS % 2 == 0)
        alone = tick.sort in (Sort.MALFORMED, Sort.FUTURE) or not framed
        if waiting and (alone or len(waiting) == FRAME_TICKS):
            yield _frame(waiting)
            waiting = []
        if alone:
            yield _single(tick)
        else:
            waiting.append(tick)
    if waiting:
        yield _frame(waiting)


class _Tick(NamedTuple):
    """One tick of the tape as plain numbers: arrays give these slowly, one by one."""

    position: int
    symbol: str
    sort: int
    price: int
    ts: int
    seq: int


def _ticks(tape: Tape, positions: list[int]) -> list[_Tick]:
    columns = [column[positions].tolist() for column in (tape.sort, tape.price, tape.ts, tape.seq)]
    symbols = map(tape.symbol, positions)
    return [_Tick(*one) for one in zip(positions, symbols, *columns, strict=True)]


def _single(tick: _Tick) -> Message:
    if tick.sort == Sort.MALFORMED:
        value = MALFORMED_TEXTS[tick.position % len(MALFORMED_TEXTS)]
        return None, tick.symbol.encode(), value, 1
    stamp = tick.ts // NS_PER_MS - AHEAD_MS if tick.sort == Sort.FUTURE else None
    cond = "I" if tick.sort == Sort.ODD_LOT else "@"
    value = (
        f'{{"symbol":"{tick.symbol}","price":{dollars(tick.price)},"ts":{tick.ts},"size":100,'
        f'"seq":{tick.seq},"source":{int(tick.sort == Sort.COPY)},"venue":"N","cond":"{cond}"}}'
    ).encode()
    return stamp, tick.symbol.encode(), value, 1


def _frame(ticks: list[_Tick]) -> Message:
    record = np.zeros(len(ticks), frames.RECORD)
    record["symbol"] = frames.symbol_keys([tick.symbol for tick in ticks])
    record["price"] = [tick.price for tick in ticks]
    record["ts"] = [tick.ts for tick in ticks]
    record["seq"] = [tick.seq for tick in ticks]
    record["cond"] = [ODD_LOT if tick.sort == Sort.ODD_LOT else REGULAR for tick in ticks]
    record["size"], record["venue"] = 100, ord("N")
    return None, ticks[0].symbol.encode(), frames.encode(record), len(ticks)


class Offsets:
    """Which ticks of a partition stand at which offsets; other records may stand between them.

    Attributes
    ----------
    end
        Offset after the last record that Kafka has acknowledged.
    """

    def __init__(self) -> None:
        self.end = 0
        self._base: list[int] = []
        self._ticks: list[list[int]] = []
        self._before: list[int] = []
        self._n_ticks = 0

    def add(self, base: int, ticks: list[int]) -> None:
        """Note an acknowledged batch: the offset of its first record, and how many ticks are in each."""
        self._base.append(base)
        self._ticks.append(ticks)
        self._before.append(self._n_ticks)
        self._n_ticks += sum(ticks)
        self.end = base + len(ticks)

    def ticks_before(self, offset: int) -> int:
        """Count the ticks of the partition that stand before an offset."""
        batch = bisect_left(self._base, offset) - 1
        if batch < 0:
            return 0
        return self._before[batch] + sum(self._ticks[batch][: offset - self._base[batch]])

    def offset_of(self, tick: int) -> int:
        """Give the offset of the record that holds the partition's tick of this number, from 0."""
        batch = bisect_left(self._before, tick + 1) - 1
        left = tick - self._before[batch]
        for record, n in enumerate(self._ticks[batch]):
            if left < n:
                return self._base[batch] + record
            left -= n
        raise AssertionError(f"tick {tick} has not been acknowledged")


class Feed:
    """Writes a tape to its partitions, in order.

    Made by `open_feed`.

    Attributes
    ----------
    offsets
        By partition.
    written
        Ticks of the tape that have been handed to the producer.
    """

    def __init__(self, producer: AIOKafkaProducer, topic: str, tape: Tape, *, form: Form) -> None:
        self.offsets = [Offsets() for _ in range(tape.n_partitions)]
        self.written = 0
        self._producer = producer
        self._topic = topic
        self._tape = tape
        self._form = form
        self._sent: set[asyncio.Future[RecordMetadata]] = set()

    async def announce(self) -> None:
        """Say on every partition that the ticks are simulated, and roll to their session."""
        name, starts_ns, ends_ns = Calendar.bundled().session_at(START_NS)
        roll = control.encode(Roll(name, starts_ns, ends_ns))
        for partition in range(self._tape.n_partitions):
            await self._write(partition, [(None, b"", SIMULATED, 0), (None, b"", roll, 0)])
        await self.flush()

    async def pour(self, until: int) -> None:
        """Write as fast as Kafka takes it, up to a position of the tape."""
        while self.written < until:
            await self._portion(min(PORTION, until - self.written))
        await self.flush()

    async def pace(self, until: int, *, seconds: float) -> None:
        """Write evenly over some time, up to a position of the tape."""
        first, began = self.written, time.monotonic()
        while self.written < until:
            await asyncio.sleep(BEAT_S)
            share = min((time.monotonic() - began) / seconds, 1.0)
            due = first + int((until - first) * share)
            # What a broker held up follows in portions.
            while self.written < due:
                await self._portion(min(PORTION, due - self.written))
        await self.flush()

    async def flush(self) -> None:
        """Wait until Kafka has acknowledged everything."""
        while self._sent:
            await asyncio.gather(*self._sent)

    async def _portion(self, ticks: int) -> None:
        first, self.written = self.written, self.written + ticks
        positions = np.arange(first, self.written)
        partition = self._tape.partition[first : self.written]
        for number in range(self._tape.n_partitions):
            mine = positions[partition == number].tolist()
            await self._write(number, messages(self._tape, mine, form=self._form))

    async def _write(self, partition: int, these: Iterable[Message]) -> None:
        batch, ticks = self._producer.create_batch(), list[int]()
        now = time.time_ns() // NS_PER_MS
        for stamp, key, value, n_ticks in these:
            at = now if stamp is None else stamp
            if batch.append(timestamp=at, key=key, value=value) is None:
                await self._send(batch, partition, ticks)
                batch, ticks = self._producer.create_batch(), []
                batch.append(timestamp=at, key=key, value=value)
            ticks.append(n_ticks)
        if ticks:
            await self._send(batch, partition, ticks)

    async def _send(self, batch: BatchBuilder, partition: int, ticks: list[int]) -> None:
        sent = await self._producer.send_batch(batch, self._topic, partition=partition)
        self._sent.add(sent)
        sent.add_done_callback(lambda done: self._acknowledge(done, partition, ticks))

    def _acknowledge(
        self, done: asyncio.Future[RecordMetadata], partition: int, ticks: list[int]
    ) -> None:
        if not done.cancelled() and done.exception() is None:
            self._sent.discard(done)
            self.offsets[partition].add(done.result().offset, ticks)


@asynccontextmanager
async def open_feed(kafka_url: str, topic: str, tape: Tape, *, form: Form) -> AsyncIterator[Feed]:
    """Connect a feed."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka_url,
        max_batch_size=BATCH_BYTES,
        request_timeout_ms=DELIVERY_MS,
        enable_idempotence=True,
    )
    await producer.start()
    try:
        yield Feed(producer, topic, tape, form=form)
    finally:
        await producer.stop()
