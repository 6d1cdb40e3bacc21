"""The laws of the feeds, on a real Kafka."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, time, timedelta
from itertools import count
from pathlib import Path
from time import monotonic, time_ns
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import murmur2

from stream.errors import FileError, ServiceError
from stream.feed.run import FeedSummary, Progress, replay, simulate
from stream.services import EmbeddedKafka
from stream.settings import Settings
from stream.topics import count_partitions
from stream.wire.messages import decode_messages
from stream.wire.symbols import SymbolTable

NS_PER_MS = 1_000_000
TS = 1381132800614000000
NEW_YORK = ZoneInfo("America/New_York")
AHEAD_NS = 4102444800_000_000_000  # 2100-01-01

COMMAND = """
import argparse, sys
from stream.cli import replay, simulate
from stream.cli.main import Parser
from stream.errors import CapstreamError

parser = Parser(prog="capstream")
commands = parser.add_subparsers(parser_class=Parser)
simulate.add_parser(commands)
replay.add_parser(commands)
args = parser.parse_args()
try:
    sys.exit(args.run(args))
except CapstreamError as error:
    sys.exit(f"capstream: {error}")
"""

_topics = count()


@pytest.fixture(scope="module")
def kafka_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedKafka(tmp_path_factory.mktemp("feed")) as kafka:
        yield kafka.url


@pytest.fixture
def settings(kafka_url: str) -> Settings:
    """Name a topic that nobody else uses."""
    return Settings(kafka_url=kafka_url, ticks_topic=f"ticks-{next(_topics)}", partitions=3)


async def read_all(settings: Settings) -> dict[int, list[ConsumerRecord]]:
    """Read each partition of the ticks topic from its start to its end."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_url)
    async with consumer:
        await consumer._client._wait_on_metadata(settings.ticks_topic)
        numbers = consumer.partitions_for_topic(settings.ticks_topic) or set()
        partitions = [TopicPartition(settings.ticks_topic, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        end = await consumer.end_offsets(partitions)
        records: dict[int, list[ConsumerRecord]] = {each.partition: [] for each in partitions}
        while sum(map(len, records.values())) < sum(end.values()):
            for partition, fetched in (await consumer.getmany(timeout_ms=5_000)).items():
                records[partition.partition] += fetched
    return records


def feed_and_read(
    settings: Settings, **options: object
) -> tuple[FeedSummary, dict[int, list[ConsumerRecord]]]:
    async def both() -> tuple[FeedSummary, dict[int, list[ConsumerRecord]]]:
        summary = await simulate(settings, **options)  # type: ignore[arg-type]
        return summary, await read_all(settings)

    return asyncio.run(both())


def ticks_in(part: Iterable[ConsumerRecord]) -> list[ConsumerRecord]:
    """Leave out the control records: the origin at the head, a roll at each session's."""
    return [record for record in part if not record.value.startswith(b"CTRL")]


def kafka_partition(symbol: str, n_partitions: int) -> int:
    return int((murmur2(symbol.encode()) & 0x7FFFFFFF) % n_partitions)


def frame_records(value: bytes) -> np.ndarray:
    """Read a frame as `formats.md` lays it out."""
    record = np.dtype(
        "S8,<i8,<i8,<u8,<u4,<u2,u1,S1",
    )
    record.names = ("symbol", "ts", "price", "seq", "size", "cond", "kind", "venue")
    assert value[:4] == b"TICK"
    return np.frombuffer(value[32:], record)


def write_tape(folder: Path, n: int, *, first_ts: int = TS) -> Path:
    path = folder / "tape.csv"
    with path.open("w", newline="") as text:
        rows = csv.writer(text)
        rows.writerow(["ts", "symbol", "price", "size", "venue", "cond"])
        for i in range(n):
            name = ("AIG", "BAC", "IBM", "AAPL")[i % 4]
            rows.writerow(
                [first_ts + i * NS_PER_MS, name, f"{10 + i / 100:.2f}", i, "NQ"[i % 2], "@"]
            )
    return path


def test_simulated_ticks_are_in_kafka_as_the_summary_says(settings: Settings) -> None:
    """Every number from 1 is there once, in the partition of its symbol, in order, after a control record."""
    started_ms = time_ns() // NS_PER_MS

    summary, records = feed_and_read(settings, rate=None, n_ticks=30_000, seed=3, phase="regular")

    assert len(records) == 3
    assert {number: part[-1].offset + 1 for number, part in records.items()} == summary.end_offsets
    numbers: list[int] = []
    for number, part in records.items():
        assert part[0].value == b'CTRL{"type":"origin","origin":"simulated"}'
        assert json.loads(part[1].value[4:])["type"] == "roll"
        ticks = [json.loads(record.value) for record in ticks_in(part)]
        assert [record.key.decode() for record in ticks_in(part)] == [
            tick["symbol"] for tick in ticks
        ]
        assert {kafka_partition(tick["symbol"], 3) for tick in ticks} == {number}
        assert [tick["seq"] for tick in ticks] == sorted(tick["seq"] for tick in ticks)
        assert [tick["ts"] for tick in ticks] == sorted(tick["ts"] for tick in ticks)
        # The session that is simulated is over: all records carry the time at which they were sent.
        assert all(record.timestamp >= started_ms for record in part)
        numbers += [tick["seq"] for tick in ticks]
    assert sorted(numbers) == list(range(1, 30_001))
    assert summary.ticks == 30_000


def test_frames_hold_the_same_ticks_as_json(settings: Settings) -> None:
    """The format changes how ticks are written, not which; frames keep to their size and partition."""
    options = {"rate": None, "n_ticks": 20_000, "seed": 5, "phase": "regular"}
    _, as_json = feed_and_read(settings, **options)
    framed = Settings(
        kafka_url=settings.kafka_url, ticks_topic=f"{settings.ticks_topic}-f", partitions=3
    )
    _, as_frames = feed_and_read(framed, **options, format="frame", frame_size=100)

    for number, part in as_frames.items():
        sizes = [(len(record.value) - 32) / 40 for record in ticks_in(part)]
        assert max(sizes) == 100
        ticks = np.concatenate([frame_records(record.value) for record in ticks_in(part)])
        expected = [json.loads(record.value) for record in ticks_in(as_json[number])]
        assert ticks["symbol"].tolist() == [tick["symbol"].encode() for tick in expected]
        for name in ("ts", "seq", "size"):
            assert ticks[name].tolist() == [tick[name] for tick in expected]
        assert ticks["price"].tolist() == [round(tick["price"] * 10_000) for tick in expected]
        bits = {"@": 1, "F": 1024, "I": 2, "O": 64, "Q": 2048, "6": 128, "M": 4096}
        assert ticks["cond"].tolist() == [bits[tick["cond"]] for tick in expected]
        assert set(ticks["kind"].tolist()) == {0}
        venues = [tick["venue"].encode() for tick in expected]
        assert ticks["venue"].tolist() == venues
        # Futures have none; shares do.
        assert all(
            bool(v) != t["symbol"].startswith("/") for v, t in zip(venues, expected, strict=True)
        )


def test_a_paced_feed_keeps_its_rate_and_writes_as_it_goes(settings: Settings) -> None:
    """Ten thousand a second for a second: that many ticks, in that time, each sent soon after it is due."""
    steps: list[Progress] = []

    summary, records = feed_and_read(
        settings, rate=10_000.0, seconds=1.0, phase="regular", on_progress=steps.append
    )

    ticks = [json.loads(record.value) for part in records.values() for record in ticks_in(part)]
    assert summary.ticks == steps[-1].ticks == len(ticks)
    shares = [tick for tick in ticks if not tick["symbol"].startswith("/")]
    # Auctions of the last close and the opening went before.
    assert sum(tick["cond"] in {"@", "F", "I"} for tick in shares) == 10_000
    assert 0.9 < summary.seconds < 4
    assert len(steps) > 20
    assert [step.ticks for step in steps] == sorted(step.ticks for step in steps)


def test_a_second_market_begins_after_the_first(settings: Settings) -> None:
    """Event time never goes back, from one run on a topic to the next."""
    options = {"rate": None, "n_ticks": 12_000, "phase": "regular"}
    first, _ = feed_and_read(settings, **options)
    second, records = feed_and_read(settings, **options, format="frame")

    assert first.last_event_ns is not None
    assert second.first_event_ns is not None
    assert second.first_event_ns > first.last_event_ns
    for part in records.values():
        origins = [b'"type":"origin"' in record.value for record in part]
        assert sum(origins) == 2


def test_a_market_that_goes_on_says_where(settings: Settings) -> None:
    """A start that lies before the newest event is moved behind it."""
    said: list[str] = []
    moment = datetime(2025, 7, 16, 11, tzinfo=NEW_YORK)
    end = moment + timedelta(seconds=2)
    first, _ = feed_and_read(settings, rate=100.0, start=moment, end=end, speed=None)
    again = {"start": moment, "end": end + timedelta(seconds=1), "speed": None, "say": said.append}
    second, _ = feed_and_read(settings, rate=100.0, **again)

    assert second.first_event_ns is not None
    assert second.first_event_ns > (first.last_event_ns or 0)
    assert len(said) == 1
    assert "holds events up to 2025-07-16 15:00:01 UTC" in said[0]


def test_a_start_at_which_nothing_trades_is_moved_and_said(settings: Settings) -> None:
    """From a Saturday to the opening of futures on Sunday; Friday's closing auctions go before."""
    said: list[str] = []
    summary, _ = feed_and_read(
        settings,
        rate=None,
        n_ticks=20_000,
        start=datetime(2025, 7, 19, 11, tzinfo=NEW_YORK),
        end=datetime(2025, 7, 20, 18, 1, tzinfo=NEW_YORK),
        say=said.append,
    )

    assert said == [
        "Nothing trades at 2025-07-19 15:00:00 UTC: simulated time begins at 2025-07-20 22:00:00 UTC"
    ]
    first, last = (
        datetime.fromtimestamp((ts or 0) // 10**9, NEW_YORK)
        for ts in (summary.first_event_ns, summary.last_event_ns)
    )
    assert f"{first:%a %H:%M}" == "Fri 15:59"
    assert f"{last:%a %H:%M}" == "Sun 18:00"


@pytest.mark.parametrize("message_format", ["json", "frame"])
def test_a_day_is_in_kafka_with_all_its_kinds(settings: Settings, message_format: str) -> None:
    """From before the opening to after the roll, which stands before the first future of the next session."""
    summary, records = feed_and_read(
        settings,
        rate=0.5,
        speed=None,
        start=datetime(2025, 7, 16, 9, 29, tzinfo=NEW_YORK),
        end=time(18, 5),
        format=message_format,
        frame_size=50,
    )

    evening_ns = int(datetime(2025, 7, 16, 18, tzinfo=NEW_YORK).timestamp()) * 10**9
    kinds: list[int] = []
    n_evenings = 0
    for part in records.values():
        session, session_of = "", []
        for record in part:
            if record.value.startswith(b"CTRL"):
                session = json.loads(record.value[4:]).get("session", session)
            else:
                session_of.append(session)
        messages = [record.value for record in ticks_in(part)]
        made = decode_messages(messages, np.zeros(len(messages), np.int64), SymbolTable(()))
        kinds += made.ticks.kind.tolist()
        assert session == "2025-07-17"
        # Futures trade until 17:00 and from 18:00 on: the evening's first one begins the next session.
        later = np.flatnonzero(made.ticks.ts >= evening_ns)
        if len(later):
            n_evenings += 1
            first = int(made.message[later[0]])
            assert set(session_of[first:]) == {"2025-07-17"}
            assert set(session_of[:first]) == {"2025-07-15", "2025-07-16"}
    assert n_evenings > 0
    assert len(kinds) == summary.ticks
    assert set(kinds) == {0, 1, 2, 4, 5}


def test_a_topic_that_exists_is_used_as_it_is(settings: Settings) -> None:
    """The number of partitions in the settings counts only where the topic must be created."""

    async def run() -> FeedSummary:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_url)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(settings.ticks_topic, 5, 1)])
        finally:
            await admin.close()
        return await simulate(settings, rate=None, n_ticks=10)

    assert set(asyncio.run(run()).end_offsets) == {0, 1, 2, 3, 4}


