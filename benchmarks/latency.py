"""`latency/20000`: from producing a tick to the first message in Redis that covers it, with a tick a message.

Both contenders are measured by the same client, in a process of its own: the product at cadence 0, and a loop that decodes
and publishes the newest event time of each fetch, which is the least that can be done between Kafka and Redis.
"""

from __future__ import annotations

import sys

from benchmarks.contenders import Contender, Servers, capstream
from benchmarks.processes import run
from benchmarks.report import Report

UNITS = {"median_ms": "median ms", "p99_ms": "p99 ms", "max_ms": "max ms"}
#: A client on a busy machine falls behind its rate a little, never by this much.
LEAST_SHARE = 0.5


def measure(
    report: Report, servers: Servers, *, rate: int, seconds: float, repetitions: int
) -> None:
    """Measure both in turn."""
    workload = f"latency/{rate}"
    given = ["--rate", str(rate), "--seconds", str(seconds)]
    loop = [sys.executable, "-m", "benchmarks.bare", "latency", *given]
    loop += ["--bootstrap", servers.kafka_url, "--redis", servers.redis_url]
    contenders = [
        capstream(servers, "bench", "latency", *given),
        Contender("bare loop", loop, gives="nothing"),
    ]
    for repetition in range(repetitions):
        for contender in contenders:
            done = run(contender.command, folder=servers.folder, environment=contender.environment)
            for name, unit in UNITS.items():
                value = float(done.figures[name])
                report.add(workload, contender.name, unit, value, baseline="bare loop")
            report.say(
                f"{workload}: {repetition + 1}/{repetitions} {contender.name:<10} "
                f"median {done.figures['median_ms']:.2f} ms, p99 {done.figures['p99_ms']:.2f} ms"
            )
            report.check(
                done.figures["ticks"] >= LEAST_SHARE * rate * seconds,
                f"{workload} {contender.name}: only {done.figures['ticks']:,} ticks",
            )
