"""`ingest/json`, `ingest/frame64`, `ingest/frame1000`: a full topic through the whole pipeline to Redis.

The clock runs from the first batch in a contender's hand to its last level. Contenders take turns, so that a slow minute of
the machine meets them all.
"""

from __future__ import annotations

import uuid
from decimal import Decimal
from pathlib import Path

from benchmarks.contenders import (
    CODE,
    Contender,
    Servers,
    bare,
    bytewax,
    bytewax_python,
    capstream,
    write_index,
)
from benchmarks.processes import Run, run
from benchmarks.report import Report
from benchmarks.workload import Format, expected_levels, filled_topic
from stream.index.composition import Composition

#: A level every 100 ms: this share of them must really be published while a backlog is read.
PUBLISHED_SHARE = 0.3
#: Floating point may differ in this part of the level.
TOLERANCE = Decimal("1e-9")


async def measure(
    report: Report,
    servers: Servers,
    composition: Composition,
    *,
    form: Format,
    ticks: int,
    repetitions: int,
    with_bytewax: bool,
) -> None:
    """Fill a topic and let the contenders read it in turn."""
    workload, topic = f"ingest/{form}", f"bench-{form}-{uuid.uuid4().hex[:12]}"
    index_file = servers.folder / "index.json"
    write_index(composition, index_file)
    python = bytewax_python(report) if with_bytewax and form == "json" else None
    expected = expected_levels(composition, ticks)
    report.say(f"{workload}: writing {ticks:,} ticks")
    async with filled_topic(
        servers.kafka_url, topic, composition, form=form, ticks=ticks
    ) as written_per_s:
        report.say(f"{workload}: written at {written_per_s:,.0f} ticks/s")
        contenders = _contenders(servers, form, topic, ticks, index_file, python)
        baseline = contenders[1].name
        for repetition in range(repetitions):
            for contender in contenders:
                done = run(
                    contender.command, folder=servers.folder, environment=contender.environment
                )
                add(report, workload, contender.name, done, ticks, baseline=baseline)
                report.say(
                    f"{workload}: {repetition + 1}/{repetitions} {contender.name:<18} "
                    f"{done.figures['ticks_per_s']:>12,.0f} ticks/s  {done.peak_mib:4.0f} MiB"
                )
                check(report, f"{workload} {contender.name}", contender, done, ticks, expected)


def _contenders(
    servers: Servers, form: Format, topic: str, ticks: int, index_file: Path, python: Path | None
) -> list[Contender]:
    common = ["--bootstrap", servers.kafka_url, "--topic", topic, "--ticks", str(ticks)]
    with_index = [*common, "--index", str(index_file)]
    ours = capstream(servers, "bench", "ingest", *common)
    fetch = bare("aiokafka", "fetch", *with_index)
    if form != "json":
        return [ours, bare("aiokafka+numpy", "frames", *with_index), fetch]
    theirs = [bytewax(python, *with_index)] if python is not None else []
    return [ours, *theirs, bare("aiokafka+orjson", "json", *with_index), fetch]


def add(report: Report, workload: str, name: str, done: Run, ticks: int, *, baseline: str) -> None:
    """Add the figures of a run."""
    rate = float(done.figures["ticks_per_s"])
    report.add(workload, name, "ticks/s", rate, baseline=baseline)
    report.add(workload, name, "peak MiB", done.peak_mib, baseline=baseline)
    report.add(workload, name, "CPU s/M ticks", done.cpu_s / ticks * 1e6, baseline=baseline)


def check(
    report: Report,
    what: str,
    contender: Contender,
    done: Run,
    ticks: int,
    expected: dict[str, Decimal],
    *,
    published_share: float = 1.0,
) -> None:
    """Compare a run's answers: ours digit for digit, a baseline's up to its floating point."""
    figures = done.figures
    report.check(figures["ticks"] == ticks, f"{what}: {figures['ticks']:,} of {ticks:,} ticks")
    if contender.gives == "level":
        level = Decimal(figures["level"])
        report.check(
            abs(level / expected[CODE] - 1) < TOLERANCE,
            f"{what}: level {level} instead of {expected[CODE]}",
        )
    elif contender.gives == "levels":
        report.check(figures["applied"] == ticks, f"{what}: {figures['applied']:,} applied")
        levels = {code: Decimal(level) for code, level in figures["levels"].items()}
        wrong = sorted(
            code for code in expected.keys() | levels if levels.get(code) != expected.get(code)
        )
        report.check(not wrong, f"{what}: {len(wrong)} wrong levels: {', '.join(wrong[:5])}")
        share = PUBLISHED_SHARE * published_share
        least = max(1, int(share * 10 * float(figures["seconds"])))
        report.check(
            figures["published"] >= least,
            f"{what}: published {figures['published']} times, expected {least} at least",
        )
