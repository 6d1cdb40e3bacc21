"""A worker: one process's share of the calculation, from its partitions of ticks to Redis."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any

from faust.types import TP

from stream.errors import FencedError, ServiceError
from stream.index.aggregate import Aggregator
from stream.index.composition import Composition
from stream.pipeline.app import App, add_agents
from stream.pipeline.dead_letters import DeadLetters
from stream.pipeline.intake import Intake
from stream.pipeline.schemas import Partials
from stream.pipeline.transport import Fetch, LogRange
from stream.publish.publisher import Publisher
from stream.publish.redis import RedisSink
from stream.settings import Settings
from stream.topics import ensure_topics
from stream.wire import names
from stream.wire.snapshots import encode_price

log = logging.getLogger(__name__)

MIRROR_PRICES_S = 1.0
MIRRORED_AT_ONCE = 256
CHECK_DRIFT_S = 5.0
SEND_DEAD_LETTERS_S = 0.1
CANCEL_AGAIN_S = 0.5
#: Leaving the group takes an answer from a broker, which may be gone.
STOP_WITHIN_S = 10.0


class Worker:
    """Reads ticks, keeps books, adds up partials and publishes levels.

    Parameters
    ----------
    settings
        How to run, with the addresses of Kafka and Redis filled in.
    composition
        Constituents in force.
    worker_id
        Name of a static member of the group, or None.
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
    """

    def __init__(
        self,
        settings: Settings,
        composition: Composition,
        *,
        worker_id: str | None = None,
        observe_delay: Callable[[float], None] = lambda _: None,
        observe_batch: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.composition = composition
        self.publisher: Publisher | None = None
        self.aggregator: Aggregator | None = None
        self.drift = 0
        self.lag: dict[int, int] = {}
        self.dead_letters = DeadLetters(per_s=settings.dead_letters_per_s)
        self.intake = Intake(
            composition,
            hours=settings.hours,
            dead_letters=self.dead_letters,
            topic=settings.ticks_topic,
        )
        self._observe_delay = observe_delay
        self._observe_batch = observe_batch
        self._sink = RedisSink(
            settings.redis_url, names=settings.redis_names, stream_length=settings.stream_length
        )
        self._app = App(
            settings,
            resume_offset=self._resume_offset,
            on_assigned=self._on_assigned,
            worker_id=worker_id,
        )
        self._partials: Any = add_agents(
            self._app, settings, on_fetch=self._on_fetch, on_partials=self._on_partials
        )
        self._assigned: set[TP] = set()
        self._catch_up: dict[int, int] = {}
        self._moved: set[int] = set()
        self._something_moved = asyncio.Event()
        self._mirrored_ts: dict[int, Any] = {}
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
        FencedError
            Where a newer publisher has taken over.
        ServiceError
            Where Kafka cannot be reached at the start, or the consumer fails for good.
        """
        partitions = await ensure_topics(self.settings)
        self.aggregator = Aggregator(self.composition, n_partitions=partitions)
        try:
            await self._app.start()
            self._start("emit", self._emit())
            self._start("mirror", self._every(MIRROR_PRICES_S, self._mirror_prices))
            self._start("drift", self._every(CHECK_DRIFT_S, self._check_drift))
            self._start("dead-letters", self._every(SEND_DEAD_LETTERS_S, self._send_dead_letters))
            self._start("app", self._app.wait_until_stopped())
            if self.settings.partials == "memory":
                await self._become_publisher()
            await self._supervise(stop)
        finally:
            await self._close()

    @property
    def idle(self) -> bool:
        """Whether everything that was read has been published; never so where another worker publishes."""
        if self.publisher is None or self.aggregator is None or not self.publisher.idle:
            return False
        counted = self.aggregator.total().offsets
        return all(counted.get(p) == book.offset for p, book in self.intake.books.items())

    def not_ready(self) -> list[str]:
        """Say why the levels of this worker are not to be relied on; empty where they are."""
        reasons = []
        if not self._assigned:
            reasons.append("no partition is assigned")
        behind = sorted(p for p in self.intake.books if not self._caught_up(p))
        if behind:
            reasons.append(f"reading the backlog of partitions {behind}")
        if self.publisher is None and self.settings.partials == "memory":
            reasons.append("no epoch has been claimed yet")
        if self.publisher is not None and self.aggregator is not None:
            if not self.aggregator.complete:
                reasons.append("not every partition has been heard of")
            if not self.publisher.published.publications or self.publisher.failing:
                reasons.append("Redis has not confirmed the newest publication")
            contested = self.aggregator.contested
            if len(contested):
                symbols = [self.composition.universe.symbols[row] for row in contested[:10]]
                reasons.append(f"on two partitions: {', '.join(symbols)}")
        return reasons

    def _start(self, name: str, work: Awaitable[None]) -> None:
        task = asyncio.create_task(_as_coroutine(work), name=name)
        self._tasks[name] = task
        task.add_done_callback(self._over.put_nowait)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await work()

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
        except FencedError:
            if self.publisher is None or self.publisher.published.publications:
                raise
            # Never published: Kafka's log is younger than Redis' memory of it, not this worker than another.
            log.warning("claiming_again epoch=%d", self.publisher.epoch)
            await self._become_publisher()
            return
        raise ServiceError(f"{name}: {self._app.crash_reason or 'it ended by itself'}")

    async def _close(self) -> None:
        pending = set(self._tasks.values())
        while pending:
            for task in pending:
                task.cancel()
            # A library may swallow a cancellation that meets a time-out of its own, so ask until it is heard.
            _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
        try:
            await asyncio.wait_for(self._app.stop(), STOP_WITHIN_S)
        except TimeoutError:
            log.warning("faust_not_stopped within_s=%g", STOP_WITHIN_S)
        await self._sink.close()

    def _resume_offset(self, tp: TP) -> int | None:
        book = self.intake.books.get(tp.partition)
        return book.offset if book is not None and tp.topic == self.settings.ticks_topic else None

    async def _on_assigned(self, logs: Mapping[TP, LogRange]) -> None:
        ticks = {
            tp.partition: log for tp, log in logs.items() if tp.topic == self.settings.ticks_topic
        }
        new = ticks.keys() - self.intake.books.keys()
        self.intake.own(ticks)
        self._catch_up = {p: self._catch_up.get(p, ticks[p].end) for p in ticks}
        for partition in new:
            self.intake.books[partition].offset = ticks[partition].start
            self._catch_up[partition] = ticks[partition].end
            self._mark(partition)
        self._mirrored_ts = {
            p: ts for p, ts in self._mirrored_ts.items() if p in ticks and p not in new
        }
        self.lag = {p: max(ticks[p].end - self.intake.books[p].offset, 0) for p in ticks}
        if set(logs) != self._assigned:
            log.info("partitions_assigned ticks=%s", sorted(ticks))
        self._assigned = set(logs)
        if self.settings.partials == "memory":
            assert self.aggregator is not None
            # Books that another worker keeps now would be counted with their old values.
            self.aggregator.keep(ticks)
        elif any(tp.topic == self.settings.partials_topic for tp in logs):
            if self.publisher is None:
                await self._become_publisher()
        else:
            self._resign()

    async def _on_fetch(self, fetch: Fetch) -> None:
        try:
            self._apply(fetch)
        except Exception as error:  # noqa: BLE001 - raised again where it ends the worker
            # Faust would start the agent again with the next fetch, and this one's ticks would be lost: so the worker ends,
            # and reads them again when it is restarted.
            self._start("apply", _raising(error))
            await asyncio.Event().wait()
        # A backlog never leaves the queue empty, so the loop must be given its turn here.
        await asyncio.sleep(0)

    def _apply(self, fetch: Fetch) -> None:
        self._observe_batch()
        for book in self.intake.apply(fetch.batches):
            self._mark(book.partition)
        for batch in fetch.batches:
            if batch.partition in self.lag:
                self.lag[batch.partition] = max(batch.highwater - batch.next_offset, 0)

    def _mark(self, partition: int) -> None:
        self._moved.add(partition)
        self._something_moved.set()

    def _caught_up(self, partition: int) -> bool:
        return self.intake.books[partition].offset >= self._catch_up[partition]

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
            if self.settings.partials == "memory" and ready:
                await self._partials.send(value=ready)
            elif ready:
                for partial in ready:
                    # One a record, so that compaction keeps the newest of each partition.
                    (partition,) = partial.offsets
                    await self._partials.send(key=str(partition).encode(), value=(partial,))
            await asyncio.sleep(self.settings.cadence_ms / 1000)

    def _on_partials(self, partials: Partials) -> None:
        assert self.aggregator is not None
        before = len(self.aggregator.contested)
        taken = [self.aggregator.add(partial) for partial in partials]
        if any(taken) and self.publisher is not None:
            self.publisher.wake()
        if len(self.aggregator.contested) > before:
            rows = self.aggregator.contested
            symbols = [self.composition.universe.symbols[row] for row in rows[:10]]
            log.error("symbols_on_two_partitions n=%d first=%s", len(rows), symbols)
            self.intake.refuse(rows)

    async def _become_publisher(self) -> None:
        assert self.aggregator is not None
        self._resign()
        epoch = await self._claim()
        self.publisher = Publisher(
            self.aggregator,
            self._sink,
            epoch=epoch,
            cadence_s=self.settings.cadence_ms / 1000,
            packed_above=self.settings.packed_above,
            observe_delay=self._observe_delay,
        )
        log.info("publishing epoch=%d", epoch)
        self._start("publish", self.publisher.run())
        self._start("heartbeat", self.publisher.beat())
        self.publisher.wake()

    def _resign(self) -> None:
        self.publisher = None
        for name in ("publish", "heartbeat"):
            task = self._tasks.pop(name, None)
            if task is not None:
                task.cancel()

    async def _claim(self) -> int:
        """Append a claim to the partials topic: its offset is an epoch that grows with every takeover (law 6)."""
        await self._app.maybe_start_producer()
        claim = await self._app.producer.send_and_wait(
            self.settings.partials_topic, names.CLAIM_KEY, b"claim", 0, None, None
        )
        epoch = int(claim.offset) + 1
        try:
            return max(epoch, await self._sink.newest_epoch() + 1)
        except ServiceError as error:
            log.warning("epoch_unchecked error=%s", error)
            return epoch

    async def _mirror_prices(self) -> None:
        symbols = self.composition.universe.symbols
        if self._mirrored_ts and not await self._sink.has_prices():
            self._mirrored_ts.clear()
        for partition, book in self.intake.books.items():
            mirrored = self._mirrored_ts.get(partition)
            rows = book.rows_newer_than(mirrored)
            if not len(rows):
                continue
            ts = book.ts.copy()
            entries = zip(rows.tolist(), book.price[rows].tolist(), ts[rows].tolist(), strict=True)
            try:
                # In portions, since the loop has ticks to attend to.
                while portion := list(islice(entries, MIRRORED_AT_ONCE)):
                    prices = {symbols[row]: encode_price(p, t) for row, p, t in portion}
                    await self._sink.mirror_prices(prices)
            except ServiceError as error:
                # Redis may come back empty: mirror every price again.
                log.debug("prices_not_mirrored error=%s", error)
                self._mirrored_ts.clear()
                return
            self._mirrored_ts[partition] = ts

    async def _check_drift(self) -> None:
        books = list(self.intake.books.values())
        self.drift = sum(not book.partial().same_values(book.recomputed()) for book in books)
        if self.drift:
            log.error("drift books=%d", self.drift)

    async def _send_dead_letters(self) -> None:
        while (letter := self.dead_letters.take()) is not None:
            await self._app.producer.send(
                self.settings.dead_letters_topic,
                letter.key,
                letter.body(),
                None,
                None,
                letter.headers(),
            )


async def _raising(error: Exception) -> None:
    raise error


async def _as_coroutine(work: Awaitable[None]) -> None:
    await work