def test_counting_partitions_creates_no_topic(settings: Settings) -> None:
    """Looking changes nothing: a topic that does not exist has none, before and after."""
    counts = [
        asyncio.run(count_partitions(settings.kafka_url, settings.ticks_topic)) for _ in range(2)
    ]

    assert counts == [0, 0]


@pytest.mark.parametrize("message_format", ["json", "frame"])
def test_a_replay_writes_the_tape(settings: Settings, tmp_path: Path, message_format: str) -> None:
    """Each row once, numbered by row, in the order of the tape; bad rows are counted and keep their number."""
    path = write_tape(tmp_path, 5_000)
    with path.open("a") as text:
        text.write(f"{TS},IBM,cheap,1,N,@\n{TS + 10**13},IBM,99.5,7,D,4W\n")

    async def run() -> tuple[FeedSummary, dict[int, list[ConsumerRecord]]]:
        summary = await replay(settings, path, speed=None, format=message_format)  # type: ignore[arg-type]
        return summary, await read_all(settings)

    summary, records = asyncio.run(run())

    assert (summary.ticks, summary.bad_lines) == (5_001, 1)
    assert summary.errors[0].startswith(f"{path}:5002: price: ")
    assert (summary.first_event_ns, summary.last_event_ns) == (TS, TS + 10**13)
    numbers = []
    for part in records.values():
        assert part[0].value == b'CTRL{"type":"origin","origin":"replay"}'
        if message_format == "json":
            seqs = [json.loads(record.value)["seq"] for record in ticks_in(part)]
        else:
            seqs = [
                int(seq) for record in ticks_in(part) for seq in frame_records(record.value)["seq"]
            ]
        assert seqs == sorted(seqs)
        numbers += seqs
    assert sorted(numbers) == [*range(1, 5_001), 5_002]


