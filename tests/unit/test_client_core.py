"""What the client makes of messages: against a model of Redis and a publisher, without sockets or a clock."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.client import How, Lost, Reconnected, Update
from stream.client.core import Core
from stream.client.options import Options

CODES = ("US1000", "US2000", "US3000")
MANY = 100_000
#: Number of what a replaced publisher sends late.
LATE = 999
Key = tuple[int, int]


def snapshot(code: str, epoch: int, seq: int) -> bytes:
    """Write a snapshot whose level tells its key: 1002.00000007 is the seventh of epoch 2."""
    return (
        f'{{"v":1,"code":"{code}","epoch":{epoch},"seq":{seq},"level":{1000 + epoch}.{seq:08d},"up":3}}'
    ).encode()


class World:
    """A Redis and the publishers that write to it, in the least that the contract says of both."""

    def __init__(self) -> None:
        self.epoch = 1
        self.seq: dict[str, int] = {}
        self.snap: dict[str, bytes] = {}
        self.snaps: dict[str, bytes] = {}
        self.stream: dict[str, list[tuple[int, bytes]]] = {}
        self.socket: deque[list[Any]] | None = None
        self._channels: set[str] = set()
        self._spoken: set[str] = set()
        self._entries = 0
        self.pages = 0

    # ---- publishers

    def next_snapshot(self, code: str) -> bytes:
        self.seq[code] = self.seq.get(code, 0) + 1
        return snapshot(code, self.epoch, self.seq[code])

    def publish(self, *codes: str, packed: bool = False) -> None:
        all_data = []
        for code in codes:
            data = self.next_snapshot(code)
            self._spoken.add(code)
            all_data.append(data)
            if packed:
                self.snaps[code] = data
            else:
                self.snap[code] = data
                self.append(code, data)
                self.send(f"level:{code}", data)
        self.send("levels", b"[" + b",".join(all_data) + b"]")

    def append(self, code: str, data: bytes) -> None:
        self._entries += 1
        self.stream.setdefault(code, []).append((self._entries, data))

    def fail(self, code: str) -> None:
        """Use up a number for a publication that never reached Redis."""
        self.next_snapshot(code)

    def take_over(self) -> None:
        self.epoch += 1
        self.seq.clear()
        self._spoken.clear()

    def wake_replaced(self, code: str) -> None:
        """Let a replaced publisher send a message late; the fence keeps it from everything else."""
        if self.epoch > 1 and code in self._spoken:
            self.send("levels", b"[" + snapshot(code, self.epoch - 1, LATE) + b"]")
            self.send(f"level:{code}", snapshot(code, self.epoch - 1, LATE))

    def beat(self) -> None:
        self.send("heartbeat", b'{"published_ns":1,"indexes":3}')

    # ---- Redis

    def send(self, channel: str, data: bytes) -> None:
        if self.socket is not None and channel in self._channels:
            self.socket.append([b"message", channel.encode(), data])

    def subscribe(self, channels: Sequence[str]) -> None:
        self._channels = set(channels)
        self.socket = deque(
            [b"subscribe", channel.encode(), number] for number, channel in enumerate(channels, 1)
        )

    def trim(self, code: str, keep: int) -> None:
        entries = self.stream.get(code, [])
        del entries[: max(len(entries) - keep, 0)]

    def restart_empty(self) -> None:
        for part in (self.snap, self.snaps, self.stream):
            part.clear()

    def reply(self, command: Any) -> Any:
        match command:
            case ("SCAN", cursor, "MATCH", "snap:*", "COUNT", _):
                # In two steps, with one key in both: a scan may do that.
                keys = [f"snap:{code}".encode() for code in sorted(self.snap)]
                return (7, keys[:2]) if int(cursor) == 0 else (0, keys[1:])
            case ("HGETALL", "snaps"):
                return {code.encode(): data for code, data in self.snaps.items()}
            case ("HMGET", "snaps", *codes):
                return [self.snaps.get(code) for code in codes]
            case ("MGET", *keys):  # as text for codes that were asked for, as bytes from a scan
                return [self.snap.get(text(key).removeprefix("snap:")) for key in keys]
            case ("XREVRANGE", key, until, "-", "COUNT", count):
                self.pages += 1
                return self._newest_entries(key.removeprefix("stream:"), until)[:count]
        raise AssertionError(f"not in the contract: {command}")

    def _newest_entries(self, code: str, until: bytes) -> list[tuple[bytes, dict[bytes, bytes]]]:
        below = MANY if until == b"+" else int(until[1:].split(b"-")[0])
        return [
            (b"%d-0" % number, {b"epoch": b"0", b"seq": b"0", b"data": data})
            for number, data in reversed(self.stream.get(code, []))
            if number < below
        ]

    def newest(self, code: str) -> Key | None:
        """Key of the newest snapshot that a reader finds."""
        found = [part[code] for part in (self.snap, self.snaps) if code in part]
        return max(map(key_of, found), default=None)


def text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode()


def key_of(data: bytes) -> Key:
    fields = json.loads(data)
    return fields["epoch"], fields["seq"]


class Driver:
    """Does what both forms of the client do with the core, one step at a time."""

    def __init__(self, world: World, **options: Any) -> None:
        self.world = world
        self.options = Options(prefix="", **{"backlog": MANY, **options})
        self.core = Core(self.options, now=0.0, uniform=lambda low, _: low)
        self.events: list[Update | Lost | Reconnected] = []
        self.most_waiting = 0

    def connect(self) -> None:
        if self.world.socket is None:
            self.world.subscribe(self.options.channels)
            self.core.opened(0.0)

    def cut(self) -> None:
        if self.world.socket is not None:
            self.world.socket = None
            self.core.lost("cut", 0.0)

    def step(self) -> bool:
        """Ask or hear once; tell whether there was anything to do."""
        if self.world.socket is None:
            return False
        if commands := self.core.commands():
            self.take()  # as both forms do: only who has taken everything asks for more
            self.core.answer([self.world.reply(command) for command in commands])
            return True
        if self.world.socket:
            reply = self.world.socket.popleft()
            self.core.hear(reply, 0.0)
            if reply[1] == b"levels":
                waiting = sum(isinstance(event, Update) for event in self.core._events)
                self.most_waiting = max(self.most_waiting, waiting)
            return True
        return False

    def run(self) -> None:
        while self.step():
            pass
        self.take()

    def take(self) -> None:
        while (event := self.core.take()) is not None:
            self.events.append(event)

    @property
    def updates(self) -> list[Update]:
        self.take()
        return [event for event in self.events if isinstance(event, Update)]

    def of(self, code: str) -> list[Update]:
        return [update for update in self.updates if update.code == code]

    def keys(self, code: str) -> list[Key]:
        return [update.key for update in self.of(code)]


def joined(world: World, **options: Any) -> Driver:
    driver = Driver(world, **options)
    driver.connect()
    driver.run()
    return driver


# ---- laws ----------------------------------------------------------------------------------------

Step = Callable[[Driver], object]
some_codes = st.lists(st.sampled_from(CODES), min_size=1, unique=True)
one_code = st.sampled_from(CODES)


def publishing(codes: list[str], *, packed: bool) -> Step:
    return lambda driver: driver.world.publish(*codes, packed=packed)


def lose_one(driver: Driver) -> None:
    """Lose the next message of a connection that goes on."""
    if driver.world.socket and driver.world.socket[0][0] == b"message":
        driver.world.socket.popleft()


def repeat_one(driver: Driver) -> None:
    if driver.world.socket and driver.world.socket[0][0] == b"message":
        driver.world.socket.append(driver.world.socket[0])


def spoil_one(driver: Driver) -> None:
    if driver.world.socket and driver.world.socket[-1][0] == b"message":
        driver.world.socket[-1] = [*driver.world.socket[-1][:2], b'[{"code":"US1000"}']


def steps(n: int) -> Step:
    return lambda driver: [driver.step() for _ in range(n)]


publications = st.builds(publishing, some_codes, packed=st.just(value=False))
packed_publications = st.builds(publishing, some_codes, packed=st.booleans())
driving = st.integers(1, 6).map(steps)
connecting = st.sampled_from([Driver.connect, Driver.cut])
publishers = st.one_of(
    one_code.map(lambda code: lambda driver: driver.world.fail(code)),
    one_code.map(lambda code: lambda driver: driver.world.wake_replaced(code)),
    st.sampled_from([lambda driver: driver.world.take_over(), lambda driver: driver.world.beat()]),
)
accidents = st.sampled_from([lose_one, repeat_one, spoil_one])
losses = st.one_of(
    st.tuples(one_code, st.integers(0, 3)).map(
        lambda both: lambda driver: driver.world.trim(both[0], both[1])
    ),
    st.just(lambda driver: driver.world.restart_empty()),
)
forms = st.sampled_from(
    [
        {},
        {"codes": CODES[:2]},
        {"codes": CODES[:2], "thin": True},
        {"codes": CODES, "thin": True},
    ]
)


def play(steps_of: list[Step], **options: Any) -> Driver:
    """Play a history, then let a last connection hear all there is."""
    driver = Driver(World(), **options)
    for step in steps_of:
        step(driver)
    driver.cut()
    driver.connect()
    driver.run()
    return driver


def followed(driver: Driver) -> Iterator[str]:
    return iter(driver.options.codes or CODES)


def assert_increasing(driver: Driver) -> None:
    for code in CODES:
        assert all(a < b for a, b in pairwise(driver.keys(code)))


def assert_numbered(driver: Driver) -> None:
    """Check that what stands between two updates is accounted for, number by number."""
    for code in CODES:
        for before, after in pairwise(driver.of(code)):
            between = after.seq - 1 - (before.seq if before.epoch == after.epoch else 0)
            if before.epoch == after.epoch or not after.conflated:
                assert after.missed + after.conflated == between


def assert_newest(driver: Driver) -> None:
    """Check that the last is no older than what Redis holds; it is newer where Redis has forgotten what was heard."""
    for code in followed(driver):
        newest = driver.world.newest(code)
        if newest is not None:
            assert max(driver.keys(code), default=(0, 0)) >= newest


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            packed_publications, packed_publications, driving, driving, connecting, publishers
        )
        | accidents
        | losses,
        max_size=60,
    ),
    forms,
)
def test_keys_increase_and_every_number_is_accounted_for(
    history: list[Step], options: dict[str, Any]
) -> None:
    """Whatever happens, (epoch, seq) of a code strictly increases, and what is missing is counted."""
    driver = play(history, **options)

    assert_increasing(driver)
    assert_numbered(driver)
    assert_newest(driver)
    assert driver.core.counts.delivered == len(driver.updates)
    assert driver.core.counts.missed == sum(update.missed for update in driver.updates)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(publications, publications, driving, driving, connecting, publishers) | accidents,
        max_size=60,
    ),
    forms,
)
def test_nothing_that_the_stream_holds_is_missed(
    history: list[Step], options: dict[str, Any]
) -> None:
    """Of a code that was joined, every entry of its stream from there on is delivered, once, and the last is the newest."""
    driver = play(history, **options)

    for code in followed(driver):
        # Where the message was lost that tells of the successor, a late one cannot be told from a good one.
        keys = [key for key in driver.keys(code) if key[1] != LATE]
        held = [key_of(data) for _, data in driver.world.stream.get(code, [])]
        assert keys == [key for key in held if keys and key >= keys[0]]
        assert keys[-1:] == held[-1:]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(packed_publications, packed_publications, driving, publishers), max_size=50),
    st.sampled_from([{}, {"codes": CODES[:2]}]),
)
def test_a_connection_that_holds_brings_everything(
    history: list[Step], options: dict[str, Any]
) -> None:
    """Who is connected from the start is given every publication, packed or not, in the order of its numbers."""
    expected: dict[str, list[Key]] = {code: [] for code in CODES}
    world = World()
    make = world.next_snapshot

    def next_snapshot(code: str) -> bytes:
        data = make(code)
        expected[code].append(key_of(data))
        return data

    def fail(code: str) -> None:
        make(code)

    driver = joined(world, **options)
    world.next_snapshot, world.fail = next_snapshot, fail  # type: ignore[method-assign]
    for step in history:
        step(driver)
    driver.run()

    for code in followed(driver):
        assert driver.keys(code) == expected[code]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(packed_publications, packed_publications, driving, driving, connecting)
        | publishers
        | st.just(Driver.take),
        max_size=60,
    ),
    st.integers(0, 5),
)
def test_a_slow_taker_finds_a_bounded_backlog_and_the_newest(
    history: list[Step], backlog: int
) -> None:
    """What waits is bounded, its numbers add up, and its last is the newest all the same."""
    driver = Driver(World(), backlog=backlog)
    for step in history:
        step(driver)
    driver.cut()
    driver.connect()
    driver.run()

    assert driver.most_waiting <= max(backlog, len(CODES))
    assert_increasing(driver)
    assert_numbered(driver)
    assert_newest(driver)
    assert driver.core.counts.conflated == sum(update.conflated for update in driver.updates)


@given(
    st.lists(st.one_of(publications, driving, connecting), max_size=40),
)
def test_losses_and_reconnections_alternate(history: list[Step]) -> None:
    """Whoever was told of a loss is told of its end before he is told of another."""
    driver = play(history)
    told = [type(event) for event in driver.events if not isinstance(event, Update)]

    assert told == [(Lost, Reconnected)[number % 2] for number in range(len(told))]


@given(st.binary(max_size=60) | st.text('[]{},:"0e-', max_size=30).map(str.encode))
def test_no_message_is_too_strange(data: bytes) -> None:
    """Any bytes on any channel are counted at most, and the next good message is delivered."""
    driver = joined(World())
    driver.world.send("levels", data)
    driver.world.send("heartbeat", data)
    driver.world.append("US1000", data)
    driver.world.publish("US1000")
    driver.run()
    driver.core.hear([b"message", b"level:US1000", data], 0.0)

    assert driver.keys("US1000") == [(1, 1)]


# ---- cases ---------------------------------------------------------------------------------------


def test_a_late_joiner_begins_with_the_snapshots() -> None:
    """The newest of each index, from its key, with nothing missed; then live."""
    world = World()
    for _ in range(3):
        world.publish("US1000", "US2000")
    driver = joined(world)
    world.publish("US1000")
    driver.run()

    assert [(u.code, u.key, u.how, u.missed) for u in driver.updates] == [
        ("US1000", (1, 3), How.SNAPSHOT, 0),
        ("US2000", (1, 3), How.SNAPSHOT, 0),
        ("US1000", (1, 4), How.LIVE, 0),
    ]


def test_an_update_has_the_digits_that_were_published() -> None:
    """Decimals are exact, integers are integers, and the bytes are those of the publisher."""
    world = World()
    world.publish("US1000")
    (update,) = joined(world).updates

    assert str(update.level) == "1001.00000001"
    assert update.fields["level"] == Decimal("1001.00000001")
    assert isinstance(update.fields["up"], int)
    assert update.data == snapshot("US1000", 1, 1)


def test_keys_are_read_only_when_the_subscription_stands() -> None:
    """Nothing is asked before Redis has acknowledged every channel: else something could fall between the two."""
    world = World()
    driver = Driver(world)
    driver.connect()
    asked = []
    assert world.socket is not None
    while world.socket:
        asked.append(bool(driver.core.commands()))
        driver.core.hear(world.socket.popleft(), 0.0)
    asked.append(bool(driver.core.commands()))

    assert asked == [False, False, True]


def test_the_old_hash_of_packed_publications_does_not_stand_in_for_a_newer_key() -> None:
    """A hash that was last written long ago is no update, and no gap."""
    world = World()
    world.publish("US1000", packed=True)
    for _ in range(3):
        world.publish("US1000")

    assert joined(world).keys("US1000") == [(1, 4)]


def test_a_newer_hash_of_packed_publications_stands_in_for_the_key() -> None:
    """The newest of the two is the snapshot."""
    world = World()
    world.publish("US1000")
    world.publish("US1000", packed=True)

    assert joined(world).keys("US1000") == [(1, 2)]


@pytest.mark.parametrize("options", [{}, {"codes": ["US1000"]}])
def test_packed_publications_are_live(options: dict[str, Any]) -> None:
    """What is on `levels` alone is delivered like all else, and leaves no gap."""
    world = World()
    driver = joined(world, **options)
    for number in range(6):
        world.publish("US1000", "US2000", packed=number % 3 > 0)
    driver.run()

    assert driver.keys("US1000") == [(1, seq) for seq in range(1, 7)]
    assert {update.how for update in driver.of("US1000")} == {How.LIVE}
    assert driver.core.counts.missed == 0


def test_a_thin_subscriber_counts_what_was_packed() -> None:
    """The code's own channel skips what was packed; the numbers say so, and the stream holds nothing to fill it with."""
    world = World()
    driver = joined(world, codes=["US1000"], thin=True)
    for number in range(6):
        world.publish("US1000", packed=number % 3 > 0)
    driver.run()

    assert [(u.key, u.missed) for u in driver.updates] == [((1, 1), 0), ((1, 4), 2)]


