"""The control writer: what is said, to which partitions, and that each book hears all of it once and in order (law 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.index.aggregate import Aggregator
from stream.index.composition import Composition
from stream.index.control import (
    Announcement,
    Contested,
    Numbered,
    OriginRecord,
    Override,
    Roll,
)
from stream.index.definitions import Definition
from stream.index.partial import Origin, Partial
from stream.index.universe import read_universe
from stream.pipeline.compositions import Compositions
from stream.pipeline.control_log import ControlLog
from stream.pipeline.control_writer import AGAIN_S, ControlWriter
from stream.pipeline.log import KafkaLog
from stream.session.calendar import Calendar, Session
from stream.settings import Settings
from stream.wire import control as wire

NS = 10**9
DAY_NS = 86_400 * NS
NOON = 1_763_744_400 * NS  # 2025-11-21 12:00 in New York, a Friday
CALENDAR = Calendar.bundled()
TODAY = CALENDAR.session_at(NOON)

COMPOSITION = Composition.build(
    read_universe(["symbol,price,float_shares", "A,1,10", "B,1,10", "C,1,10"]),
    [Definition("ALL", "", {})],
)


def usual(symbol: str) -> int:
    """Where each symbol belongs, among three partitions."""
    return {"A": 0, "B": 1, "C": 2}[symbol]


def writer(*records: Numbered) -> ControlWriter:
    """Make a writer that has read a list."""
    one = ControlWriter(home=usual)
    for number, record in enumerate(records, start=1):
        one.learn(number, record)
    return one


def partial(partition: int, *, control: int = 0, seen: str = "", **changes: Any) -> Partial:
    """Make the partial of a book that has obeyed so much, and seen such symbols."""
    bits = np.array([symbol in seen for symbol in COMPOSITION.universe.symbols])
    return replace(
        Partial.zero(COMPOSITION),
        offsets={partition: 1},
        control=control,
        touched=np.packbits(bits),
        **changes,
    )


def owed(
    one: ControlWriter, *partials: Partial, now_s: float = 0.0
) -> dict[int, tuple[Numbered, ...]]:
    by_partition = {p: each for each in partials for p in each.offsets}
    return {each.partition: each.records for each in one.owed(by_partition, now_s=now_s)}


def wanted(one: ControlWriter, **changes: Any) -> list[Numbered]:
    """Ask what the list lacks; unless said otherwise, that is nothing."""
    about: dict[str, Any] = {
        "own": COMPOSITION,
        "total": None,
        "partials": {0: partial(0, control=one.last)},
        "composition": COMPOSITION,
        "contested": [],
        "session": TODAY,
        "now_ns": NOON,
    }
    return list(one.wanted(**about | changes))


def lived(newest_ns: int, *, session: str = "", origin: Origin = Origin.LIVE) -> Partial:
    """Make the sum of logs whose newest tick is of this time."""
    return partial(0, session=session, origin=origin, event_ns=np.array([newest_ns]))


def roll(session: Session) -> Roll:
    return Roll(session.name, session.starts_ns, session.ends_ns)


def override(symbol: str, action: Any = "exclude", *, home: int = -1) -> Override:
    return Override(symbol, action, author="jo", reason="a test", ts=NOON, home=home)


HERE = Announcement(COMPOSITION.id)

# ---- copies --------------------------------------------------------------------------------------


def test_each_partition_is_owed_what_its_book_has_not_obeyed() -> None:
    """In the order of the list, numbered from 1."""
    records = [Announcement(f"composition {n}") for n in (1, 2, 3)]

    found = owed(writer(*records), partial(0), partial(1, control=2), partial(2, control=3))

    assert {p: [one.number for one in each] for p, each in found.items()} == {0: [1, 2, 3], 1: [3]}
    assert [replace(one, number=0) for one in found[0]] == records


def test_what_was_appended_is_given_time_to_show() -> None:
    """A record that is on its way is appended again only after some seconds; what came after it, at once."""
    one = writer(HERE)
    (first,) = one.owed({0: partial(0)}, now_s=100.0)
    one.appended(first, now_s=100.0)

    assert owed(one, partial(0), now_s=100.0 + AGAIN_S - 0.001) == {}
    one.learn(2, roll(TODAY))
    assert [r.number for r in owed(one, partial(0), now_s=101.0)[0]] == [2]
    assert [r.number for r in owed(one, partial(0), now_s=100.0 + AGAIN_S)[0]] == [1, 2]
    assert owed(one, partial(0, control=2), now_s=100.0 + AGAIN_S) == {}


@pytest.mark.parametrize(
    ("seen", "home"),
    [
        ({}, 1),
        ({1: "B"}, 1),
        ({2: "B"}, 2),
        ({0: "AC", 2: "B"}, 2),
        ({0: "B", 2: "B"}, 0),
        ({0: "B", 1: "B"}, 1),
    ],
)
def test_an_override_is_told_where_its_symbol_stands(seen: dict[int, str], home: int) -> None:
    """Once, in the list: where it was seen; of several places, and of none, that of Kafka's own partitioner (B: 1)."""
    one = writer(HERE, override("B"))
    partials = {p: partial(p, seen=seen.get(p, ""), control=2) for p in range(3)}

    (repeated,) = wanted(one, total=lived(-1), partials=partials)

    assert repeated == replace(override("B"), home=home)
    one.learn(3, repeated)
    assert wanted(one, total=lived(-1), partials=partials) == []


