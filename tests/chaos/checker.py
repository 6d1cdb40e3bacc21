"""The checker: laws that hold whatever the nemesis does, over what was observed. No network, no clock."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from chaos.feed import Offsets
from chaos.history import NO_EVENT, History, level, market_value, own_index
from stream.index.composition import Index

#: Sentences that a law keeps about what broke it; beyond it, it only counts.
LONGEST_LIST = 10

#: What `capstream levels` and the last snapshot must have in common.
FINAL_FIELDS = (
    "level",
    "last",
    "market_value",
    "event_ns",
    "constituents",
    "priced",
    "up",
    "down",
    "unchanged",
    "coverage",
    "divisor",
    "previous_close",
    "change",
    "change_pct",
)


#: What the feed has said of its ticks.
ORIGIN = "simulated"

#: What no last snapshot says of itself.
DOUBTFUL = ("stale", "held", "halted")


class Observation(NamedTuple):
    """One message of a level channel.

    Attributes
    ----------
    at
        When it was received, on `time.monotonic`.
    code
        Of the index, as the channel names it.
    epoch, seq
        Of the publication.
    event_ns
        Event time of the newest tick in it, NO_EVENT before the first.
    level, market_value
        As published.
    status
        Empty where it says nothing of it.
    """

    at: float
    code: str
    epoch: int
    seq: int
    event_ns: int
    level: Decimal
    market_value: str
    status: str


class _Snapshot(msgspec.Struct):
    code: str
    epoch: int
    seq: int
    event_ns: int | None
    level: Decimal
    market_value: str
    status: str = ""


_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")

_decode = msgspec.json.Decoder(_Snapshot).decode


def observation(channel: str, message: bytes, *, at: float) -> Observation:
    """Read a message of the channel of an index."""
    one = _decode(message)
    if one.code != channel:
        raise ValueError(f"channel {channel} carries a snapshot of {one.code}")
    event_ns = NO_EVENT if one.event_ns is None else one.event_ns
    return Observation(
        at, channel, one.epoch, one.seq, event_ns, one.level, one.market_value, one.status
    )


class Law:
    """A law, and what was found against it.

    Attributes
    ----------
    name
        What it says.
    checked
        How often it was asked.
    n_broken
        How often it did not hold.
    broken
        Sentences about the first of these.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.checked = 0
        self.n_broken = 0
        self.broken: list[str] = []

    def expect(self, holds: bool, text: str) -> None:  # noqa: FBT001
        """Note whether the law held once; the text says what was found where it did not."""
        self.checked += 1
        if not holds:
            self.n_broken += 1
            if len(self.broken) < LONGEST_LIST:
                self.broken.append(text)

    @property
    def holds(self) -> bool:
        """Whether nothing was found against it."""
        return self.n_broken == 0


class Order:
    """(`epoch`, `seq`) grows on every channel, and no message of any channel is from an older epoch than one before it.

    Attributes
    ----------
    order, epochs, gaps
        The laws; the last one, that within an epoch no number is left out, does not hold where Redis was away.
    epochs_seen
        In order of their first message.
    """

    def __init__(self) -> None:
        self.order = Law("(epoch, seq) grows on every channel")
        self.epochs = Law("no level from an old epoch")
        self.gaps = Law("no seq is left out within an epoch")
        self.epochs_seen: list[int] = []
        self._last: dict[str, tuple[int, int]] = {}

    def observe(self, one: Observation) -> None:
        """Take the next message."""
        newest = self.epochs_seen[-1] if self.epochs_seen else 0
        self.epochs.expect(
            one.epoch >= newest,
            f"{one.code}: epoch {one.epoch}, seq {one.seq} after epoch {newest} had begun",
        )
        if one.epoch > newest:
            self.epochs_seen.append(one.epoch)
        epoch, seq = self._last.get(one.code, (0, 0))
        text = f"{one.code}: ({one.epoch}, {one.seq}) after ({epoch}, {seq})"
        self.order.expect((one.epoch, one.seq) > (epoch, seq), text)
        due = seq + 1 if one.epoch == epoch else 1
        self.gaps.expect(one.seq == due, text)
        self._last[one.code] = max((epoch, seq), (one.epoch, one.seq))


class Sight(NamedTuple):
    """What a publication of a partition's own index proves: how much of its log is in it.

    Attributes
    ----------
    at
        When it was received.
    fewest, most
        Ticks of the partition's log that can be in it.
    status
        As published.
    """

    at: float
    fewest: int
    most: int
    status: str


