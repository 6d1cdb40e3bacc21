"""One Kafka and one Redis for all integration tests, and what these share: an oracle, senders, a way to wait."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import count, islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import oracle
from chaos.proxy import FaultProxy, Mode, Trouble
from stream.files import load_composition
from stream.index.composition import Composition
from stream.pipeline.worker import Worker
from stream.services import Addresses, EmbeddedKafka, EmbeddedRedis
from stream.services.ports import free_ports
from stream.settings import Settings

TAPE = Path(__file__).resolve().parents[3] / "shared" / "data" / "trades_2013-10-07.csv.gz"
DAY = "2013-10-07"
OPEN_NS = oracle.nanoseconds(DAY, "09:30:00")
CLOSE_NS = oracle.nanoseconds(DAY, "16:00:00")
MS = 1_000_000

#: Symbol, float shares, reference price in 1/10000 dollar, sector as files name it, and its code.
STOCKS = (
    ("AIG", 1_476_000_000, 485_000, "Financials", "FINANCIALS"),
    ("BAC", 10_700_000_000, 140_500, "Financials", "FINANCIALS"),
    ("IBM", 1_100_000_000, 1_841_000, "Information Technology", "TECHNOLOGY"),
)
REFERENCE = {symbol: price for symbol, _, price, _, _ in STOCKS}
CODES = ("US1000", "US1000-FINANCIALS", "US1000-TECHNOLOGY", "US3000")

#: Letters of prints that count in extended hours.
EXTENDED = frozenset("@FEO56XKT ")

Row = tuple[int, str, int, str, str]
Stocks = Sequence[tuple[str, int, int, str, str]]
Levels = dict[str, tuple[str, str]]

_numbers = count(1)


# ---- waiting -------------------------------------------------------------------------------------


async def eventually(
    condition: Callable[[], Any],
    *,
    within_s: float = 40.0,
    watch: asyncio.Task[Any] | None = None,
) -> Any:
    """Wait until a condition gives something true; end early with the error of a task that fails meanwhile."""
    deadline = time.monotonic() + within_s
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if watch is not None and watch.done():
            watch.result()
            pytest.fail("the worker ended by itself")
        if time.monotonic() > deadline:
            pytest.fail(f"did not come true within {within_s:g} s")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    """Run a worker for as long as the context lasts, and end it cleanly."""
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield task
    finally:
        stop.set()
        if not task.done():
            await asyncio.wait_for(task, 30)


def is_ready(worker: Worker) -> bool:
    """Tell whether a worker publishes, has published, and finds nothing to complain of."""
    publisher = worker.publisher
    published = publisher is not None and publisher.published.publications > 0
    return published and not worker.not_ready()


async def all_in(worker: Worker, ticks: int, task: asyncio.Task[None]) -> None:
    """Wait until a worker has accounted for so many ticks, and published what came of them."""
    await eventually(lambda: worker.intake.account.ticks >= ticks and worker.idle, watch=task)


# ---- the oracle: laws 1 and 3 in plain Python ----------------------------------------------------


def read_rows(path: Path) -> list[Row]:
    """Read a tape: event time, symbol, price in 1/10000 dollar, letters, venue."""
    unzip = gzip.open if path.suffix == ".gz" else open
    with unzip(path, "rt", newline="") as text:
        return [
            (
                int(row["ts"]),
                row["symbol"],
                int(Fraction(row["price"]) * 10_000),
                row["cond"],
                row["venue"],
            )
            for row in csv.DictReader(text)
        ]


def is_eligible(ts: int, letters: str) -> bool:
    return OPEN_NS <= ts < CLOSE_NS and all(
        letter == " " or oracle.CONDITIONS.get(letter, (0, False))[1] for letter in letters
    )


def is_official(row: Row) -> bool:
    """Tell whether a print is a closing print or a declared close of the exchange that lists all of these stocks."""
    ts, _, _, letters, venue = row
    return ts >= CLOSE_NS and venue == "N" and bool({"6", "M"} & set(letters))


def last_prices(rows: Iterable[Row], *, at: int | None = None) -> tuple[dict[str, int], int]:
    """Give each stock's last good price or official close, and how many prints were applied.

    Law 3: log order, then event time. Prints of extended hours are applied, too, but set no last price.
    """
    prices, applied = dict(REFERENCE), 0
    newest: dict[tuple[str, str], int] = {}
    for row in rows:
        ts, symbol, price, letters, _ = row
        if (at is not None and ts > at) or symbol not in prices:
            continue
        if is_official(row):
            kind = "official"
        elif is_eligible(ts, letters):
            kind = "regular"
        elif not OPEN_NS <= ts < CLOSE_NS and set(letters) <= EXTENDED:
            kind = "extended"
        else:
            continue
        if ts >= newest.get((symbol, kind), 0):
            newest[symbol, kind] = ts
            applied += 1
            if kind != "extended":
                prices[symbol] = price
    return prices, applied


def members(code: str, stocks: Stocks = STOCKS) -> list[tuple[str, int, int]]:
    sector = code.partition("-")[2]
    return [(name, shares, price) for name, shares, price, _, s in stocks if sector in ("", s)]


def levels_of(prices: dict[str, int], stocks: Stocks = STOCKS) -> Levels:
    """Give level (8 places) and market value (4 places) of each float-cap index at some prices (law 1)."""
    levels = {}
    for code in CODES:
        base = sum(shares * price for _, shares, price in members(code, stocks))
        value = sum(shares * prices[name] for name, shares, _ in members(code, stocks))
        divisor = oracle.significant(Fraction(base, 10_000) / 1000, 34)
        points = oracle.half_even(Fraction(value, 10_000) / divisor * 10**8)
        levels[code] = (
            f"{points // 10**8}.{points % 10**8:08d}",
            f"{value // 10_000}.{value % 10_000:04d}",
        )
    return levels


def told(snapshot: bytes) -> dict[str, Any]:
    """Read a snapshot with every number as it is written."""
    fields: dict[str, Any] = json.loads(snapshot, parse_float=str)
    return fields


def doubt_of(snapshot: dict[str, Any]) -> str | None:
    """Give `held` or `stale`, or None where a level is not in doubt, whatever the hour."""
    status: str = snapshot["status"]
    return status if status in ("held", "stale") else None


def level_and_value(snapshots: dict[str, dict[str, Any]]) -> Levels:
    return {code: (snapshots[code]["level"], snapshots[code]["market_value"]) for code in CODES}


# ---- live time -----------------------------------------------------------------------------------


def daytime() -> ZoneInfo:
    """Give a zone in which it is not near midnight, so that no session ends while a test runs."""
    new_york = ZoneInfo("America/New_York")
    by_day = 6 <= datetime.now(new_york).hour < 18
    return new_york if by_day else ZoneInfo("Asia/Tokyo")


def all_day(folder: Path, zone: ZoneInfo) -> str:
    """Write a calendar in which every tick counts, but for the last minute of a day; give its path."""
    path = folder / f"all-day-{zone.key.replace('/', '-')}.toml"
    path.write_text(ALL_DAY.format(zone=zone.key))
    return str(path)


ALL_DAY = """\
replace = true
zone = "{zone}"