@dataclass
class Log:
    """A partition's log, and the book that reads it: it obeys what is newer than all it has obeyed."""

    numbers: list[int] = field(default_factory=list)
    read: int = 0
    obeyed: list[int] = field(default_factory=list)

    def move(self, n: int) -> None:
        for number in self.numbers[self.read : self.read + n]:
            if number > max(self.obeyed, default=0):
                self.obeyed.append(number)
        self.read = min(self.read + n, len(self.numbers))


@given(st.data())
def test_every_book_obeys_the_whole_list_once_and_in_order(data: st.DataObject) -> None:
    """Whatever fails, is late or is appended twice, and though two writers may be at it: none left out, none twice."""
    logs = {p: Log() for p in range(3)}
    told: dict[int, int] = {}
    said: list[Numbered] = []
    writers = [writer(), writer()]
    now_s = 0.0
    steps = st.sampled_from(("say", "write", "write", "write and fail", "read", "tell", "replace"))
    for step in data.draw(st.lists(steps, max_size=40)):
        now_s += data.draw(st.sampled_from((0.25, AGAIN_S)))
        number, partition = data.draw(st.integers(0, 1)), data.draw(st.integers(0, 2))
        match step:
            case "say":
                said.append(Announcement(f"composition {len(said)}"))
            case "read":
                logs[partition].move(data.draw(st.integers(1, 5)))
            case "tell":
                told[partition] = max(logs[partition].obeyed, default=0)
            case "replace":
                writers[number] = writer()
            case _:
                one = writers[number]
                known = data.draw(st.integers(len(one.records), len(said)))
                write(one, said[:known], logs, told, now_s, fails=step == "write and fail")
    last = writers[0]
    for _ in range(2):
        now_s += AGAIN_S
        write(last, said, logs, {p: max(log.obeyed, default=0) for p, log in logs.items()}, now_s)
        for log in logs.values():
            log.move(len(log.numbers))

    assert [log.obeyed for log in logs.values()] == [list(range(1, len(said) + 1))] * 3


def write(
    one: ControlWriter,
    said: Sequence[Numbered],
    logs: dict[int, Log],
    told: dict[int, int],
    now_s: float,
    *,
    fails: bool = False,
) -> None:
    """Do what a writer decides; failing, some of its records stand in the log, and it does not know."""
    for record in said[len(one.records) :]:
        one.learn(len(one.records) + 1, record)
    partials = {p: partial(p, control=control) for p, control in told.items()}
    for each in one.owed(partials, now_s=now_s):
        numbers = [record.number for record in each.records]
        if fails:
            logs[each.partition].numbers += numbers[:1]
        else:
            logs[each.partition].numbers += numbers
            one.appended(each, now_s=now_s)


# ---- compositions --------------------------------------------------------------------------------


def test_a_new_composition_is_announced_once() -> None:
    """Who comes with files that the list has never named brings news."""
    one = writer(Announcement("another"))

    assert wanted(one) == [HERE]
    one.learn(2, HERE)
    assert wanted(one) == []


def test_an_older_composition_is_not_announced_again() -> None:
    """Its worker has the files of yesterday, and follows the log."""
    assert wanted(writer(HERE, Announcement("newer"))) == []


# ---- rolls ---------------------------------------------------------------------------------------

YESTERDAY = CALENDAR.session_at(NOON - DAY_NS)


@pytest.mark.parametrize("session", ["", YESTERDAY.name])
@pytest.mark.parametrize("age_ns", [0, DAY_NS, 7 * DAY_NS])
def test_an_overdue_live_log_is_rolled_by_the_clock(session: str, age_ns: int) -> None:
    """To the session of the clock, whatever it left out."""
    assert wanted(writer(HERE), total=lived(NOON - age_ns, session=session)) == [roll(TODAY)]


@pytest.mark.parametrize(
    "total",
    [
        None,
        lived(-1),
        lived(NOON, session=TODAY.name),
        lived(NOON, session="2025-11-23"),
        lived(NOON, origin=Origin.REPLAY),
        lived(NOON, origin=Origin.SIMULATED),
        lived(NOON - 9 * DAY_NS),
    ],
)
def test_no_clock_rolls_what_is_not_live(total: Partial | None) -> None:
    """Nothing heard yet, the session in force already, a replay, a simulation, ticks of long ago."""
    assert wanted(writer(HERE), total=total) == []


def test_a_roll_is_said_once() -> None:
    """Its session does not show in the partials before the books have obeyed."""
    one = writer(HERE, roll(TODAY))

    assert wanted(one, total=lived(NOON, session=YESTERDAY.name)) == []


