"""`engine/*`: the engine without servers, and the design decisions in numbers.

- `engine/book`: ticks into a book, a partial after every batch (`capstream bench engine`)
- `engine/decode`: JSON by msgspec into typed ticks, against orjson into dictionaries
- `engine/drain`: a fetch, records straight from its batches, against a ConsumerRecord for each
- `engine/order`: a batch in order, against one with a tick out of order, which must be sorted
- `engine/single`: a batch of plain prints, against the same before the opening, where each is looked at by itself
- `engine/sort`: sorting by row with 16-bit keys, for which numpy has a radix sort, against 32-bit keys
- `engine/publish`: all indexes to Redis in one script call, against redis-py's MULTI of three commands each
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import orjson
import redis.asyncio
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from benchmarks.contenders import Servers, capstream
from benchmarks.processes import run
from benchmarks.report import Report
from benchmarks.workload import COND, Chunk, json_texts, tape
from stream.index.book import Book
from stream.index.composition import Composition
from stream.index.partial import EXTENDED_CLOSE, Partial
from stream.index.price_rules import PriceRules
from stream.index.snapshot import moment_of, snapshots
from stream.index.ticks import Ticks
from stream.index.units import NS_PER_S
from stream.pipeline.transport import drain
from stream.publish.redis import Message, RedisSink
from stream.session.calendar import Calendar
from stream.wire.conditions import condition_bits
from stream.wire.names import RedisNames
from stream.wire.snapshots import encode_published
from stream.wire.ticks_json import JsonTick

BATCH = 20_000
FETCHED = 8_000
PUBLICATIONS = 50
STREAM_LENGTH = 10_000
ROUNDS = 5

Work = Callable[[], Any]


async def measure(
    report: Report, servers: Servers, composition: Composition, *, ticks: int, repetitions: int
) -> None:
    """Measure everything of this file."""
    for _ in range(repetitions):
        _book(report, servers, ticks)
    for _ in range(repetitions):
        _decode(report, composition)
        _drain(report, composition)
        _order(report, composition)
        _single(report, composition)
        _sort(report, composition)
        await _publish(report, servers, composition)


def _book(report: Report, servers: Servers, ticks: int) -> None:
    ours = capstream(servers, "bench", "engine", "--ticks", str(ticks))
    figures = run(ours.command, folder=servers.folder).figures
    report.check(figures["applied"] == ticks, f"engine/book: {figures['applied']:,} applied")
    for unit in ("ticks_per_s", "apply_ns_per_tick", "partial_us"):
        name = unit.replace("_per_s", "/s").replace("_", " ")
        report.add("engine/book", "capstream", name, float(figures[unit]), baseline="capstream")
    report.say(f"engine/book: {figures['ticks_per_s']:,.0f} ticks/s")


def _compare(
    report: Report, workload: str, unit: str, scale: float, ours: tuple[str, Work], *rest: Any
) -> list[Any]:
    """Time works in turn, the best of some rounds each; the last one is the baseline. Give their answers."""
    works: list[tuple[str, Work]] = [ours, *rest]
    best = [float("inf")] * len(works)
    answers: list[Any] = [None] * len(works)
    for _ in range(ROUNDS):
        for i, (_, work) in enumerate(works):
            start = time.perf_counter()
            answers[i] = work()
            best[i] = min(best[i], time.perf_counter() - start)
    for (name, _), seconds in zip(works, best, strict=True):
        report.add(workload, name, unit, seconds * scale, baseline=works[-1][0])
    return answers


def _decode(report: Report, composition: Composition) -> None:
    texts = list(json_texts(composition, next(tape(composition, BATCH))))
    decode = msgspec.json.Decoder(JsonTick).decode
    typed, plain = _compare(
        report,
        "engine/decode",
        "ns/tick",
        1e9 / BATCH,
        ("msgspec typed", lambda: [decode(text) for text in texts]),
        ("orjson", lambda: [orjson.loads(text) for text in texts]),
    )
    same = [(one.symbol, one.price, one.ts) for one in typed] == [
        (one["symbol"], one["price"], one["ts"]) for one in plain
    ]
    report.check(same, "engine/decode: the two decoders differ")


def _drain(report: Report, composition: Composition) -> None:
    texts = list(json_texts(composition, next(tape(composition, FETCHED))))
    log = _log(texts)
    batch, records = _compare(
        report,
        "engine/drain",
        "ns/record",
        1e9 / FETCHED,
        ("drained batch", lambda: drain(_fetched(log))),
        ("ConsumerRecord", lambda: _fetched(log).getall()),
    )
    same = [one.value for one in batch.records] == texts == [one.value for one in records]
    report.check(same, "engine/drain: records differ")


def _log(texts: list[bytes]) -> bytes:
    batches, at = [], 0
    while at < len(texts):
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 512 * 1024)
        n = 0
        while at + n < len(texts) and builder.append(n, 0, b"key", texts[at + n], []) is not None:
            n += 1
        batch = bytearray(builder.build())
        # A broker writes the base offset, which its checksum leaves out.
        batch[:8] = at.to_bytes(8, "big")
        batches.append(bytes(batch))
        at += n
    return b"".join(batches)


def _fetched(log: bytes) -> FetchResult:
    tp = TopicPartition("ticks", 0)
    state = SimpleNamespace(
        paused=False, position=0, highwater=FETCHED, consumed_to=lambda _position: None
    )
    assignment = SimpleNamespace(active=True, state_value=lambda _tp: state)
    records = PartitionRecords(
        tp,
        MemoryRecords(log),
        None,
        0,
        None,
        None,
        check_crcs=True,
        isolation_level=READ_UNCOMMITTED,
    )
    return FetchResult(tp, assignment=assignment, partition_records=records, backoff=0)


def _columns(chunk: Chunk) -> Ticks:
    return Ticks(
        row=chunk.row.astype(np.int32),
        price=chunk.price,
        ts=chunk.ts,
        seq=chunk.seq.astype(np.uint64),
        cond=np.full(len(chunk), condition_bits(COND), np.uint16),
        kind=np.zeros(len(chunk), np.uint8),
        recorded=chunk.ts,
        size=np.full(len(chunk), 100, np.uint32),
        venue=np.zeros(len(chunk), np.uint8),
    )


def _order(report: Report, composition: Composition) -> None:
    in_order = _columns(next(tape(composition, BATCH)))
    which = np.arange(BATCH)
    # The last two of different symbols change places: nothing is refused, but the batch must be sorted.
    last = next(i for i in range(BATCH - 2, 0, -1) if in_order.row[i] != in_order.row[i + 1])
    which[[last, last + 1]] = last + 1, last
    out_of_order = in_order.take(which)
    ordered, sorted_ = _compare(
        report,
        "engine/order",
        "ns/tick",
        1e9 / BATCH,
        ("in order", _applied(composition, in_order)),
        ("out of order", _applied(composition, out_of_order)),
    )
    same = bool((ordered.value == sorted_.value).all())
    report.check(same, "engine/order: the order of two symbols changed a value")


def _single(report: Report, composition: Composition) -> None:
    together = _columns(next(tape(composition, BATCH)))
    before_the_opening = together.ts - 7 * 3_600 * NS_PER_S
    alone = replace(together, ts=before_the_opening, recorded=before_the_opening)
    regular, extended = _compare(
        report,
        "engine/single",
        "ns/tick",
        1e9 / BATCH,
        ("regular, together", _applied(composition, together)),
        ("extended, one by one", _applied(composition, alone)),
    )
    n_regular, n_extended = int(regular.priced[0]), int((extended.columns[EXTENDED_CLOSE] > 0)[0])
    report.check(n_regular > 0 and n_extended > 0, "engine/single: a price was not taken")


def _applied(composition: Composition, ticks: Ticks) -> Callable[[], Partial]:
    """Give a work that applies a batch again and again, a second later each time."""
    book, later = (
        Book(composition, calendar=Calendar.bundled(), rules=PriceRules(), partition=0),
        count(),
    )
    # Its session's first prints are looked at one by one, in any order.
    rows = np.arange(len(composition.universe), dtype=np.int32)
    first = ticks.take(np.zeros(len(rows), np.int64))
    book.apply(replace(first, row=rows, price=composition.reference_price))

    def apply() -> Partial:
        since = next(later) * NS_PER_S
        recorded, seq = ticks.recorded + since, ticks.seq + np.uint64(since)
        book.apply(replace(ticks, ts=ticks.ts + since, recorded=recorded, seq=seq))
        return book.partial()

    return apply


def _sort(report: Report, composition: Composition) -> None:
    row = _columns(next(tape(composition, BATCH))).row
    narrow, wide = _compare(
        report,
        "engine/sort",
        "ns/tick",
        1e9 / BATCH,
        ("16-bit keys", lambda: np.argsort(row.astype(np.uint16), kind="stable")),
        ("32-bit keys", lambda: np.argsort(row, kind="stable")),
    )
    report.check(bool((narrow == wide).all()), "engine/sort: the sorts differ")


async def _publish(report: Report, servers: Servers, composition: Composition) -> None:
    positions = range(len(composition.indexes))
    nothing = Partial.zero(composition)
    moment = moment_of(Calendar.bundled(), nothing, now_ns=0)
    newest = snapshots(composition, positions, nothing, moment=moment)
    messages = [
        Message(one.code, 1, encode_published(one, epoch=1, seq=1, published_ns=0))
        for one in newest
    ]
    ours, theirs = RedisNames("idx:bench-script:"), RedisNames("idx:bench-multi:")
    sink = RedisSink(servers.redis_url, names=ours, stream_length=STREAM_LENGTH)
    client = redis.asyncio.from_url(servers.redis_url)

    async def multi() -> None:
        async with client.pipeline(transaction=True) as pipeline:
            for one in messages:
                pipeline.set(theirs.snap(one.code), one.data)
                entry: Any = {"epoch": 1, "seq": one.seq, "data": one.data}
                pipeline.xadd(theirs.stream(one.code), entry, maxlen=STREAM_LENGTH)
                pipeline.publish(theirs.level(one.code), one.data)
            pipeline.publish(theirs.levels, b"[" + b",".join(m.data for m in messages) + b"]")
            await pipeline.execute()

    seconds = {"one script": 0.0, "MULTI": 0.0}
    try:
        await client.delete(ours.epoch)
        for _ in range(PUBLICATIONS):
            start = time.perf_counter()
            await sink.publish(messages, epoch=1, again=False)
            middle = time.perf_counter()
            await multi()
            seconds["one script"] += middle - start
            seconds["MULTI"] += time.perf_counter() - middle
            await asyncio.sleep(0)
        for one in messages:
            both = await client.mget(ours.snap(one.code), theirs.snap(one.code))
            report.check(both == [one.data, one.data], f"engine/publish: {one.code} differs")
        keys = [key async for key in client.scan_iter("idx:bench-*")]
        await client.delete(*keys)
    finally:
        await sink.close()
        await client.aclose()
    for name, total in seconds.items():
        report.add("engine/publish", name, "us", total / PUBLICATIONS * 1e6, baseline="MULTI")