class Prefixes:
    """Every level of a partition's own index is that of a prefix of its log: no tick is lost or counted twice on the way.

    Attributes
    ----------
    prefix
        The law.
    forward
        A second one: no publication stands for less of the log than one before it.
    sights
        By partition, in the order in which they were received.
    """

    def __init__(self, history: History) -> None:
        self.prefix = Law("every level of a partition's own index is that of a prefix of its log")
        self.forward = Law("no level goes back behind one before it")
        self.sights: list[list[Sight]] = [[] for _ in history.partitions]
        self._history = history
        self._partition = {own_index(p): p for p in range(len(history.partitions))}

    def observe(self, one: Observation) -> None:
        """Take the next message; those of other indexes prove nothing."""
        partition = self._partition.get(one.code)
        if partition is None:
            return
        index = self._history.indexes[one.code]
        found = self._matching(partition, index, one)
        self.prefix.expect(
            len(found) > 0,
            f"{one.code}: ({one.epoch}, {one.seq}): no prefix has event {one.event_ns} and {one.market_value} dollars",
        )
        if len(found) == 0:
            return
        fewest, most = int(found[0]), int(found[-1])
        gain = int(self._history.partitions[partition].gain[one.code][fewest])
        self.prefix.expect(
            level(index, gain) == one.level,
            f"{one.code}: ({one.epoch}, {one.seq}): level {one.level} of {one.market_value} dollars",
        )
        sights = self.sights[partition]
        before = sights[-1].fewest if sights else 0
        self.forward.expect(
            most >= before,
            f"{one.code}: ({one.epoch}, {one.seq}): {most} ticks after {before}",
        )
        sights.append(Sight(one.at, fewest, most, one.status))

    def _matching(self, partition: int, index: Index, one: Observation) -> NDArray[np.int64]:
        history = self._history.partitions[partition]
        first = int(np.searchsorted(history.event_ns, one.event_ns, side="left"))
        last = int(np.searchsorted(history.event_ns, one.event_ns, side="right"))
        value = index.reference_value + history.gain[index.code][first:last]
        published = int(one.market_value.replace(".", ""))
        if index.k > 0:
            # Rounded to 4 places: half a unit of the last one to each side.
            matches = np.abs(value - published * 10**index.k) * 2 <= 10**index.k
        else:
            matches = value * 10**-index.k == published
        return first + np.flatnonzero(matches)


def final_levels(
    expected: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]
) -> Law:
    """Compare the last snapshots with what `capstream levels` says of the same ticks, field by field.

    Parameters
    ----------
    expected, found
        Fields by code, numbers as they are written.
    """
    law = Law("final levels are those of `capstream levels`")
    for code, fields in expected.items():
        snapshot = found.get(code)
        law.expect(snapshot is not None, f"{code}: no snapshot")
        for name in FINAL_FIELDS if snapshot is not None else ():
            wanted, got = fields.get(name), snapshot.get(name) if snapshot else None
            law.expect(got == wanted, f"{code}: {name}: expected {wanted}, found {got}")
        status = snapshot.get("status") if snapshot else None
        law.expect(status not in DOUBTFUL, f"{code}: {status}")
        origin = snapshot.get("origin") if snapshot else ORIGIN
        law.expect(origin == ORIGIN, f"{code}: origin {origin}")
    for code in found.keys() - expected.keys():
        law.expect(False, f"{code}: a snapshot of an index that there is not")  # noqa: FBT003
    return law


def prices(expected: Mapping[str, tuple[str, int]], found: Mapping[str, tuple[str, int]]) -> Law:
    """Compare the mirrored prices: dollars and event time by symbol."""
    law = Law("every mirrored price is its symbol's last good one")
    for symbol in expected.keys() | found.keys():
        wanted, got = expected.get(symbol), found.get(symbol)
        law.expect(wanted == got, f"{symbol}: expected {wanted}, found {got}")
    return law


class AccountOf(NamedTuple):
    """What a worker's metrics say of its ticks.

    Attributes
    ----------
    whose
        Name and process.
    ticks, applied
        Counts of this life.
    refused
        Counts by reason, malformed ones included.
    drift
        Books whose running integers differ from a fresh sum.
    """

    whose: str
    ticks: int
    applied: int
    refused: Mapping[str, int]
    drift: int


class Accounts:
    """Law 9 for every life of a worker: applied + refused + malformed = ticks in; and law 2's metric stays 0.

    Attributes
    ----------
    sums, drift
        The laws.
    """

    def __init__(self) -> None:
        self.sums = Law("applied + refused + malformed = ticks, in every life")
        self.drift = Law("running integers equal a fresh sum")

    def observe(self, one: AccountOf) -> None:
        """Take a scrape."""
        refused = sum(one.refused.values())
        self.sums.expect(
            one.applied + refused == one.ticks,
            f"{one.whose}: {one.applied} applied + {refused} refused, {one.ticks} ticks",
        )
        self.drift.expect(one.drift == 0, f"{one.whose}: {one.drift} books")


class Letter(NamedTuple):
    """Where a dead letter says that it comes from."""

    reason: str
    partition: int
    offset: int


def dead_letters(expected: Iterable[Letter], found: Iterable[Letter]) -> Law:
    """Compare dead letters: each expected one is there, more than once where its tick was read again, and no other."""
    law = Law("what cannot be found again is a dead letter")
    wanted, got = set(expected), set(found)
    for letter in sorted(wanted - got, key=str):
        law.expect(False, f"missing: {letter}")  # noqa: FBT003
    for letter in sorted(got - wanted, key=str):
        law.expect(False, f"not expected: {letter}")  # noqa: FBT003
    for _ in wanted & got:
        law.expect(True, "")  # noqa: FBT003
    return law


