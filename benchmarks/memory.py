"""`memory/backlog`, `memory/slow-redis`: a worker that eats a long backlog of single JSON ticks must stay small.

In the second, Redis answers nothing for four fifths of the time, while levels are to be published all along.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator

import redis

from benchmarks.contenders import Servers, capstream
from benchmarks.ingest import add, check
from benchmarks.processes import run
from benchmarks.report import Report
from benchmarks.workload import expected_levels, filled_topic
from stream.index.composition import Composition

LIMIT_MIB = 300 * 1_000_000 / 2**20

PAUSE_MS = 400
PAUSE_EVERY_S = 0.5


async def measure(
    report: Report, servers: Servers, composition: Composition, *, ticks: int
) -> None:
    """Let the product read the backlog twice; its peak memory is part of the answer."""
    topic = f"bench-memory-{uuid.uuid4().hex[:12]}"
    report.say(f"memory: writing {ticks:,} ticks")
    async with filled_topic(servers.kafka_url, topic, composition, form="json", ticks=ticks):
        ours = capstream(
            servers,
            *("bench", "ingest", "--bootstrap", servers.kafka_url),
            *("--topic", topic, "--ticks", str(ticks)),
        )
        for workload in ("memory/backlog", "memory/slow-redis"):
            slow = workload == "memory/slow-redis"
            with slowed(servers.redis_url) if slow else contextlib.nullcontext():
                done = run(ours.command, folder=servers.folder, environment=ours.environment)
            add(report, workload, ours.name, done, ticks, baseline=ours.name)
            report.say(f"{workload}: {done.peak_mib:.0f} MiB")
            expected = expected_levels(composition, ticks)
            share = 1 - PAUSE_MS / 1000 / PAUSE_EVERY_S if slow else 1.0
            check(report, workload, ours, done, ticks, expected, published_share=share)
            report.check(
                done.peak_mib < LIMIT_MIB,
                f"{workload}: {done.peak_mib:.0f} MiB, above {LIMIT_MIB:.0f}",
            )


@contextlib.contextmanager
def slowed(redis_url: str) -> Iterator[None]:
    """Let Redis keep all its clients waiting, again and again."""
    over = threading.Event()

    def keep_waiting() -> None:
        with redis.Redis.from_url(redis_url) as client:
            while not over.wait(PAUSE_EVERY_S):
                client.client_pause(PAUSE_MS)

    thread = threading.Thread(target=keep_waiting)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
