"""JSON ticks against the standard library's json and decimal arithmetic."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import oracle
import wire_oracle as wire
from stream.wire.ticks_json import encode_tick


def tick(**fields: str) -> bytes:
    texts = {"symbol": '"AAPL"', "price": "1.5", "ts": str(wire.NOW)} | fields
    return wire.json_text(texts, list(texts))


@given(wire.POSITIVE_PRICES)
@example("0.00015")
@example("0.00025")
@example("1.00005")
@example("1.00015")
@example("0.00005000000000000000000000000000000000001")
@example("333.74")
@example("2.675")
@example("99999999999999999999")
@example("12345678901234567890.12345678901234567890")
@example("450359962737.04965")
@example("450359962737.04975")
@example("1e-4")
def test_a_price_is_rounded_half_even_as_its_text_says(text: str) -> None:
    """The decimal text decides, not its nearest binary number: once, half even, at the fourth place."""
    decoded = wire.decode([tick(price=text)])

    expected = wire.price_of(text)
    assert decoded.ticks.price.tolist() == ([expected] if expected > 0 else [])
    assert len(decoded.malformed) == (expected <= 0)


@given(st.lists(wire.good_elements(), min_size=1, max_size=6))
def test_good_ticks_mean_what_the_standard_library_reads(parts: list[wire.Element]) -> None:
    """Every field is what json reads from the same text, with the defaults of the contract."""
    decoded = wire.decode([part.text for part in parts])

    expected = []
    for part in parts:
        read = json.loads(part.text, parse_float=Decimal, parse_int=Decimal)
        expected.append(
            (
                wire.row_of(read["symbol"]),
                wire.price_of(str(read["price"])),
                int(read["ts"]),
                int(read.get("seq", 0)),
                oracle.condition_bits(read.get("cond", "@")),
                oracle.KINDS.index(read.get("kind", "trade")),
                min(int(read.get("size", 0)), wire.LARGEST_SIZE),
                wire.venue_of(read.get("venue", "")),
                min(int(read.get("source", 0)), wire.LARGEST_SOURCE),
            )
        )
    assert wire.rows_of(decoded) == expected
    assert decoded.malformed == []


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in wire.WRONG_VALUES.items() for text in texts]
)
def test_a_wrong_field_makes_a_tick_malformed_and_is_named(name: str, text: str) -> None:
    """The detail says which field is wrong."""
    decoded = wire.decode([tick(), tick(**{name: text}), tick()])

    assert decoded.message.tolist() == [0, 2]
    [fault] = decoded.malformed
    assert fault.message == 1
    assert name in fault.detail


@pytest.mark.parametrize("text", ["0", "-1", "0.00005", "1e-300", "-0.00015"])
def test_a_price_that_is_not_positive_is_malformed(text: str) -> None:
    """Zero, less, or what rounds to zero is no price."""
    decoded = wire.decode([tick(price=text)])

    assert len(decoded.ticks) == 0
    [fault] = decoded.malformed
    assert "price" in fault.detail


@pytest.mark.parametrize("text", ["0", "-1", "0.00005"])
def test_a_fault_of_a_single_tick_names_the_whole_message(text: str) -> None:
    """Only ticks of an array or frame have a position in their message."""
    [fault] = wire.decode([tick(price=text)]).malformed
    [other] = wire.decode([tick(price="null")]).malformed

    assert other.element is None
    assert fault.element is None


@pytest.mark.parametrize("text", ["1e30", "1e305", "1.7e308", "9" * 300, "5000000000000000.00005"])
def test_a_price_beyond_all_bounds_is_kept_as_one_that_is_out_of_them(text: str) -> None:
    """However large, it is a well-formed tick that the book will refuse, and arithmetic gives no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = wire.decode([tick(price=text), tick()])

    assert decoded.ticks.price.tolist() == [wire.HUGE, 15_000]