def test_a_gap_is_filled_from_the_stream() -> None:
    """What came while the connection was away is delivered in order, marked as what it is, and then live goes on."""
    world = World()
    world.publish("US1000")
    driver = joined(world)
    driver.cut()
    for _ in range(250):  # more than two pages
        world.publish("US1000")
    driver.connect()
    driver.run()
    world.publish("US1000")
    driver.run()

    assert driver.keys("US1000") == [(1, seq) for seq in range(1, 253)]
    assert [u.how for u in driver.updates] == [
        How.SNAPSHOT,
        *[How.STREAM] * 249,
        How.SNAPSHOT,
        How.LIVE,
    ]
    assert driver.core.counts.missed == 0
    assert driver.core.counts.filled == 249


def test_what_the_stream_no_longer_holds_is_counted() -> None:
    """The first that it does hold says how many are gone."""
    world = World()
    world.publish("US1000")
    driver = joined(world)
    driver.cut()
    for _ in range(9):
        world.publish("US1000")
    world.trim("US1000", 3)
    driver.connect()
    driver.run()

    assert [(u.key, u.missed) for u in driver.updates] == [
        ((1, 1), 0),
        ((1, 8), 6),
        ((1, 9), 0),
        ((1, 10), 0),
    ]


def test_the_snapshot_is_taken_where_there_is_no_stream() -> None:
    """Without a single entry, the newest value still comes, with the count of those before it."""
    world = World()
    world.publish("US1000")
    driver = joined(world)
    driver.cut()
    for _ in range(4):
        world.publish("US1000")
    world.trim("US1000", 0)
    driver.connect()
    driver.run()

    assert [(u.key, u.how, u.missed) for u in driver.updates[1:]] == [((1, 5), How.SNAPSHOT, 3)]


