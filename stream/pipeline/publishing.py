"""The publisher's role: taken with a claim, with what the last one knew; written down while it is held (laws 4 and 6)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from itertools import islice

import msgspec

from stream.errors import ServiceError, SetupError, WireError
from stream.index.aggregate import Aggregator
from stream.index.snapshot import Extremes
from stream.index.units import LEVEL_DECIMALS
from stream.pipeline.log import KafkaLog
from stream.publish.closes import Closes, IndexClose
from stream.publish.publisher import Publisher
from stream.publish.record import Entry, Record
from stream.publish.redis import RedisSink
from stream.settings import Settings
from stream.wire import checkpoints as wire
from stream.wire import closes, names, partials
from stream.wire.checkpoints import AGGREGATOR, AggregatorState

log = logging.getLogger(__name__)

#: Where the aggregator's memory stands among the checkpoints.
PARTITION = 0

#: Claims that are appended to bring the log up to Redis' memory, at most: some seconds. And together: the group must hear
#: of this worker meanwhile.
MOST_CLAIMS = 100_000
CLAIMED_AT_ONCE = 1_000

#: Records of published levels that travel together.
WRITTEN_AT_ONCE = 500


class _Level(msgspec.Struct):
    code: str
    session: str | None = None
    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None


_decode_level = msgspec.json.Decoder(_Level).decode


class Publishing:
    """Makes publishers, one at a time, and keeps what the next one needs.

    Parameters
    ----------
    kafka
        To read and write with.
    settings
        Names of the topics, cadence.
    aggregator
        Gives the sums.
    sink
        Redis.
    observe_delay
        Called with the seconds that each publication took.

    Attributes
    ----------
    partials_offset
        Offset of the next record of the partials topic.
    """

    def __init__(
        self,
        kafka: KafkaLog,
        settings: Settings,
        aggregator: Aggregator,
        sink: RedisSink,
        *,
        observe_delay: Callable[[float], None],
    ) -> None:
        self.partials_offset = 0
        self._kafka = kafka
        self._settings = settings
        self._aggregator = aggregator
        self._sink = sink
        self._observe_delay = observe_delay
        self._levels_offset = 0
        self._older: set[bytes] = set()
        # The last words of a worker may meet a task that writes.
        self._one_at_a_time = asyncio.Lock()

    async def take(self) -> Publisher:
        """Claim the role, and give a publisher that goes on where the last one stopped.

        Raises
        ------
        ServiceError
            Where Kafka does not answer.
        """
        epoch = await self._claim()
        state = await self._last_state()
        extremes = await self._last_extremes(state)
        for message in state.partials if state is not None else ():
            self._add(message)
        if self._settings.partials == "topic":
            await self._read_on(0 if state is None else state.partials_offset)
        log.info("publishing epoch=%d", epoch)
        return Publisher(
            self._aggregator,
            self._sink,
            epoch=epoch,
            cadence_s=self._settings.cadence_ms / 1000,
            packed_above=self._settings.packed_above,
            observe_delay=self._observe_delay,
            calendar=self._settings.trading_calendar,
            feed_silent_s=self._settings.feed_silent_s,
            extremes=extremes,
            record=Record(),
            closes=Closes(await self._known_closes()),
        )

    async def write(self, publisher: Publisher) -> None:
        """Write down what the next publisher needs.

        Raises
        ------
        ServiceError
            Where Kafka does not take it.
        """
        shared = self._settings.partials == "topic"
        sums = self._aggregator.partials.values() if shared else ()
        state = AggregatorState(
            partials_offset=self.partials_offset,
            partials=tuple(map(partials.encode, sums)),
            levels_offset=self._levels_offset,
            extremes=publisher.extremes.by_code,
        )
        key, older = wire.key(AGGREGATOR, publisher.epoch), self._older
        topic = self._settings.checkpoints_topic
        await self._kafka.append(topic, key, wire.encode_aggregator(state), partition=PARTITION)
        if older and self._older is older:
            # Not together with it: they might arrive without it. And not where the role was claimed anew meanwhile.
            await self._kafka.append_all(
                topic, [(each, None) for each in sorted(older - {key})], partition=PARTITION
            )
            older.clear()

    async def write_levels(self, record: Record) -> None:
        """Write the levels that are to be kept.

        Raises
        ------
        ServiceError
            Where Kafka does not take them; they wait for the next time, and some may then stand there twice.
        """
        while record.waiting:
            entries = _take(record.waiting, WRITTEN_AT_ONCE)
            try:
                offsets = await self._kafka.append_all(
                    self._settings.levels_topic,
                    [(entry.code.encode(), entry.data) for entry in entries],
                )
                self._levels_offset = offsets[-1] + 1
            except BaseException:
                record.waiting.extendleft(reversed(entries))
                raise

    async def write_closes(self, waiting: deque[IndexClose]) -> None:
        """Write official closes of indexes, oldest first.

        Raises
        ------
        ServiceError
            Where Kafka does not take them; they stay where they are.
        """
        async with self._one_at_a_time:
            while waiting:
                some = list(islice(waiting, WRITTEN_AT_ONCE))
                await self._kafka.append_all(
                    self._settings.index_closes_topic, [_record(one) for one in some]
                )
                for one in some:
                    # The oldest may be gone meanwhile: no more than so many wait.
                    if waiting and waiting[0] is one:
                        waiting.popleft()

    async def _read_on(self, offset: int) -> None:
        """Take the partials that came since: without them, the first levels would be older than the last ones published."""
        topic = self._settings.partials_topic
        start = max(offset, self.partials_offset)
        for record in (await self._kafka.read(topic, [0], start={0: start}))[0]:
            if record.value is not None and record.key != names.CLAIM_KEY:
                self._add(record.value)
            self.partials_offset = record.offset + 1

    def _add(self, message: bytes) -> None:
        try:
            # Where a worker keeps all books itself, its own are newer.
            self._aggregator.add(partials.decode(message))
        except WireError as error:
            log.warning("partial_unreadable error=%s", error)

    async def _claim(self) -> int:
        """Append a claim to the partials topic: its offset is an epoch that grows with every takeover.

        Where Redis remembers a newer one, Kafka's log is younger than that memory, and is brought up to it: an epoch that
        Redis alone had given would be given again once it has forgotten.
        """
        epoch = await self._append_claims(1)
        try:
            newest = await self._sink.newest_epoch()
        except ServiceError as error:
            log.warning("epoch_unchecked error=%s", error)
            return epoch
        if newest >= epoch + MOST_CLAIMS:
            raise SetupError(
                f"Redis remembers epoch {newest}, the topic {self._settings.partials_topic} {epoch}: "
                f"they do not belong together; delete the key {self._settings.redis_names.epoch}, or "
                "choose another CAPSTREAM_REDIS_PREFIX"
            )
        while epoch <= newest:
            epoch = await self._append_claims(min(newest + 1 - epoch, CLAIMED_AT_ONCE))
        return epoch

    async def _append_claims(self, n: int) -> int:
        claims = [(names.CLAIM_KEY, b"claim")] * n
        offsets = await self._kafka.append_all(self._settings.partials_topic, claims)
        return offsets[-1] + 1

    async def _last_extremes(self, state: AggregatorState | None) -> Extremes:
        """Find open, high and low: as they were written down, and as the record of levels went on from there."""
        topic = self._settings.levels_topic
        if state is None:
            self._levels_offset = (await self._kafka.ends(topic, [0]))[0]
            return Extremes()
        extremes = Extremes(state.extremes)
        records = await self._kafka.read(topic, [0], start={0: state.levels_offset})
        for record in records[0]:
            try:
                learn(extremes, record.value or b"")
            except WireError as error:
                log.warning("level_unreadable offset=%d error=%s", record.offset, error)
        self._levels_offset = records[0][-1].offset + 1 if records[0] else state.levels_offset
        return extremes

    async def _known_closes(self) -> dict[tuple[str, str], int]:
        """Read the official closes that were published before."""
        topic = self._settings.index_closes_topic
        known: dict[tuple[str, str], int] = {}
        for record in (await self._kafka.read(topic, [0]))[0]:
            try:
                code, date, close = closes.decode_index_close(record.value or b"")
            except WireError as error:
                log.warning("index_close_unreadable offset=%d error=%s", record.offset, error)
            else:
                known[code, date] = close
        return known

    async def _last_state(self) -> AggregatorState | None:
        records = await self._kafka.read(self._settings.checkpoints_topic, [PARTITION])
        prefix = AGGREGATOR.encode() + b"/"
        newest = {
            record.key: record.value
            for record in records[PARTITION]
            if record.key is not None and record.key.startswith(prefix)
        }
        kept = {key: value for key, value in newest.items() if value is not None}
        self._older = set(kept)
        for key in sorted(kept, key=lambda key: int(key[len(prefix) :]), reverse=True):
            try:
                return wire.decode_aggregator(kept[key])
            except WireError as error:
                log.warning("aggregator_state_unreadable key=%s error=%s", key, error)
        return None


def learn(extremes: Extremes, level: bytes) -> None:
    """Take open, high and low from a record of the levels topic.

    Raises
    ------
    WireError
        Where it is not one.
    """
    try:
        fields = _decode_level(level)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise WireError(f"level: {error}") from error
    if fields.session and fields.open and fields.high and fields.low:
        opened, high, low = (
            int(each.scaleb(LEVEL_DECIMALS)) for each in (fields.open, fields.high, fields.low)
        )
        extremes.learn(fields.code, fields.session, opened, high, low)


def _record(one: IndexClose) -> tuple[bytes, bytes]:
    value = closes.encode_index_close(
        one.code,
        date=one.date,
        close=one.close,
        previous_close=one.previous_close,
        corrected=one.corrected,
        composition=one.composition,
    )
    return closes.close_key(one.date, one.code), value


def _take(waiting: deque[Entry], n: int) -> list[Entry]:
    return [waiting.popleft() for _ in range(min(n, len(waiting)))]
