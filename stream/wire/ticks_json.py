"""JSON ticks (`formats.md`, Kafka topics): typed by msgspec, turned into columns in bulk.

msgspec rather than orjson: a typed struct checks every field while it decodes, and takes less time than orjson's untyped
dictionaries (`docs/performance.md`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Annotated, Literal, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.index.ticks import UNKNOWN_ROW, Condition, Kind, Ticks
from stream.index.units import PRICE_DECIMALS, PRICE_SCALE, decimal_text, price_units
from stream.index.universe import valid_symbol
from stream.wire.conditions import condition_bits, unknown_letters
from stream.wire.decoded import Decoded, Malformed
from stream.wire.symbols import SymbolTable

#: No event is older than 1990-01-01 UTC.
EARLIEST_TS = 631_152_000_000_000_000
LATEST_TS = 2**63 - 1
LARGEST_SEQ = 2**64 - 1
#: A line named by a larger number counts as this one, as in frames.
LARGEST_SOURCE = 2**32 - 1
#: A larger size counts as this one, as in frames.
LARGEST_SIZE = 2**32 - 1
LONGEST_COND = 16
#: Letter of a venue whose name is not one.
UNKNOWN_VENUE = ord("?")

#: Stands for every price too large for the arithmetic: out of any instrument's bounds.
HUGE_PRICE = 2**62

NS_PER_MS = 1_000_000

_Natural = Annotated[int, msgspec.Meta(ge=0)]
_KindName = Literal[
    "trade",
    "cancel",
    "correction",
    "quote_mid",
    "halt",
    "resume",
    "official_open",
    "official_close",
]
_KINDS = {kind.name.lower(): int(kind) for kind in Kind}
_KIND_NAMES = {kind: kind.name.lower() for kind in Kind}


class JsonTick(msgspec.Struct, gc=False):
    """One tick as it stands on the wire.

    Attributes
    ----------
    symbol
        1 to 8 printable ASCII characters.
    price
        Dollars; positive, finite.
    ts
        Event time, ns since 1970 UTC.
    size
        Shares.
    seq
        The tape's own number; 0 means none.
    source
        Names the line, for gap counters.
    venue, cond
        Letters of the tape.
    kind
        What the tick reports.
    """

    symbol: str
    price: float
    ts: Annotated[int, msgspec.Meta(ge=EARLIEST_TS, le=LATEST_TS)]
    size: _Natural = 0
    seq: _Natural = 0
    source: _Natural = 0
    venue: str = ""
    cond: Annotated[str, msgspec.Meta(max_length=LONGEST_COND)] = "@"
    kind: _KindName = "trade"


class _ExactPrice(msgspec.Struct):
    price: Decimal


_BRACE = {ord("{")}

_decode_tick = msgspec.json.Decoder(JsonTick).decode
_decode_exact = msgspec.json.Decoder(_ExactPrice).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode

#: All that decoding bytes of unknown origin may raise; deep nesting ends in RecursionError.
_DECODE_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeError)


def decode_uniform(
    messages: Sequence[bytes | None], recorded_ms: NDArray[np.int64], symbols: SymbolTable
) -> Decoded | None:
    """Decode messages that are one JSON tick each, or give None where some are anything else.

    Parameters
    ----------
    messages, recorded_ms, symbols
        As for `decode`.

    Notes
    -----
    O(bytes); about 1 us a tick.
    """
    texts = cast("Sequence[bytes]", messages)
    try:
        # White space before a tick would be read, but is not of the contract.
        if {message[0] for message in texts} != _BRACE:
            return None
        ticks = [_decode_tick(message) for message in texts]
    except (*_DECODE_ERRORS, IndexError, TypeError):
        # Empty messages and tombstones have no first byte.
        return None
    n = len(ticks)
    return _columns(ticks, texts, np.arange(n), np.zeros(n, np.int64), recorded_ms, symbols, [])


def decode(
    messages: Sequence[bytes], recorded_ms: NDArray[np.int64], symbols: SymbolTable
) -> Decoded:
    """Decode messages that begin with `{` or `[`.

    Parameters
    ----------
    messages
        Each one tick, or an array of ticks.
    recorded_ms
        int64, shape (n_messages,): timestamps of their Kafka records, ms since 1970 UTC.
    symbols
        Rows by symbol.

    Returns
    -------
    Decoded
        Good ticks beside bad ones count: a message or element that does not follow the contract costs only itself.
    """
    ticks: list[JsonTick] = []
    texts: list[bytes | msgspec.Raw] = []
    message_of: list[int] = []
    element_of: list[int] = []
    malformed: list[Malformed] = []
    for number, message in enumerate(messages):
        try:
            elements = _decode_array(message) if message[:1] == b"[" else None
        except _DECODE_ERRORS as error:
            malformed.append(Malformed(number, None, str(error)))
            continue
        for position, text in enumerate([message] if elements is None else elements):
            try:
                ticks.append(_decode_tick(text))
            except _DECODE_ERRORS as error:
                element = None if elements is None else position
                malformed.append(Malformed(number, element, str(error)))
            else:
                texts.append(text)
                message_of.append(number)
                element_of.append(position)
    return _columns(
        ticks,
        texts,
        np.array(message_of, np.int64),
        np.array(element_of, np.int64),
        recorded_ms,
        symbols,
        malformed,
    )


def _columns(
    ticks: list[JsonTick],
    texts: Sequence[bytes | msgspec.Raw],
    message: NDArray[np.int64],
    element: NDArray[np.int64],
    recorded_ms: NDArray[np.int64],
    symbols: SymbolTable,
    malformed: list[Malformed],
) -> Decoded:
    names = [tick.symbol for tick in ticks]
    row = symbols.rows(names)
    price = _prices(np.array([tick.price for tick in ticks], np.float64), texts)
    source = _sources(ticks)
    seq, huge_seq = _numbers([tick.seq for tick in ticks])
    cond, unknown = _conditions([tick.cond for tick in ticks])
    bad = (price <= 0) | huge_seq
    for i in np.flatnonzero(row == UNKNOWN_ROW):
        bad[i] |= not valid_symbol(names[i])
    columns = Ticks(
        row=row,
        price=price,
        ts=np.array([tick.ts for tick in ticks], np.int64),
        seq=seq,
        cond=cond,
        kind=_kinds(ticks),
        recorded=recorded_ms[message] * NS_PER_MS,
        size=_sizes([tick.size for tick in ticks]),
        venue=_venues(ticks),
    )
    if bad.any():
        malformed += [
            Malformed(int(message[i]), _element(texts[int(i)], int(element[i])), _fault(ticks[i]))
            for i in np.flatnonzero(bad)
        ]
        good = ~bad
        columns, source = columns.take(good), source[good]
        message, element = message[good], element[good]
    return Decoded(columns, message, element, source, malformed, [], unknown)


def _element(text: bytes | msgspec.Raw, position: int) -> int | None:
    """Give the position of a tick in its array, or None where it is a message by itself."""
    return position if isinstance(text, msgspec.Raw) else None


def _fault(tick: JsonTick) -> str:
    if not valid_symbol(tick.symbol):
        return (
            f"Expected 1 to 8 printable ASCII characters, got {tick.symbol[:32]!r} - at `$.symbol`"
        )
    if tick.seq > LARGEST_SEQ:
        return f"Expected `int` <= {LARGEST_SEQ} - at `$.seq`"
    return f"Expected at least 0.0001, got {tick.price} - at `$.price`"


def _prices(price: NDArray[np.float64], texts: Sequence[bytes | msgspec.Raw]) -> NDArray[np.int64]:
    """Round to 1/10000 dollar as the decimal text says, once, half to even.

    The binary product decides all but the prices that lie within its error of a tie, or beyond its precision; those are
    read again as decimals.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.maximum(price, 0.0) * PRICE_SCALE
        units = np.rint(scaled)
        error = scaled * 2.0**-50 + 1e-12
        near_tie = np.abs(np.abs(scaled - units) - 0.5) <= error
    unsure = np.flatnonzero(near_tie | (scaled >= 2.0**52))
    units[unsure] = 0
    result: NDArray[np.int64] = units.astype(np.int64)
    for i in unsure.tolist():
        result[i] = _exact_units(_decode_exact(texts[i]).price)
    return result


