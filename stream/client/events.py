"""What a follower of levels is given: updates, and what becomes of the connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

#: Epoch and number of a publication: what orders the publications of one code.
Key = tuple[int, int]


class How(StrEnum):
    """The way an update came."""

    LIVE = "live"
    STREAM = "stream"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class Update:
    """One published snapshot of one index; of a code, each is newer than the one before it.

    Attributes
    ----------
    code
        Of the index.
    epoch
        Of the publisher; it grows with each start or takeover.
    seq
        Number of this publication of this code in the epoch, from 1.
    level
        The published level, to the last digit.
    fields
        All fields of the snapshot (`docs/snapshots.md`); numbers with a decimal point are `Decimal`.
    how
        `live` from the channel, `stream` where a gap was filled, `snapshot` where the newest value was read.
    missed
        Publications of this code between the update before and this one that are not to be had any more, at least:
        what an old publisher said last is not known where a new one has begun and the stream does not reach back.
    conflated
        Publications that did come, and were left out because newer ones came before they were taken.
    data
        The snapshot, in the bytes that were published.
    """

    code: str
    epoch: int
    seq: int
    level: Decimal
    how: How
    missed: int = 0
    conflated: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    data: bytes = field(default=b"", repr=False)

    @property
    def key(self) -> Key:
        """Epoch and number: strictly increasing for each code."""
        return (self.epoch, self.seq)


@dataclass(frozen=True, slots=True)
class Lost:
    """Nothing is heard any more; what was delivered grows old until `Reconnected` comes.

    Attributes
    ----------
    reason
        What happened.
    silent_s
        Seconds since the publisher was last heard.
    """

    reason: str
    silent_s: float


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The publisher is heard again.

    Attributes
    ----------
    silent_s
        Seconds for which it was not heard.
    attempts
        Connections that were tried.
    """

    silent_s: float
    attempts: int


Event = Update | Lost | Reconnected


@dataclass(slots=True)
class Counts:
    """What happened so far: counters for metrics.

    Attributes
    ----------
    delivered
        Updates, the conflated ones among them.
    filled
        Those of them that came from a stream.
    missed
        Publications that are not to be had any more.
    conflated
        Publications left out because newer ones came before they were taken.
    dropped
        Messages no newer than what was there: duplicates, and those of a publisher that was replaced.
    malformed
        Messages, keys and stream entries that do not follow the contract.
    losses
        Connections that were lost or could not be made.
    """

    delivered: int = 0
    filled: int = 0
    missed: int = 0
    conflated: int = 0
    dropped: int = 0
    malformed: int = 0
    losses: int = 0