def test_a_live_log_that_was_quiet_for_weeks_is_rolled() -> None:
    """Its new prints wait for the roll, so that its newest counted tick stays old: that must not keep it from rolling."""
    quiet = CALENDAR.session_at(NOON - 20 * DAY_NS)
    one = writer(HERE, roll(quiet))

    assert wanted(one, total=lived(NOON - 20 * DAY_NS, session=quiet.name)) == [roll(TODAY)]


# ---- contests ------------------------------------------------------------------------------------


def test_contested_symbols_are_said_once() -> None:
    """All that are new, in one record."""
    one = writer(HERE, Contested(("B",)))

    assert wanted(one, contested=["C", "B", "A"]) == [Contested(("A", "C"))]
    assert wanted(one, contested=["B"]) == []


def test_a_symbol_that_was_let_go_is_refused_again_where_it_is_contested_again() -> None:
    """An operator's `include` ends one refusal, not all of them."""
    one = writer(HERE, Contested(("A", "B")), override("A", "include", home=0), override("B"))

    assert wanted(one, contested=["A", "B"]) == [Contested(("A",))]


def test_a_symbol_that_is_let_go_is_not_refused_again_before_the_books_have_heard() -> None:
    """Until they have obeyed the `include`, the contest that it settles still shows."""
    one = writer(HERE, Contested(("A",)), override("A", "include", home=0))
    heard = {0: partial(0, control=3), 1: partial(1, control=2)}

    assert wanted(one, contested=["A"], partials=heard) == []
    heard[1] = partial(1, control=3)
    assert wanted(one, contested=["A"], partials=heard) == [Contested(("A",))]


# ---- the list as it grows ------------------------------------------------------------------------


class BusyLogs:
    """Logs in memory, on which something else happens whenever one looks away."""

    def __init__(self, meanwhile: Callable[[str, str], object]) -> None:
        self.logs: dict[tuple[str, int], list[bytes | None]] = {}
        self._meanwhile = meanwhile

    async def ends(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        ends = {p: len(self.logs.get((topic, p), ())) for p in partitions}
        self._meanwhile("ends", topic)
        return ends

    async def read(
        self, topic: str, partitions: Sequence[int], *, start: dict[int, int] | None = None
    ) -> dict[int, list[SimpleNamespace]]:
        return {
            p: [
                SimpleNamespace(offset=offset, key=None, value=value)
                for offset, value in enumerate(self.logs.get((topic, p), ()))
                if offset >= (start or {}).get(p, 0)
            ]
            for p in partitions
        }

    async def append(
        self, topic: str, key: bytes | None, value: bytes | None, *, partition: int = 0
    ) -> int:
        return (await self.append_all(topic, [(key, value)], partition=partition))[0]

    async def append_all(
        self, topic: str, records: Sequence[tuple[Any, bytes | None]], *, partition: int = 0
    ) -> list[int]:
        log = self.logs.setdefault((topic, partition), [])
        log += [value for _, value in records]
        self._meanwhile("append", topic)
        return list(range(len(log) - len(records), len(log)))


def control_log(logs: BusyLogs, aggregator: Aggregator) -> ControlLog:
    settings, kafka = Settings(), cast("KafkaLog", logs)
    compositions = Compositions(kafka, settings, COMPOSITION)
    return ControlLog(kafka, settings, aggregator, compositions)


async def test_what_is_added_between_two_questions_is_learned_once() -> None:
    """An operator's decision may stand in the list by the time it is read, though its end was lower when asked."""
    decisions = [wire.encode(override("A")) for _ in range(3)]

    def decide(operation: str, topic: str) -> None:
        if decisions and operation == "ends" and logs.logs.get((topic, 0)):
            logs.logs[topic, 0].append(decisions.pop())

    logs = BusyLogs(decide)
    aggregator = Aggregator(COMPOSITION, n_partitions=1)
    aggregator.add(partial(0))
    log = control_log(logs, aggregator)
    for _ in range(6):
        await log.step()

    # The announcement, three decisions, and the last of them once more with its home.
    assert [record.number for record in log.writer.records] == [1, 2, 3, 4, 5]
    copied = [wire.decode(value or b"") for value in logs.logs["ticks", 0]]
    numbers = [record.number for record in copied if not isinstance(record, OriginRecord)]
    assert numbers == [1, 2, 3, 4, 5]


async def test_partials_that_come_while_records_are_appended_disturb_nothing() -> None:
    """Between two partitions the appending waits for Kafka, and the first partial of a third may come."""
    aggregator = Aggregator(COMPOSITION, n_partitions=3)
    aggregator.add(partial(0))
    aggregator.add(partial(1))

    def hear(operation: str, topic: str) -> None:
        if (operation, topic) == ("append", "ticks"):
            aggregator.add(partial(2))

    log = control_log(BusyLogs(hear), aggregator)
    for _ in range(2):
        await log.step()

    assert sorted(aggregator.partials) == [0, 1, 2]
