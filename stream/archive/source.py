"""Where kept records come from: the topics themselves, or a folder of files that were made of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from stream.index.book import BookState
from stream.index.price_rules import PriceRules

#: What is kept: ticks with control records among them, published levels, compositions, the control list.
Log = Literal["ticks", "levels", "compositions", "control"]

LOGS: tuple[Log, ...] = ("ticks", "levels", "compositions", "control")


class LogRecord(NamedTuple):
    """One record of a log, as Kafka kept it.

    Attributes
    ----------
    offset
        Its place in the log.
    timestamp
        Of the record, ms since 1970 UTC.
    key, value
        Its bytes.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class Span(NamedTuple):
    """The part of a log that is there: from `start` up to, not including, `end`."""

    start: int
    end: int


class Source(Protocol):
    """Logs that can be read from any offset, as often as wanted.

    Attributes
    ----------
    name
        What it is, for messages.
    topic
        Name of the ticks topic, as checkpoints name it.
    calendar
        The user's own closures and hours, as their file has them; empty where there is none. It decides which ticks count.
    price_rules
        What is held back as a suspect.
    incomplete
        Partitions whose books to begin with may lack prices, since their log had lost its beginning, and where it began.
    """

    name: str
    topic: str
    calendar: str
    price_rules: PriceRules
    incomplete: Mapping[int, int]

    @property
    def states(self) -> Mapping[int, BookState]:
        """Books to begin with, by partition; where there is none, a log is read from its first record."""

    @property
    def ends(self) -> Mapping[int, BookState]:
        """Books as they must stand at the ends of the logs, by partition, where that is known."""

    async def spans(self, log: Log) -> Mapping[int, Span]:
        """Give, for each partition, what there is of a log; nothing where the log does not exist.

        Raises
        ------
        ServiceError, FileError
            Where it cannot be read.
        """

    def read(
        self, log: Log, partition: int, start: int, end: int
    ) -> AsyncGenerator[Sequence[LogRecord]]:
        """Read a part of a log.

        Parameters
        ----------
        log, partition
            Which.
        start, end
            Offsets, half-open, within the partition's span.

        Yields
        ------
        sequence of LogRecord
            In order of their offsets, some thousand at a time.

        Raises
        ------
        ServiceError, FileError
            Where it cannot be read.
        """