def test_no_more_of_a_stream_is_read_than_may_wait() -> None:
    """Of a long gap, the newest are read, and the others are missed."""
    world = World()
    world.publish("US1000")
    driver = joined(world, backlog=120)
    driver.cut()
    for _ in range(500):
        world.publish("US1000")
    driver.connect()
    driver.run()

    assert driver.keys("US1000") == [(1, 1)] + [(1, seq) for seq in range(381, 502)]
    assert driver.updates[1].missed == 379
    assert world.pages == 2


def test_numbers_begin_anew_with_a_new_epoch() -> None:
    """It is no gap, and what the old publisher said last is delivered before it."""
    world = World()
    world.publish("US1000")
    driver = joined(world)
    driver.cut()
    world.publish("US1000")
    world.take_over()
    driver.connect()
    world.publish("US1000")
    world.publish("US1000")
    driver.run()

    assert [(u.key, u.missed) for u in driver.updates] == [
        ((1, 1), 0),
        ((1, 2), 0),
        ((2, 1), 0),
        ((2, 2), 0),
    ]


def test_the_first_numbers_of_a_new_epoch_can_be_missed() -> None:
    """An epoch that is met at its third number has lost two where the stream has."""
    world = World()
    world.publish("US1000")
    driver = joined(world)
    world.take_over()
    world.fail("US1000")
    world.fail("US1000")
    world.publish("US1000")
    driver.run()

    assert [(u.key, u.missed) for u in driver.updates] == [((1, 1), 0), ((2, 3), 2)]


