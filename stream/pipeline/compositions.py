"""Compositions by their id: those of this worker's files, and those that others have announced."""

from __future__ import annotations

import logging

from stream.errors import ServiceError, WireError
from stream.index.composition import Composition
from stream.pipeline.log import KafkaLog
from stream.settings import Settings
from stream.wire import compositions as wire

log = logging.getLogger(__name__)


class Compositions:
    """Reads compositions from their topic when a log names one, and writes down this worker's own.

    Parameters
    ----------
    kafka
        To read and write with.
    settings
        Name of the topic.
    own
        Of this worker's files.
    """

    def __init__(self, kafka: KafkaLog, settings: Settings, own: Composition) -> None:
        self.own = own
        self._kafka = kafka
        self._topic = settings.compositions_topic
        self._known = {own.id: own}

    async def get(self, id: str) -> Composition:  # noqa: A002 - what it is called in the log
        """Give a composition.

        Raises
        ------
        ServiceError
            Where the topic does not hold it, or Kafka does not answer.
        """
        if id not in self._known:
            await self._read(id)
        if id not in self._known:
            raise ServiceError(
                f"composition {id} is in force, but topic {self._topic} does not hold it"
            )
        return self._known[id]

    async def publish(self) -> None:
        """Write this worker's own down, where it is not there yet.

        Raises
        ------
        ServiceError
            Where Kafka does not take it.
        """
        records = await self._kafka.read(self._topic, [0])
        if all(record.key != self.own.id.encode() for record in records[0]):
            await self._kafka.append(self._topic, self.own.id.encode(), wire.encode(self.own))

    async def _read(self, id: str) -> None:  # noqa: A002 - as above
        for record in (await self._kafka.read(self._topic, [0]))[0]:
            if record.key == id.encode() and record.value is not None:
                try:
                    # No more than that of the files and the one in force are ever asked for.
                    self._known = {self.own.id: self.own}
                    self._known[id] = wire.decode(record.value)
                except WireError as error:
                    log.warning("composition_unreadable offset=%d error=%s", record.offset, error)
