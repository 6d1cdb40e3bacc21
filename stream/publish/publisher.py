"""The publisher: newest levels out on a cadence, whatever happens to Redis."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.errors import FencedError, ServiceError
from stream.index.aggregate import Aggregator, Doubt, changed
from stream.index.partial import CLOSE, FUTURES_TS, VALUE, Origin, Partial
from stream.index.snapshot import (
    Extremes,
    Moment,
    Snapshot,
    awaits_closes,
    held,
    moment_of,
    snapshots,
)
from stream.index.status import Status
from stream.index.units import NS_PER_S
from stream.publish.closes import Closes
from stream.publish.record import Record
from stream.publish.redis import Message
from stream.session.calendar import Calendar
from stream.wire.snapshots import encode_heartbeat, encode_published

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
FEED_SILENT_S = 5.0
#: After packed publications, the keys, channels and streams of single indexes follow this often.
SINGLES_EVERY_S = 1.0
FIRST_RETRY_S = 0.05
TRIED_EVERY_S = 0.02
LONGEST_RETRY_S = 1.0


class Sink(Protocol):
    """Where publications go; `RedisSink` is the real one."""

    async def publish(self, messages: list[Message], *, epoch: int, again: bool) -> None:
        """Publish some indexes, all or nothing; raise ServiceError or FencedError."""

    async def publish_packed(self, messages: list[Message], *, epoch: int, again: bool) -> None:
        """Publish many indexes at once; raise ServiceError or FencedError."""

    async def beat(self, heartbeat: bytes, *, epoch: int) -> bool:
        """Publish a heartbeat, and tell whether all that was published is still there; raise ServiceError or FencedError."""

    async def write_closes(self, closes: Sequence[tuple[str, str, int]], *, epoch: int) -> None:
        """Write official closes: code, date, level; raise ServiceError or FencedError."""


@dataclass(slots=True)
class Published:
    """What the publisher has done so far: counters for metrics and summaries.

    Attributes
    ----------
    publications, snapshots
        Publications that Redis confirmed, and the snapshots in them.
    failures
        Publications that failed; their values went out with a later one.
    last_at
        Moment of the last confirmation, on `time.perf_counter`.
    levels
        Last confirmed snapshot of each index, by code.
    """

    publications: int = 0
    snapshots: int = 0
    failures: int = 0
    last_at: float = 0.0
    levels: dict[str, Snapshot] = field(default_factory=dict)


class Publisher:
    """Publishes what changed, at once where nothing was published lately, else at the next beat.

    Parameters
    ----------
    aggregator
        Gives the sums.
    sink
        Takes the publications.
    epoch
        Of this publisher.
    cadence_s
        Least time between the starts of two publications; 0 publishes whenever the last one is done.
    packed_above
        A publication of more indexes than this is packed.
    observe_delay
        Called with the seconds from the wish to publish to Redis' confirmation.
    calendar
        Places each publication in its phase.
    feed_silent_s
        In regular hours, a live feed without any tick for so long is silent.
    extremes
        Open, high and low so far, as an earlier publisher left them.
    record
        Takes every publication, whether Redis does or not: the record is Kafka's.
    closes
        Takes official closes; those that are known are not written again.
    """

    def __init__(  # noqa: PLR0913 - a port or a setting each
        self,
        aggregator: Aggregator,
        sink: Sink,
        *,
        epoch: int,
        cadence_s: float,
        packed_above: int,
        observe_delay: Callable[[float], None],
        calendar: Calendar,
        feed_silent_s: float = FEED_SILENT_S,
        extremes: Extremes | None = None,
        record: Record | None = None,
        closes: Closes | None = None,
    ) -> None:
        self.published = Published()
        self.epoch = epoch
        self.extremes = extremes if extremes is not None else Extremes()
        self.record = record if record is not None else Record()
        self.closes = closes if closes is not None else Closes()
        self._aggregator = aggregator
        self._sink = sink
        self._calendar = calendar
        self._feed_silent_ns = int(feed_silent_s * NS_PER_S)
        self._cadence_s = cadence_s
        self._packed_above = packed_above
        self._observe_delay = observe_delay
        self._wake = asyncio.Event()
        self._asked_at = 0.0
        self._last: Partial | None = None
        self._tried: Partial | None = None
        self._doubts = aggregator.doubts
        # What the last publication was made by, besides the sums: the hours, and the futures.
        self._frame: object = None
        self._seq: Counter[str] = Counter()
        self._failing = False
        self._singles_owed: set[int] = set()
        # Also those that Redis did not confirm: it may have shown them.
        self._made: dict[str, Snapshot] = {}
        self._singles_at = 0.0

    def wake(self) -> None:
        """Tell that the sums have changed."""
        if not self._wake.is_set():
            self._asked_at = time.monotonic()
            self._wake.set()

    @property
    def failing(self) -> bool:
        """Whether the last attempt to publish failed."""
        return self._failing

    @property
    def doubts_changed(self) -> bool:
        """Whether the indexes that are doubtful are others than those last published."""
        return not np.array_equal(self._doubts, self._aggregator.doubts)

    @property
    def idle(self) -> bool:
        """Whether everything that is known has been published."""
        return not self._wake.is_set() and self._last is self._aggregator.total()

    async def tried_newest(self) -> None:
        """Wait until a publication of the newest sums has been tried: then open, high and low are of all that is known."""
        while self._aggregator.complete and self._tried is not self._aggregator.total():
            self.wake()
            await asyncio.sleep(TRIED_EVERY_S)

    async def run(self) -> None:
        """Publish until cancelled.

        Raises
        ------
        FencedError
            Where a newer publisher has taken over.
        """
        retry_s = FIRST_RETRY_S
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._aggregator.complete:
                continue
            started = time.monotonic()
            try:
                await self._publish()
            except ServiceError as error:
                self._owe_everything(error)
                await asyncio.sleep(retry_s * random.uniform(0.5, 1.0))  # noqa: S311
                retry_s = min(2 * retry_s, LONGEST_RETRY_S)
                continue
            if self._failing:
                self._failing = False
                log.info("publishing_again failures=%d", self.published.failures)
                retry_s = FIRST_RETRY_S
            # At cadence 0 the loop must still turn, or a busy publisher would starve the intake.
            await asyncio.sleep(max(self._cadence_s - (time.monotonic() - started), 0))

    async def beat(self) -> None:
        """Send heartbeats until cancelled.

        Raises
        ------
        FencedError
            Where a newer publisher has taken over.
        """
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if not self._aggregator.complete:
                continue
            total, now_ns = self._aggregator.total(), time.time_ns()
            moment = self._moment(total, now_ns)
            heartbeat = encode_heartbeat(
                published_ns=now_ns,
                phase=moment.phase,
                indexes=len(self._aggregator.composition.indexes),
            )
            try:
                intact = await self._sink.beat(heartbeat, epoch=self.epoch)
                await self._write_closes()
            except ServiceError as error:
                log.debug("heartbeat_lost error=%s", error)
                continue
            if self._singles_owed or self._frame_of(moment, total) != self._frame:
                self.wake()
            if not intact and self._last is not None:
                log.warning("redis_came_back_empty")
                self.closes.again()
                self._last = None
                self.wake()

    async def _write_closes(self) -> None:
        waiting = self.closes.for_redis
        closes = list(waiting)
        if closes:
            await self._sink.write_closes(closes, epoch=self.epoch)
            for one in closes:
                # Where all are owed again meanwhile, these are, too.
                if waiting and waiting[0] is one:
                    waiting.popleft()

    def _moment(self, total: Partial, now_ns: int) -> Moment:
        moment = moment_of(self._calendar, total, now_ns)
        since = max(total.clock_ns, moment.hours[0]) if moment.hours else total.clock_ns
        silent = total.origin is Origin.LIVE and moment.now_ns - since > self._feed_silent_ns
        return replace(moment, feed_silent=moment.regular and silent)

    def _frame_of(self, moment: Moment, total: Partial) -> object:
        """Give what snapshots depend on besides the sums: while it is the same, time alone changes none but their ages."""
        hours = (
            moment.phase,
            moment.cash_phase,
            moment.hours,
            moment.feed_silent,
            awaits_closes(moment),
        )
        if moment.regular and not self._opening:
            return hours
        patience_ns = self._aggregator.composition.futures.stale_after_s * NS_PER_S
        fresh = moment.now_ns - total.futures[FUTURES_TS] <= patience_ns
        followed = self._followed_values(moment, total)
        return (*hours, fresh.tobytes(), total.futures.tobytes(), followed)

    def _followed_values(self, moment: Moment, total: Partial) -> bytes:
        """Give the closing values that betas go by: where one is corrected, other indexes' sums stay the same."""
        composition = self._aggregator.composition
        futures = composition.futures
        parents = [parent for parent, _ in futures.betas.values()]
        parts = {part for parent in parents for part in futures.combined.get(parent, (parent,))}
        positions = [n for n, code in enumerate(composition.codes) if code in parts]
        return total.columns[CLOSE if moment.regular else VALUE, positions].tobytes()

    @property
    def _opening(self) -> bool:
        return any(one.status is Status.OPENING for one in self._made.values())

    def _owe_everything(self, error: ServiceError) -> None:
        """Redis may come back empty: then every index is owed, not only those that change again."""
        if not self._failing:
            log.warning("publication_failed error=%s", error)
        self._failing = True
        self.published.failures += 1
        self.closes.again()
        self._last = None
        self._wake.set()

    async def _publish(self) -> None:
        total, doubts = self._aggregator.total(), self._aggregator.doubts
        if self._last is None or self._last.composition != total.composition:
            # All are owed, and positions of the composition before mean others now.
            self._singles_owed.clear()
        owed = np.zeros(len(doubts), bool)
        owed[changed(total, self._last)] = True
        if self._last is not None and len(doubts) == len(self._doubts):
            # An index that becomes held says so once, with its last level, and is silent until it is let go.
            owed = (owed & (doubts != Doubt.HELD)) | (doubts != self._doubts)
        now_ns = time.time_ns()
        moment = self._moment(total, now_ns)
        frame = self._frame_of(moment, total)
        if frame != self._frame:
            owed |= self._told_anew(~owed & (doubts != Doubt.HELD), total, doubts, moment)
        positions = [int(position) for position in np.flatnonzero(owed)]
        self._tried = total
        await self._send(positions, total, doubts, moment, now_ns)
        self._last, self._doubts, self._frame = total, doubts, frame

    def _told_anew(
        self,
        which: NDArray[np.bool_],
        total: Partial,
        doubts: NDArray[np.uint8],
        moment: Moment,
    ) -> NDArray[np.bool_]:
        """Find the indexes of which hours and futures alone tell something new."""
        composition = self._aggregator.composition
        positions = [int(position) for position in np.flatnonzero(which)]
        anew = np.zeros(len(which), bool)
        made = snapshots(composition, positions, total, moment=moment, doubts=doubts)
        for position, one in zip(positions, made, strict=True):
            before = self._made.get(one.code)
            anew[position] = before is None or not _tells_the_same(one, before)
        return anew

    async def _send(
        self,
        positions: list[int],
        total: Partial,
        doubts: NDArray[np.uint8],
        moment: Moment,
        published_ns: int,
    ) -> None:
        singles_due = time.monotonic() - self._singles_at >= SINGLES_EVERY_S
        packed = len(positions) > self._packed_above
        if self._singles_owed and singles_due:
            positions = sorted(self._singles_owed.union(positions))
            packed = False
        if not positions:
            return
        again = self._last is not None
        newest = self._snapshots(positions, total, doubts, moment)
        if not newest:
            return
        self.closes.take(newest, moment)
        messages = [self._message(one, published_ns) for one in newest]
        publish = self._sink.publish_packed if packed else self._sink.publish
        refused = False
        try:
            await publish(messages, epoch=self.epoch, again=again)
        except FencedError:
            refused = True
            raise
        finally:
            # What failed otherwise may have been shown; what was refused was not, and belongs into no record.
            if not refused:
                self.record.take(newest, messages, offsets=total.offsets, published_ns=published_ns)
        if packed:
            self._singles_owed.update(positions)
        elif self._singles_owed.issubset(positions):
            self._singles_owed.clear()
            self._singles_at = time.monotonic()
        self.published.publications += 1
        self.published.snapshots += len(messages)
        self.published.last_at = time.perf_counter()
        self.published.levels.update((one.code, one) for one in newest)
        self._observe_delay(time.monotonic() - self._asked_at)

    def _snapshots(
        self, positions: list[int], total: Partial, doubts: NDArray[np.uint8], moment: Moment
    ) -> list[Snapshot]:
        """Work out the snapshots; of indexes that are held, take the last that was made, and none where there is none."""
        composition = self._aggregator.composition
        moving = [position for position in positions if doubts[position] != Doubt.HELD]
        newest = snapshots(composition, moving, total, self.extremes, moment=moment, doubts=doubts)
        made = dict(zip(moving, newest, strict=True))
        for position in set(positions).difference(moving):
            last = self._made.get(composition.codes[position])
            if last is not None:
                made[position] = held(last, moment)
        self._made.update((one.code, one) for one in made.values())
        return [made[position] for position in positions if position in made]

    def _message(self, one: Snapshot, published_ns: int) -> Message:
        # Counted before it is known whether the attempt succeeds: it may reach Redis, and no number is used twice.
        self._seq[one.code] += 1
        seq = self._seq[one.code]
        data = encode_published(one, epoch=self.epoch, seq=seq, published_ns=published_ns)
        return Message(one.code, seq, data)


def _tells_the_same(one: Snapshot, other: Snapshot) -> bool:
    """Tell whether two snapshots of an index differ in nothing but ages, and in extremes, which follow from the levels."""
    ageless = one._replace(
        age_s=other.age_s,
        oldest_age_s=other.oldest_age_s,
        indicative_age_s=other.indicative_age_s,
        open=other.open,
        high=other.high,
        low=other.low,
    )
    return ageless == other