[[cash.hours]]
from = 2000-01-01
days = "Mon-Sun"
pre_market = "00:00"
open = "00:00"
close = "23:59"
post_market = "23:59"

[[futures.hours]]
from = 2000-01-01
days = "Mon-Sun"
open = "00:00"
close = "23:59"

[[roll]]
from = 2000-01-01
futures = "open"
equities = "23:59"
"""


def session_of(days_ago: int, zone: ZoneInfo) -> tuple[str, int]:
    """Give the trade date of so many days ago, and its first instant, ns since 1970 UTC."""
    day = datetime.now(zone).date() - timedelta(days=days_ago)
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return day.isoformat(), int(midnight.timestamp()) * 1_000 * MS


# ---- ticks, written as formats.md says -----------------------------------------------------------


def tick(symbol: str, price: str, ts: int, **fields: Any) -> bytes:
    """Write a JSON tick; the price is put in as it stands."""
    rest = "".join(f',"{name}":{json.dumps(value)}' for name, value in fields.items())
    return f'{{"symbol":"{symbol}","price":{price},"ts":{ts}{rest}}}'.encode()


def frame(*records: tuple[str, int, int], version: int = 1, count: int | None = None) -> bytes:
    """Write a frame of (symbol, ts, price in 1/10000 dollar)."""
    n = len(records) if count is None else count
    head = struct.pack("<4sHHIIQ8x", b"TICK", version, 40, n, 0, 1)
    return head + b"".join(
        struct.pack("<8sqqQIHBc", symbol.encode(), ts, price, 0, 100, 1, 0, b"N")
        for symbol, ts, price in records
    )


# ---- the laboratory ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lab:
    """Services, files, and settings under names that no other test uses."""

    addresses: Addresses
    constituents: Path
    folder: Path
    composition: Composition = field(repr=False)
    #: Between this machine's clients and the services, for those that ask for it.
    faults: Faults = field(repr=False)

    def settings(self, **changes: Any) -> Settings:
        number = next(_numbers)
        return Settings(
            **{
                "kafka_url": self.addresses.kafka_url,
                "redis_url": self.addresses.redis_url,
                "constituents": str(self.constituents),
                "ticks_topic": f"lab-ticks-{number}",
                "partials_topic": f"lab-partials-{number}",
                "dead_letters_topic": f"lab-dead-{number}",
                "checkpoints_topic": f"lab-checkpoints-{number}",
                "compositions_topic": f"lab-compositions-{number}",
                "control_topic": f"lab-control-{number}",
                "levels_topic": f"lab-levels-{number}",
                "closes_topic": f"lab-closes-{number}",
                "index_closes_topic": f"lab-index-closes-{number}",
                "group": f"lab-{number}",
                "redis_prefix": f"lab{number}:",
                "partitions": 1,
                "cadence_ms": 10,
                "metrics_port": 0,
                "dead_letters_per_s": 1000,
                # Every print is believed: who tests suspects says otherwise.
                "price_limit_bp": 0,
                "guard_bp": 0,
                **changes,
            }
        )

    def worker(
        self, settings: Settings, composition: Composition | None = None, **options: Any
    ) -> Worker:
        return Worker(settings, composition or self.composition, **options)

    async def make_topic(self, settings: Settings) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_url)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(settings.ticks_topic, settings.partitions, 1)])
        finally:
            await admin.close()

    @asynccontextmanager
    async def sender(self, settings: Settings, **options: Any) -> AsyncIterator[Sender]:
        producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka_url,
            max_request_size=2**20,
            max_batch_size=2**20,
            **options,
        )
        async with producer:
            yield Sender(producer, settings.ticks_topic)

    async def append(
        self,
        topic: str,
        *values: bytes | None,
        key: bytes | None = None,
        partition: int = 0,
    ) -> None:
        """Write records, which stand in the topic when this is over."""
        async with AIOKafkaProducer(bootstrap_servers=self.addresses.kafka_url) as producer:
            for value in values:
                await producer.send_and_wait(topic, value, key=key, partition=partition)

    async def read_topic(self, topic: str, *, partition: int = 0) -> list[ConsumerRecord]:
        """Read a partition from its start to its present end."""
        where = TopicPartition(topic, partition)
        consumer = AIOKafkaConsumer(bootstrap_servers=self.addresses.kafka_url)
        async with consumer:
            consumer.assign([where])
            await consumer.seek_to_beginning(where)
            end = (await consumer.end_offsets([where]))[where]
            records: list[ConsumerRecord] = []
            while await consumer.position(where) < end:
                for fetched in (await consumer.getmany(where, timeout_ms=500)).values():
                    records += fetched
        return records

    async def ends(self, settings: Settings) -> dict[int, int]:
        """Give the end of the log of each tick partition."""
        partitions = [TopicPartition(settings.ticks_topic, p) for p in range(settings.partitions)]
        async with AIOKafkaConsumer(bootstrap_servers=self.addresses.kafka_url) as consumer:
            ends = await consumer.end_offsets(partitions)
        return {where.partition: int(end) for where, end in ends.items()}

    async def read_up(self, worker: Worker) -> bool:
        """Tell whether a worker's books stand at the ends of their logs, control records included."""
        ends = await self.ends(worker.settings)
        return all(book.offset == ends[p] for p, book in worker.intake.books.items())

    async def snapshots(self, settings: Settings) -> dict[str, dict[str, Any]]:
        """Read the snapshot key of every index that has one."""
        async with redis_client(settings) as client:
            found = {}
            async for key in client.scan_iter(match=f"{settings.redis_prefix}snap:*"):
                fields = told(await client.get(key))
                found[fields["code"]] = fields
            return found

    def command(self, settings: Settings, **changes: str) -> dict[str, str]:
        """Give the environment of a command that runs with these settings."""
        ours = {n: text for n, text in os.environ.items() if not n.startswith("CAPSTREAM_")}
        default = Settings()
        for name in Settings.__struct_fields__:
            value = getattr(settings, name)
            if value != getattr(default, name):
                ours[f"CAPSTREAM_{name.upper()}"] = str(value)
        return ours | changes


