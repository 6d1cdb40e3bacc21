"""A worker: one process's share of the calculation, from its partitions of ticks to Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from aiokafka.errors import KafkaError
from faust.exceptions import FaustError
from faust.types import TP
from numpy.typing import NDArray

from stream.errors import CapstreamError, FencedError, ServiceError, StuckError
from stream.index.aggregate import Aggregator
from stream.index.book import Book
from stream.index.composition import Composition
from stream.index.partial import NO_EVENT
from stream.pipeline.app import App, add_agents
from stream.pipeline.checkpoints import Checkpoints
from stream.pipeline.closes import ConstituentCloses
from stream.pipeline.compositions import Compositions
from stream.pipeline.control_log import ControlLog
from stream.pipeline.dead_letters import DeadLetters
from stream.pipeline.intake import Intake, MissingCompositionError
from stream.pipeline.log import KafkaLog
from stream.pipeline.progress import Progress
from stream.pipeline.publishing import Publishing
from stream.pipeline.schemas import Partials
from stream.pipeline.transport import Fetch, LogRange
from stream.publish.publisher import Publisher
from stream.publish.redis import RedisSink
from stream.settings import Settings
from stream.topics import ensure_topics
from stream.wire.snapshots import encode_price

log = logging.getLogger(__name__)

T = TypeVar("T")

MIRROR_PRICES_S = 1.0
MIRRORED_AT_ONCE = 256
MIRROR_ALL_S = 30.0
CHECK_DRIFT_S = 5.0
SEND_DEAD_LETTERS_S = 0.1
LETTERS_AT_ONCE = 100
#: Partials are sent also where nothing moved, so that a partition without trades can be told from one without an owner.
HEARD_EVERY_S = 1.0
LISTEN_S = 0.25
CONTROL_S = 0.25
WRITE_LEVELS_S = 0.1
WRITE_CLOSES_S = 1.0
WATCH_S = 2.0
CANCEL_AGAIN_S = 0.5
#: Leaving the group takes an answer from a broker, which may be gone.
STOP_WITHIN_S = 8.0
#: The last checkpoints spare the next worker some reading, no more.
LAST_CHECKPOINTS_WITHIN_S = 5.0
#: A rebalance waits for it.
HAND_OVER_WITHIN_S = 2.0
#: Where the cadence is longer, what was not published by then may come after what is handed over.
TRY_NEWEST_WITHIN_S = 1.0
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 5.0


class Worker:
    """Reads ticks, keeps books, adds up partials and publishes levels.

    Parameters
    ----------
    settings
        How to run, with the addresses of Kafka and Redis filled in.
    composition
        Constituents of this worker's files.
    worker_id
        Name of a static member of the group, or None.
    observer
        Reads and publishes only: restores and keeps no checkpoints, writes no control records and no levels to Kafka.
    observe_delay
        Called with the seconds that each publication took.
    observe_batch
        Called before each batch is applied.

    Attributes
    ----------
    intake
        Books and the account of the ticks.
    aggregator
        The sums, once Kafka has told how many partitions there are.
    publisher
        Where this worker is the one that publishes, else None.
    drift
        Books whose running integers differed from a fresh sum at the last check; must stay 0 (law 2).
    lag
        Records of each owned partition that are not applied yet.
    progress
        Partitions that hold records which are not read.
    troubles
        What did not work at the last attempt, by what it is about, and the number of failures so far.
    """

    def __init__(
        self,
        settings: Settings,
        composition: Composition,
        *,
        worker_id: str | None = None,
        observer: bool = False,
        observe_delay: Callable[[float], None] = lambda _: None,
        observe_batch: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.composition = composition
        self.publisher: Publisher | None = None
        self.aggregator: Aggregator | None = None
        self.checkpoints: Checkpoints | None = None
        self.control: ControlLog | None = None
        self.drift = 0
        self.lag: dict[int, int] = {}
        self.progress = Progress()
        self.troubles = Troubles()
        self.dead_letters = DeadLetters(per_s=settings.dead_letters_per_s)
        self.intake = Intake(
            composition,
            calendar=settings.trading_calendar,
            rules=settings.price_rules,
            dead_letters=self.dead_letters,
            topic=settings.ticks_topic,
        )
        self._observer = observer
        self._observe_delay = observe_delay
        self._observe_batch = observe_batch
        self._kafka = KafkaLog(settings)
        self._compositions = Compositions(self._kafka, settings, composition)
        self._closes = ConstituentCloses(
            self._kafka, settings.closes_topic, calendar=settings.trading_calendar
        )
        self._publishing: Publishing | None = None
        self._sink = RedisSink(
            settings.redis_url, names=settings.redis_names, stream_length=settings.stream_length
        )
        self._app = App(
            settings,
            positions=self._positions,
            worker_id=worker_id,
        )
        self._app.on_partitions_revoked.connect(self._hand_over)
        self._app.on_partitions_assigned.connect(self._stand_by)
        self._partials: Any = add_agents(
            self._app, settings, on_fetch=self._on_fetch, on_partials=self._on_partials
        )
        self._stop = asyncio.Event()
        self._role = asyncio.Lock()
        # Rebalances that have begun, and the one that was the last to end here.
        self._revocations = 0
        self._settled = 0
        self._joined = False
        self._assigned: set[TP] = set()
        self._catch_up: dict[int, int] = {}
        self._moved: set[int] = set()
        self._something_moved = asyncio.Event()
        self._heard: dict[int, float] = {}
        self._mirrored: dict[int, _Mirrored] = {}
        self._mirrored_all_at = time.monotonic()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._over: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until asked to stop.

        Parameters
        ----------
        stop
            Set it to end cleanly.

        Raises
        ------
        SetupError
            Where topics or checkpoints do not belong to each other.
        StuckError
            Where records are not read though Kafka answers.
        ServiceError
            Where the consumer fails for good.
        """
        self._stop = stop
        try:
            await self._begin()
            await self._supervise(stop)
            await self._write_last()
        except _StoppedError:
            log.info("stopped_before_kafka_answered")
        finally:
            await self._close()

    @property
    def idle(self) -> bool:
        """Whether everything that was read has been published; never so where another worker publishes."""
        if self.publisher is None or self.aggregator is None or not self.publisher.idle:
            return False
        counted = self.aggregator.total().offsets
        return all(counted.get(p) == book.offset for p, book in self.intake.books.items())

    @property
    def standby(self) -> bool:
        """Whether this worker has joined the others, and there is nothing for it to do."""
        return self._joined and not self._assigned

    def not_ready(self) -> list[str]:
        """Say why the levels of this worker are not to be relied on; empty where they are."""
        reasons = [f"{about}: {error}" for about, error in self.troubles.now.items()]
        if not self._joined:
            reasons.append("no partition is assigned")
        behind = sorted(p for p in self.intake.books if not self._caught_up(p))
        if behind:
            reasons.append(f"reading the backlog of partitions {behind}")
        seconds, partition, n = self.progress.worst(now_s=time.monotonic())
        if seconds > self.settings.progress_timeout_s / 2:
            reasons.append(
                f"partition {partition} makes no progress for {seconds:.0f} s: {n} records wait"
            )
        if self.settings.partials == "memory" and not self.standby:
            reasons += self._not_alone()
        if self.publisher is not None and self.aggregator is not None:
            reasons += self._doubtful(self.publisher, self.aggregator)
        return reasons

    def _not_alone(self) -> list[str]:
        if self.publisher is None:
            return ["no epoch has been claimed yet"]
        if self.aggregator is not None and len(self._assigned) < self.aggregator.n_partitions:
            return [
                "other workers share the partitions: set CAPSTREAM_PARTIALS=topic for all of them"
            ]
        return []

    def _doubtful(self, publisher: Publisher, aggregator: Aggregator) -> list[str]:
        reasons = []
        if not aggregator.complete:
            reasons.append("not every partition has been heard of")
        if not publisher.published.publications or publisher.failing:
            reasons.append("Redis has not confirmed the newest publication")
        if aggregator.crossing:
            standings = sorted({each.standing for each in aggregator.partials.values()})
            reasons.append(f"partitions stand in different compositions or sessions: {standings}")
        if len(aggregator.contested):
            symbols = self._symbols_of(aggregator)
            reasons.append(f"on two partitions: {', '.join(symbols)}")
        if aggregator.silent:
            reasons.append(f"not heard of lately: partitions {sorted(aggregator.silent)}")
        return reasons

    # ---- beginning and end -----------------------------------------------------------------------

    async def _begin(self) -> None:
        partitions: int = await self._until_kafka_answers(partial(ensure_topics, self.settings))
        await self._until_kafka_answers(self._kafka.__aenter__)
        if not self._observer:
            # Before any checkpoint names it.
            await self._until_kafka_answers(self._compositions.publish)
        self.aggregator = Aggregator(self.composition, n_partitions=partitions)
        self._publishing = Publishing(
            self._kafka,
            self.settings,
            self.aggregator,
            self._sink,
            observe_delay=self._observe_delay,
        )
        if not self._observer:
            self.checkpoints = Checkpoints(
                self._kafka, self.settings, self.intake, self._compositions, partitions=partitions
            )
        # Not awaited: it lasts until the first partitions are open, and the wish to stop may come before.
        self._start("start", self._app.start())
        self._start("app", self._app.wait_until_stopped())
        self._start("emit", self._emit())
        self._every("hear", HEARD_EVERY_S, self._mark_all)
        self._every("listen", LISTEN_S, self._listen)
        self._every("mirror", MIRROR_PRICES_S, self._mirror_prices)
        self._every("drift", CHECK_DRIFT_S, self._check_drift)
        self._every("dead-letters", SEND_DEAD_LETTERS_S, self._send_dead_letters)
        self._every("progress", WATCH_S, self._watch_progress)
        if not self._observer:
            self._every("checkpoints", self.settings.checkpoint_s, self._write_checkpoints)
            self._every("closes", WRITE_CLOSES_S, self._write_closes)

    def _start(self, name: str, work: Awaitable[None]) -> None:
        task = asyncio.create_task(_as_coroutine(work), name=name)
        self._tasks[name] = task
        task.add_done_callback(self._over.put_nowait)

    def _every(self, name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do something again and again; where a service is away, say so and go on."""

        async def repeat() -> None:
            while True:
                await asyncio.sleep(seconds)
                try:
                    await work()
                except ServiceError as error:
                    self.troubles.failed(name, error)
                else:
                    self.troubles.worked(name)

        self._start(name, repeat())

    async def _supervise(self, stop: asyncio.Event) -> None:
        """Wait for the wish to stop, or for anything that ends by itself, whenever it was started."""
        asked = asyncio.create_task(stop.wait(), name="stop")
        try:
            while not stop.is_set():
                over = asyncio.create_task(self._over.get())
                await asyncio.wait((asked, over), return_when=asyncio.FIRST_COMPLETED)
                if over.done():
                    await self._ended(over.result())
                else:
                    over.cancel()
        finally:
            asked.cancel()

    async def _ended(self, task: asyncio.Task[None]) -> None:
        """Take over where a task has ended, which none does by itself."""
        name = task.get_name()
        if self._tasks.get(name) is not task:
            # It was let go of, as a publisher that resigned.
            return
        del self._tasks[name]
        try:
            await task
        except FencedError as error:
            await self._fenced(error)
            return
        if name == "start":
            return
        reason = self._app.crash_reason
        if isinstance(reason, CapstreamError):
            raise reason
        raise ServiceError(f"{name}: {reason or 'it ended by itself'}")

    async def _fenced(self, error: FencedError) -> None:
        publisher = self.publisher
        if publisher is None or not publisher.published.publications:
            # Never published: Kafka's log is younger than Redis' memory of it, not this worker than another.
            log.warning("claiming_again epoch=%d", publisher.epoch if publisher else 0)
            await self._claim_anew()
            return
        # A worker that was paused learns here that another has its role, and a moment later from Kafka. Where it does
        # not, the role is its own, and it claims it anew.
        log.warning("fenced %s", error)
        await self._resign()
        if "claim" not in self._tasks:
            self._start("claim", self._claim_later())

    async def _claim_later(self) -> None:
        await asyncio.sleep(2 * self.settings.session_timeout_s)
        del self._tasks["claim"]
        if self._owns_role and self.publisher is None:
            await self._claim_anew()

    async def _claim_anew(self) -> None:
        # The end of a rebalance tells whose the role is.
        if not self._given_up:
            await self._become_publisher()

    async def _close(self) -> None:
        await _end(set(self._tasks.values()))
        leaving = {
            asyncio.create_task(_as_coroutine(work), name=name)
            for name, work in (
                ("group", self._app.stop()),
                ("kafka", self._kafka.__aexit__()),
                ("redis", self._sink.close()),
            )
        }
        # Not `wait_for`, which waits for what it has cancelled.
        _, left = await asyncio.wait(leaving, timeout=STOP_WITHIN_S)
        for task in left:
            task.cancel()
            log.warning("not_left what=%s within_s=%g", task.get_name(), STOP_WITHIN_S)

    async def _write_last(self) -> None:
        if self._observer:
            return
        try:
            async with asyncio.timeout(LAST_CHECKPOINTS_WITHIN_S):
                await self._write_checkpoints()
                if self.publisher is not None:
                    await self._write_last_levels(self.publisher)
        except (ServiceError, TimeoutError) as error:
            log.warning("last_checkpoints_not_written error=%s", error)

    # ---- partitions ------------------------------------------------------------------------------

    async def _positions(self, logs: Mapping[TP, LogRange]) -> Mapping[TP, int]:
        """Take over the partitions that are assigned, and say where to read on."""
        revocations = self._revocations
        ticks = {
            tp.partition: span for tp, span in logs.items() if tp.topic == self.settings.ticks_topic
        }
        before = self.intake.books.keys() & ticks.keys()
        await self._open_books(ticks)
        self.intake.own(ticks)
        self._catch_up = {p: self._catch_up.get(p, ticks[p].end) for p in ticks}
        for partition in ticks.keys() - before:
            self._catch_up[partition] = ticks[partition].end
            self._mark(partition)
        self._closes.forget(set(self._mirrored) - before)
        self._mirrored = {p: mirrored for p, mirrored in self._mirrored.items() if p in before}
        self.lag = {p: max(ticks[p].end - self.intake.books[p].offset, 0) for p in ticks}
        if set(logs) != self._assigned or not self._joined:
            log.info("partitions_assigned ticks=%s", sorted(ticks))
        self._joined, self._assigned = True, set(logs)
        if revocations == self._revocations:
            await self._take_role(ticks)
            self._settled = revocations
            await self._mark_all()
        return {tp: self._position(tp, logs[tp]) for tp in logs}

    async def _hand_over(self, *_: object, **__: object) -> None:
        """Write down books, and what the publisher knows, before they may be another's, who then goes on from there."""
        # The role may be another's for a while, too, who then has a newer epoch. From here on sums stand still: a high that
        # was published later would be missing from what the other finds.
        self._revocations += 1
        if self.checkpoints is None:
            return
        try:
            async with asyncio.timeout(HAND_OVER_WITHIN_S):
                await self._write_books()
                publisher = self.publisher
                if publisher is not None:
                    await _within(TRY_NEWEST_WITHIN_S, publisher.tried_newest())
                    await self._write_role(publisher)
                    await self._write_last_levels(publisher)
        except (ServiceError, TimeoutError) as error:
            log.warning("not_handed_over error=%s", error)

    async def _stand_by(self, *told: Any, **__: object) -> None:
        """Hear of an assignment of nothing, of which Faust asks no positions: others have it all."""
        _, assigned = told
        if not assigned:
            await self._positions({})

    async def _open_books(self, ticks: Mapping[int, LogRange]) -> None:
        if self.checkpoints is not None and ticks:
            await self._until_kafka_answers(partial(self.checkpoints.open, ticks))
        for partition, span in ticks.items():
            if partition not in self.intake.books:
                self.intake.begin(partition, offset=span.start)

    async def _until_kafka_answers(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something for which Kafka must answer; try again until it does, or the wish to stop comes."""
        for wait_s in backoff():
            try:
                result = await work()
            except ServiceError as error:
                self.troubles.failed("kafka", error)
            else:
                self.troubles.worked("kafka")
                return result
            if await _is_set(self._stop, within_s=wait_s):
                raise _StoppedError
        raise AssertionError

    async def _take_role(self, ticks: Mapping[int, LogRange]) -> None:
        if self.settings.partials == "memory":
            assert self.aggregator is not None
            # Books that another worker keeps now would be counted with their old values.
            self.aggregator.keep(ticks)
        if not self._owns_role:
            await self._resign()
        elif self.publisher is None or self._given_up:
            await self._become_publisher()

    @property
    def _given_up(self) -> bool:
        """Whether what this worker had may be another's now: a rebalance has begun that has not ended here."""
        return self._revocations != self._settled

    @property
    def _owns_role(self) -> bool:
        """Whether the group lets this worker publish; in memory, sums of some of the partitions are not published."""
        if self.settings.partials == "memory":
            return bool(self._assigned)
        return any(tp.topic == self.settings.partials_topic for tp in self._assigned)

    def _position(self, tp: TP, span: LogRange) -> int:
        if tp.topic == self.settings.ticks_topic:
            offset = self.intake.books[tp.partition].offset
        else:
            assert self._publishing is not None
            offset = self._publishing.partials_offset
        return max(offset, span.start)

    # ---- ticks and partials ----------------------------------------------------------------------

    async def _on_fetch(self, fetch: Fetch) -> None:
        try:
            await self._apply(fetch)
        except Exception as error:  # noqa: BLE001 - raised again where it ends the worker
            # Faust would start the agent again with the next fetch, and this one's ticks would be lost: so the worker ends,
            # and reads them again when it is restarted.
            self._start("apply", _raising(error))
            await asyncio.Event().wait()
        # A backlog never leaves the queue empty, so the loop must be given its turn here.
        await asyncio.sleep(0)

    async def _apply(self, fetch: Fetch) -> None:
        self._observe_batch()
        while True:
            try:
                moved = self.intake.apply(fetch.batches)
                break
            except MissingCompositionError as missing:
                await self._until_kafka_answers(partial(self._learn, missing.composition))
        for book in moved:
            self._mark(book.partition)
        for batch in fetch.batches:
            if batch.partition in self.lag:
                self.lag[batch.partition] = max(batch.highwater - batch.next_offset, 0)

    async def _learn(self, composition: str) -> None:
        self.intake.know(await self._compositions.get(composition))

    def _mark(self, partition: int) -> None:
        self._moved.add(partition)
        self._something_moved.set()

    async def _mark_all(self) -> None:
        for partition in self.intake.books:
            self._mark(partition)

    def _caught_up(self, partition: int) -> bool:
        # A book that is being opened has not been told how far it has to read.
        return self.intake.books[partition].offset >= self._catch_up.get(partition, math.inf)

    async def _emit(self) -> None:
        """Send the partials of books that have moved, at most once a cadence."""
        while True:
            await self._something_moved.wait()
            self._something_moved.clear()
            moved, self._moved = self._moved, set()
            ready = tuple(
                book.partial()
                for partition in sorted(moved)
                if (book := self.intake.books.get(partition)) is not None
                and (self.settings.publish_backlog or self._caught_up(partition))
            )
            try:
                await self._send_partials(ready)
            except (KafkaError, FaustError) as error:
                self.troubles.failed("partials", error)
                self._moved |= moved
                await asyncio.sleep(LISTEN_S)
                self._something_moved.set()
            else:
                self.troubles.worked("partials")
            await asyncio.sleep(self.settings.cadence_ms / 1000)

    async def _send_partials(self, ready: Partials) -> None:
        if self.settings.partials == "memory":
            if ready:
                await self._partials.send(value=ready)
            return
        for one in ready:
            # One a record, so that compaction keeps the newest of each partition.
            (partition,) = one.offsets
            key = self.checkpoints.partial_key(partition) if self.checkpoints else b"observer"
            await self._partials.send(key=key, value=(one,))

    def _on_partials(self, partials: Partials, offset: int) -> None:
        assert self.aggregator is not None
        assert self._publishing is not None
        if self._given_up:
            # Read again by whoever has the role then, or sent again where partitions stay here.
            return
        if self.settings.partials == "memory":
            # Those of a partition that was lost meanwhile may still have been on their way.
            partials = tuple(
                one for one in partials if one.offsets.keys() <= self.intake.books.keys()
            )
        before = len(self.aggregator.contested)
        taken = [self.aggregator.add(one) for one in partials]
        if self.settings.partials == "topic":
            self._publishing.partials_offset = offset + 1
        now = time.monotonic()
        self._heard.update((p, now) for one in partials for p in one.offsets)
        if any(taken) and self.publisher is not None:
            self.publisher.wake()
        if len(self.aggregator.contested) > before:
            symbols = self._symbols_of(self.aggregator)
            log.error(
                "symbols_on_two_partitions n=%d first=%s", len(self.aggregator.contested), symbols
            )

    def _symbols_of(self, aggregator: Aggregator) -> list[str]:
        symbols = aggregator.composition.symbols
        return [symbols[row] for row in aggregator.contested[:10].tolist()]

    async def _listen(self) -> None:
        """See which partitions have fallen silent, and which stand in a composition that was not told of."""
        if self.aggregator is None:
            return
        for unknown in self.aggregator.unknown:
            composition = await self._compositions.get(unknown)
            if not self._given_up:
                self.aggregator.know(composition)
        now = time.monotonic()
        for partition in self.aggregator.partials:
            self._heard.setdefault(partition, now)
        limit = now - self.settings.stale_after_s
        self.aggregator.silence({p for p in self.aggregator.partials if self._heard[p] < limit})
        if self.publisher is not None and self.publisher.doubts_changed:
            self.publisher.wake()

    # ---- the publisher's role --------------------------------------------------------------------

    async def _become_publisher(self) -> None:
        """Take the role, once at a time; wait where Kafka is away."""
        async with self._role:
            await self._until_kafka_answers(self._try_to_publish)

    async def _try_to_publish(self) -> None:
        assert self.aggregator is not None
        assert self._publishing is not None
        await self._resign()
        self._heard.clear()
        revocations = self._revocations
        publisher = await self._publishing.take()
        if not self._observer:
            # From here on the record of levels tells the extremes, whatever happens.
            await self._publishing.write(publisher)
        if revocations != self._revocations:
            # The role may be another's already.
            return
        self.publisher = publisher
        self._start("publish", publisher.run())
        self._start("heartbeat", publisher.beat())
        if not self._observer:
            self.control = ControlLog(
                self._kafka, self.settings, self.aggregator, self._compositions
            )
            self._every("control", CONTROL_S, self.control.step)
            self._every("levels", WRITE_LEVELS_S, self._write_levels)
        publisher.wake()

    async def _resign(self) -> None:
        publisher, self.publisher, self.control = self.publisher, None, None
        names = ("publish", "heartbeat", "control", "levels")
        await _end({self._tasks.pop(name) for name in names if name in self._tasks})
        if publisher is None or self._observer:
            return
        try:
            async with asyncio.timeout(HAND_OVER_WITHIN_S):
                # Who comes next, this worker perhaps, learns open, high and low from there.
                await self._write_last_levels(publisher)
        except (ServiceError, TimeoutError) as error:
            log.warning("last_levels_not_written error=%s", error)

    async def _write_levels(self) -> None:
        if self.publisher is not None:
            self.publisher.record.end_second(time.time_ns())
            await self._write_waiting(self.publisher)

    async def _write_last_levels(self, publisher: Publisher) -> None:
        publisher.record.end()
        await self._write_waiting(publisher)

    async def _write_waiting(self, publisher: Publisher) -> None:
        assert self._publishing is not None
        await self._publishing.write_levels(publisher.record)
        await self._publishing.write_closes(publisher.closes.for_kafka)

    # ---- what goes on beside ---------------------------------------------------------------------

    async def _write_checkpoints(self) -> None:
        await self._write_books()
        if self.publisher is not None:
            await self._write_role(self.publisher)

    async def _write_role(self, publisher: Publisher) -> None:
        assert self._publishing is not None
        await self._publishing.write(publisher)

    async def _write_books(self) -> None:
        if self.checkpoints is None:
            return
        for partition, book in list(self.intake.books.items()):
            if self.checkpoints.written.get(partition) != book.offset:
                # Before the checkpoint: official prices of a session that is over stand in none.
                await self._closes.write(book)
                await self.checkpoints.write(book)
                if partition in self.checkpoints.written:
                    await self._commit(partition, self.checkpoints.written[partition])

    async def _write_closes(self) -> None:
        for book in list(self.intake.books.values()):
            # It may be given away while another is written.
            if self.intake.books.get(book.partition) is book and self._caught_up(book.partition):
                await self._closes.write(book)

    async def _commit(self, partition: int, offset: int) -> None:
        """Tell the group how far a partition is, for tools that show lag; nothing here reads it."""
        try:
            await self._app.commit_offset(TP(self.settings.ticks_topic, partition), offset)
        except (KafkaError, OSError) as error:
            log.debug("offset_not_committed error=%s", error)

    async def _watch_progress(self) -> None:
        positions = {p: book.offset for p, book in self.intake.books.items()}
        if not positions:
            self.progress.forget()
            return
        try:
            ends = await self._kafka.ends(self.settings.ticks_topic, positions)
        except ServiceError:
            self.progress.forget()
            raise
        now = time.monotonic()
        self.progress.observe(positions, ends, now_s=now)
        seconds, partition, n = self.progress.worst(now_s=now)
        if seconds >= self.settings.progress_timeout_s:
            raise StuckError(
                f"no progress on partition {partition} for {seconds:.0f} s, though {n} records wait there"
            )

    async def _mirror_prices(self) -> None:
        if time.monotonic() - self._mirrored_all_at > MIRROR_ALL_S:
            # What another has written over them is not seen otherwise.
            self._mirrored_all_at = time.monotonic()
            self._mirrored = {p: replace(one, price=None) for p, one in self._mirrored.items()}
        for book in list(self.intake.books.values()):
            try:
                await self._mirror_book(book)
            except ServiceError:
                # Redis may come back empty: mirror every price again.
                self._mirrored.clear()
                raise

    async def _mirror_book(self, book: Book) -> None:
        partition = book.partition
        owner = await self._sink.mirrored_by(partition)
        if self.intake.books.get(partition) is not book:
            # Given away meanwhile.
            return
        composition, mirrored = book.composition, self._mirrored.get(partition)
        if mirrored is None or mirrored.composition != composition.id or not owner:
            # New here, or Redis has lost what was there.
            own = self.checkpoints.epoch(partition) if self.checkpoints is not None else 0
            epoch = mirrored.epoch if mirrored is not None else max(own, owner + 1)
            mirrored = _Mirrored(composition.id, epoch)
        price, ts = book.price.copy(), book.ts.copy()
        gap = self.intake.lines[partition].doubtful.copy()
        moved = ts != NO_EVENT
        if mirrored.price is not None:
            moved &= (price != mirrored.price) | (ts != mirrored.ts) | (gap != mirrored.gap)
        rows = np.flatnonzero(moved)
        entries = zip(
            rows.tolist(),
            book.price[rows].tolist(),
            ts[rows].tolist(),
            gap[rows].tolist(),
            strict=True,
        )
        symbols = composition.symbols
        # In portions, since the loop has ticks to attend to.
        while portion := list(islice(entries, MIRRORED_AT_ONCE)):
            prices = {
                symbols[row]: encode_price(last, at, gap=lost) for row, last, at, lost in portion
            }
            if not await self._sink.mirror_prices(
                prices, partition=partition, epoch=mirrored.epoch
            ):
                # Another owner has written here since. If this one still is the owner, it begins anew, above the other.
                self._mirrored.pop(partition, None)
                return
        self._mirrored[partition] = replace(mirrored, price=price, ts=ts, gap=gap)

    async def _check_drift(self) -> None:
        books = list(self.intake.books.values())
        self.drift = sum(not book.partial().same_values(book.recomputed()) for book in books)
        if self.drift:
            log.error("drift books=%d", self.drift)

    async def _send_dead_letters(self) -> None:
        while letters := self.dead_letters.take(LETTERS_AT_ONCE):
            try:
                await self._kafka.append_all(
                    self.settings.dead_letters_topic,
                    [(letter.key, letter.body()) for letter in letters],
                    partition=None,
                    headers=[letter.headers() for letter in letters],
                )
            except BaseException:
                self.dead_letters.put_back(letters)
                raise


@dataclass(frozen=True, slots=True)
class _Mirrored:
    """What stands in Redis of a partition's prices: in which composition, by whom; prices, their times, gaps after them."""

    composition: str
    epoch: int
    price: NDArray[np.int64] | None = None
    ts: NDArray[np.int64] | None = None
    gap: NDArray[np.bool_] | None = None


class Troubles:
    """What does not work at present, said once when it begins and once when it is over.

    Attributes
    ----------
    now
        The error, by what it is about.
    failures
        Failed attempts so far, by the same.
    """

    def __init__(self) -> None:
        self.now: dict[str, str] = {}
        self.failures: dict[str, int] = {}

    def failed(self, about: str, error: Exception) -> None:
        """Note a failure."""
        if about not in self.now:
            log.warning("%s_failed error=%s", about, error)
        self.now[about] = str(error)
        self.failures[about] = self.failures.get(about, 0) + 1

    def worked(self, about: str) -> None:
        """Note a success."""
        if self.now.pop(about, None) is not None:
            log.info("%s_works_again failures=%d", about, self.failures[about])


def backoff() -> Iterator[float]:
    """Give the seconds to wait between attempts, without end: doubled each time, with jitter."""
    wait_s = FIRST_WAIT_S
    while True:
        yield wait_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads attempts, keeps no secret
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)


class _StoppedError(Exception):
    """The wish to stop came while a service was away."""


async def _is_set(event: asyncio.Event, *, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            return await event.wait()
    except TimeoutError:
        return False


async def _within(seconds: float, work: Awaitable[None]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await work


async def _end(tasks: set[asyncio.Task[None]], *, within_s: float = STOP_WITHIN_S) -> None:
    """Cancel tasks until they have ended: redis-py's time-outs may swallow a cancellation that meets them."""
    deadline = time.monotonic() + within_s
    while tasks and time.monotonic() < deadline:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=CANCEL_AGAIN_S)
    for task in tasks:
        log.warning("not_ended task=%s within_s=%g", task.get_name(), within_s)


async def _raising(error: Exception) -> None:
    raise error


async def _as_coroutine(work: Awaitable[None]) -> None:
    await work