def _exact_units(price: Decimal) -> int:
    try:
        return min(price_units(price), HUGE_PRICE)
    except InvalidOperation:
        return HUGE_PRICE


def _numbers(seq: list[int]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    try:
        return np.array(seq, np.uint64), np.zeros(len(seq), bool)
    except OverflowError:
        huge = np.array([number > LARGEST_SEQ for number in seq])
        return np.array([min(number, LARGEST_SEQ) for number in seq], np.uint64), huge


def _sources(ticks: list[JsonTick]) -> NDArray[np.uint32]:
    # A line alone has no name, as a rule: then nothing is collected. Bytes are filled faster than arrays.
    if not [True for tick in ticks if tick.source]:
        return np.zeros(len(ticks), np.uint32)
    names = [tick.source for tick in ticks]
    try:
        return np.frombuffer(bytes(names), np.uint8).astype(np.uint32)
    except ValueError:
        return np.array([min(name, LARGEST_SOURCE) for name in names], np.uint32)


def _sizes(size: list[int]) -> NDArray[np.uint32]:
    try:
        return np.array(size, np.uint32)
    except OverflowError:
        return np.array([min(one, LARGEST_SIZE) for one in size], np.uint32)


def _venues(ticks: list[JsonTick]) -> NDArray[np.uint8]:
    names = [tick.venue for tick in ticks]
    if names.count("") == len(names):
        return np.zeros(len(names), np.uint8)
    return np.fromiter(map(_venue_letter, names), np.uint8, len(names))


@lru_cache(maxsize=4096)
def _venue_letter(name: str) -> int:
    """Give a venue's letter; any other text is a venue that no table has."""
    return ord(name) if len(name) == 1 and name.isascii() else UNKNOWN_VENUE if name else 0


_condition_bits = lru_cache(maxsize=4096)(condition_bits)


def _conditions(letters: list[str]) -> tuple[NDArray[np.uint16], Counter[str]]:
    distinct = set(letters)
    if len(distinct) == 1:
        bits = np.full(len(letters), _condition_bits(letters[0]), np.uint16)
    else:
        bits = np.fromiter(map(_condition_bits, letters), np.uint16, len(letters))
    unknown: Counter[str] = Counter()
    if any(_condition_bits(text) & Condition.UNKNOWN for text in distinct):
        for text in letters:
            unknown.update(unknown_letters(text))
    return bits, unknown


def _kinds(ticks: list[JsonTick]) -> NDArray[np.uint8]:
    names = [tick.kind for tick in ticks]
    if names.count("trade") == len(names):
        return np.zeros(len(names), np.uint8)
    return np.fromiter(map(_KINDS.__getitem__, names), np.uint8, len(names))


def encode_tick(  # noqa: PLR0913 - a field each
    symbol: str,
    price: int,
    ts: int,
    *,
    size: int = 0,
    seq: int = 0,
    source: int = 0,
    venue: str = "",
    cond: str = "@",
    kind: Kind = Kind.TRADE,
) -> bytes:
    """Write one tick.

    Parameters
    ----------
    symbol
        1 to 8 printable ASCII characters.
    price
        1/10000 dollar.
    ts
        Event time, ns since 1970 UTC.
    size, seq, source, venue, cond
        As in `JsonTick`.
    kind
        What it reports.

    Examples
    --------
    >>> encode_tick("AIG", 487300, 1381176007744000000, size=100, seq=7, venue="N")
    b'{"symbol":"AIG","price":48.7300,"ts":1381176007744000000,"size":100,"seq":7,"source":0,"venue":"N","cond":"@","kind":"trade"}'
    """
    return (
        f'{{"symbol":{_quoted(symbol)},"price":{decimal_text(price, PRICE_DECIMALS)},"ts":{ts},"size":{size},'
        f'"seq":{seq},"source":{source},"venue":{_quoted(venue)},"cond":{_quoted(cond)},"kind":"{_KIND_NAMES[kind]}"}}'
    ).encode()


@lru_cache(maxsize=65_536)
def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