class Audit:
    """Every record of the `levels` topic is what the log says at the offsets that it names.

    Attributes
    ----------
    levels, order, straight
        The laws: of the levels; that (epoch, seq) grows among the records of an epoch, and what comes twice says the same;
        that it grows over all records, which holds where Kafka was always there and no publisher was held up.
    """

    def __init__(self, history: History, offsets: Sequence[Offsets]) -> None:
        self.levels = Law("every recorded level is that of the log at its offsets")
        self.order = Law("seq grows in the record of an epoch")
        self.straight = Law("(epoch, seq) grows in the record")
        self._history = history
        self._offsets = offsets
        self._last: dict[str, Mapping[str, Any]] = {}
        self._of_epoch: dict[tuple[str, int], Mapping[str, Any]] = {}

    def observe(self, record: Mapping[str, Any]) -> None:
        """Take a record's fields, numbers as they are written."""
        code, number = record["code"], _number(record)
        newest = _number(self._last.get(code))
        self.straight.expect(number > newest, f"{code}: {number} after {newest}")
        before = self._of_epoch.get((code, number[0]))
        again = record == before
        self.order.expect(
            number > _number(before) or again, f"{code}: {number} after {_number(before)}"
        )
        self._of_epoch[code, number[0]] = record
        if number > newest:
            self._last[code] = record
        if code in self._history.indexes:
            wanted, offsets = self._at(record), record["offsets"]
            found = (record["level"], record["market_value"])
            self.levels.expect(
                wanted == found, f"{code} {number} at {offsets}: {wanted}, found {found}"
            )

    def end(self) -> Law:
        """Check that nothing is missing in the last record of an index that is followed."""
        law = Law("the last record of an index stands for the whole log")
        for code in self._history.indexes:
            record = self._last.get(code)
            law.expect(record is not None, f"{code}: no record")
            if record is not None:
                wanted, found = self._at(None, code), self._at(record)
                law.expect(wanted == found, f"{code} at {record['offsets']}: {wanted}, {found}")
        return law

    def _at(self, record: Mapping[str, Any] | None, code: str = "") -> tuple[str, str]:
        """Work out level and market value at a record's offsets, or of a code at the end of the log."""
        index, gain = self._history.indexes[record["code"] if record else code], 0
        for number, partition in enumerate(self._history.partitions):
            n = len(partition.position)
            if record is not None:
                n = self._offsets[number].ticks_before(int(record["offsets"][str(number)]))
            gain += partition.gain_of(index.code, n)
        return f"{level(index, gain):.8f}", market_value(index, gain)


def _number(record: Mapping[str, Any] | None) -> tuple[int, int]:
    return (0, 0) if record is None else (int(record["epoch"]), int(record["seq"]))


def told(highest: Mapping[int, int], ends: Mapping[int, int]) -> Law:
    """Check that the workers have told of every partition's whole log.

    Parameters
    ----------
    highest
        By partition, the highest offset that a partial names.
    ends
        By partition, the offset after the last tick.
    """
    law = Law("the partials reach the end of every partition's log")
    for partition, end in ends.items():
        reached = highest.get(partition, 0)
        law.expect(reached >= end, f"partition {partition}: {reached}, the log ends at {end}")
    return law


def streams(entries: Mapping[str, Sequence[tuple[int, int]]]) -> Law:
    """Check that (`epoch`, `seq`) grows in the stream of every index.

    Parameters
    ----------
    entries
        By code, in the order of the stream.
    """
    law = Law("(epoch, seq) grows in every stream")
    for code, numbers in entries.items():
        for before, after in pairwise(numbers):
            law.expect(after > before, f"{code}: {after} after {before}")
    return law


@dataclass(frozen=True, slots=True)
class Ended:
    """How a life ended: the worker, whether it was asked to, its status, the last line of its log."""

    whose: str
    asked: bool
    status: int
    said: str


def endings(lives: Iterable[Ended], *, may_end: bool) -> Law:
    """Check how workers ended: with 0 when asked to, and never by themselves where no fault gives a reason.

    Parameters
    ----------
    lives
        Those that were not killed.
    may_end
        Whether a worker has reasons to end, such as a broker that is gone, or a successor that took over.
    """
    law = Law("a worker ends when it is asked to, and well")
    for life in lives:
        if life.asked:
            law.expect(life.status == 0, f"{life.whose}: asked to end: {life.status}: {life.said}")
        else:
            law.expect(may_end, f"{life.whose}: ended by itself: {life.status}: {life.said}")
    return law


def by_reason(lives: Iterable[Ended]) -> Counter[str]:
    """Count the lives that ended by themselves by what they said last, whatever the numbers in it."""
    return Counter(_NUMBER.sub("N", life.said) for life in lives if not life.asked)
