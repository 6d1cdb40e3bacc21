"""What tests of several workers and several lives share: writing ticks and sessions, reading back what workers wrote."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from integration.conftest import (
    CODES,
    MS,
    OPEN_NS,
    REFERENCE,
    STOCKS,
    Lab,
    Sender,
    Stocks,
    capstream,
    doubt_of,
    level_and_value,
    levels_of,
    tick,
    told,
)
from stream.index.control import OriginRecord, Roll
from stream.settings import Settings
from stream.topics import ensure_topic
from stream.wire import checkpoints, control

S = 1_000 * MS
NOON = OPEN_NS + 9_000 * S
DAY_NS = 86_400 * S
SESSION = Roll("2013-10-07", OPEN_NS - 9 * 3_600 * S, OPEN_NS + 14 * 3_600 * S)

Snapshots = dict[str, dict[str, Any]]

#: A later edition of the three: other shares, another reference price, one more.
NEWER_STOCKS = (
    ("AIG", 1_500_000_000, 485_000, "Financials", "FINANCIALS"),
    ("BAC", 10_700_000_000, 140_500, "Financials", "FINANCIALS"),
    ("IBM", 1_100_000_000, 1_850_000, "Information Technology", "TECHNOLOGY"),
    ("WFC", 5_200_000_000, 410_000, "Financials", "FINANCIALS"),
)


def are_at(snapshots: Snapshots, prices: dict[str, int], stocks: Stocks = STOCKS) -> bool:
    """Tell whether the levels are those of these prices, and of the reference prices of all others."""
    reference = {symbol: price for symbol, _, price, _, _ in stocks}
    return set(CODES) <= set(snapshots) and level_and_value(snapshots) == levels_of(
        reference | prices, stocks
    )


async def shown(
    lab: Lab, settings: Settings, prices: dict[str, int], *, status: str | None = None
) -> Snapshots | None:
    """Give the snapshots if they are at these prices, and all of this status, or none in doubt."""
    found = await lab.snapshots(settings)
    right = are_at(found, prices) and {doubt_of(one) for one in found.values()} == {status}
    return found if right else None


def closes(snapshots: Snapshots) -> dict[str, str]:
    return {code: snapshots[code]["previous_close"] for code in CODES}


def closes_at(prices: dict[str, int]) -> dict[str, str]:
    return {code: level for code, (level, _) in levels_of(REFERENCE | prices).items()}


# ---- writing -------------------------------------------------------------------------------------


async def begin_session(sender: Sender, *partitions: int) -> None:
    """Write what a replaying feed writes first."""
    for partition in partitions:
        await sender.send(control.encode(OriginRecord("replay")), partition=partition)
        await sender.send(control.encode(SESSION), partition=partition)


@dataclass
class Trader:
    """Trades two stocks, each on its partition, numbered, so that a tick applied twice would show; knows what is right."""

    sender: Sender
    number: int = 0
    prices: dict[str, int] = field(default_factory=dict)

    async def trade(self) -> None:
        """Print another price of each, within 1 percent."""
        self.number += 1
        self.prices["AIG"] = 490_000 + 50 * (self.number % 97)
        self.prices["IBM"] = 1_800_000 + 100 * (self.number % 89)
        for partition, symbol in enumerate(("AIG", "IBM")):
            await self.print(symbol, self.prices[symbol], partition=partition)

    async def print(self, symbol: str, price: int, *, partition: int) -> None:
        """Print one price."""
        self.prices[symbol] = price
        value = tick(symbol, f"{price / 10_000:.4f}", NOON + self.number * MS, seq=self.number)
        await self.sender.send(value, partition=partition)


# ---- reading -------------------------------------------------------------------------------------


async def newest_by_key(lab: Lab, topic: str, *, partition: int = 0) -> dict[bytes, bytes | None]:
    """Read what compaction keeps of a partition."""
    return {record.key: record.value for record in await lab.read_topic(topic, partition=partition)}


async def books_written(lab: Lab, settings: Settings, partition: int = 0) -> dict[bytes, int]:
    """Give the offset of each checkpoint of a book, by its key."""
    newest = await newest_by_key(lab, settings.checkpoints_topic, partition=partition)
    return {
        key: checkpoints.decode(value).state.offset
        for key, value in newest.items()
        if key.startswith(b"book/") and value is not None
    }


async def said(lab: Lab, topic: str, *, partition: int = 0) -> list[dict[str, Any]]:
    """Read the control records of a log, as JSON."""
    return [
        orjson.loads(record.value[4:])
        for record in await lab.read_topic(topic, partition=partition)
        if record.value is not None and record.value.startswith(b'CTRL{"type"')
    ]


# ---- what is kept, and verified ------------------------------------------------------------------

_numbers = iter(range(1_000))


@dataclass(frozen=True)
class Recording:
    """What stands in the topics, and how to run commands on it."""

    lab: Lab
    settings: Settings
    levels: list[ConsumerRecord]

    def of(self, day: str) -> list[ConsumerRecord]:
        return [one for one in self.levels if told(one.value)["session"] == day]

    def run(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return capstream(self.lab.command(self.settings, **changes), *arguments)

    async def copy(
        self,
        topic: str,
        *,
        partitions: int = 1,
        alter: Callable[[ConsumerRecord], bytes | None] = lambda record: record.value,
    ) -> str:
        """Copy a topic record by record, each at its offset and with its time; give the copy's name."""
        name = f"{topic}-copy-{next(_numbers)}"
        url = self.settings.kafka_url
        await ensure_topic(url, name, partitions=partitions)
        async with AIOKafkaProducer(bootstrap_servers=url, max_request_size=16 * 2**20) as producer:
            for partition in range(partitions):
                for one in await self.lab.read_topic(topic, partition=partition):
                    sent = await producer.send_and_wait(
                        name,
                        alter(one),
                        key=one.key,
                        partition=partition,
                        timestamp_ms=one.timestamp,
                    )
                    assert sent.offset == one.offset
        return name

    async def cut(self, topic: str, before: dict[int, int]) -> None:
        """Let a topic lose the records before some offsets, as retention does."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka_url)
        await admin.start()
        try:
            await admin.delete_records(
                {TopicPartition(topic, p): RecordsToDelete(offset) for p, offset in before.items()}
            )
        finally:
            await admin.close()


def report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return fields