def test_a_replay_keeps_its_pace(settings: Settings, tmp_path: Path) -> None:
    """Two seconds of tape at four times its speed take half a second."""
    path = write_tape(tmp_path, 2_001)

    summary = asyncio.run(replay(settings, path, speed=4.0))

    assert summary.ticks == 2_001
    assert 0.5 <= summary.seconds < 2.5


def test_a_part_of_a_tape_is_replayed(settings: Settings, tmp_path: Path) -> None:
    """From a time of the tape's day to before another; the first of it is due at once."""
    path = write_tape(tmp_path, 4_000)  # from 04:00:00.614 New York on, a thousand a second

    summary = asyncio.run(
        replay(settings, path, start=time(4, 0, 2), end=time(4, 0, 3), speed=10.0)
    )

    assert summary.ticks == 1_000
    assert summary.first_event_ns == TS // 10**9 * 10**9 + 2 * 10**9
    assert 0.1 <= summary.seconds < 2


def test_records_of_events_ahead_of_the_clock_carry_their_event_time(
    settings: Settings, tmp_path: Path
) -> None:
    """Law 8, for ticks and for the control record before them; the topic that the feed creates allows it."""
    path = write_tape(tmp_path, 100, first_ts=AHEAD_NS)

    async def run() -> dict[int, list[ConsumerRecord]]:
        await replay(settings, path, speed=None)
        return await read_all(settings)

    for part in asyncio.run(run()).values():
        assert part[0].timestamp == AHEAD_NS // NS_PER_MS
        assert [record.timestamp for record in ticks_in(part)] == [
            json.loads(record.value)["ts"] // NS_PER_MS for record in ticks_in(part)
        ]


