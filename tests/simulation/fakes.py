"""Puts the simulated world below the real worker: its clock, Kafka, Redis and Faust."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import redis.asyncio

from simulation.faust import App, add_agents
from simulation.kafka import KafkaLog, ensure_topics
from simulation.loop import Clock
from simulation.process import Process, running
from simulation.redis import Client
from stream.index.composition import Composition
from stream.index.snapshot import Snapshot
from stream.pipeline import control_log, intake, publishing, worker
from stream.publish import publisher
from stream.publish.publisher import Publisher
from stream.publish.record import Record
from stream.publish.redis import Message
from stream.settings import Settings


class Now:
    """Stands in for the module `time`: the clock of the history that runs."""

    def __init__(self) -> None:
        self.clock = Clock(0)

    def time_ns(self) -> int:
        return self.clock.time_ns()

    def monotonic(self) -> float:
        return self.clock.monotonic()

    def perf_counter(self) -> float:
        return self.clock.monotonic()


NOW = Now()


class Halfway:
    """Stands in for the module `random`, which only spreads attempts in time."""

    @staticmethod
    def uniform(low: float, high: float) -> float:
        return (low + high) / 2


class WatchedRecord(Record):
    """Tells of every publication that is tried."""

    def take(
        self,
        snapshots: Sequence[Snapshot],
        messages: Sequence[Message],
        *,
        offsets: Mapping[int, int],
        published_ns: int,
    ) -> None:
        running().laws.made(snapshots, messages, offsets)
        super().take(snapshots, messages, offsets=offsets, published_ns=published_ns)


class WatchedPublisher(Publisher):
    """Tells what it begins with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        process = running()
        process.laws.took(self.epoch, self.extremes.by_code, process.claimed)


@contextmanager
def installed() -> Iterator[None]:
    """Replace what reaches out of the process, for a while."""
    replaced: tuple[tuple[Any, str, Any], ...] = (
        (worker, "App", App),
        (worker, "KafkaLog", KafkaLog),
        (redis.asyncio, "from_url", Client),
        (worker, "add_agents", add_agents),
        (worker, "ensure_topics", ensure_topics),
        (worker, "time", NOW),
        (worker, "random", Halfway),
        (publisher, "time", NOW),
        (publisher, "random", Halfway),
        (control_log, "time", NOW),
        (intake, "time", NOW),
        (publishing, "Record", WatchedRecord),
        (publishing, "Publisher", WatchedPublisher),
    )
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with ExitStack() as stack:
            for place, name, value in replaced:
                stack.enter_context(mock.patch.object(place, name, value))
            yield
    finally:
        logging.disable(before)


def make_worker(process: Process, settings: Settings, composition: Composition) -> worker.Worker:
    """Make a worker whose account is compared with the logs at every batch."""
    made = worker.Worker(settings, composition)
    real, expected = made.intake.apply, Counter[str]()

    def apply(batches: Sequence[Any]) -> Any:
        books = dict(made.intake.books)
        before = {partition: book.offset for partition, book in books.items()}
        try:
            return real(batches)
        finally:
            process.laws.account(made.intake, expected, before, books)

    made.intake.apply = apply  # type: ignore[method-assign]
    return made