@dataclass(frozen=True)
class Sender:
    producer: AIOKafkaProducer
    topic: str

    async def send(
        self, value: bytes | None, *, key: bytes | None = b"AIG", partition: int = 0
    ) -> int:
        """Write one record and give its offset."""
        sent = await self.producer.send_and_wait(self.topic, value, key=key, partition=partition)
        return int(sent.offset)

    async def send_batches(
        self, values: Iterable[bytes], sizes: Sequence[int], *, partition: int = 0
    ) -> None:
        """Write records in record batches of given sizes, over and over."""
        left, number = iter(values), 0
        futures = []
        while chunk := list(islice(left, sizes[number % len(sizes)])):
            number += 1
            batch = self.producer.create_batch()
            for value in chunk:
                assert batch.append(key=b"k", value=value, timestamp=None) is not None
            batch.close()
            futures.append(await self.producer.send_batch(batch, self.topic, partition=partition))
        await asyncio.gather(*futures)


@asynccontextmanager
async def redis_client(settings: Settings) -> AsyncIterator[Any]:
    # Its answers are typed as if any of them could be None.
    client = redis.asyncio.from_url(settings.redis_url)
    try:
        yield client
    finally:
        await client.aclose()


class Subscriber:
    """Keeps every message of every channel under a prefix."""

    def __init__(self, prefix: str) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self._prefix = prefix

    def of(self, channel: str) -> list[bytes]:
        return [data for name, data in self.messages if name == channel]

    async def listen(self, client: redis.asyncio.Redis, ready: asyncio.Event) -> None:
        async with client.pubsub() as subscription:
            await subscription.psubscribe(f"{self._prefix}*")
            async for message in subscription.listen():
                if message["type"] == "psubscribe":
                    ready.set()
                else:
                    name = message["channel"].decode().removeprefix(self._prefix)
                    self.messages.append((name, message["data"]))