def test_a_topic_that_refuses_times_ahead_is_named_with_the_cure(
    settings: Settings, tmp_path: Path
) -> None:
    """Kafka's own limit is an hour; the message says what to set."""
    path = write_tape(tmp_path, 100, first_ts=AHEAD_NS)

    async def run() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_url)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(settings.ticks_topic, 1, 1)])
        finally:
            await admin.close()
        await replay(settings, path, speed=None)

    with pytest.raises(ServiceError, match=r"message\.timestamp\.after\.max\.ms"):
        asyncio.run(run())


def test_a_replay_says_that_the_topic_is_ahead_of_the_tape(
    settings: Settings, tmp_path: Path
) -> None:
    """A second replay is written, but workers will refuse it: the user hears of that."""
    path = write_tape(tmp_path, 10)
    said: list[str] = []

    for _ in range(2):
        asyncio.run(replay(settings, path, speed=None, say=said.append))

    assert len(said) == 1
    assert "2013-10-07" in said[0]


def test_a_tape_that_cannot_be_read_leaves_no_trace(settings: Settings, tmp_path: Path) -> None:
    """The file is looked at before Kafka is."""
    unreachable = Settings(kafka_url="127.0.0.1:1", ticks_topic=settings.ticks_topic)

    with pytest.raises(FileError):
        asyncio.run(replay(unreachable, tmp_path / "nowhere.csv"))


