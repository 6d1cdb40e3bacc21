"""The laws of the feeds, without Kafka: pacing, partitions and messages."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time

import numpy as np
import pytest
from aiokafka.partitioner import murmur2

from stream.feed.blocks import between, replayed_blocks, simulated_blocks
from stream.feed.pacing import Block, paced
from stream.feed.producer import frame_messages, json_messages, partition_of
from stream.feed.simulated import Step
from stream.feed.trades import Trades
from stream.session.calendar import Calendar

TEN = 1784296800000000000  # 2026-07-17 10:00 New York
SECOND = 1_000_000_000
MS = 1_000_000


def trades_at(*times: int, first_seq: int = 1) -> Trades:
    n = len(times)
    return Trades(
        symbols=("AAPL", "BRK.B"),
        conditions=("@", "FT"),
        symbol=np.arange(n, dtype=np.int32) % 2,
        ts=np.array(times, np.int64),
        price=np.arange(n) + 3_337_400,
        seq=np.arange(first_seq, first_seq + n, dtype=np.uint64),
        size=np.arange(n) * 100,
        venue=np.array([ord("Q"), 0] * n, np.uint8)[:n],
        condition=np.arange(n, dtype=np.int32) % 2,
        kind=np.zeros(n, np.uint8),
    )


def step_at(*times: int, first_seq: int = 1) -> Step:
    return Step(trades_at(*times, first_seq=first_seq), np.array(times, np.int64))


class ManualClock:
    """Time that passes only while somebody waits, or by hand."""

    def __init__(self) -> None:
        self.now = 5_000
        self.stop_at: int | None = None

    def read(self) -> int:
        return self.now

    async def wait(self, seconds: float) -> bool:
        assert seconds > 0
        self.now += round(seconds * SECOND)
        return self.stop_at is not None and self.now >= self.stop_at


def play(blocks: Iterator[Block], clock: ManualClock, *, work_ns: int = 0) -> list[tuple[int, int]]:
    """Pace the blocks; give, for each trade, its `seq` and when it went out."""

    async def run() -> list[tuple[int, int]]:
        start, sent = clock.now, []
        async for part in paced(blocks, clock=clock.read, wait=clock.wait, step_ns=5 * MS):
            assert len(part) > 0
            sent += [(seq, clock.now - start) for seq in part.seq.tolist()]
            clock.now += work_ns
        return sent

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("key", "signed_hash"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
@pytest.mark.parametrize("n_partitions", [1, 3, 4, 12])
def test_partitions_are_those_of_kafka(key: bytes, signed_hash: int, n_partitions: int) -> None:
    """Kafka's published hashes, made positive as Kafka does, choose the partition."""
    assert struct.unpack(">i", struct.pack(">I", murmur2(key)))[0] == signed_hash
    assert partition_of(key.decode(), n_partitions) == (signed_hash & 0x7FFFFFFF) % n_partitions


def test_no_tick_goes_out_early_nor_more_than_a_step_late() -> None:
    """Every tick waits for its time and at most a step for others, and all go out in order."""
    due = np.array([0, 0, 3 * MS, 4 * MS, 40 * MS, 2 * SECOND, 2 * SECOND + 1])
    blocks = [
        Block(trades_at(*[TEN] * 4), due[:4]),
        Block(trades_at(*[TEN] * 3, first_seq=5), due[4:]),
    ]

    sent = play(iter(blocks), ManualClock())

    assert [seq for seq, _ in sent] == [1, 2, 3, 4, 5, 6, 7]
    late = np.array([at for _, at in sent]) - due
    assert late.min() >= 0
    assert late.max() <= 5 * MS


def test_a_late_feed_catches_up_at_once() -> None:
    """When sending takes longer than a step, what has become due goes out together, without a wait."""
    due = np.arange(100) * MS

    sent = play(iter([Block(trades_at(*[TEN] * 100), due)]), ManualClock(), work_ns=20 * MS)

    assert [seq for seq, _ in sent] == list(range(1, 101))
    assert {at for _, at in sent} == {0, 20 * MS, 40 * MS, 60 * MS, 80 * MS, 100 * MS}


