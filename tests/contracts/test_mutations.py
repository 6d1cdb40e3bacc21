"""Damaged messages, by the thousand: nothing raises, and each tick is accounted for (law 9).

A million of them: `python -m pytest tests/contracts/test_mutations.py --mutations 1000000`.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecord
from faust.types import TP

import damage
import wire_oracle as wire
import wire_reader
from oracle import Line, Plan, World
from strategies import composition_of
from stream.index.control import Announcement
from stream.index.lines import Lines
from stream.pipeline.dead_letters import LONGEST_VALUE, DeadLetter, DeadLetters
from stream.pipeline.intake import Intake
from stream.pipeline.transport import FetchedBatch
from stream.session.calendar import Calendar
from stream.wire.decoded import Decoded
from wire_oracle import Message, Row

FIRST_SEED = 20_260_717
#: Messages of one seed.
BLOCK = 2_000
PARTITIONS = 3
HOURS = Calendar.bundled()

#: One index of all symbols, so that every applied tick goes into a sum.
COMPOSITION = composition_of(
    World(
        tuple(
            Line(symbol, 10**6, Fraction(10**7), None, frozenset(("ALL",)))
            for symbol in wire.SYMBOLS
        ),
        (Plan("ALL", "float_cap", None, None, Decimal(1000), None),),
    )
)

#: Reasons for which a tick is kept as a dead letter.
BURIED = ("malformed", "unknown_symbol", "future", "wrong_partition")


@pytest.mark.timeout(3600)
def test_damaged_messages_are_decoded_or_refused_tick_by_tick(
    request: pytest.FixtureRequest,
) -> None:
    """What is good by an independent reading is decoded, all else is malformed, and the account of both adds up."""
    n = request.config.getoption("--mutations")
    told: Counter[str] = Counter()
    for number, start in enumerate(range(0, n, BLOCK)):
        seed = FIRST_SEED + number
        try:
            told += check_block(seed, min(BLOCK, n - start))
        except Exception as error:
            error.add_note(f"seed {seed}, {BLOCK} messages")
            raise

    # Damage that spoils nothing, or everything, would prove nothing.
    assert told["messages"] > 0.98 * n
    for name in ("applied", "malformed", "unknown_symbol", "ineligible", "frames", "controls"):
        assert told[name] >= n // 100, told


def check_block(seed: int, n: int) -> Counter[str]:
    rng = random.Random(seed)
    values = [value for value in damage.messages(rng, n) if can_be_told(value)]
    decoded = wire.decode(values)
    log = [
        wire_reader.read(value) or as_decoded(value, number, decoded)
        for number, value in enumerate(values)
    ]

    check_decoded(decoded, log)
    check_portions(values, decoded, rng)
    check_lines(decoded, rng.randrange(len(log)))
    account = check_applied(log, rng)
    return account + Counter(
        messages=len(log), frames=len(decoded.frames), controls=len(decoded.controls)
    )


def can_be_told(value: bytes | None) -> bool:
    """Tell whether the contract says what is in a message, or at least that it is one control record or malformed.

    Announcements of compositions that nobody knows are left out: a worker waits for them.
    """
    if value is not None and value.startswith(b"CTRL"):
        controls = [control for _, control in wire.decode([value]).controls]
        return not any(isinstance(control, Announcement) for control in controls)
    return wire_reader.read(value) is not None


def as_decoded(value: bytes | None, number: int, decoded: Decoded) -> Message:
    """Believe the decoder which control records are good."""
    controls = sum(message == number for message, _ in decoded.controls)
    assert controls <= 1
    return Message(value, () if controls else (None,), controls=controls)


def check_decoded(decoded: Decoded, log: Sequence[Message]) -> None:
    found: dict[int, dict[int, Row | None]] = defaultdict(dict)
    for (place, element), row in zip(wire.places_of(decoded), wire.rows_of(decoded), strict=True):
        found[place][element] = row
    for fault in decoded.malformed:
        assert found[fault.message].setdefault(fault.element or 0, None) is None
    for number, message in enumerate(log):
        assert found[number] == dict(enumerate(message.meanings)), message.value
    assert len(decoded.ticks) + len(decoded.malformed) == sum(len(one.meanings) for one in log)
    assert decoded.message.tolist() == sorted(decoded.message.tolist())
    assert wire.headers_of(decoded) == [
        (number, *message.header) for number, message in enumerate(log) if message.header
    ]
    assert all(fault.detail for fault in decoded.malformed)


def check_portions(values: Sequence[bytes | None], whole: Decoded, rng: random.Random) -> None:
    """Decode a few at a time: then messages of one kind are together, and decoded at once."""
    rows: list[Row] = []
    faults: list[tuple[int, int, str]] = []
    start = 0
    while start < len(values):
        stop = start + rng.choice((1, 2, 10))
        part = wire.decode(values[start:stop], after=start)
        rows += wire.rows_of(part)
        faults += wire.faults_of(part, after=start)
        start = stop
    assert rows == wire.rows_of(whole)
    assert sorted(faults) == wire.faults_of(whole)


def check_lines(decoded: Decoded, cut: int) -> None:
    """Give the gap counters whatever numbers there are: where the log is cut changes none of theirs."""
    states = []
    for edges in ((0, 2**31), (0, cut, 2**31)):
        lines = Lines(len(wire.SYMBOLS))
        for first, last in pairwise(edges):
            start, stop = np.searchsorted(decoded.message, (first, last)).tolist()
            lines.see(
                decoded.ticks.take(slice(start, stop)),
                np.zeros(stop - start, np.uint8),
                source=decoded.source[start:stop],
                message=decoded.message[start:stop],
                frames=decoded.frames.within(first, last),
            )
        states.append(Lines.restore(lines.state()).state())
    assert states[0] == states[1]


def check_applied(log: Sequence[Message], rng: random.Random) -> Counter[str]:
    dead_letters = DeadLetters(per_s=10**9)
    intake = Intake(COMPOSITION, calendar=HOURS, dead_letters=dead_letters, topic="ticks")
    intake.own(range(PARTITIONS))
    message_at: dict[tuple[int, int], Message] = {}
    letters: list[DeadLetter] = []
    for batches in fetches(log, message_at, rng):
        intake.apply(batches)
        letters += dead_letters.take(len(dead_letters))

    account = intake.account
    meanings = [meaning for message in log for meaning in message.meanings]
    assert account.ticks == len(meanings)
    assert account.applied + account.refused.total() == account.ticks
    assert account.refused["malformed"] == meanings.count(None)
    assert account.refused["unknown_symbol"] == sum(
        one is not None and one[0] < 0 for one in meanings
    )
    check_letters(letters, message_at)
    buried = sum(account.refused[reason] for reason in BURIED)
    assert len(letters) + dead_letters.dropped == buried
    for book in intake.books.values():
        assert book.partial().same_values(book.recomputed())
    return account.refused + Counter(applied=account.applied, ticks=account.ticks)


def fetches(
    log: Sequence[Message], message_at: dict[tuple[int, int], Message], rng: random.Random
) -> Iterator[list[FetchedBatch]]:
    """Deal messages out to partitions, in fetches of a few, and note where each one stands."""
    offsets = [0] * PARTITIONS
    position = 0
    while position < len(log):
        records: dict[int, list[DefaultRecord]] = defaultdict(list)
        size = rng.choice((1, 5, 50, 200))
        for message in log[position : position + size]:
            partition = rng.randrange(PARTITIONS)
            offset = offsets[partition] = offsets[partition] + rng.choice((1, 1, 2))
            message_at[partition, offset] = message
            stamp = (
                wire.RECORDED_MS if rng.random() < 0.99 else rng.choice((-1, 0, 2**62, -(2**63)))
            )
            records[partition].append(DefaultRecord(offset, stamp, 0, None, message.value, []))
        position += size
        yield [
            FetchedBatch(TP("ticks", partition), batch, batch[-1].offset + 1, batch[-1].offset + 1)
            for partition, batch in records.items()
        ]


def check_letters(
    letters: Sequence[DeadLetter], message_at: dict[tuple[int, int], Message]
) -> None:
    """Each names its origin: one tick, good or not as its reason says, in the very message whose bytes it holds."""
    named = set()
    for letter in letters:
        message = message_at[letter.partition, letter.offset]
        meaning = message.meanings[letter.element or 0]
        named.add((letter.partition, letter.offset, letter.element))
        assert letter.topic == "ticks"
        assert letter.reason in BURIED
        assert letter.body() == (message.value or b"")[:LONGEST_VALUE]
        assert (meaning is None) == (letter.reason == "malformed")
        assert (letter.element is not None) >= (len(message.meanings) > 1)
        if meaning is not None:
            assert (meaning[0] < 0) == (letter.reason == "unknown_symbol")
        assert letter.headers()["offset"] == b"%d" % letter.offset
    assert len(named) == len(letters)
