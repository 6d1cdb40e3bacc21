"""`scaleout/1`, `/2`, `/4`: the same backlog read by one, two and four workers that share its partitions.

Where there are fewer cores than workers, the rate says little; processor time for each tick says what sharing costs. It is
counted from the first tick in any worker's hand, so start-up and joining the group are not in it.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from decimal import Decimal

import redis.asyncio

from benchmarks.contenders import Servers
from benchmarks.fleet import Fleet, fleet_of
from benchmarks.processes import RunFailedError
from benchmarks.report import Report
from benchmarks.workload import expected_levels, filled_topic
from stream.index.composition import Composition
from stream.wire.names import RedisNames

POLL_S = 0.02
GIVE_UP_S = 300.0


async def measure(
    report: Report, servers: Servers, composition: Composition, *, ticks: int, workers: list[int]
) -> None:
    """Let fleets of different sizes read one topic, each from its start."""
    topic = f"bench-scaleout-{uuid.uuid4().hex[:12]}"
    expected = expected_levels(composition, ticks)
    report.say(f"scaleout: writing {ticks:,} ticks")
    async with filled_topic(servers.kafka_url, topic, composition, form="json", ticks=ticks):
        for n in workers:
            await _measure(report, servers, topic, n, ticks=ticks, expected=expected)


async def _measure(
    report: Report,
    servers: Servers,
    topic: str,
    n: int,
    *,
    ticks: int,
    expected: dict[str, Decimal],
) -> None:
    workload, names = f"scaleout/{n}", RedisNames(f"{topic}-{n}:")
    async with fleet_of(servers, topic, n, prefix=names.prefix) as fleet:
        deadline = time.monotonic() + GIVE_UP_S
        # Control records are no ticks: the first tick is the first of the backlog.
        while not fleet.ticks():
            await _pause(fleet, deadline)
        started, cpu_s = time.perf_counter(), fleet.cpu_s()
        while await _levels(servers, names, expected) != expected:
            await _pause(fleet, deadline)
        seconds, used_s = time.perf_counter() - started, fleet.cpu_s() - cpu_s
        counted = fleet.ticks()
    report.check(counted == ticks, f"{workload}: {counted:,} of {ticks:,} ticks")
    name = f"{n} worker{'s' if n > 1 else ''}"
    report.add(workload, name, "ticks/s", ticks / seconds, baseline=name)
    report.add(workload, name, "CPU s/M ticks", used_s / ticks * 1e6, baseline=name)
    report.say(f"{workload}: {ticks / seconds:,.0f} ticks/s, {used_s / ticks * 1e6:.2f} CPU s/M")


async def _pause(fleet: Fleet, deadline: float) -> None:
    fleet.check()
    if time.monotonic() > deadline:
        raise RunFailedError(f"no end after {GIVE_UP_S:g} s")
    await asyncio.sleep(POLL_S)


async def _levels(
    servers: Servers, names: RedisNames, expected: dict[str, Decimal]
) -> dict[str, Decimal]:
    async with redis.asyncio.from_url(servers.redis_url) as client:
        found = await client.mget([names.snap(code) for code in expected])
    return {
        code: json.loads(data, parse_float=Decimal)["level"]
        for code, data in zip(expected, found, strict=True)
        if data is not None
    }
