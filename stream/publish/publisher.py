"""The publisher: newest levels out on a cadence, whatever happens to Redis."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.errors import ServiceError
from stream.index.aggregate import Aggregator, Doubt, changed
from stream.index.partial import Partial
from stream.index.snapshot import Extremes, Snapshot, snapshots
from stream.publish.record import Record
from stream.publish.redis import Message
from stream.wire.snapshots import encode_heartbeat, encode_published

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
#: After packed publications, the keys, channels and streams of single indexes follow this often.
SINGLES_EVERY_S = 1.0
FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 1.0


class Sink(Protocol):
    """Where publications go; `RedisSink` is the real one."""

    async def publish(self, messages: list[Message], *, epoch: int, again: bool) -> None:
        """Publish some indexes, all or nothing; raise ServiceError or FencedError."""

    async def publish_packed(self, messages: list[Message], *, epoch: int, again: bool) -> None:
        """Publish many indexes at once; raise ServiceError or FencedError."""

    async def beat(self, heartbeat: bytes) -> bool:
        """Publish a heartbeat, and tell whether what was published is still there; raise ServiceError."""


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
    extremes
        Open, high and low so far, as an earlier publisher left them.
    record
        Takes every publication, whether Redis does or not: the record is Kafka's.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        sink: Sink,
        *,
        epoch: int,
        cadence_s: float,
        packed_above: int,
        observe_delay: Callable[[float], None],
        extremes: Extremes | None = None,
        record: Record | None = None,
    ) -> None:
        self.published = Published()
        self.epoch = epoch
        self.extremes = extremes if extremes is not None else Extremes()
        self.record = record if record is not None else Record()
        self._aggregator = aggregator
        self._sink = sink
        self._cadence_s = cadence_s
        self._packed_above = packed_above
        self._observe_delay = observe_delay
        self._wake = asyncio.Event()
        self._asked_at = 0.0
        self._last: Partial | None = None
        self._doubts = aggregator.doubts
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
        """Send heartbeats until cancelled."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if not self._aggregator.complete:
                continue
            indexes = len(self._aggregator.composition.indexes)
            heartbeat = encode_heartbeat(published_ns=time.time_ns(), indexes=indexes)
            try:
                intact = await self._sink.beat(heartbeat)
            except ServiceError as error:
                log.debug("heartbeat_lost error=%s", error)
                continue
            if self._singles_owed:
                self.wake()
            if not intact and self._last is not None:
                log.warning("redis_came_back_empty")
                self._last = None
                self.wake()

    def _owe_everything(self, error: ServiceError) -> None:
        """Redis may come back empty: then every index is owed, not only those that change again."""
        if not self._failing:
            log.warning("publication_failed error=%s", error)
        self._failing = True
        self.published.failures += 1
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
        await self._send([int(position) for position in np.flatnonzero(owed)], total, doubts)
        self._last, self._doubts = total, doubts

    async def _send(self, positions: list[int], total: Partial, doubts: NDArray[np.uint8]) -> None:
        singles_due = time.monotonic() - self._singles_at >= SINGLES_EVERY_S
        packed = len(positions) > self._packed_above
        if self._singles_owed and singles_due:
            positions = sorted(self._singles_owed.union(positions))
            packed = False
        if not positions:
            return
        again = self._last is not None
        newest = self._snapshots(positions, total, doubts)
        if not newest:
            return
        published_ns = time.time_ns()
        messages = [self._message(one, published_ns) for one in newest]
        self.record.take(newest, messages, offsets=total.offsets, published_ns=published_ns)
        if packed:
            await self._sink.publish_packed(messages, epoch=self.epoch, again=again)
            self._singles_owed.update(positions)
        else:
            await self._sink.publish(messages, epoch=self.epoch, again=again)
            if self._singles_owed.issubset(positions):
                self._singles_owed.clear()
                self._singles_at = time.monotonic()
        self.published.publications += 1
        self.published.snapshots += len(messages)
        self.published.last_at = time.perf_counter()
        self.published.levels.update((one.code, one) for one in newest)
        self._observe_delay(time.monotonic() - self._asked_at)

    def _snapshots(
        self, positions: list[int], total: Partial, doubts: NDArray[np.uint8]
    ) -> list[Snapshot]:
        """Work out the snapshots; of indexes that are held, take the last that was made, and none where there is none."""
        composition = self._aggregator.composition
        held = [position for position in positions if doubts[position] == Doubt.HELD]
        moving = [position for position in positions if doubts[position] != Doubt.HELD]
        made = dict(zip(moving, snapshots(composition, moving, total, self.extremes), strict=True))
        for position in held:
            last = self._made.get(composition.codes[position])
            if last is not None:
                made[position] = last
        if doubts.any():
            made = {
                position: one._replace(doubt=Doubt(doubts[position]))
                for position, one in made.items()
            }
        self._made.update((one.code, one) for one in made.values())
        return [made[position] for position in positions if position in made]

    def _message(self, one: Snapshot, published_ns: int) -> Message:
        # Counted before it is known whether the attempt succeeds: it may reach Redis, and no number is used twice.
        self._seq[one.code] += 1
        seq = self._seq[one.code]
        data = encode_published(one, epoch=self.epoch, seq=seq, published_ns=published_ns)
        return Message(one.code, seq, data)