def test_an_unreachable_kafka_is_named_within_ten_seconds(settings: Settings) -> None:
    """One line, with the address."""
    unreachable = Settings(kafka_url="127.0.0.1:1", ticks_topic=settings.ticks_topic)
    started = monotonic()

    with pytest.raises(ServiceError, match=r"^Kafka at 127\.0\.0\.1:1: cannot be reached$"):
        asyncio.run(simulate(unreachable, n_ticks=1))

    assert monotonic() - started < 11


def test_a_cancelled_feed_leaves_whole_messages(settings: Settings) -> None:
    """What was handed over before is in Kafka when CancelledError comes back."""
    handed_over: list[int] = []

    async def run() -> dict[int, list[ConsumerRecord]]:
        reached = asyncio.Event()

        def on_progress(progress: Progress) -> None:
            handed_over.append(progress.ticks)
            if progress.ticks > 500:
                reached.set()

        task = asyncio.create_task(simulate(settings, rate=5_000.0, on_progress=on_progress))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await read_all(settings)

    records = asyncio.run(run())

    assert sum(len(ticks_in(part)) for part in records.values()) >= handed_over[-1] > 500


def test_the_stop_event_ends_a_feed_as_its_end_would(settings: Settings) -> None:
    """All that the summary counts is in Kafka."""

    async def run() -> tuple[FeedSummary, dict[int, list[ConsumerRecord]]]:
        stop = asyncio.Event()
        summary = await simulate(settings, stop=stop, on_progress=lambda _: stop.set())
        return summary, await read_all(settings)

    summary, records = asyncio.run(run())

    assert summary.ticks == sum(len(ticks_in(part)) for part in records.values()) > 0


def environment(settings: Settings) -> dict[str, str]:
    ours = {
        "CAPSTREAM_KAFKA_URL": settings.kafka_url,
        "CAPSTREAM_REDIS_URL": "redis://127.0.0.1:1/0",
        "CAPSTREAM_TICKS_TOPIC": settings.ticks_topic,
    }
    return {name: text for name, text in os.environ.items() if "CAPSTREAM" not in name} | ours


def capstream(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_prints_its_summary_as_json(settings: Settings, tmp_path: Path) -> None:
    """Standard output holds one JSON object; standard error a line at the start and one at the end."""
    simulated = capstream(
        settings, "simulate", "--phase", "regular", *("--rate", "max", "--ticks", "500", "--json")
    )
    tape = str(write_tape(tmp_path, 40))
    replayed = capstream(settings, "replay", tape, "--speed", "max", "--format", "frame", "--json")

    assert (simulated.returncode, replayed.returncode) == (0, 0)
    assert json.loads(simulated.stdout)["ticks"] == 500
    assert json.loads(replayed.stdout)["ticks"] == 40
    assert sum(json.loads(simulated.stdout)["end_offsets"].values()) == 500 + 2 * 4
    assert len(simulated.stderr.splitlines()) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_cleanly(settings: Settings, number: signal.Signals) -> None:
    """With status 0, everything flushed and its summary printed."""
    feed = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "simulate", "--rate", "1000", "--json"],
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    asyncio.run(first_tick(settings))
    feed.send_signal(number)
    out, _ = feed.communicate(timeout=30)
    records = asyncio.run(read_all(settings))

    assert feed.returncode == 0
    assert json.loads(out)["ticks"] == sum(len(ticks_in(part)) for part in records.values()) > 0


async def first_tick(settings: Settings) -> None:
    """Wait until the topic holds more than control records."""
    consumer = AIOKafkaConsumer(
        settings.ticks_topic,
        bootstrap_servers=settings.kafka_url,
        auto_offset_reset="earliest",
        metadata_max_age_ms=200,
    )
    async with consumer, asyncio.timeout(30):
        async for record in consumer:
            if record.value.startswith(b"{"):
                return


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["simulate", "--rate", "fast"], "--rate: expected a number above 0"),
        (["simulate", "--ticks", "0"], "--ticks: expected a whole number from 1"),
        (["simulate", "--frame-size", "20001"], "--frame-size: expected at most 20000"),
        (["replay", "x.csv", "--speed", "-1"], "--speed: expected a number above 0"),
        (["replay", "x.csv"], "x.csv: "),
    ],
)
def test_wrong_usage_is_one_line(settings: Settings, arguments: list[str], reason: str) -> None:
    """The last line says which argument, what was expected and what was found."""
    wrong = capstream(settings, *arguments)

    assert wrong.returncode != 0
    assert reason in wrong.stderr.splitlines()[-1]
