"""A small Kafka: logs with offsets, compaction and retention; and what a process reads and writes them with."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Self

from aiokafka.structs import ConsumerRecord

from simulation.loop import Clock
from simulation.process import Op, Process, running
from stream.pipeline import log
from stream.settings import Settings


class Record(NamedTuple):
    """A record as consumers see it; `timestamp` in ms."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int


class Log:
    """One partition of one topic."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.start = 0
        self.end = 0

    def append(self, key: bytes | None, value: bytes | None, timestamp: int) -> Record:
        record = Record(self.end, key, value, timestamp)
        self.records.append(record)
        self.end += 1
        return record

    def since(self, offset: int) -> list[Record]:
        """Give the records from an offset on."""
        records = self.records
        if self.end - self.start == len(records):
            return records[max(offset - self.start, 0) :]
        return [record for record in records if record.offset >= offset]

    def compact(self, upto: int, *, tombstones: bool) -> None:
        """Keep the last record of each key of all before an offset; let go of tombstones there if told so."""
        last = {record.key: record.offset for record in self.records if record.offset < upto}
        self.records = [
            record
            for record in self.records
            if record.offset >= upto
            or (last[record.key] == record.offset and (record.value is not None or not tombstones))
        ]

    def truncate(self, start: int) -> None:
        """Let go of all before an offset."""
        self.start = max(self.start, start)
        self.records = [record for record in self.records if record.offset >= self.start]


class Broker:
    """All logs, and who is told of each record that lands; `writer` is the process whose record it is."""

    def __init__(self, clock: Clock) -> None:
        self.logs: dict[tuple[str, int], Log] = defaultdict(Log)
        self.listeners: dict[str, Callable[[int, Record], None]] = {}
        self.writer: Process | None = None
        self.clock = clock

    def append(
        self, topic: str, key: bytes | None, value: bytes | None, *, partition: int = 0
    ) -> int:
        record = self.logs[topic, partition].append(key, value, self.clock.now_ns // 1_000_000)
        listener = self.listeners.get(topic)
        if listener is not None:
            listener(partition, record)
        return record.offset

    def end(self, topic: str, partition: int = 0) -> int:
        return self.logs[topic, partition].end

    def compact(self, topic: str, chance: random.Random) -> None:
        """Do what a cleaner might do at any time; it leaves the end of a log alone."""
        for (name, _), each in sorted(self.logs.items()):
            if name == topic and each.end:
                each.compact(chance.randrange(each.end), tombstones=chance.random() < 0.5)


class KafkaLog(log.KafkaLog):
    """The real one's promises, kept whenever the scheduler wishes.

    Appends of one process to one partition land in their order, as an idempotent producer's do; they may be told to have
    failed, and land all the same, before or after.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._process = running()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def append_all(
        self,
        topic: str,
        records: Iterable[tuple[bytes | None, bytes | None]],
        *,
        partition: int | None = 0,
        headers: Iterable[Mapping[str, bytes]] | None = None,
    ) -> list[int]:
        del headers
        sent = [self._send(topic, key, value, partition or 0) for key, value in records]
        return [await self._process.answer(each) for each in sent]

    async def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        asked = list(partitions)
        broker = self._process.broker
        op = self._process.submit(
            f"ends of {topic}", lambda: {p: broker.end(topic, p) for p in asked}
        )
        found: dict[int, int] = await self._process.answer(op)
        return found

    async def read(
        self, topic: str, partitions: Sequence[int], *, start: Mapping[int, int] | None = None
    ) -> dict[int, list[ConsumerRecord]]:
        first, asked = dict(start or {}), list(partitions)
        if not asked:
            return {}
        broker = self._process.broker
        op = self._process.submit(
            f"read of {topic} {asked}",
            lambda: {p: broker.logs[topic, p].since(first.get(p, 0)) for p in asked},
        )
        found: dict[int, list[ConsumerRecord]] = await self._process.answer(op)
        return found

    def _send(self, topic: str, key: bytes | None, value: bytes | None, partition: int) -> Op:
        broker = self._process.broker
        return self._process.submit(
            f"append to {topic}/{partition} {_shown(key, value)}",
            lambda: broker.append(topic, key, value, partition=partition),
            lane=(topic, partition),
        )


def _shown(key: bytes | None, value: bytes | None) -> str:
    name = key.decode() if key is not None else (value or b"")[:60].decode(errors="replace")
    return f"{name}{' (tombstone)' if value is None else ''}"


async def ensure_topics(settings: Settings) -> int:
    """Stand in for `stream.topics.ensure_topics`."""
    process = running()
    partitions: int = await process.answer(
        process.submit("ensure topics", lambda: settings.partitions)
    )
    return partitions
