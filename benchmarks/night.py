"""`night`: a worker through a simulated night in which futures alone trade must neither grow nor work more by the hour."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import redis

from benchmarks.contenders import Servers
from benchmarks.fleet import Fleet, fleet_of
from benchmarks.report import Report
from benchmarks.silence import LIMIT_MIB, SETTLING
from benchmarks.workload import N_PARTITIONS, delete_topic
from stream.feed.run import FeedSummary, simulate
from stream.settings import Settings

NEW_YORK = ZoneInfo("America/New_York")
STARTS = datetime(2026, 7, 14, 18, tzinfo=NEW_YORK)
ENDS = datetime(2026, 7, 15, 4, tzinfo=NEW_YORK)
HOURS = 10
SEED = 20260714

CODE = "US3000"
#: What the night ends with.
EXPECTED = {"phase": "overnight", "status": "indicative", "indicative_method": "futures"}
PUBLISHED_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What a worker has used by the end of a simulated hour."""

    resident_mib: float
    cpu_s: float
    at: float


async def measure(report: Report, servers: Servers, *, minutes: float) -> None:
    """Let a night pass in some minutes, and look at the worker after each hour of it."""
    topic = f"bench-night-{uuid.uuid4().hex[:12]}"
    settings = Settings(kafka_url=servers.kafka_url, ticks_topic=topic, partitions=N_PARTITIONS)
    speed = HOURS * 60 / minutes
    feed = asyncio.create_task(
        simulate(settings, rate=0.0, seed=SEED, start=STARTS, end=ENDS, speed=speed, format="frame")
    )
    try:
        await _begun(feed)
        async with fleet_of(servers, topic, 1, prefix=f"{topic}:") as fleet:
            samples = await _samples(fleet, feed, hour_s=minutes * 60 / HOURS)
            summary = await feed
            await _read(fleet, summary.ticks)
            last = await _published(servers.redis_url, topic)
    finally:
        feed.cancel()
        await asyncio.gather(feed, return_exceptions=True)
    await delete_topic(servers.kafka_url, topic)
    _tell(report, samples, minutes=minutes)
    found = {name: last.get(name) for name in EXPECTED}
    report.check(found == EXPECTED, f"night: ends with {found}, not {EXPECTED}")
    report.check(
        last.get("level") == last.get("open") == last.get("low") == last.get("high"),
        "night: the level has moved",
    )


async def _begun(feed: asyncio.Task[FeedSummary]) -> None:
    """Let the feed make its topic, or fail."""
    await asyncio.wait([feed], timeout=2)
    if feed.done():
        feed.result()


async def _samples(fleet: Fleet, feed: asyncio.Task[FeedSummary], *, hour_s: float) -> list[Sample]:
    while not feed.done() and not fleet.ticks():
        await asyncio.wait([feed], timeout=0.1)
    samples = []
    while not feed.done():
        fleet.check()
        samples.append(Sample(fleet.resident_mib(), fleet.cpu_s(), time.monotonic()))
        await asyncio.wait([feed], timeout=hour_s)
    return [*samples, Sample(fleet.resident_mib(), fleet.cpu_s(), time.monotonic())]


async def _read(fleet: Fleet, ticks: int) -> None:
    while fleet.ticks() < ticks:
        fleet.check()
        await asyncio.sleep(0.1)


async def _published(redis_url: str, prefix: str) -> dict[str, Any]:
    """Give the last snapshot once it is what it should be, or whatever it is when there was time enough."""
    deadline = time.monotonic() + PUBLISHED_WITHIN_S
    while True:
        last = await asyncio.to_thread(_snapshot, redis_url, prefix)
        if EXPECTED.items() <= last.items() or time.monotonic() > deadline:
            return last
        await asyncio.sleep(0.1)


def _snapshot(redis_url: str, prefix: str) -> dict[str, Any]:
    with redis.Redis.from_url(redis_url) as client:
        data: Any = client.get(f"{prefix}:snap:{CODE}")
    return dict(json.loads(data, parse_float=str)) if data else {}


def _tell(report: Report, samples: list[Sample], *, minutes: float) -> None:
    settled = samples[int(SETTLING * len(samples)) :]
    growth = settled[-1].resident_mib - settled[0].resident_mib
    # Of a core, hour by hour; the first hours hold the start of the process.
    used = [
        100 * (after.cpu_s - before.cpu_s) / (after.at - before.at)
        for before, after in pairwise(settled)
        if after.at > before.at
    ]
    report.add("night", "capstream", "MiB", settled[-1].resident_mib, baseline="capstream")
    report.add("night", "capstream", "MiB grown", growth, baseline="capstream")
    for share in used:
        report.add("night", "capstream", "% of a core", share, baseline="capstream")
    by_hour = " ".join(f"{each.resident_mib:.1f}" for each in samples)
    report.say(f"night: {HOURS} hours in {minutes:g} minutes; MiB by the hour: {by_hour}")
    report.say(f"night: % of a core by the hour: {' '.join(f'{each:.1f}' for each in used)}")
    report.check(growth < LIMIT_MIB, f"night: grew by {growth:.1f} MiB")