@pytest.mark.parametrize("text", ["-1e30", "-1e305", "-1.7e308", "1e309", "-1e309", "9" * 400])
def test_a_price_below_all_bounds_or_beyond_binary_range_is_malformed(text: str) -> None:
    """It costs only itself, and arithmetic gives no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = wire.decode([tick(price=text), tick()])

    assert decoded.ticks.price.tolist() == [15_000]
    assert [fault.message for fault in decoded.malformed] == [0]


def test_letters_that_are_not_in_the_table_are_counted() -> None:
    """Each unknown letter is counted by itself, and makes its print unknown."""
    decoded = wire.decode([tick(cond='"@?"'), tick(cond='"?*F"'), tick(), tick(cond='"  "')])

    assert decoded.unknown_conditions == Counter({"?": 2, "*": 1})
    assert decoded.ticks.cond.tolist() == [1 | 32768, 32768 | 1024, 1, 0]


@given(
    symbol=st.sampled_from(wire.SYMBOLS + wire.UNKNOWN),
    price=st.integers(1, wire.HUGE),
    ts=st.integers(wire.SINCE_1990, 2**63 - 1),
    size=st.integers(0, 2**64 - 1),
    seq=st.integers(0, 2**64 - 1),
    source=st.integers(0, 2**32 - 1),
    venue=st.sampled_from(("", "N", '"')),
    cond=st.text("".join(oracle.CONDITIONS), max_size=16),
)
def test_an_encoded_tick_decodes_to_itself(
    symbol: str, price: int, ts: int, size: int, seq: int, source: int, venue: str, cond: str
) -> None:
    """What is written is read back to the last digit, by this decoder and by the standard library."""
    message = encode_tick(
        symbol, price, ts, size=size, seq=seq, source=source, venue=venue, cond=cond
    )

    decoded = wire.decode([message])

    bits, kept = oracle.condition_bits(cond), min(size, wire.LARGEST_SIZE)
    meaning = (wire.row_of(symbol), price, ts, seq, bits, 0, kept, wire.venue_of(venue), source)
    assert wire.rows_of(decoded) == [meaning]
    read = json.loads(message, parse_float=Decimal)
    assert read == {
        "symbol": symbol,
        "price": Decimal(price) / 10_000,
        "ts": ts,
        "size": size,
        "seq": seq,
        "source": source,
        "venue": venue,
        "cond": cond,
        "kind": "trade",
    }


@pytest.mark.parametrize(
    "named",
    [
        pytest.param((0, 0, 0), id="no names"),
        pytest.param((0, 2, 0), id="one named"),
        pytest.param((1, 2, 255), id="bytes"),
        pytest.param((1, 256, 2**32 - 1), id="more than bytes"),
        pytest.param((2**32, 2**64, 10**40), id="larger than in frames"),
    ],
)
def test_every_tick_names_its_line(named: tuple[int, ...]) -> None:
    """Names beyond 32 bits count as the largest; a malformed tick leaves its neighbours their lines."""
    texts = [tick(source=str(source)) for source in named]

    decoded = wire.decode([texts[0], tick(price="0", source="9"), *texts[1:]])

    assert decoded.source.dtype == np.uint32
    assert decoded.source.tolist() == [min(source, 2**32 - 1) for source in named]
    assert len(decoded.frames) == 0


def test_a_size_of_no_32_bits_counts_as_the_largest_that_has_them() -> None:
    """As in frames, which cannot say more; neighbours keep theirs."""
    sizes = (0, 2**32 - 1, 2**32, 10**40)

    decoded = wire.decode([tick(size=str(size)) for size in sizes])

    assert decoded.ticks.size.dtype == np.uint32
    assert decoded.ticks.size.tolist() == [0, 2**32 - 1, 2**32 - 1, 2**32 - 1]


@pytest.mark.parametrize(
    ("text", "venue"), [('""', 0), ('"N"', 78), ('"NN"', 63), ('"É"', 63), ('"\\u0080"', 63)]
)
def test_a_venue_is_an_ascii_letter_or_one_that_no_table_has(text: str, venue: int) -> None:
    """The tick is good all the same; one without a venue has none."""
    decoded = wire.decode([tick(), tick(venue=text)])

    assert decoded.ticks.venue.dtype == np.uint8
    assert decoded.ticks.venue.tolist() == [0, venue]


def test_arrays_and_single_ticks_mean_the_same() -> None:
    """A tick in an array is the tick alone, but for its position."""
    texts = [tick(seq=str(i), price=f"{i}.5") for i in range(1, 6)]

    single, array = wire.decode(texts), wire.decode([b"[" + b",".join(texts) + b"]"])

    assert wire.rows_of(single) == wire.rows_of(array)
    assert wire.places_of(single) == [(i, 0) for i in range(5)]
    assert wire.places_of(array) == [(0, i) for i in range(5)]


def test_an_empty_array_holds_nothing() -> None:
    """It is well-formed, and no tick."""
    decoded = wire.decode([b"[]", b"[ ]"])

    assert (len(decoded.ticks), decoded.malformed) == (0, [])