def test_at_full_speed_nothing_waits() -> None:
    """Blocks without a time go out as they come."""
    clock = ManualClock()
    blocks = (Block(trades_at(TEN, TEN + SECOND, first_seq=1 + 2 * i), None) for i in range(3))

    assert [at for _, at in play(blocks, clock)] == [0] * 6


def test_a_feed_that_is_stopped_sends_no_more() -> None:
    """The wait that is told to stop is the last one."""
    clock = ManualClock()
    clock.stop_at = clock.now + SECOND
    block = Block(trades_at(TEN, TEN, TEN), np.array([0, SECOND // 2, SECOND]))

    assert [seq for seq, _ in play(iter([block]), clock)] == [1, 2]


def market() -> list[Step]:
    return [
        step_at(TEN - 5 * SECOND, TEN - 1),
        step_at(first_seq=3),
        step_at(TEN, TEN + SECOND, first_seq=3),
        step_at(TEN + 7 * SECOND, first_seq=5),
    ]


def test_simulated_time_passes_at_its_speed() -> None:
    """What goes before the start is due at once, all else when its time has come; nothing is due at full speed."""
    due = [block.due for block in simulated_blocks(market(), TEN, speed=4.0)]

    assert [part.tolist() for part in due if part is not None] == [
        [0, 0],
        [0, SECOND // 4],
        [7 * SECOND // 4],
    ]
    assert [block.due for block in simulated_blocks(market(), TEN, speed=None)] == [None] * 3


@pytest.mark.parametrize("n_ticks", [1, 2, 3, 5])
def test_a_number_of_ticks_ends_the_market(n_ticks: int) -> None:
    """The first so many, neither one more nor one fewer."""
    blocks = simulated_blocks(market(), TEN, speed=None, n_ticks=n_ticks)

    seqs = [seq for block in blocks for seq in block.trades.seq.tolist()]
    assert seqs == list(range(1, n_ticks + 1))


@pytest.mark.parametrize(
    ("end", "n"), [(TEN, 2), (TEN + SECOND, 3), (TEN + SECOND + 1, 4), (TEN + 60 * SECOND, 5)]
)
def test_simulated_time_ends_before_its_end(end: int, n: int) -> None:
    """A trade at the end itself does not go out, nor any later one."""
    blocks = simulated_blocks(market(), TEN, speed=None, end_ns=end)

    assert sum(len(block.trades) for block in blocks) == n


def test_an_undoing_goes_out_when_it_happens() -> None:
    """A bust carries the time of the trade that it undoes; its own time says when it is due."""
    bust = Step(trades_at(TEN, TEN + SECOND, TEN), TEN + SECOND * np.array([0, 1, 2]))

    (block,) = simulated_blocks([bust], TEN, speed=1.0)

    assert block.due is not None
    assert block.due.tolist() == [0, SECOND, 2 * SECOND]


@pytest.mark.parametrize(
    ("start", "end", "seqs"),
    [
        (None, None, [1, 2, 3, 4]),
        (time(10), None, [1, 2, 3, 4]),
        (time(10, 0, 1), None, [2, 4]),
        (None, time(10, 0, 1), [1, 3]),
        (time(10, 0, 1), time(10, 0, 2), [2]),
        (datetime(2026, 7, 17, 14, 0, 2, tzinfo=UTC), None, [4]),
        (time(11), None, [4]),
        (time(9), time(10), []),
    ],
)
def test_a_part_of_a_tape_is_replayed(
    start: time | None, end: time | None, seqs: list[int]
) -> None:
    """From a time to before another, on the day of the tape's first trade, wherever they stand."""
    tape = [
        trades_at(TEN, TEN + SECOND),
        trades_at(TEN, TEN + 24 * 3600 * SECOND + SECOND, first_seq=3),
    ]

    parts = list(between(tape, Calendar.bundled(), start=start, end=end))

    assert [seq for part in parts for seq in part.seq.tolist()] == seqs
    assert all(len(part) for part in parts)


def test_a_replay_keeps_the_distances_of_the_tape() -> None:
    """At twice the speed in half the time; what came late on the tape goes out with what it came after."""
    tape = [
        trades_at(TEN, TEN + 2 * SECOND, TEN + SECOND),
        trades_at(TEN + SECOND, TEN + 10 * SECOND),
    ]

    due = [block.due for block in replayed_blocks(tape, speed=2.0)]

    assert [part.tolist() for part in due if part is not None] == [
        [0, SECOND, SECOND],
        [SECOND, 5 * SECOND],
    ]
    assert [block.due for block in replayed_blocks(tape, speed=None)] == [None, None]


def test_a_json_message_is_a_tick_of_the_contract() -> None:
    """Keyed by symbol, with exact price, time and number."""
    (first, second) = json_messages(trades_at(TEN + 1, TEN + 2), now_ms=0)

    assert [first[1], second[1]] == [b"AAPL", b"BRK.B"]
    assert b'"price":333.7400,' in first[2]
    assert json.loads(second[2]) == {
        "symbol": "BRK.B",
        "price": 333.7401,
        "ts": TEN + 2,
        "size": 100,
        "seq": 2,
        "source": 0,
        "venue": "",
        "cond": "FT",
        "kind": "trade",
    }


def test_a_frame_is_one_of_the_contract() -> None:
    """Header and records byte for byte, at most so many to a frame, frames numbered on."""
    frames = list(
        frame_messages(trades_at(TEN, TEN + 1, TEN + 2), now_ms=0, frame_size=2, first_frame_seq=9)
    )

    assert [key for _, key, _ in frames] == [b"AAPL", b"AAPL"]
    assert [len(value) for _, _, value in frames] == [32 + 80, 32 + 40]
    magic, version, size, count, source, number = struct.unpack_from("<4sHHIIQ", frames[0][2])
    assert (magic, version, size, count, source, number) == (b"TICK", 1, 40, 2, 0, 9)
    assert struct.unpack_from("<Q", frames[1][2], 16) == (10,)
    assert struct.unpack_from("<8sqqQIHBc", frames[0][2], 32 + 40) == (
        *(b"BRK.B\0\0\0", TEN + 1, 3_337_401, 2),
        *(100, 1024 + 32, 0, b"\0"),
    )


KINDS = (
    "trade",
    "cancel",
    "correction",
    "quote_mid",
    "halt",
    "resume",
    "official_open",
    "official_close",
)


def test_every_kind_can_be_written() -> None:
    """By its name in JSON, by its number in a frame."""
    every = replace(trades_at(*[TEN] * 8), kind=np.arange(8, dtype=np.uint8))

    names = [json.loads(value)["kind"] for _, _, value in json_messages(every, now_ms=0)]
    (frame,) = frame_messages(every, now_ms=0, frame_size=8)

    assert tuple(names) == KINDS
    assert every.take(slice(3, 6)).kind.tolist() == [3, 4, 5]
    assert [frame[2][32 + 40 * i + 38] for i in range(8)] == list(range(8))


def test_records_are_stamped_with_now_or_with_an_event_time_ahead() -> None:
    """Law 8, in ms; a frame goes by its newest event."""
    trades = trades_at(TEN, TEN + 3 * MS, TEN + 2 * MS)
    now_ms = TEN // MS + 1

    stamps = [stamp for stamp, _, _ in json_messages(trades, now_ms=now_ms)]
    (frame,) = frame_messages(trades, now_ms=now_ms, frame_size=3)

    assert stamps == [TEN // MS + 1, TEN // MS + 3, TEN // MS + 2]
    assert frame[0] == TEN // MS + 3
