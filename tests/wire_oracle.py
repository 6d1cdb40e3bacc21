"""Messages of the ticks topic together with what the contract says is in them, element by element."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

import oracle
from stream.wire.decoded import Decoded
from stream.wire.messages import decode_messages
from stream.wire.symbols import SymbolTable

SYMBOLS = ("AAPL", "BRK.B", "A", "ABCDEFGH", 'Q"1', "\\", "a/b", "{x}")
UNKNOWN = ("ZZZZ", "AAP", "AAPLE", "ABCDEFG", '"', "\\\\", "aapl")
TABLE = SymbolTable(SYMBOLS)

SINCE_1990 = 631_152_000 * 10**9
NOW = 1_784_304_000 * 10**9
RECORDED_MS = 1_784_304_000_123
#: Prices from here on are all out of any bounds, and stand as this one.
HUGE = 2**62

#: Lines named by larger numbers all count as this one.
LARGEST_SOURCE = 2**32 - 1

#: Larger sizes all count as this one.
LARGEST_SIZE = 2**32 - 1

#: A tick as the engine sees it: row, price, ts, seq, cond, kind, size, venue, source.
Row = tuple[int, int, int, int, int, int, int, int, int]

#: A frame's header as the engine sees it: message, source, frame_seq.
Header = tuple[int, int, int]


@dataclass(frozen=True)
class Element:
    """One tick of a message: what it means, or None where it is malformed."""

    text: bytes
    meaning: Row | None


@dataclass(frozen=True)
class Message:
    """One message: its bytes and the meaning of each of its ticks; a message that cannot be read has one, None.

    A frame that can be read has a header besides: its source and its number.
    """

    value: bytes | None
    meanings: tuple[Row | None, ...]
    controls: int = 0
    header: tuple[int, int] | None = None


def row_of(symbol: str) -> int:
    """Find a symbol by looking through the list."""
    return SYMBOLS.index(symbol) if symbol in SYMBOLS else -1


def price_of(text: str) -> int:
    """Read a price as its decimal text says, in 1/10000 dollar."""
    return min(oracle.half_even(Fraction(Decimal(text)) * 10_000), HUGE)


def venue_of(text: str) -> int:
    """Read a venue: nothing, one ASCII letter, or another text, which stands as `?`."""
    if text == "":
        return 0
    return ord(text) if len(text) == 1 and ord(text) < 128 else ord("?")


def rows_of(decoded: Decoded) -> list[Row]:
    """Give the good ticks of a decoder as rows."""
    t = decoded.ticks
    columns = (t.row, t.price, t.ts, t.seq, t.cond, t.kind, t.size, t.venue, decoded.source)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def headers_of(decoded: Decoded, *, after: int = 0) -> list[Header]:
    """Give the headers of good frames."""
    frames = decoded.frames
    columns = ((frames.message + after).tolist(), frames.source.tolist(), frames.seq.tolist())
    return list(zip(*columns, strict=True))


def places_of(decoded: Decoded) -> list[tuple[int, int]]:
    """Give message and element of each good tick."""
    return list(zip(decoded.message.tolist(), decoded.element.tolist(), strict=True))


def faults_of(decoded: Decoded, *, after: int = 0) -> list[tuple[int, int, str]]:
    """Give message, element and detail of what is malformed, in the order of the log."""
    return sorted(
        (after + one.message, -1 if one.element is None else one.element, one.detail)
        for one in decoded.malformed
    )


def recorded_ms(n: int, *, after: int = 0) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Give the record timestamps of consecutive messages."""
    return RECORDED_MS + np.arange(after, after + n, dtype=np.int64)


def decode(values: Sequence[bytes | None], *, after: int = 0) -> Decoded:
    """Decode messages that stand after some others."""
    return decode_messages(values, recorded_ms(len(values), after=after), TABLE)


# ---------------------------------------------------------------------------------------------
# JSON

