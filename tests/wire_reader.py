"""An independent reading of any bytes on the ticks topic: what the contract says is in them, good or damaged.

JSON is read by the standard library, numbers as their text; frames are unpacked record by record.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable
from typing import Any, NoReturn

import oracle
import wire_oracle as wire
from wire_oracle import Message, Row

#: How deep JSON may be nested is not told by the contract; so deep it always may, and so deep never.
SURELY_READ, SURELY_REFUSED = 100, 20_000

_SYMBOL = re.compile("[!-~]{1,8}")
_INTEGER = re.compile("-?[0-9]+")
_HEADER = struct.Struct("<4sHHIIQQ")
_RECORD = struct.Struct("<8sqqQIHBB")
_LONGEST_COND = 16
_LARGEST_SEQ = 2**64 - 1
_LONGEST_INTEGER = 4300
_LAST_ASCII = 127
_BELOW_ALL_PRICES, _BEYOND_ALL_BOUNDS = 1e-9, 1e30


class Number(str):
    """A number as it is written."""

    __slots__ = ()


class Members(list[tuple[str, Any]]):
    """The members of an object, those that come twice as well."""


class Unreadable(Exception):  # noqa: N818 - a state of affairs
    """No JSON, or a tick that is not of the contract."""


def read(value: bytes | None) -> Message | None:
    """Tell what is in a message; None where the contract leaves it open, as it does in control records."""
    if value is None or (value[:4] not in (b"TICK", b"CTRL") and value[:1] not in (b"{", b"[")):
        return Message(value, (None,))
    if value[:4] == b"TICK":
        return _read_frame(value)
    if value[:4] == b"CTRL":
        return None
    depth = _depth(value)
    if depth > SURELY_REFUSED:
        return Message(value, (None,))
    return None if depth > SURELY_READ else _read_json(value)


def _depth(value: bytes) -> int:
    """Count how deep a text is nested at most, whatever stands in strings."""
    depth = deepest = 0
    if value.count(b"[") + value.count(b"{") > SURELY_READ:
        for bracket in re.findall(rb"[\[\]{}]", value):
            depth += 1 if bracket in b"[{" else -1
            deepest = max(deepest, depth)
    return deepest


def _read_json(value: bytes) -> Message:
    try:
        parsed = _parse(value)
    except Unreadable:
        return Message(value, (None,))
    if value[:1] == b"[":
        return Message(value, tuple(_tick_or_none(element) for element in parsed))
    return Message(value, (_tick_or_none(parsed),))


def _parse(value: bytes) -> Any:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        # What is no UTF-8 does not matter in a text that nobody reads; there it stands as characters of no message of ours.
        text = value.decode(errors="surrogateescape").translate(_STRAY)
    try:
        parsed = _decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable from error
    if "\\u" in text:
        _refuse_lone_surrogates(parsed)
    return parsed


#: Where bytes that are no UTF-8 stand in the text that is parsed.
_STRAY = {0xDC00 + byte: 0x10F700 + byte for byte in range(0x80, 0x100)}
_STRAY_PLACES = frozenset(_STRAY.values())


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_decoder = json.JSONDecoder(
    object_pairs_hook=Members, parse_float=Number, parse_int=Number, parse_constant=_refuse
)


def _refuse_lone_surrogates(parsed: Any) -> None:
    match parsed:
        case str():
            if any("\ud800" <= letter <= "\udfff" for letter in parsed):
                raise Unreadable
        case Members():
            for name, value in parsed:
                _refuse_lone_surrogates(name)
                _refuse_lone_surrogates(value)
        case list():
            for value in parsed:
                _refuse_lone_surrogates(value)


def _tick_or_none(parsed: Any) -> Row | None:
    try:
        return _tick(parsed)
    except Unreadable:
        return None


def _tick(parsed: Any) -> Row:
    if not isinstance(parsed, Members):
        raise Unreadable
    # Of a field that comes twice, each must be of its type and the last counts.
    fields: dict[str, Any] = {"seq": 0, "source": 0, "cond": oracle.condition_bits("@"), "kind": 0}
    fields |= {"size": 0, "venue": 0}
    for name, value in parsed:
        if name in _FIELDS:
            fields[name] = _FIELDS[name](value)
    if not {"symbol", "price", "ts"} <= fields.keys():
        raise Unreadable
    if not _SYMBOL.fullmatch(fields["symbol"]) or fields["price"] <= 0:
        raise Unreadable
    if fields["seq"] > _LARGEST_SEQ:
        raise Unreadable
    return (
        wire.row_of(fields["symbol"]),
        fields["price"],
        fields["ts"],
        fields["seq"],
        fields["cond"],
        fields["kind"],
        fields["size"],
        fields["venue"],
        fields["source"],
    )


def _text(value: Any) -> str:
    if type(value) is not str or any(ord(letter) in _STRAY_PLACES for letter in value):
        raise Unreadable
    return value


def _price(value: Any) -> int:
    if type(value) is not Number or not math.isfinite(float(value)):
        raise Unreadable
    # Far from what matters, the exact number may be larger than any machine.
    if float(value) > _BEYOND_ALL_BOUNDS:
        return wire.HUGE
    return wire.price_of(value) if float(value) > _BELOW_ALL_PRICES else 0


def _integer(least: int, most: float) -> Callable[[Any], int]:
    def read_integer(value: Any) -> int:
        if type(value) is not Number or not _INTEGER.fullmatch(value):
            raise Unreadable
        if len(value.lstrip("-")) > _LONGEST_INTEGER or not least <= int(value) <= most:
            raise Unreadable
        return int(value)

    return read_integer


def _source(value: Any) -> int:
    return min(_integer(0, math.inf)(value), wire.LARGEST_SOURCE)


def _size(value: Any) -> int:
    return min(_integer(0, math.inf)(value), wire.LARGEST_SIZE)


def _venue(value: Any) -> int:
    return wire.venue_of(_text(value))


def _cond(value: Any) -> int:
    if len(_text(value)) > _LONGEST_COND:
        raise Unreadable
    return oracle.condition_bits(value)


def _kind(value: Any) -> int:
    if value not in oracle.KINDS or type(value) is not str:
        raise Unreadable
    return oracle.KINDS.index(value)


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "symbol": _text,
    "price": _price,
    "ts": _integer(wire.SINCE_1990, 2**63 - 1),
    "size": _size,
    "seq": _integer(0, math.inf),
    "source": _source,
    "venue": _venue,
    "cond": _cond,
    "kind": _kind,
}


def _read_frame(value: bytes) -> Message:
    if len(value) < _HEADER.size:
        return Message(value, (None,))
    _, version, record_size, count, source, number, _ = _HEADER.unpack_from(value)
    if (version, record_size, len(value)) != (1, _RECORD.size, _HEADER.size + count * _RECORD.size):
        return Message(value, (None,))
    records = _RECORD.iter_unpack(value[_HEADER.size :])
    return Message(
        value, tuple(_record(record, source) for record in records), header=(source, number)
    )


def _record(record: tuple[Any, ...], source: int) -> Row | None:
    padded, ts, price, seq, size, cond, kind, venue = record
    symbol = padded.rstrip(b"\0 ").decode("latin-1")
    if price <= 0 or ts < wire.SINCE_1990 or kind >= len(oracle.KINDS) or venue > _LAST_ASCII:
        return None
    if not _SYMBOL.fullmatch(symbol):
        return None
    return wire.row_of(symbol), price, ts, seq, cond, kind, size, venue, source
