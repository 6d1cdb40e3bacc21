"""`silence`: a worker whose market is closed must not grow, nor work much."""

from __future__ import annotations

import asyncio
import time
import uuid

from benchmarks.contenders import Servers
from benchmarks.fleet import fleet_of
from benchmarks.report import Report
from benchmarks.workload import filled_topic
from stream.index.composition import Composition

TICKS = 100_000
SAMPLE_S = 10.0
#: Caches fill, and the allocator finds its size, in this part of the time.
SETTLING = 0.2
#: More than this from then on is a leak.
LIMIT_MIB = 4.0


async def measure(
    report: Report, servers: Servers, composition: Composition, *, minutes: float
) -> None:
    """Let a worker read some ticks, and then wait for more that never come."""
    topic = f"bench-silence-{uuid.uuid4().hex[:12]}"
    async with (
        filled_topic(servers.kafka_url, topic, composition, form="json", ticks=TICKS),
        fleet_of(servers, topic, 1, prefix=f"{topic}:") as fleet,
    ):
        while fleet.ticks() < TICKS:
            fleet.check()
            await asyncio.sleep(0.1)
        started, cpu_s = time.monotonic(), fleet.cpu_s()
        resident: list[tuple[float, float]] = []
        while (passed := time.monotonic() - started) < minutes * 60:
            fleet.check()
            resident.append((passed, fleet.resident_mib()))
            await asyncio.sleep(min(SAMPLE_S, minutes * 6))
        used = (fleet.cpu_s() - cpu_s) / passed
    settled = [mib for at, mib in resident if at >= SETTLING * minutes * 60]
    growth = settled[-1] - settled[0]
    report.add("silence", "capstream", "MiB", settled[-1], baseline="capstream")
    report.add("silence", "capstream", "MiB grown", growth, baseline="capstream")
    report.add("silence", "capstream", "% of a core", used * 100, baseline="capstream")
    report.say(f"silence: {minutes:g} minutes, {settled[0]:.1f} to {settled[-1]:.1f} MiB")
    report.check(growth < LIMIT_MIB, f"silence: grew by {growth:.1f} MiB")