def test_a_replaced_publisher_is_not_heard() -> None:
    """Late messages of an older epoch are dropped, live and in the stream, and hide nothing."""
    world = World()
    world.publish("US1000")
    world.take_over()
    world.publish("US1000")
    driver = joined(world)
    world.wake_replaced("US1000")
    driver.run()
    assert driver.core.counts.dropped == 1
    driver.cut()
    world.publish("US1000")
    world.append("US1000", snapshot("US1000", 1, 7))
    world.publish("US1000")
    driver.connect()
    driver.run()

    assert driver.keys("US1000") == [(2, 1), (2, 2), (2, 3)]


def test_an_older_entry_late_in_the_stream_is_left_out() -> None:
    """Newer than what was delivered, but older than the entry before it: it is not to come after that."""
    world = World()
    world.publish("US1000")
    driver = joined(world)
    driver.cut()
    world.take_over()
    world.publish("US1000")
    world.append("US1000", snapshot("US1000", 1, 7))
    world.publish("US1000")
    driver.connect()
    driver.run()

    assert driver.keys("US1000") == [(1, 1), (2, 1), (2, 2)]


def test_a_redis_that_came_back_empty_is_followed_again() -> None:
    """Nothing is there to fill the gap with; the publisher's next values come, and say what is gone."""
    world = World()
    for _ in range(3):
        world.publish("US1000", "US2000")
    driver = joined(world)
    driver.cut()
    world.publish("US1000", "US2000")
    world.restart_empty()
    driver.connect()
    driver.run()
    world.publish("US1000", "US2000")
    driver.run()

    assert [(u.key, u.missed) for u in driver.of("US1000")] == [((1, 3), 0), ((1, 5), 1)]


