"""Official closes of indexes: each once, and again where it was corrected (`formats.md`, `index-closes`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stream.index.aggregate import Doubt
from stream.index.snapshot import Moment, Snapshot
from stream.index.status import Status

#: Closes that wait for Kafka or Redis, at most: a year of a hundred indexes.
MOST_WAITING = 30_000


@dataclass(frozen=True, slots=True)
class IndexClose:
    """The official close of an index.

    Attributes
    ----------
    code, date, composition
        Of which index and session, and in which composition.
    close, previous_close
        In 10^-8 index points.
    corrected
        Whether another was published before.
    """

    code: str
    date: str
    composition: str
    close: int
    previous_close: int
    corrected: bool


class Closes:
    """Finds official closes among the snapshots that are published.

    Parameters
    ----------
    known
        Close of each index and date that was published already, in 10^-8 index points.

    Attributes
    ----------
    known
        The same, and what has come since.
    for_kafka, for_redis
        To be written, oldest first; bounded.
    """

    def __init__(self, known: Mapping[tuple[str, str], int] | None = None) -> None:
        self.known = dict(known or {})
        self.for_kafka: deque[IndexClose] = deque(maxlen=MOST_WAITING)
        self.for_redis: deque[tuple[str, str, int]] = deque(maxlen=MOST_WAITING)
        self.again()

    def again(self) -> None:
        """Write all to Redis, which may know none."""
        self.for_redis.clear()
        self.for_redis.extend((code, date, close) for (code, date), close in self.known.items())

    def take(self, snapshots: Iterable[Snapshot], moment: Moment) -> None:
        """Look at snapshots that are about to be published.

        Notes
        -----
        A level is an official close once its session has closed, the official prices have come or the time for them is
        over, and nothing makes it doubtful.
        """
        if moment.hours is None or moment.regular or moment.now_ns < moment.hours[1]:
            return
        for one in snapshots:
            if one.doubt is Doubt.NONE and one.status is not Status.CLOSING and one.session:
                self._take(one, one.session)

    def _take(self, one: Snapshot, date: str) -> None:
        key = one.code, date
        before = self.known.get(key)
        if before == one.level or not one.priced:
            return
        self.known[key] = one.level
        self.for_redis.append((one.code, date, one.level))
        self.for_kafka.append(
            IndexClose(
                one.code,
                date,
                one.composition,
                one.level,
                one.previous_close,
                corrected=before is not None,
            )
        )