_DIGITS = st.text("0123456789", min_size=1, max_size=22)
_TIES = st.builds(
    lambda whole, units, tail: f"{whole}.{units:04d}5{tail}",
    st.integers(0, 10**7),
    st.integers(0, 9999),
    st.sampled_from(("", "0", "000", "0" * 30, "0" * 20 + "1", "1")),
)
_NEAR_TIES = st.builds(
    lambda whole, units, nines: f"{whole}.{units:04d}4{'9' * nines}",
    st.integers(0, 10**6),
    st.integers(0, 9999),
    st.integers(1, 25),
)
_PLAIN = st.builds(lambda n: f"{n // 10_000}.{n % 10_000:04d}", st.integers(1, 10**11))
_LONG = st.builds(lambda whole, rest: f"{int(whole)}.{rest}", _DIGITS, _DIGITS)
_WHOLE = st.integers(1, 10**20).map(str)
_POWERS = st.builds(
    lambda digits, sign, exponent: f"{digits}{sign}{exponent}",
    st.sampled_from(("1", "5", "15", "25", "2.5", "9.99995", "33374", "0.00015", "1.00005")),
    st.sampled_from(("e-", "E-", "e", "e+", "E0")),
    st.integers(0, 8),
)
POSITIVE_PRICES = st.one_of(_PLAIN, _PLAIN, _TIES, _NEAR_TIES, _LONG, _WHOLE, _POWERS)
REFUSED_PRICES = st.sampled_from(
    (
        "0",
        "0.0",
        "-0.0",
        "-1",
        "-1.00005",
        "0.00005",
        "0.00004999",
        "1e-5",
        "5e-5",
        "-12345.6789",
        "1e-300",
    )
)
UNREADABLE_NUMBERS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    ".5",
    "1.",
    "+1",
    "01",
    "1e",
    "0x1",
    "--1",
)

_CONDS = st.one_of(
    st.just("@"),
    st.text("".join(oracle.CONDITIONS) + " ?*é", max_size=16),
)
_VENUES = st.sampled_from(("", "", "N", "Q", "D", "?", "\x7f", "\x80", "É", "NN", "XNAS"))
_SIZES = st.one_of(st.integers(0, 2**70), st.sampled_from((100, 2**32 - 1, 2**32)))
SOURCES = st.sampled_from((0, 0, 1, 2, 3, 255, 256, 2**32 - 1, 2**32, 2**63, 2**64, 10**30))


def json_text(fields: dict[str, str], order: Sequence[str], gap: str = "") -> bytes:
    """Write an object whose values are texts already."""
    members = (f"{json.dumps(name)}{gap}:{gap}{fields[name]}" for name in order)
    return ("{" + gap + f",{gap}".join(members) + gap + "}").encode()


@st.composite
def json_fields(draw: st.DrawFn) -> tuple[dict[str, str], Row]:
    """Draw the fields of a good JSON tick, and its meaning."""
    symbol = draw(st.sampled_from(SYMBOLS + SYMBOLS + UNKNOWN))
    price = draw(POSITIVE_PRICES.filter(lambda text: price_of(text) > 0))
    ts = draw(st.one_of(st.integers(NOW, NOW + 9), st.integers(SINCE_1990, 2**63 - 1)))
    fields = {"symbol": json.dumps(symbol), "price": price, "ts": str(ts)}
    meaning: dict[str, Any] = {"seq": 0, "cond": "@", "kind": "trade", "source": 0}
    meaning |= {"size": 0, "venue": ""}
    optional: dict[str, st.SearchStrategy[Any]] = {
        "size": _SIZES,
        "seq": st.integers(0, 2**64 - 1),
        "source": SOURCES,
        "venue": _VENUES,
        "cond": _CONDS,
        "kind": st.sampled_from(oracle.KINDS),
        "note": st.sampled_from(("x", [1, {"symbol": "A"}], None, {"price": 1})),
    }
    for name in draw(st.frozensets(st.sampled_from(sorted(optional)))):
        value = draw(optional[name])
        fields[name] = json.dumps(value, ensure_ascii=draw(st.booleans()))
        meaning[name] = value
    row = (
        row_of(symbol),
        price_of(price),
        ts,
        int(meaning["seq"]),
        oracle.condition_bits(str(meaning["cond"])),
        oracle.KINDS.index(str(meaning["kind"])),
        min(int(meaning["size"]), LARGEST_SIZE),
        venue_of(str(meaning["venue"])),
        min(int(meaning["source"]), LARGEST_SOURCE),
    )
    return fields, row


@st.composite
def good_elements(draw: st.DrawFn) -> Element:
    """Draw a well-formed JSON tick, its members in any order, with or without blanks."""
    fields, meaning = draw(json_fields())
    order = draw(st.permutations(sorted(fields)))
    return Element(json_text(fields, order, draw(st.sampled_from(("", " ", "\n\t")))), meaning)


