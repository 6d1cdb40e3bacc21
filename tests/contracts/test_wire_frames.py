"""Binary frames against records packed field by field."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wire_oracle as wire
from stream.wire import frames

GOOD = wire.record(b"AAPL", wire.NOW, 15_000, 7, 100, 1, 0, ord("Q"))


@given(st.lists(wire.frame_messages(), min_size=1, max_size=5))
def test_frames_decode_to_the_records_that_were_packed(log: list[wire.Message]) -> None:
    """Good records of whole frames come out in order; a frame that does not fit its header counts once."""
    decoded = wire.decode([message.value for message in log])

    meanings = [meaning for message in log for meaning in message.meanings]
    assert wire.rows_of(decoded) == [meaning for meaning in meanings if meaning is not None]
    assert len(decoded.malformed) == meanings.count(None)
    assert wire.headers_of(decoded) == [
        (number, *message.header) for number, message in enumerate(log) if message.header
    ]


@given(st.lists(wire.records(), max_size=6), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_an_encoded_frame_is_the_packed_one(
    parts: list[wire.Element], source: int, frame_seq: int
) -> None:
    """What is written is byte for byte the frame of the contract."""
    texts = [part.text for part in parts]
    array = np.frombuffer(b"".join(texts), frames.RECORD)

    message = frames.encode(array, source=source, frame_seq=frame_seq)

    assert message == wire.frame(texts, source=source, frame_seq=frame_seq)


@pytest.mark.parametrize(
    "symbol",
    [b"A\0\0\0\0\0\0\0", b"A       ", b"A\0      ", b"A \0\0\0\0\0\0", b"A\0 \0 \0 \0"],
)
def test_a_symbol_is_known_with_any_padding(symbol: bytes) -> None:
    """NUL, space, or a mixture of both fill the eight bytes."""
    decoded = wire.decode([wire.frame([wire.record(symbol, wire.NOW, 1, 0, 0, 1, 0, 0)])])

    assert decoded.ticks.row.tolist() == [wire.SYMBOLS.index("A")]


@pytest.mark.parametrize(
    "symbol",
    [
        b"\0" * 8,
        b" " * 8,
        b" A\0\0\0\0\0\0",
        b"A\0B\0\0\0\0\0",
        b"A B\0\0\0\0\0",
        b"A\xc9\0\0\0\0\0\0",
    ],
)
def test_eight_bytes_that_are_no_symbol_are_malformed(symbol: bytes) -> None:
    """Nothing, blanks in front or inside, or other than printable ASCII."""
    bad = wire.record(symbol, wire.NOW, 1, 0, 0, 1, 0, 0)

    decoded = wire.decode([wire.frame([GOOD, bad, GOOD])])

    assert decoded.element.tolist() == [0, 2]
    [fault] = decoded.malformed
    assert (fault.message, fault.element) == (0, 1)
    assert "symbol" in fault.detail


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        (wire.record(b"AAPL", wire.NOW, 0, 0, 0, 1, 0, 0), "price"),
        (wire.record(b"AAPL", wire.NOW, -5, 0, 0, 1, 0, 0), "price"),
        (wire.record(b"AAPL", wire.SINCE_1990 - 1, 1, 0, 0, 1, 0, 0), "ts"),
        (wire.record(b"AAPL", wire.NOW, 1, 0, 0, 1, 8, 0), "kind"),
        (wire.record(b"AAPL", wire.NOW, 1, 0, 0, 1, 0, 128), "venue"),
    ],
)
def test_a_bad_record_costs_only_itself_and_names_its_field(bad: bytes, name: str) -> None:
    """The good records around it are kept."""
    decoded = wire.decode([wire.frame([GOOD]), wire.frame([GOOD, bad, GOOD])])

    assert wire.places_of(decoded) == [(0, 0), (1, 0), (1, 2)]
    [fault] = decoded.malformed
    assert (fault.message, fault.element) == (1, 1)
    assert f"`{name}`" in fault.detail


@pytest.mark.parametrize(
    "record",
    [
        wire.record(b"AAPL", wire.SINCE_1990, 1, 0, 0, 0, 0, 0),
        wire.record(b"AAPL", 2**63 - 1, 2**63 - 1, 2**64 - 1, 2**32 - 1, 65535, 7, 127),
    ],
)
def test_the_least_and_the_largest_of_every_field_are_good(record: bytes) -> None:
    """The edges of the contract lie inside it."""
    decoded = wire.decode([wire.frame([record])])

    assert (len(decoded.ticks), decoded.malformed) == (1, [])


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"TICK", "header of 32 bytes"),
        (wire.frame([GOOD])[:31], "header of 32 bytes"),
        (wire.frame([GOOD], version=2), "version"),
        (wire.frame([GOOD], record_size=48), "record size"),
        (wire.frame([GOOD], count=2), "count"),
        (wire.frame([GOOD]) + b"\0", "count"),
        (wire.frame([GOOD])[:-1], "count"),
    ],
)
def test_a_frame_that_does_not_fit_its_header_is_malformed_as_a_whole(
    message: bytes, words: str
) -> None:
    """It counts once, says why, and leaves its neighbours alone."""
    decoded = wire.decode([wire.frame([GOOD]), message, wire.frame([GOOD])])

    assert decoded.message.tolist() == [0, 2]
    [fault] = decoded.malformed
    assert (fault.message, fault.element) == (1, None)
    assert words in fault.detail


def test_a_frame_of_no_records_holds_nothing() -> None:
    """It is well-formed, and no tick; its number counts."""
    decoded = wire.decode([wire.frame([], source=7, frame_seq=5)])

    assert (len(decoded.ticks), decoded.malformed) == (0, [])
    assert wire.headers_of(decoded) == [(0, 7, 5)]


def test_ticks_carry_the_line_of_their_frame() -> None:
    """Also beside bad records, unreadable frames and frames without a good record, whose numbers count all the same."""
    bad = wire.record(b"AAPL", wire.NOW, 0, 0, 0, 1, 0, 0)

    decoded = wire.decode(
        [
            wire.frame([GOOD, bad, GOOD], source=2**32 - 1, frame_seq=2**64 - 1),
            wire.frame([GOOD], source=8, frame_seq=1)[:-1],
            wire.frame([bad], source=1, frame_seq=4),
            wire.frame([GOOD], source=1, frame_seq=0),
        ]
    )

    assert decoded.source.dtype == decoded.frames.source.dtype == np.uint32
    assert decoded.frames.message.dtype == np.int64
    assert decoded.frames.seq.dtype == np.uint64
    assert decoded.source.tolist() == [2**32 - 1, 2**32 - 1, 1]
    assert wire.headers_of(decoded) == [(0, 2**32 - 1, 2**64 - 1), (2, 1, 4), (3, 1, 0)]


def test_conditions_that_a_feed_could_not_translate_are_counted() -> None:
    """Frames carry bits, so all unknown letters count under one name."""
    unknown = wire.record(b"AAPL", wire.NOW, 1, 0, 0, 32768 | 1, 0, 0)

    decoded = wire.decode([wire.frame([GOOD, unknown, unknown])])

    assert decoded.unknown_conditions == Counter({frames.UNKNOWN_BIT: 2})


def test_symbols_are_written_as_eight_bytes_padded_with_nul() -> None:
    """The first byte of the symbol is the first on the wire."""
    keys = frames.symbol_keys(["A", "BRK.B", "ABCDEFGH"])

    assert keys.astype("<u8").tobytes() == b"A\0\0\0\0\0\0\0BRK.B\0\0\0ABCDEFGH"


def test_a_frame_of_thousands_decodes_record_by_record() -> None:
    """Position and message of every record are its own, over many frames of different lengths."""
    log, expected = [], []
    for number in range(40):
        records = []
        for position in range(number * 7 % 90):
            symbol = (wire.SYMBOLS + wire.UNKNOWN)[position % 11]
            price = 1 + number * 1000 + position
            records.append(wire.record(symbol.encode(), wire.NOW, price, 0, 0, 1, 0, 0))
            expected.append((number, position, wire.row_of(symbol), price))
        log.append(wire.frame(records))

    decoded = wire.decode(log)

    t = decoded.ticks
    columns = (decoded.message, decoded.element, t.row, t.price)
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == expected
