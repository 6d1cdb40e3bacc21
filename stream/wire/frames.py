"""Binary tick frames (`formats.md`, Kafka topics): many ticks a message, decoded without looking at any one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.index.lines import Frames
from stream.index.ticks import UNKNOWN_ROW, Condition, Kind, Ticks
from stream.wire.decoded import Decoded, Malformed, no_ticks
from stream.wire.symbols import SymbolTable, symbol_of_key
from stream.wire.ticks_json import EARLIEST_TS, NS_PER_MS

MAGIC = b"TICK"
VERSION = 1

HEADER = np.dtype(
    [
        ("magic", "S4"),
        ("version", "<u2"),
        ("record_size", "<u2"),
        ("count", "<u4"),
        ("source", "<u4"),
        ("frame_seq", "<u8"),
        ("spare", "<u8"),
    ]
)
RECORD = np.dtype(
    [
        ("symbol", "<u8"),
        ("ts", "<i8"),
        ("price", "<i8"),
        ("seq", "<u8"),
        ("size", "<u4"),
        ("cond", "<u2"),
        ("kind", "u1"),
        ("venue", "u1"),
    ]
)

_LAST_KIND = max(Kind)
_ASCII = 128
#: A frame carries condition bits, not letters: what a feed could not translate is counted under this name.
UNKNOWN_BIT = "frame"


def decode(
    messages: Sequence[bytes], recorded_ms: NDArray[np.int64], symbols: SymbolTable
) -> Decoded:
    """Decode messages that begin with `TICK`.

    Parameters
    ----------
    messages
        Each a frame.
    recorded_ms
        int64, shape (n_messages,): timestamps of their Kafka records, ms since 1970 UTC.
    symbols
        Rows by symbol.

    Returns
    -------
    Decoded
        A frame whose header or length is wrong is malformed as a whole; a frame with bad records gives its good ones.

    Notes
    -----
    O(messages + ticks); some 20 ns a tick.
    """
    length = np.fromiter(map(len, messages), np.int64, len(messages))
    padded = [message[: HEADER.itemsize].ljust(HEADER.itemsize, b"\0") for message in messages]
    header = np.frombuffer(b"".join(padded), HEADER)
    expected = HEADER.itemsize + header["count"].astype(np.int64) * RECORD.itemsize
    good = (
        (header["magic"] == MAGIC)
        & (header["version"] == VERSION)
        & (header["record_size"] == RECORD.itemsize)
        & (length == expected)
    )
    malformed = [
        Malformed(int(i), None, _header_fault(header[i], int(length[i]), int(expected[i])))
        for i in np.flatnonzero(~good)
    ]
    whole = np.flatnonzero(good)
    record = np.frombuffer(
        b"".join([memoryview(messages[i])[HEADER.itemsize :] for i in whole.tolist()]), RECORD
    )
    headers = Frames(whole, header["source"][whole], header["frame_seq"][whole])
    if len(record) == 0:
        return no_ticks(malformed, headers)
    count = header["count"][whole].astype(np.int64)
    message = np.repeat(whole, count)
    element = np.arange(len(record)) - np.repeat(np.cumsum(count) - count, count)
    source = np.repeat(headers.source, count)
    return _columns(record, message, element, source, headers, recorded_ms, symbols, malformed)


def _header_fault(header: np.void, length: int, expected: int) -> str:
    if length < HEADER.itemsize:
        return f"Expected a header of {HEADER.itemsize} bytes, got {length} bytes"
    if header["version"] != VERSION:
        return f"Expected version {VERSION}, got {header['version']} - at `version`"
    if header["record_size"] != RECORD.itemsize:
        return f"Expected {RECORD.itemsize}, got {header['record_size']} - at `record size`"
    return f"Expected {expected} bytes for {header['count']} records, got {length} - at `count`"


def _columns(
    record: NDArray[np.void],
    message: NDArray[np.int64],
    element: NDArray[np.int64],
    source: NDArray[np.uint32],
    headers: Frames,
    recorded_ms: NDArray[np.int64],
    symbols: SymbolTable,
    malformed: list[Malformed],
) -> Decoded:
    key = np.ascontiguousarray(record["symbol"])
    row = symbols.rows_of_keys(key)
    price, ts = np.ascontiguousarray(record["price"]), np.ascontiguousarray(record["ts"])
    kind, cond = np.ascontiguousarray(record["kind"]), np.ascontiguousarray(record["cond"])
    bad = (price <= 0) | (ts < EARLIEST_TS) | (kind > _LAST_KIND) | (record["venue"] >= _ASCII)
    _check_unknown(key, row, bad, symbols)
    ticks = Ticks(
        row=row,
        price=price,
        ts=ts,
        seq=np.ascontiguousarray(record["seq"]),
        cond=cond,
        kind=kind,
        recorded=recorded_ms[message] * NS_PER_MS,
        size=np.ascontiguousarray(record["size"]),
        venue=np.ascontiguousarray(record["venue"]),
    )
    if bad.any():
        malformed += [
            Malformed(int(message[i]), int(element[i]), _record_fault(record[i]))
            for i in np.flatnonzero(bad)
        ]
        good = ~bad
        ticks, source = ticks.take(good), source[good]
        message, element = message[good], element[good]
    n_unknown = int(np.count_nonzero(ticks.cond & Condition.UNKNOWN))
    unknown = Counter({UNKNOWN_BIT: n_unknown} if n_unknown else {})
    return Decoded(ticks, message, element, source, malformed, [], unknown, headers)


def _check_unknown(
    key: NDArray[np.uint64],
    row: NDArray[np.int32],
    bad: NDArray[np.bool_],
    symbols: SymbolTable,
) -> None:
    """Look again at the keys that were not found: an odd padding, or no symbol at all."""
    unknown = np.flatnonzero(row == UNKNOWN_ROW)
    if len(unknown) == 0:
        return
    distinct, which = np.unique(key[unknown], return_inverse=True)
    names = [symbol_of_key(int(one)) for one in distinct]
    row[unknown] = symbols.rows([name or "" for name in names])[which]
    bad[unknown] |= np.array([name is None for name in names])[which]


def _record_fault(record: np.void) -> str:
    if record["price"] <= 0:
        return f"Expected `int` >= 1, got {record['price']} - at `price`"
    if record["ts"] < EARLIEST_TS:
        return f"Expected `int` >= {EARLIEST_TS}, got {record['ts']} - at `ts`"
    if record["kind"] > _LAST_KIND:
        return f"Expected `int` <= {int(_LAST_KIND)}, got {record['kind']} - at `kind`"
    if record["venue"] >= _ASCII:
        return f"Expected ASCII, got {record['venue']} - at `venue`"
    name = int(record["symbol"]).to_bytes(8, "little")
    return f"Expected 1 to 8 printable ASCII characters, got {name!r} - at `symbol`"


def symbol_keys(symbols: Sequence[str]) -> NDArray[np.uint64]:
    """Write symbols as the eight bytes of a record.

    Returns
    -------
    uint64 array, shape (n,)
    """
    joined = b"".join(symbol.encode("ascii").ljust(8, b"\0") for symbol in symbols)
    return np.frombuffer(joined, "<u8").astype(np.uint64)


def encode(records: NDArray[np.void], *, source: int = 0, frame_seq: int = 0) -> bytes:
    """Write a frame.

    Parameters
    ----------
    records
        dtype RECORD, shape (n,); all of symbols of one partition.
    source
        Names the line.
    frame_seq
        Number of the frame on its line and partition.
    """
    header = np.zeros(1, HEADER)
    header["magic"], header["version"], header["record_size"] = MAGIC, VERSION, RECORD.itemsize
    header["count"], header["source"], header["frame_seq"] = len(records), source, frame_seq
    return header.tobytes() + records.tobytes()
