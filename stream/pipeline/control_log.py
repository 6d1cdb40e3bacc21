"""The control list on Kafka: read as it grows, and copied into the tick partitions by the one worker that publishes."""

from __future__ import annotations

import logging
import time

from aiokafka.structs import ConsumerRecord

from stream.errors import WireError
from stream.feed.producer import partition_of
from stream.index.aggregate import Aggregator
from stream.index.control import OriginRecord
from stream.pipeline.compositions import Compositions
from stream.pipeline.control_writer import ControlWriter
from stream.pipeline.log import KafkaLog
from stream.settings import Settings
from stream.wire import control as wire

log = logging.getLogger(__name__)


class ControlLog:
    """Does what the control writer decides.

    Parameters
    ----------
    kafka
        To read and write with.
    settings
        Names of the topics, and the calendar of the sessions.
    aggregator
        Tells what books have obeyed.
    compositions
        Gives those that partials stand in.

    Attributes
    ----------
    unreadable
        Records of the list that this version does not know.
    """

    def __init__(
        self,
        kafka: KafkaLog,
        settings: Settings,
        aggregator: Aggregator,
        compositions: Compositions,
    ) -> None:
        n_partitions = aggregator.n_partitions
        self.unreadable = 0
        self.writer = ControlWriter(home=lambda symbol: partition_of(symbol, n_partitions))
        self._kafka = kafka
        self._settings = settings
        self._calendar = settings.trading_calendar
        self._aggregator = aggregator
        self._compositions = compositions
        self._next_offset = 0

    async def step(self) -> None:
        """Read what is new in the list, add to it what it lacks, and copy it where it is missing.

        Raises
        ------
        ServiceError
            Where Kafka does not answer; the next step goes on.
        """
        await self._read()
        await self._extend()
        await self._copy()

    async def _read(self) -> None:
        topic = self._settings.control_topic
        ends = await self._kafka.ends(topic, [0])
        if ends[0] > self._next_offset:
            found = await self._kafka.read(topic, [0], start={0: self._next_offset})
            for record in found[0]:
                self._learn(record)
            self._next_offset = max(self._next_offset, ends[0])

    def _learn(self, record: ConsumerRecord) -> None:
        if record.offset < self._next_offset:
            return
        self._next_offset = record.offset + 1
        try:
            control = wire.decode(record.value or b"")
            if isinstance(control, OriginRecord):
                raise WireError("control record: an origin belongs to a feed's own ticks")
        except WireError as error:
            self.unreadable += 1
            log.warning("control_unreadable offset=%d error=%s", record.offset, error)
            return
        self.writer.learn(record.offset + 1, control)

    async def _extend(self) -> None:
        now_ns = time.time_ns()
        aggregator = self._aggregator
        symbols = aggregator.composition.symbols
        wanted = list(
            self.writer.wanted(
                own=self._compositions.own,
                total=aggregator.total() if aggregator.complete else None,
                partials=aggregator.partials,
                composition=aggregator.composition,
                contested=[symbols[row] for row in aggregator.contested.tolist()],
                session=self._calendar.session_at(now_ns),
                now_ns=now_ns,
            )
        )
        if not wanted:
            return
        await self._compositions.publish()
        for record in wanted:
            log.info("control %s", record)
            await self._kafka.append(self._settings.control_topic, None, wire.encode(record))
        await self._read()

    async def _copy(self) -> None:
        aggregator, now_s = self._aggregator, time.monotonic()
        for owed in list(self.writer.owed(aggregator.partials, now_s=now_s)):
            for record in owed.records:
                # One at a time: a book that has obeyed the second obeys the first no more.
                await self._kafka.append(
                    self._settings.ticks_topic,
                    None,
                    wire.encode(record),
                    partition=owed.partition,
                )
            self.writer.appended(owed, now_s=now_s)
