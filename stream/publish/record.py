"""The record of publications: the last of each second, and all that set open, high or low (`formats.md`, `levels`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from stream import __version__
from stream.index.aggregate import Doubt
from stream.index.snapshot import Snapshot
from stream.index.units import NS_PER_S
from stream.publish.redis import Message

#: Records that wait for Kafka, at most: some minutes of a hundred indexes.
MOST_WAITING = 20_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One snapshot to be kept.

    Attributes
    ----------
    code
        Of the index: the key.
    data
        The published snapshot with its audit fields, JSON.
    published_ns
        When, ns since 1970 UTC.
    """

    code: str
    data: bytes
    published_ns: int


@dataclass(frozen=True, slots=True)
class _Pending:
    message: Message
    offsets: Mapping[int, int]
    published_ns: int

    def entry(self) -> Entry:
        return Entry(
            self.message.code, with_audit(self.message.data, self.offsets), self.published_ns
        )


class Record:
    """Chooses what is kept of the publications, and holds it until it is taken away.

    Attributes
    ----------
    waiting
        Entries to be written, oldest first; bounded.
    dropped
        Entries that were given up because too many were waiting.
    """

    def __init__(self) -> None:
        self.waiting: deque[Entry] = deque()
        self.dropped = 0
        self._pending: dict[str, _Pending] = {}
        self._second = 0
        self._extremes: dict[str, tuple[str | None, int | None, int | None]] = {}

    def take(
        self,
        snapshots: Sequence[Snapshot],
        messages: Sequence[Message],
        *,
        offsets: Mapping[int, int],
        published_ns: int,
    ) -> None:
        """Take a publication.

        Parameters
        ----------
        snapshots, messages
            Of each of its indexes, side by side.
        offsets
            For each partition, the offset of the next record of its log: all before it is in the values.
        published_ns
            Clock of the publisher, ns since 1970 UTC.
        """
        self.end_second(published_ns)
        for snapshot, message in zip(snapshots, messages, strict=True):
            pending = _Pending(message, offsets, published_ns)
            extremes = (snapshot.session, snapshot.high, snapshot.low)
            if extremes != self._extremes.get(message.code):
                self._extremes[message.code] = extremes
                self._pending.pop(message.code, None)
                self._keep(pending)
            else:
                before = self._pending.get(message.code)
                if before is not None and snapshot.doubt is Doubt.HELD:
                    # The last good level of the second is what the held one repeats.
                    self._keep(before)
                self._pending[message.code] = pending

    def end_second(self, now_ns: int) -> None:
        """Keep the last snapshots of a second that is over."""
        if now_ns // NS_PER_S != self._second:
            self._second = now_ns // NS_PER_S
            self.end()

    def end(self) -> None:
        """Keep the last snapshots of this second: no more will come."""
        pending, self._pending = self._pending, {}
        for one in pending.values():
            self._keep(one)

    def _keep(self, pending: _Pending) -> None:
        if len(self.waiting) >= MOST_WAITING:
            self.waiting.popleft()
            self.dropped += 1
        self.waiting.append(pending.entry())


def with_audit(data: bytes, offsets: Mapping[int, int]) -> bytes:
    """Add to a snapshot what it takes to compute it again.

    Parameters
    ----------
    data
        A snapshot, a JSON object.
    offsets
        For each partition, the offset of the next record of its log.

    Examples
    --------
    >>> with_audit(b'{"seq":1}', {0: 17})[:25]
    b'{"seq":1,"offsets":{"0":1'
    """
    audit = orjson.dumps(
        {
            "offsets": {str(p): offset for p, offset in sorted(offsets.items())},
            "code_version": __version__,
        }
    )
    return data[:-1] + b"," + audit[1:]