WRONG_VALUES = {
    "symbol": ('""', '"NINECHARS"', '"A B"', '"É"', '"A\\u0000"', '" A"', "1", "null", "[]"),
    "price": ('"1.5"', "null", "true", "[1]", "{}", '""'),
    "ts": (
        "631151999999999999",
        "9223372036854775808",
        "0",
        "-1",
        "1784304000000000000.5",
        "1.784304e18",
        '"1784304000000000000"',
        "null",
        "1" + "0" * 30,
    ),
    "seq": ("-1", "18446744073709551616", "1.5", '"1"', "null", "true", "1" + "0" * 40),
    "size": ("-1", "1.5", '"1"', "null"),
    "source": ("-1", '"A"', "null"),
    "venue": ("1", "null", "[]"),
    "cond": ("1", "null", '"' + "@" * 17 + '"'),
    "kind": ('"Trade"', '""', "0", "null", '"busted"'),
}


@st.composite
def bad_elements(draw: st.DrawFn) -> Element:
    """Draw a JSON value that is one good tick but for one fault."""
    fields, _ = draw(json_fields())
    fault = draw(st.sampled_from(("missing", "price", "value", "value", "value", "other")))
    if fault == "other":
        other = draw(
            st.sampled_from((b"1", b"null", b'"AAPL"', b"{}", b"[]", b"[{}]", b"true", b"1.5"))
        )
        return Element(other, None)
    if fault == "missing":
        del fields[draw(st.sampled_from(("symbol", "price", "ts")))]
    elif fault == "price":
        fields["price"] = draw(REFUSED_PRICES)
    else:
        name = draw(st.sampled_from(sorted(WRONG_VALUES)))
        fields[name] = draw(st.sampled_from(WRONG_VALUES[name]))
    return Element(json_text(fields, draw(st.permutations(sorted(fields)))), None)


ELEMENTS = st.one_of(good_elements(), good_elements(), bad_elements())


@st.composite
def json_messages(draw: st.DrawFn) -> Message:
    """Draw a message of JSON: one tick, an array of them, or something cut short."""
    shape = draw(st.sampled_from(("one", "one", "array", "unreadable")))
    if shape == "array":
        parts = draw(st.lists(ELEMENTS, max_size=5))
        gap = draw(st.sampled_from((b"", b" ", b"\n")))
        text = b"[" + gap + (gap + b"," + gap).join(part.text for part in parts) + gap + b"]"
        return Message(text, tuple(part.meaning for part in parts))
    one = draw(ELEMENTS.filter(lambda part: part.text[:1] == b"{"))
    if shape == "one":
        return Message(one.text + draw(st.sampled_from((b"", b" \n"))), (one.meaning,))
    good = draw(good_elements()).text
    number = draw(st.sampled_from(UNREADABLE_NUMBERS)).encode()
    spoilt = draw(
        st.sampled_from(
            (
                good[:-1],
                good[: len(good) // 2],
                good + b"x",
                good + good,
                b"[" + good,
                b"[" + good + b",]",
                b"[" + good + b"}",
                b"[" + good + b" " + good + b"]",
                b"{",
                b"[",
                b'{"symbol":"AAPL","ts":1784304000000000000,"price":' + number + b"}",
                b'{"symbol":"\xff","price":1,"ts":1784304000000000000}',
                b'{"symbol":"\\ud800","price":1,"ts":1784304000000000000}',
            )
        )
    )
    return Message(spoilt, (None,))


# ---------------------------------------------------------------------------------------------
# Frames

_HEADER = struct.Struct("<4sHHIIQQ")
_RECORD = struct.Struct("<8sqqQIHBB")
#: Of frames, unless told otherwise.
SOURCE = 3
_PADDINGS = st.sampled_from((b"\0", b" "))


def record(
    symbol: bytes, ts: int, price: int, seq: int, size: int, cond: int, kind: int, venue: int
) -> bytes:
    """Write one record of a frame, field by field as the contract lists them."""
    return _RECORD.pack(symbol, ts, price, seq, size, cond, kind, venue)


def frame(records: Sequence[bytes], **header: int) -> bytes:
    """Write a frame; the header says what it should unless told otherwise."""
    return _HEADER.pack(
        b"TICK",
        header.get("version", 1),
        header.get("record_size", 40),
        header.get("count", len(records)),
        header.get("source", SOURCE),
        header.get("frame_seq", 99),
        0,
    ) + b"".join(records)


@st.composite
def records(draw: st.DrawFn) -> Element:
    """Draw a record of a frame, good or with one fault, and its meaning."""
    symbol = draw(st.sampled_from(SYMBOLS + SYMBOLS + UNKNOWN))
    padded = symbol.encode().ljust(8, draw(_PADDINGS))
    if draw(st.integers(0, 9)) == 0:
        padded = (symbol.encode() + b"\0").ljust(8, b" ")[:8]
    ts = draw(st.one_of(st.integers(NOW, NOW + 9), st.integers(SINCE_1990, 2**63 - 1)))
    price, seq = draw(st.integers(1, 2**63 - 1)), draw(st.integers(0, 2**64 - 1))
    size, cond = draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 2**16 - 1))
    kind, venue = draw(st.integers(0, 7)), draw(st.integers(0, 127))
    meaning: Row | None = (row_of(symbol), price, ts, seq, cond, kind, size, venue, SOURCE)
    if draw(st.integers(0, 3)) == 0:
        meaning = None
        fault = draw(st.integers(0, 4))
        if fault == 0:
            price = draw(st.sampled_from((0, -1, -(2**63))))
        elif fault == 1:
            ts = draw(st.sampled_from((0, -1, SINCE_1990 - 1, -(2**63))))
        elif fault == 2:
            kind = draw(st.sampled_from((8, 255)))
        elif fault == 3:
            venue = draw(st.sampled_from((128, 255)))
        else:
            padded = draw(
                st.sampled_from(
                    (
                        b"\0" * 8,
                        b" " * 8,
                        b" AAPL\0\0\0",
                        b"A\0APL\0\0\0",
                        b"A B\0\0\0\0\0",
                        b"\xc9\0\0\0\0\0\0\0",
                        b"\0AAPL\0\0\0",
                        b"A\x7f\0\0\0\0\0\0",
                    )
                )
            )
    return Element(record(padded, ts, price, seq, size, cond, kind, venue), meaning)


