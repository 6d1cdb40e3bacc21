"""`memory/backlog`: a worker that eats a long backlog of single JSON ticks must stay small."""

from __future__ import annotations

import uuid

from benchmarks.contenders import Servers, capstream
from benchmarks.ingest import add, check
from benchmarks.processes import run
from benchmarks.report import Report
from benchmarks.workload import expected_levels, filled_topic
from stream.index.composition import Composition

LIMIT_MIB = 300 * 1_000_000 / 2**20


async def measure(
    report: Report, servers: Servers, composition: Composition, *, ticks: int
) -> None:
    """Let the product read the backlog once; its peak memory is part of the answer."""
    workload, topic = "memory/backlog", f"bench-memory-{uuid.uuid4().hex[:12]}"
    report.say(f"{workload}: writing {ticks:,} ticks")
    async with filled_topic(servers.kafka_url, topic, composition, form="json", ticks=ticks):
        ours = capstream(
            servers,
            *("bench", "ingest", "--bootstrap", servers.kafka_url),
            *("--topic", topic, "--ticks", str(ticks)),
        )
        done = run(ours.command, folder=servers.folder, environment=ours.environment)
    add(report, workload, ours.name, done, ticks, baseline=ours.name)
    report.say(f"{workload}: {done.peak_mib:.0f} MiB")
    check(report, workload, ours, done, ticks, expected_levels(composition, ticks))
    report.check(
        done.peak_mib < LIMIT_MIB, f"{workload}: {done.peak_mib:.0f} MiB, above {LIMIT_MIB:.0f}"
    )
