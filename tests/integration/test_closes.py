"""Official closes on the recorded tape, from the ticks to `closes`, `index-closes` and Redis; and hours without ticks."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiokafka import ConsumerRecord

import oracle
from integration.conftest import (
    CODES,
    DAY,
    REFERENCE,
    Lab,
    all_day,
    all_in,
    daytime,
    eventually,
    is_ready,
    level_and_value,
    levels_of,
    read_rows,
    redis_client,
    running,
    subscribed,
    tick,
    told,
)
from integration.logs import Recording, Snapshots, newest_by_key, report
from stream.feed.run import replay
from stream.settings import Settings

pytestmark = pytest.mark.timeout(240)

#: The closing prints of the exchange that lists them; the last trades before them were others.
OFFICIAL = {
    "AIG": ("48.7300", "16:00:07"),
    "BAC": ("13.8100", "16:00:04"),
    "IBM": ("182.0100", "16:01:04"),
}
PRICES = {symbol: int(text.replace(".", "")) for symbol, (text, _) in OFFICIAL.items()}
#: Its auctions in the morning.
OPENED = {"AIG": "49.0000", "BAC": "13.9000", "IBM": "182.0000"}
#: Ends of the parts in which the tape is replayed, in New York: levels are looked at after each.
PARTS = ("15:59:59", "16:00:06", "16:02:00", "16:20:00", "17:30:00", "20:00:00")


@dataclass(frozen=True)
class Evening:
    """What was shown after each part of the tape, and what was kept."""

    settings: Settings
    shown: list[Snapshots]
    hashes: dict[str, dict[str, str]]
    levels: list[ConsumerRecord]
    closes: dict[bytes, bytes | None]
    index_closes: list[ConsumerRecord]


def parts_of(tape: Path, folder: Path) -> Iterable[Path]:
    """Cut the tape."""
    with gzip.open(tape, "rt", newline="") as text:
        head, *rows = csv.reader(text)
    start = 0
    for number, end in enumerate(PARTS):
        limit = oracle.nanoseconds(DAY, end)
        part = [row for row in rows if start <= int(row[0]) < limit]
        assert part
        path = folder / f"part-{number}.csv"
        with path.open("w", newline="") as out:
            csv.writer(out).writerows([head, *part])
        start = limit
        yield path


async def replay_the_evening(lab: Lab, tape: Path, folder: Path) -> Evening:
    # As it comes: with the limit and the guard for bad prices.
    settings = lab.settings(partitions=3, price_limit_bp=1000, guard_bp=200)
    worker = lab.worker(settings)
    shown, ticks = [], 0
    async with running(worker) as task:
        for path in parts_of(tape, folder):
            await replay(settings, path, speed=None, format="frame", frame_size=100)
            ticks += len(read_rows(path))
            await all_in(worker, ticks, task)
            shown.append(await lab.snapshots(settings))
        await eventually(lambda: worker.publisher and not worker.publisher.closes.for_redis)
        async with redis_client(settings) as client:
            hashes = {
                code: {
                    date.decode(): level.decode()
                    for date, level in (
                        await client.hgetall(f"{settings.redis_prefix}closes:{code}")
                    ).items()
                }
                for code in CODES
            }
    assert worker.intake.account.refused["suspect"] == 0
    return Evening(
        settings,
        shown,
        hashes,
        await lab.read_topic(settings.levels_topic),
        await newest_by_key(lab, settings.closes_topic),
        await lab.read_topic(settings.index_closes_topic),
    )


@pytest.fixture(scope="module")
def evening(lab: Lab, full_tape: Path, tmp_path_factory: pytest.TempPathFactory) -> Evening:
    return asyncio.run(replay_the_evening(lab, full_tape, tmp_path_factory.mktemp("parts")))


def test_the_official_prices_of_the_tape_are_written(evening: Evening) -> None:
    """Open and close of the exchange that lists each stock, not the last trade, nor what another venue calls its close."""
    found = {key.decode(): told(value or b"") for key, value in evening.closes.items()}

    assert found == {
        f"{DAY}/{symbol}": {
            "symbol": symbol,
            "date": DAY,
            "open": OPENED[symbol],
            "close": price,
            "close_ts": found[f"{DAY}/{symbol}"]["close_ts"],
            "corrected": False,
        }
        for symbol, (price, _) in OFFICIAL.items()
    }
    for symbol, (_, at) in OFFICIAL.items():
        since_ns = found[f"{DAY}/{symbol}"]["close_ts"] - oracle.nanoseconds(DAY, at)
        assert 0 <= since_ns < oracle.NS


def test_the_closes_of_the_indexes_are_made_of_them(evening: Evening) -> None:
    """Once on the topic, and in the hash; `open` and the rest of the day have no part in it."""
    expected = {code: level for code, (level, _) in levels_of(PRICES).items()}
    records = [told(record.value) for record in evening.index_closes]
    by_code = {record["code"]: record for record in records}

    assert [record.key.decode() for record in evening.index_closes] == [
        f"{record['date']}/{record['code']}" for record in records
    ]
    assert len(by_code) == len(records)
    for code in CODES:
        assert (by_code[code]["close"], by_code[code]["date"]) == (expected[code], DAY)
        assert by_code[code]["previous_close"] == "1000.00000000"
        assert by_code[code]["corrected"] is False
        assert evening.hashes[code] == {DAY: expected[code]}


def test_after_the_close_the_level_stands_and_the_estimate_moves(evening: Evening) -> None:
    """Closing until all official prices have come; then prints of the evening move `indicative` and `last` alone."""
    day, closing, *after = evening.shown
    official = levels_of(PRICES)

    assert {one["status"] for one in day.values()} == {"firm"}
    assert day["US1000"]["indicative"] is None
    # BAC's has come by then, AIG's and IBM's have not.
    assert {closing[code]["status"] for code in ("US1000", "US3000")} == {"closing"}
    for snapshots in after:
        assert level_and_value(snapshots) == official
        one = snapshots["US1000"]
        assert (one["status"], one["last"]) == ("indicative", one["indicative"])
        assert (one["phase"] == "regular", one["cash_phase"]) == (False, "post_market")
    estimates = [snapshots["US1000"]["indicative"] for snapshots in after]
    assert all(one != other for one, other in pairwise(estimates))
    kept = [told(record.value) for record in evening.levels]
    for one in (one for one in kept if one["code"] == "US1000"):
        if one["status"] == "indicative":
            assert one["level"] == official["US1000"][0]
    assert REFERENCE != PRICES


# ---- verified ------------------------------------------------------------------------------------


def altered(record: ConsumerRecord, name: str, other: bytes) -> bytes:
    """Put another text in the place of a field's."""
    before = json.dumps(told(record.value)[name]).strip('"').encode()
    found = b'"%b":' % name.encode()
    head, tail = record.value.split(found, 1)
    quote = b'"' if tail.startswith(b'"') else b""
    assert tail.startswith(quote + before + quote)
    changed: bytes = head + found + quote + other + quote + tail[len(quote + before + quote) :]
    return changed