def test_a_value_that_was_heard_survives_the_loss_of_the_connection() -> None:
    """A message that waits for its gap to be filled is delivered after the next connection, even from an empty Redis."""
    world = World()
    world.publish("US1000")
    driver = joined(world)
    world.fail("US1000")
    world.publish("US1000")
    assert driver.step()
    assert driver.core.commands()
    driver.cut()
    world.restart_empty()
    driver.connect()
    driver.run()

    assert [(u.key, u.how, u.missed) for u in driver.updates[1:]] == [((1, 3), How.LIVE, 1)]


def test_what_is_heard_while_a_gap_is_open_keeps_its_order() -> None:
    """Two values of one index in one message, with a gap before each, and only the second one's stands in the stream."""
    world = World()
    world.publish("US1000")
    driver = joined(world)
    some = {seq: world.next_snapshot("US1000") for seq in range(2, 7)}
    for seq in (2, 4):
        world.append("US1000", some[seq])
    world.send("levels", b"[" + some[3] + b"," + some[5] + b"," + some[6] + b"]")
    driver.run()

    assert [(u.key, u.how) for u in driver.updates[1:]] == [
        ((1, 2), How.STREAM),
        ((1, 3), How.LIVE),
        ((1, 4), How.STREAM),
        ((1, 5), How.LIVE),
        ((1, 6), How.LIVE),
    ]


