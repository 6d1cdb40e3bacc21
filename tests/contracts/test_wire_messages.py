"""The ticks topic, any messages in any order: each tick is counted once, good or malformed, and nothing raises."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import wire_oracle as wire
from stream.index.control import Control, OriginRecord
from stream.wire.messages import decode_messages

LOGS = st.lists(wire.MESSAGES, max_size=8)


@given(LOGS)
def test_every_tick_is_decoded_as_the_contract_says_or_malformed(log: list[wire.Message]) -> None:
    """Good ticks come out in the order of the log; each bad one and each unreadable message counts once."""
    decoded = wire.decode([message.value for message in log])

    good = [
        (number, position, meaning)
        for number, message in enumerate(log)
        for position, meaning in enumerate(message.meanings)
        if meaning is not None
    ]
    bad = [n for n, message in enumerate(log) for meaning in message.meanings if meaning is None]
    assert wire.rows_of(decoded) == [meaning for _, _, meaning in good]
    assert wire.places_of(decoded) == [(number, position) for number, position, _ in good]
    assert sorted(fault.message for fault in decoded.malformed) == bad
    assert decoded.ticks.recorded.tolist() == [
        (wire.RECORDED_MS + number) * 1_000_000 for number, _, _ in good
    ]
    assert all(fault.detail for fault in decoded.malformed)
    assert wire.headers_of(decoded) == [
        (number, *message.header) for number, message in enumerate(log) if message.header
    ]


@given(LOGS)
def test_malformed_elements_are_named_by_their_position(log: list[wire.Message]) -> None:
    """A bad tick of an array or frame is named by its position, so it can be found again."""
    decoded = wire.decode([message.value for message in log])

    for fault in decoded.malformed:
        message = log[fault.message]
        if len(message.meanings) > 1:
            assert fault.element is not None
            assert message.meanings[fault.element] is None


@given(LOGS)
def test_control_records_name_their_message(log: list[wire.Message]) -> None:
    """Each control record comes with the position of its message in the log."""
    decoded = wire.decode([message.value for message in log])

    expected = [
        (number, OriginRecord("replay"))
        for number, message in enumerate(log)
        for _ in range(message.controls)
    ]
    assert decoded.controls == expected


@given(LOGS, st.data())
def test_decoding_in_any_portions_gives_the_same_ticks_and_faults(
    log: list[wire.Message], data: st.DataObject
) -> None:
    """One message at a time, all together, or any portions of a log: the same account."""
    values = [message.value for message in log]
    whole = wire.decode(values)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(values)))) | {0, len(values)})

    for ends in (cuts, range(len(values) + 1)):
        rows: list[wire.Row] = []
        faults: list[tuple[int, int, str]] = []
        controls: list[tuple[int, Control]] = []
        recorded: list[int] = []
        headers: list[wire.Header] = []
        unknown = 0
        for start, stop in zip(ends, list(ends)[1:], strict=False):
            part = wire.decode(values[start:stop], after=start)
            controls += [(start + n, control) for n, control in part.controls]
            rows += wire.rows_of(part)
            headers += wire.headers_of(part, after=start)
            recorded += part.ticks.recorded.tolist()
            faults += wire.faults_of(part, after=start)
            unknown += part.unknown_conditions.total()
        assert rows == wire.rows_of(whole)
        assert recorded == whole.ticks.recorded.tolist()
        assert headers == wire.headers_of(whole)
        assert sorted(faults) == wire.faults_of(whole)
        assert controls == whole.controls
        assert unknown == whole.unknown_conditions.total()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a message of ours whose bytes have been changed, cut, repeated or inserted."""
    value = bytearray(draw(wire.MESSAGES.filter(lambda message: message.value)).value or b"")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(value)))
        match draw(st.sampled_from(("set", "set", "cut", "insert", "repeat", "end"))):
            case "set":
                value[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del value[at : at + draw(st.integers(1, 9))]
            case "insert":
                value[at:at] = draw(
                    st.one_of(st.binary(max_size=4), st.sampled_from((b'"', b"[", b"}", b"\xff")))
                )
            case "repeat":
                value[at:at] = value[at : at + 40]
            case _:
                del value[at:]
    return bytes(value)


@given(st.lists(st.one_of(damaged(), st.none(), st.binary(max_size=80)), min_size=1, max_size=5))
@example([b'CTRL{"type":"\xff"}'])
@example([b'CTRL{"type":"origin","origin":"\xff"}'])
@example([b'{"\xff":1}', b'["\xff"]'])
def test_no_bytes_whatever_make_the_decoder_raise(values: list[bytes | None]) -> None:
    """Damaged messages and noise are accounted for: alone each counts at least once, together the same."""
    whole = wire.decode(values)

    rows: list[wire.Row] = []
    faults: list[tuple[int, int, str]] = []
    for number, value in enumerate(values):
        alone = wire.decode([value], after=number)
        rows += wire.rows_of(alone)
        faults += wire.faults_of(alone, after=number)
        n = len(alone.ticks) + len(alone.malformed) + len(alone.controls)
        if (value or b"")[:1] != b"[" and (value or b"")[:4] != b"TICK":
            assert n == 1
    assert rows == wire.rows_of(whole)
    assert sorted(faults) == wire.faults_of(whole)


@given(wire.json_messages(), damaged())
def test_a_good_tick_beside_a_bad_one_is_decoded_as_alone(
    message: wire.Message, bad: bytes
) -> None:
    """What stands before or after a message does not change what is read from it."""
    alone = wire.decode([message.value])

    after = wire.decode([bad, message.value])
    before = wire.decode([message.value, bad])

    n_bad = len(wire.decode([bad]).ticks)
    assert wire.rows_of(after)[n_bad:] == wire.rows_of(alone)
    assert wire.rows_of(before)[: len(alone.ticks)] == wire.rows_of(alone)


GOOD = b'{"symbol":"AAPL","price":1.5,"ts":1784304000000000000}'
BAD = b'{"symbol":"AAPL","price":-1,"ts":1784304000000000000}'


def test_a_message_is_told_apart_by_its_first_byte_whatever_came_before_it() -> None:
    """A blank before the brace is no JSON of the contract, alone or behind good ticks."""
    for values in ([b" " + GOOD], [GOOD, b" " + GOOD], [GOOD, b"\n" + GOOD, GOOD]):
        decoded = wire.decode(values)

        assert len(decoded.ticks) == values.count(GOOD)
        assert len(decoded.malformed) == 1


@pytest.mark.parametrize(
    ("value", "good", "malformed"),
    [
        pytest.param(b"[" * 900_000, 0, 1, id="deep arrays"),
        pytest.param(b'{"a":' * 180_000, 0, 1, id="deep objects"),
        pytest.param(
            GOOD[:-1] + b',"x":' + b"[" * 300_000 + b"]" * 300_000 + b"}", 0, 1, id="deep field"
        ),
        pytest.param(b"CTRL" + b'{"a":' * 180_000, 0, 1, id="deep control"),
        pytest.param(b"{" + b"x" * 900_000, 0, 1, id="no JSON"),
        pytest.param(b"\0" * 900_000, 0, 1, id="zeros"),
        pytest.param(b"TICK" + b"\0" * 900_000, 0, 1, id="no frame"),
        pytest.param(b'{"symbol":"' + b"A" * 900_000 + GOOD[15:], 0, 1, id="long symbol"),
        pytest.param(GOOD[:-1] + b',"note":"' + b"x" * 900_000 + b'"}', 1, 0, id="long note"),
        pytest.param(GOOD[:-1] + b',"seq":' + b"9" * 900_000 + b"}", 0, 1, id="long seq"),
        pytest.param(GOOD[:-1] + b',"price":1.' + b"0" * 900_000 + b"5}", 1, 0, id="long price"),
        pytest.param(GOOD[:-1] + b',"price":1.00005' + b"0" * 90_000 + b"5}", 1, 0, id="long tie"),
        pytest.param(b"[" + b",".join([GOOD, BAD] * 8000) + b"]", 8000, 8000, id="long array"),
        pytest.param(b"[" + b"1," * 449_999 + b"1]", 0, 450_000, id="numbers"),
        pytest.param(
            b"[" + b"[" * 300_000 + b"]" * 300_000 + b"," + GOOD + b"]", 0, 1, id="deep element"
        ),
    ],
)
def test_a_large_message_is_accounted_for(value: bytes, good: int, malformed: int) -> None:
    """Close to a megabyte of anything neither raises nor loses count."""
    decoded = wire.decode([GOOD, value, GOOD])

    assert (len(decoded.ticks) - 2, len(decoded.malformed)) == (good, malformed)


def test_no_messages_hold_no_ticks() -> None:
    """An empty batch gives empty columns of the right types."""
    decoded = decode_messages([], np.zeros(0, np.int64), wire.TABLE)

    assert len(decoded.ticks) == 0
    assert decoded.ticks.seq.dtype == np.uint64
    assert decoded.message.dtype == decoded.element.dtype == np.int64
    assert decoded.source.dtype == np.uint32
    assert len(decoded.source) == len(decoded.frames) == 0
    assert (decoded.malformed, decoded.controls) == ([], [])


def test_runs_of_all_kinds_keep_the_order_of_the_log() -> None:
    """Frames, objects, arrays and control records, mixed thousands of times, come out in their order."""
    rng = random.Random(7)
    values, expected = [], []
    for number in range(3000):
        source = number % 4
        meaning = (0, number + 1, wire.NOW, 0, 1, 0, 100, ord("Q"), source)
        price = f"{(number + 1) / 10_000:.4f}"
        rest = f'"ts":{wire.NOW},"size":100,"venue":"Q","source":{source}'
        text = f'{{"symbol":"AAPL","price":{price},{rest}}}'.encode()
        values.append(
            rng.choice(
                (
                    text,
                    b"[" + text + b"]",
                    wire.frame(
                        [wire.record(b"AAPL", wire.NOW, number + 1, 0, 100, 1, 0, 81)],
                        source=source,
                    ),
                )
            )
        )
        expected.append(meaning)
        values += rng.choices((wire.CONTROL, b"junk"), k=rng.randrange(2))

    decoded = wire.decode(values)

    assert wire.rows_of(decoded) == expected
    assert [values[i][:1] != b"j" for i in decoded.message.tolist()] == [True] * 3000
    assert len(decoded.malformed) == values.count(b"junk")
    assert len(decoded.controls) == values.count(wire.CONTROL)
