"""Ticks and levels as columns, for those who analyse them; nothing is verified from these."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream.archive.source import LogRecord
from stream.archive.tables import TableWriter, read_records
from stream.index.estimate import COVERAGE_DECIMALS
from stream.index.snapshot import PERCENT_DECIMALS
from stream.index.ticks import Kind
from stream.index.units import INT64_LIMIT, LEVEL_DECIMALS, PRICE_DECIMALS
from stream.wire import compositions
from stream.wire.messages import decode_messages
from stream.wire.symbols import SymbolTable

_TIME = pa.timestamp("ns", tz="UTC")
_LEVEL = pa.decimal128(28, LEVEL_DECIMALS)

TICKS = pa.schema(
    [
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("element", pa.int64(), nullable=False),
        pa.field("symbol", pa.string()),
        pa.field("price", pa.decimal128(19, PRICE_DECIMALS), nullable=False),
        pa.field("ts", _TIME, nullable=False),
        pa.field("seq", pa.uint64(), nullable=False),
        pa.field("cond", pa.uint16(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
    ]
)

LEVELS = pa.schema(
    [
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("session", pa.string()),
        pa.field("origin", pa.string()),
        pa.field("status", pa.string()),
        pa.field("epoch", pa.int64(), nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("published_ns", _TIME, nullable=False),
        pa.field("event_ns", _TIME),
        pa.field("composition", pa.string(), nullable=False),
        *(
            pa.field(name, _LEVEL)
            for name in ("level", "open", "high", "low", "previous_close", "change")
        ),
        pa.field("change_pct", pa.decimal128(18, PERCENT_DECIMALS)),
        pa.field("market_value", pa.decimal128(38, PRICE_DECIMALS)),
        # Up to 34 digits, wherever their point is.
        pa.field("divisor", pa.string()),
        *(
            pa.field(name, pa.int64())
            for name in ("constituents", "priced", "up", "down", "unchanged")
        ),
        pa.field("coverage", pa.decimal128(18, COVERAGE_DECIMALS)),
    ]
)


class _Level(msgspec.Struct):
    """A published level, with numbers that keep their digits."""

    code: str
    epoch: int
    seq: int
    published_ns: int
    composition: str
    session: str | None = None
    origin: str | None = None
    status: str | None = None
    event_ns: int | None = None
    level: Decimal | None = None
    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    previous_close: Decimal | None = None
    change: Decimal | None = None
    change_pct: Decimal | None = None
    market_value: Decimal | None = None
    divisor: str | None = None
    constituents: int | None = None
    priced: int | None = None
    up: int | None = None
    down: int | None = None
    unchanged: int | None = None
    coverage: Decimal | None = None


_decode_level = msgspec.json.Decoder(_Level).decode


def decode_ticks(path: Path, target: Path, compositions_path: Path) -> int:
    """Write the ticks of a file of records as columns.

    Parameters
    ----------
    path
        Records of one tick partition.
    target
        The file to write: a row for each tick, that of a symbol of no composition without its symbol.
    compositions_path
        Compositions, whose symbols are known.

    Returns
    -------
    int
        Rows.
    """
    symbols = np.array([*sorted(_symbols(compositions_path)), None], object)
    table = SymbolTable(symbols[:-1].tolist())
    kinds = np.array([kind.name.lower() for kind in Kind], object)
    with TableWriter(target, TICKS) as writer:
        for records in read_records(path, 0, INT64_LIMIT - 1):
            stamps = np.array([record.timestamp for record in records], np.int64)
            decoded = decode_messages([record.value for record in records], stamps, table)
            ticks = decoded.ticks
            offset = np.array([record.offset for record in records], np.int64)
            writer.write(
                {
                    "offset": offset[decoded.message],
                    "element": decoded.element,
                    # The row of an unknown symbol is -1, where None stands.
                    "symbol": symbols[ticks.row],
                    "price": _dollars(ticks.price),
                    "ts": ticks.ts.view("datetime64[ns]"),
                    "seq": ticks.seq,
                    "cond": ticks.cond,
                    "kind": kinds[ticks.kind],
                }
            )
    return writer.rows


def decode_levels(path: Path, target: Path) -> int:
    """Write published levels as columns.

    Parameters
    ----------
    path
        Records of the topic `levels`.
    target
        The file to write: a row for each level.

    Returns
    -------
    int
        Rows.
    """
    names = [name for name in LEVELS.names if name != "offset"]
    with TableWriter(target, LEVELS) as writer:
        for records in read_records(path, 0, INT64_LIMIT - 1):
            levels = [(r.offset, level) for r in records if (level := _level(r)) is not None]
            columns = {name: [getattr(level, name) for _, level in levels] for name in names}
            writer.write({"offset": [offset for offset, _ in levels], **columns})
    return writer.rows


def _level(record: LogRecord) -> _Level | None:
    try:
        return _decode_level(record.value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # The records themselves stand beside; a verification tells of it.
        return None


def _symbols(path: Path) -> set[str]:
    found: set[str] = set()
    for records in read_records(path, 0, INT64_LIMIT - 1):
        for record in records:
            if record.value is not None:
                found.update(compositions.decode(record.value).universe.symbols)
    return found


def _dollars(price: NDArray[np.int64]) -> Any:
    """Give prices in 1/10000 dollar as decimals: the same integers, under another type."""
    integers = pa.array(price).cast(pa.decimal128(19, 0))
    return pa.Array.from_buffers(
        pa.decimal128(19, PRICE_DECIMALS), len(integers), integers.buffers()
    )