def test_a_question_dies_with_its_connection() -> None:
    """What was asked on a connection that is gone, such as the rest of a scan, is asked anew from its beginning."""
    world = World()
    world.publish(*CODES)
    driver = Driver(world)
    driver.connect()
    while not driver.core.commands():
        driver.step()
    driver.step()
    (first, *_) = driver.core.commands()
    driver.cut()
    driver.connect()
    before = driver.core.commands()
    driver.run()

    assert first[:2] == ("SCAN", 7)
    assert before == []
    assert sorted(u.code for u in driver.updates) == list(CODES)


def test_others_are_not_held_up_by_a_gap() -> None:
    """Only the code with the gap waits for its stream."""
    world = World()
    world.publish(*CODES)
    driver = joined(world)
    before = len(driver.updates)
    world.fail("US2000")
    world.publish(*CODES)
    driver.step()

    assert [u.code for u in driver.updates[before:]] == ["US1000", "US3000"]


def test_of_many_streams_only_some_are_read_at_once() -> None:
    """However many codes were left behind, a round trip reads a few of them, and in the end all are there."""
    world = World()
    codes = [f"I{number}" for number in range(30)]
    world.publish(*codes)
    driver = joined(world)
    driver.cut()
    for _ in range(3):
        world.publish(*codes)
    driver.connect()
    while not (commands := driver.core.commands()) or commands[0][0] != "XREVRANGE":
        assert driver.step()
    driver.run()

    assert len(commands) == 8
    assert all(driver.keys(code) == [(1, seq) for seq in range(1, 5)] for code in codes)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"null",
        b"{}",
        b'{"code":"US1000","epoch":1,"seq":2}',
        b'{"code":"US1000","epoch":1,"seq":2,"level":null}',
        b'{"code":"US1000","epoch":1,"seq":2,"level":true}',
        b'{"code":"US1000","epoch":1,"seq":2,"level":"1000.0"}',
        b'{"code":"US1000","epoch":1,"seq":0,"level":1.0}',
        b'{"code":"US1000","epoch":-1,"seq":2,"level":1.0}',
        b'{"code":"US1000","epoch":1,"seq":2.5,"level":1.0}',
        b'{"code":"US1000","epoch":"1","seq":2,"level":1.0}',
        b'{"code":1,"epoch":1,"seq":2,"level":1.0}',
        b'{"code":"","epoch":1,"seq":2,"level":1.0}',
        b'{"v":2,"code":"US1000","epoch":1,"seq":2,"level":1.0}',
        b'{"code":"US1000","epoch":1,"seq":2,"level":1.0,"name":"\xff"}',
        b'{"code":"US1000","epoch":1,"seq":2,"level":1.0',
        b"[" * 100_000,
        b'{"code":"US1000","epoch":1,"seq":2,"level":1.0,"name":'
        + b"[" * 5_000
        + b"]" * 5_000
        + b"}",
    ],
)
def test_a_malformed_message_is_counted_and_hides_nothing(
    bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It leaves a line in the log, the others of its publication are delivered, and so is what follows."""
    world = World()
    world.publish("US1000", "US2000")
    driver = joined(world, codes=CODES[:2], thin=True)
    world.next_snapshot("US1000")
    world.send("level:US1000", bad)
    world.publish("US1000", "US2000")
    driver.run()

    assert driver.core.counts.malformed == 1
    assert "message_malformed" in caplog.text
    assert [(u.key, u.missed) for u in driver.of("US1000")] == [((1, 1), 0), ((1, 3), 1)]
    assert driver.keys("US2000") == [(1, 1), (1, 2)]


def test_a_malformed_member_does_not_spoil_its_array() -> None:
    """The others of the publication are delivered."""
    world = World()
    driver = joined(world)
    world.send("levels", b'[{"code":3},' + snapshot("US2000", 1, 1) + b",7]")
    driver.run()

    assert driver.keys("US2000") == [(1, 1)]
    assert driver.core.counts.malformed == 2


def test_malformed_keys_and_entries_are_counted() -> None:
    """A snapshot key and a stream entry that hold something else are passed over."""
    world = World()
    world.publish("US1000", "US2000")
    world.snap["US3000"] = b"?"
    driver = joined(world)
    driver.cut()
    world.publish("US1000")
    world.append("US1000", b"?")
    world.publish("US1000")
    driver.connect()
    driver.run()

    assert driver.keys("US1000") == [(1, 1), (1, 2), (1, 3)]
    assert driver.core.counts.malformed == 3  # the key twice


def test_replies_of_an_unknown_kind_are_counted() -> None:
    """What Redis should not send is no reason to crash."""
    driver = joined(World())
    for reply in (None, b"OK", [], [b"message"], [b"pong", b""], [b"message", b"levels", 3]):
        driver.core.hear(reply, 0.0)

    assert driver.core.counts.malformed == 6


def test_only_the_codes_that_were_asked_for_come() -> None:
    """The one channel carries all; the others are passed over, and are not counted as anything."""
    world = World()
    world.publish(*CODES)
    driver = joined(world, codes=["US2000", "US2000"])
    world.publish(*CODES)
    driver.run()

    assert [(u.code, u.key) for u in driver.updates] == [("US2000", (1, 1)), ("US2000", (1, 2))]
    assert driver.core.counts.dropped == 0


def test_a_backlog_of_none_keeps_the_newest_alone() -> None:
    """Gaps are counted, not filled, and of what waits only the newest is kept."""
    world = World()
    world.publish("US1000", "US2000")
    driver = joined(world, backlog=0)
    for _ in range(5):
        world.publish("US1000", "US2000")
    world.fail("US1000")
    world.publish("US1000")
    world.publish("US1000")
    driver.run()

    assert [(u.code, u.key, u.missed, u.conflated) for u in driver.updates[2:]] == [
        ("US2000", (1, 6), 0, 4),
        ("US1000", (1, 9), 1, 6),
    ]


def test_a_loss_is_told_before_what_follows_it() -> None:
    """The order of events is that of what happened, also where updates were conflated."""
    world = World()
    world.publish("US1000")
    driver = joined(world, backlog=0)
    driver.cut()
    driver.connect()
    world.publish("US1000")
    world.publish("US1000")
    driver.run()

    assert [type(event) for event in driver.events] == [Update, Lost, Reconnected, Update]


def test_a_snapshot_of_an_older_epoch_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Redis has forgotten more than was heard: a line in the log, no update."""
    world = World()
    world.take_over()
    world.publish("US1000")
    driver = joined(world)
    driver.cut()
    world.snap["US1000"] = snapshot("US1000", 1, 1)
    driver.connect()
    driver.run()

    assert driver.keys("US1000") == [(2, 1)]
    assert "snapshot_of_older_epoch" in caplog.text