def test_the_evening_is_verified(lab: Lab, evening: Evening) -> None:
    """Statuses and estimates are computed again, as levels are."""
    recording = Recording(lab, evening.settings, evening.levels)
    done = recording.run("verify", "--session", DAY, "--json")

    found = report(done)
    assert done.returncode == 0, done.stdout + done.stderr
    # Levels of another session may stand between its first and its last.
    assert found["verified"] == found["records"] >= len(recording.of(DAY)) > 20


@pytest.mark.parametrize("name", ["indicative", "status"])
async def test_an_altered_evening_is_found(lab: Lab, evening: Evening, name: str) -> None:
    """One digit of an estimate; one word."""
    recording = Recording(lab, evening.settings, evening.levels)
    wrong = next(
        one
        for one in recording.of(DAY)
        if told(one.value)["code"] == "US1000" and told(one.value)["status"] == "indicative"
    )
    text = told(wrong.value)[name]
    other = "official_close" if name == "status" else text[:-1] + str((int(text[-1]) + 1) % 10)
    value = altered(wrong, name, other.encode())
    levels = await recording.copy(
        recording.settings.levels_topic,
        alter=lambda one: value if one.offset == wrong.offset else one.value,
    )

    done = await asyncio.to_thread(
        recording.run, "verify", "--session", DAY, "--json", CAPSTREAM_LEVELS_TOPIC=levels
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert report(done)["first"]["field"] == name


# ---- without ticks -------------------------------------------------------------------------------


def all_night(folder: Path, zone: ZoneInfo) -> str:
    """Write a calendar in which futures trade by day and shares in the first minute alone; give its path."""
    text = Path(all_day(folder, zone)).read_text().replace('close = "23:59"', 'close = "00:01"', 1)
    path = folder / "night.toml"
    path.write_text(text.replace('post_market = "23:59"', 'post_market = "00:01"'))
    return str(path)


@pytest.mark.parametrize("by_day", [True, False])
async def test_a_silent_live_feed_is_an_alarm_by_day_alone(lab: Lab, *, by_day: bool) -> None:
    """Within seconds every index is stale, without any tick; at night none is, and heartbeats go on with their phase."""
    zone = daytime()
    calendar = all_day(lab.folder, zone) if by_day else all_night(lab.folder, zone)
    settings = lab.settings(calendar=calendar, feed_silent_s=2.0)
    worker = lab.worker(settings)

    async def all_are(status: str) -> bool:
        found = await lab.snapshots(settings)
        return {one["status"] for one in found.values()} == {status}

    async with (
        lab.sender(settings) as sender,
        subscribed(settings) as heard,
        running(worker) as task,
    ):
        # A live log without ticks is not rolled; what comes before the roll has not opened in the session.
        await eventually(lambda: is_ready(worker), watch=task)
        await sender.send(tick("AIG", "48.5", time.time_ns()))
        await eventually(lambda: worker.intake.books[0].session, watch=task)
        for symbol, price in REFERENCE.items():
            await sender.send(tick(symbol, f"{price / 10_000:.4f}", time.time_ns()))
        if by_day:
            await eventually(partial(all_are, "firm"), watch=task)
            await eventually(partial(all_are, "stale"), within_s=8, watch=task)
        else:
            await eventually(partial(all_are, "indicative"), watch=task)
            n = len(heard.of("heartbeat"))
            await eventually(lambda: len(heard.of("heartbeat")) > n + 4, watch=task)
            assert await all_are("indicative")
        ticks = worker.intake.account.ticks

    phases = {json.loads(beat)["phase"] for beat in heard.of("heartbeat")}
    assert (ticks, phases) == (len(REFERENCE) + 1, {"regular" if by_day else "overnight"})


# ---- from one life to the next -------------------------------------------------------------------


async def test_a_restarted_worker_tells_no_close_twice_and_fills_an_emptied_redis(
    lab: Lab, evening: Evening
) -> None:
    """Constituents' closes are written once more, the same; those of indexes are known from the topic."""
    settings = evening.settings
    before = await lab.read_topic(settings.closes_topic)
    async with redis_client(settings) as client:
        async for key in client.scan_iter(match=f"{settings.redis_prefix}*"):
            await client.delete(key)

    async def filled() -> bool:
        async with redis_client(settings) as client:
            found = await client.hgetall(f"{settings.redis_prefix}closes:US1000")
        return {k.decode(): v.decode() for k, v in found.items()} == evening.hashes["US1000"]

    async def written() -> bool:
        return len(await lab.read_topic(settings.closes_topic)) > len(before)

    worker = lab.worker(settings)
    async with running(worker) as task:
        await eventually(partial(is_ready, worker), watch=task)
        await eventually(filled, watch=task)
        await eventually(written, watch=task)

    again = (await lab.read_topic(settings.closes_topic))[len(before) :]
    assert {record.key: record.value for record in again} == evening.closes
    assert len(again) == len(evening.closes)
    n = len(await lab.read_topic(settings.index_closes_topic))
    assert n == len(evening.index_closes)


async def epochs(lab: Lab, settings: Settings, redis: dict[str, Any]) -> int:
    """Give the epoch of a worker that begins on a Redis that holds this."""
    async with redis_client(settings) as client:
        keys = [key async for key in client.scan_iter(match=f"{settings.redis_prefix}*")]
        if keys:
            await client.delete(*keys)
        for name, value in redis.items():
            await client.set(f"{settings.redis_prefix}{name}", value)
    worker = lab.worker(settings)
    async with running(worker) as task:
        await eventually(partial(is_ready, worker), watch=task)
        return int((await lab.snapshots(settings))["US1000"]["epoch"])


async def test_an_epoch_is_never_given_twice(lab: Lab) -> None:
    """Where Redis remembers more than the log, the log is brought up to it: so it holds when Redis has forgotten."""
    settings = lab.settings()
    found = [
        await epochs(lab, settings, {}),
        await epochs(lab, settings, {"epoch": 5_000}),
        await epochs(lab, settings, {}),
    ]

    assert found[0] < 5_000 < found[1] < found[2]
    assert found[1] == 5_001
