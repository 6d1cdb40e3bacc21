"""The control writer: one ordered list of control records, copied into the log of every tick partition (law 5).

The list is the topic `control`; a record's number is its offset there plus one. Each partial tells the number that its book
has obeyed, so the writer appends to a partition what comes after it, and needs no memory of its own: whoever takes over goes
on from what the partials say, and a record that was appended twice is obeyed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from stream.index.composition import Composition
from stream.index.control import (
    UNNUMBERED,
    Announcement,
    Contested,
    Numbered,
    Override,
    Roll,
)
from stream.index.partial import NO_EVENT, Origin, Partial
from stream.session.calendar import Session

#: A record that was appended to a partition shows in its partial soon; else it is appended again after this long.
AGAIN_S = 5.0

#: A log whose newest event is older than ticks are kept is not a live one, and no clock rolls it.
LIVE_WITHIN_NS = 8 * 86_400 * 1_000_000_000


class Owed(NamedTuple):
    """Records that a partition's log lacks, in order."""

    partition: int
    records: tuple[Numbered, ...]


class ControlWriter:
    """Decides what is to be said, and to which partitions it was not said yet.

    Parameters
    ----------
    home
        Gives the partition of a symbol that has not been seen yet.

    Attributes
    ----------
    records
        The control list as far as it was read, by number.
    """

    def __init__(self, *, home: Callable[[str], int]) -> None:
        self.records: list[Numbered] = []
        self._home = home
        self._appended: dict[int, tuple[int, float]] = {}

    def learn(self, number: int, record: Numbered) -> None:
        """Take the next record of the control list."""
        self.records.append(replace(record, number=number))

    @property
    def last(self) -> int:
        """Number of the newest record, 0 where there is none."""
        return self.records[-1].number if self.records else 0

    def owed(self, partials: Mapping[int, Partial], *, now_s: float) -> Iterator[Owed]:
        """Find what has to be appended to which partition.

        Parameters
        ----------
        partials
            Newest one of each partition.
        now_s
            A steady clock, seconds.
        """
        for partition, partial in partials.items():
            obeyed = partial.control
            appended, at = self._appended.get(partition, (0, now_s))
            if now_s - at < AGAIN_S:
                obeyed = max(obeyed, appended)
            missing = tuple(record for record in self.records if record.number > obeyed)
            if missing:
                yield Owed(partition, missing)

    def appended(self, owed: Owed, *, now_s: float) -> None:
        """Remember that records stand in a partition's log now."""
        self._appended[owed.partition] = (owed.records[-1].number, now_s)

    def wanted(
        self,
        *,
        own: Composition,
        total: Partial | None,
        partials: Mapping[int, Partial],
        composition: Composition,
        contested: Sequence[str],
        session: Session,
        now_ns: int,
    ) -> Iterator[Numbered]:
        """Decide what the control list lacks.

        Parameters
        ----------
        own
            Composition of this worker's files.
        total
            Sum of the partials, where there is one.
        partials, composition
            Newest partial of each partition, and the composition that the sum stands in: they tell where symbols were seen.
        contested
            Symbols that stand on two partitions.
        session
            That of the clock.
        now_ns
            The clock, ns since 1970 UTC.
        """
        announced = {one.composition for one in self.records if isinstance(one, Announcement)}
        if own.id not in announced:
            # One that was announced before is older than that in force: who still has the old files follows the log.
            yield Announcement(own.id)
        if total is not None and self._is_overdue(total, session, now_ns):
            yield Roll(session.name, session.starts_ns, session.ends_ns)
        if total is not None:
            yield from self._homeless(partials, composition)
        obeyed = min((each.control for each in partials.values()), default=0)
        fresh = sorted(set(contested) - self._refused())
        # A symbol that was let go stands on two partitions until they have heard of it.
        if fresh and obeyed >= self.last:
            yield Contested(tuple(fresh))

    def _is_overdue(self, total: Partial, session: Session, now_ns: int) -> bool:
        newest = int(total.event_ns.max(initial=NO_EVENT))
        # One that was rolled before is live, however long it has been quiet.
        live = total.origin is Origin.LIVE and (
            newest > now_ns - LIVE_WITHIN_NS or bool(total.session)
        )
        said = max((one.session for one in self.records if isinstance(one, Roll)), default="")
        return live and session.name > total.session and session.name > said

    def _refused(self) -> set[str]:
        refused: set[str] = set()
        for record in self.records:
            if isinstance(record, Contested):
                refused.update(record.symbols)
            elif isinstance(record, Override) and record.action == "include" and record.home >= 0:
                refused.discard(record.symbol)
        return refused

    def _homeless(
        self, partials: Mapping[int, Partial], composition: Composition
    ) -> Iterator[Numbered]:
        """Repeat operators' wishes with the partition that their symbol stands on: decided once, in the list."""
        housed = {_wish(one) for one in self.records if isinstance(one, Override) and one.home >= 0}
        for record in self.records:
            if isinstance(record, Override) and record.home < 0 and _wish(record) not in housed:
                row = composition.row_of.get(record.symbol)
                seen = [
                    partition
                    for partition, partial in sorted(partials.items())
                    if row is not None and _has_seen(partial, row)
                ]
                housed.add(_wish(record))
                usual = self._home(record.symbol)
                home = seen[0] if seen and usual not in seen else usual
                yield replace(record, home=home, number=UNNUMBERED)


def _wish(override: Override) -> tuple[str, str, int]:
    return override.symbol, override.action, override.ts


def _has_seen(partial: Partial, row: int) -> bool:
    return bool(np.unpackbits(partial.touched[row // 8])[row % 8])
