"""How fast an existing topic goes through the whole pipeline to Redis."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from stream.errors import ServiceError
from stream.index.composition import Composition
from stream.index.snapshot import level_text
from stream.pipeline.worker import Worker
from stream.settings import Settings

#: Beside the real keys: a benchmark must not take over from a publisher that people watch.
PREFIX = "idx:bench:"

POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What came of it.

    Attributes
    ----------
    ticks, applied
        Ticks that were read, and those that set a price.
    seconds
        From the first batch in hand to the last publication.
    published
        Publications that Redis confirmed.
    levels
        Last level of each index, by code.
    """

    ticks: int
    applied: int
    seconds: float
    published: int
    levels: dict[str, Decimal]

    @property
    def ticks_per_s(self) -> float:
        """Rate over the whole time."""
        return self.ticks / self.seconds


async def measure_ingest(
    settings: Settings, composition: Composition, *, ticks: int, idle_s: float
) -> IngestResult:
    """Read a topic from its start until that many ticks are in and published.

    Parameters
    ----------
    settings
        Addresses, topic and cadence.
    composition
        Constituents and indexes.
    ticks
        How many the topic holds.
    idle_s
        Give up after this long without a new tick.

    Raises
    ------
    ServiceError
        Where fewer ticks came, or a service failed.
    """
    first: list[float] = []
    settings = msgspec.structs.replace(
        settings,
        group=f"capstream-bench-{uuid.uuid4().hex[:12]}",
        redis_prefix=PREFIX,
        publish_backlog=True,
    )
    worker = Worker(
        settings,
        composition,
        observer=True,
        observe_batch=lambda: first.append(time.perf_counter()) if not first else None,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    try:
        finished = await _finished(worker, running, ticks, idle_s)
    finally:
        stop.set()
        await running
    assert worker.publisher is not None
    published = worker.publisher.published
    return IngestResult(
        ticks=worker.intake.account.ticks,
        applied=worker.intake.account.applied,
        seconds=finished - first[0],
        published=published.publications,
        levels={code: Decimal(level_text(one.level)) for code, one in published.levels.items()},
    )


async def _finished(
    worker: Worker, running: asyncio.Task[None], ticks: int, idle_s: float
) -> float:
    """Wait until all ticks are in and published; give the moment of the last publication."""
    seen, changed_at = 0, time.monotonic()
    while True:
        await asyncio.wait([running], timeout=POLL_S)
        if running.done():
            await running
            raise ServiceError("the worker ended before the ticks did")
        account = worker.intake.account
        if account.ticks != seen:
            seen, changed_at = account.ticks, time.monotonic()
        elif time.monotonic() - changed_at > idle_s:
            raise ServiceError(f"only {seen} of {ticks} ticks came, and none for {idle_s:g} s")
        if seen >= ticks and worker.idle:
            assert worker.publisher is not None
            return worker.publisher.published.last_at