@asynccontextmanager
async def subscribed(settings: Settings) -> AsyncIterator[Subscriber]:
    """Hear everything that is published under the prefix of some settings."""
    subscriber, ready = Subscriber(settings.redis_prefix), asyncio.Event()
    async with redis_client(settings) as client:
        task = asyncio.create_task(subscriber.listen(client, ready))
        await asyncio.wait_for(ready.wait(), 10)
        try:
            yield subscriber
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def capstream(
    environment: dict[str, str], *arguments: str, cwd: Path | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "stream.cli.main", *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@dataclass(frozen=True)
class Faults:
    """Links to Kafka and Redis that can be broken.

    Kafka's clients come back to where a broker says that it is: so each link has a listener of its own behind it.
    """

    proxy: FaultProxy
    kafka_ports: tuple[int, int]
    redis_port: int

    def kafka_url(self, link: int = 0) -> str:
        return f"127.0.0.1:{self.kafka_ports[link]}"

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    def kafka(self, mode: Mode, link: int = 0) -> None:
        self.proxy.trouble(self.kafka_ports[link], Trouble(mode))

    def redis(self, mode: Mode) -> None:
        self.proxy.trouble(self.redis_port, Trouble(mode))

    def mend(self) -> None:
        for port in (*self.kafka_ports, self.redis_port):
            self.proxy.trouble(port, Trouble())


@dataclass(frozen=True)
class Services:
    addresses: Addresses
    faults: Faults


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("services")
    one, two, first, second, redis_port, to_redis = free_ports(6)
    with (
        EmbeddedRedis(folder / "redis", port=redis_port) as redis_server,
        EmbeddedKafka(folder / "kafka", proxies={one: first, two: second}) as kafka,
        FaultProxy({first: one, second: two, to_redis: redis_port}) as proxy,
    ):
        yield Services(
            Addresses(kafka_url=kafka.url, redis_url=redis_server.url),
            Faults(proxy, (first, second), to_redis),
        )


@pytest.fixture(scope="session")
def addresses(services: Services) -> Addresses:
    return services.addresses


def write_constituents(path: Path, stocks: Stocks, *, day: str) -> Path:
    """Write a constituents file with prices of some day."""
    with path.open("w", newline="") as text:
        rows = csv.writer(text)
        rows.writerow(
            ["symbol", "name", "sector", "mic", "size", "float_shares", "price", "price_date"]
        )
        for symbol, shares, price, sector, _ in stocks:
            dollars = f"{price / 10_000:.2f}"
            rows.writerow([symbol, symbol, sector, "XNYS", "large", shares, dollars, day])
    return path


@pytest.fixture(scope="session")
def constituents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "three.csv"
    return write_constituents(path, STOCKS, day="2013-10-04")


@pytest.fixture(scope="session")
def lab(services: Services, constituents: Path, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(
        services.addresses,
        constituents,
        tmp_path_factory.mktemp("lab"),
        load_composition(constituents),
        services.faults,
    )


@pytest.fixture(scope="session")
def full_tape() -> Path:
    if not TAPE.is_file():
        pytest.skip(f"no recorded trades: {TAPE} is missing")
    return TAPE


@pytest.fixture(scope="session")
def tape(full_tape: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cut out the first 20,000 rows and the last 5,000: opening, regular hours, and after the close."""
    with gzip.open(full_tape, "rt") as text:
        lines = text.readlines()
    path = tmp_path_factory.mktemp("tape") / "part.csv"
    path.write_text("".join([*lines[:20_001], *lines[-5_000:]]))
    return path
