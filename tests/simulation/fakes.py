"""Puts the simulated world below the real worker: its clock, Kafka, Redis and Faust."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import redis.asyncio

from simulation.faust import App, add_agents
from simulation.kafka import KafkaLog, ensure_topics
from simulation.loop import Clock
from simulation.process import Process, running
from simulation.redis import Client
from stream.errors import FencedError
from stream.index.aggregate import Aggregator
from stream.index.composition import Composition
from stream.pipeline import control_log, intake, publishing, worker
from stream.publish import publisher
from stream.publish.publisher import Publisher, Sink
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


class WatchedPublisher(Publisher):
    """Tells what it begins with, and of every publication that it tries."""

    def __init__(self, aggregator: Aggregator, sink: Sink, **kwargs: Any) -> None:
        super().__init__(aggregator, WatchedSink(sink, aggregator), **kwargs)
        process = running()
        process.laws.took(self.epoch, self.extremes.by_code, process.claimed)


class WatchedSink:
    """Tells of every publication, before it is tried, what it was made of."""

    def __init__(self, sink: Sink, aggregator: Aggregator) -> None:
        self._sink = sink
        self._aggregator = aggregator
        self.beat, self.write_closes = sink.beat, sink.write_closes

    async def publish(self, messages: list[Message], *, epoch: int, again: bool) -> None:
        with self._watched(messages, epoch):
            await self._sink.publish(messages, epoch=epoch, again=again)

    async def publish_packed(self, messages: list[Message], *, epoch: int, again: bool) -> None:
        with self._watched(messages, epoch):
            await self._sink.publish_packed(messages, epoch=epoch, again=again)

    @contextmanager
    def _watched(self, messages: Sequence[Message], epoch: int) -> Iterator[None]:
        laws = running().laws
        laws.made(messages, self._aggregator.total().offsets)
        try:
            yield
        except FencedError:
            laws.refused(messages, epoch)
            raise


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