@st.composite
def frame_messages(draw: st.DrawFn) -> Message:
    """Draw a frame, whole or with a header that does not fit its length."""
    parts = draw(st.lists(records(), max_size=5))
    texts = [part.text for part in parts]
    whole = frame(texts)
    if draw(st.integers(0, 2)):
        source, number = draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 2**64 - 1))
        meanings = tuple(part.meaning and (*part.meaning[:-1], source) for part in parts)
        value = frame(texts, source=source, frame_seq=number)
        return Message(value, meanings, header=(source, number))
    broken = (
        frame(texts, version=0),
        frame(texts, version=2),
        frame(texts, record_size=41),
        frame(texts, count=len(texts) + 1),
        frame(texts, count=2**32 - 1),
        whole + b"\0",
        whole + b"\0" * 40,
        whole[:-1],
        whole[:31],
        b"TICK",
        b"TICK\x01",
    )
    return Message(draw(st.sampled_from(broken)), (None,))


# ---------------------------------------------------------------------------------------------
# All else

CONTROL = b'CTRL{"type":"origin","origin":"replay"}'


@st.composite
def other_messages(draw: st.DrawFn) -> Message:
    """Draw a control record, or bytes of no kind."""
    if draw(st.booleans()):
        return Message(CONTROL, (), controls=1)
    junk = (
        None,
        b"",
        b"tick",
        b"TICX" + b"\0" * 28,
        b" {}",
        b' {"symbol":"AAPL","price":1,"ts":1784304000000000000}',
        b'\n[{"symbol":"AAPL","price":1,"ts":1784304000000000000}]',
        b"\xef\xbb\xbf{}",
        b"\0" * 72,
        b"null",
        b"CTRL",
        b"CTR",
        b"CTRL{}",
        b'CTRL{"type":"roll"}',
        b'CTRL{"type":"origin","origin":"dream"}',
        b'CTRL{"type":"origin"}',
        b"CTRL[]",
        b'CTRL{"type":"origin","origin":"replay"}}',
    )
    return Message(
        draw(st.one_of(st.sampled_from(junk), st.binary(max_size=9).filter(_is_junk))), (None,)
    )


def _is_junk(value: bytes) -> bool:
    return value[:1] not in (b"{", b"[") and value[:4] not in (b"TICK", b"CTRL")


MESSAGES = st.one_of(json_messages(), json_messages(), frame_messages(), other_messages())
