"""Recorded trades from CSV (`formats.md`, Files): exact prices, and bad lines that cost only themselves."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.errors import FileError
from stream.feed.trades import Trades, tape_ticks
from stream.files import open_text
from stream.index.ticks import Kind
from stream.index.units import PRICE_DECIMALS, price_units
from stream.index.universe import valid_symbol
from stream.wire.ticks_json import EARLIEST_TS, HUGE_PRICE, LATEST_TS, LONGEST_COND

__all__ = ["COLUMNS", "LISTED_ERRORS", "Tape", "Trades", "read_tape", "tape_ticks"]

COLUMNS = ("ts", "symbol", "price", "size", "venue", "cond")

#: How many bad lines are described before they are only counted.
LISTED_ERRORS = 50

#: What a frame's 32 bits can hold.
LARGEST_SIZE = 2**32 - 1

#: As many as 2^63 has: int() refuses thousands of digits with an error of its own.
_MOST_DIGITS = 19

_BAD = -1
_CACHED_TEXTS = 65_536

_EXPECTED = {
    "ts": "ns since 1970 UTC, not before 1990",
    "symbol": "1 to 8 printable ASCII characters",
    "price": "dollars from 0.0001 to 2^62 / 10000",
    "size": f"a whole number up to {LARGEST_SIZE}",
    "venue": "one ASCII letter or nothing",
    "cond": f"at most {LONGEST_COND} printable ASCII characters",
}

_Row = tuple[int, int, list[str]]


def read_tape(path: Path, *, chunk: int = 20_000) -> Tape:
    """Read recorded trades, a chunk at a time.

    Parameters
    ----------
    path
        CSV with a header, plain or gzipped; columns `ts,symbol,price,size,venue,cond` in any order, others ignored.
    chunk
        Lines read at once; a chunk holds as many trades or fewer.

    Returns
    -------
    Tape
        To be iterated once. Opening and reading happen then, and raise FileError where the file cannot be read or its
        header lacks a column.

    Notes
    -----
    O(lines); about 2 us a line.
    """
    return Tape(path, chunk=chunk)


class Tape:
    """The trades of a file in chunks, and an account of the lines that hold none.

    Iterate it once; see `read_tape`.

    Parameters
    ----------
    path
        The file.
    chunk
        Lines read at once.

    Attributes
    ----------
    n_bad
        Bad lines met so far.
    errors
        What is wrong with the first of them: file, line, column, what was expected and found.
    """

    def __init__(self, path: Path, *, chunk: int) -> None:
        self.n_bad = 0
        self.errors: list[str] = []
        self._path = path
        self._symbols = _Coder(valid_symbol)
        self._conditions = _Coder(_valid_condition)
        self._chunks = self._read(chunk)

    def __iter__(self) -> Iterator[Trades]:
        return self

    def __next__(self) -> Trades:
        return next(self._chunks)

    def _read(self, chunk: int) -> Iterator[Trades]:
        with open_text(self._path) as text:
            if isinstance(text, io.TextIOWrapper):
                # A byte that is not UTF-8 spoils its cell, not the rest of the tape.
                text.reconfigure(errors="replace")
            header = _split(text.readline())
            width = len(header)
            position = self._positions(header)
            n_rows = 0
            numbered = enumerate(text, start=2)
            while lines := list(islice(numbered, chunk)):
                # A line without anything on it is no row, so it takes no number.
                filled = [(number, line) for number, line in lines if line.strip()]
                rows = self._rows(filled, width, first_seq=n_rows + 1)
                n_rows += len(filled)
                trades = self._trades(rows, position)
                if len(trades):
                    yield trades

    def _positions(self, header: list[str]) -> list[int]:
        names = [name.lower() for name in header]
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            raise FileError(f"{self._path}:1: missing column {', '.join(missing)}")
        return [names.index(name) for name in COLUMNS]

    def _rows(self, lines: list[tuple[int, str]], width: int, *, first_seq: int) -> list[_Row]:
        rows: list[_Row] = []
        for seq, (number, line) in enumerate(lines, start=first_seq):
            cells = _split(line)
            if len(cells) == width:
                rows.append((number, seq, cells))
            else:
                self._reject(number, f"expected {width} columns, found {len(cells)}")
        return rows

    def _trades(self, rows: list[_Row], position: list[int]) -> Trades:
        cells = [row[2] for row in rows]
        read: tuple[Callable[[str], int], ...] = (
            _ts,
            self._symbols.code,
            _price,
            _size,
            _venue,
            self._conditions.code,
        )
        columns = [
            np.fromiter(map(parse, [row[at] for row in cells]), np.int64, len(cells))
            for parse, at in zip(read, position, strict=True)
        ]
        seq = np.array([row[1] for row in rows], np.uint64)
        bad = np.logical_or.reduce([column == _BAD for column in columns])
        for i in np.flatnonzero(bad):
            number, _, row = rows[i]
            faults = [
                f"{name}: expected {_EXPECTED[name]}, found {row[at][:64]!r}"
                for name, at, column in zip(COLUMNS, position, columns, strict=True)
                if column[i] == _BAD
            ]
            self._reject(number, "; ".join(faults))
        if bad.any():
            columns, seq = [column[~bad] for column in columns], seq[~bad]
        return self._coded(columns, seq)

    def _coded(self, columns: Sequence[NDArray[np.int64]], seq: NDArray[np.uint64]) -> Trades:
        ts, symbol, price, size, venue, condition = columns
        return Trades(
            symbols=self._symbols.texts,
            conditions=self._conditions.texts,
            symbol=symbol.astype(np.int32),
            ts=ts,
            price=price,
            seq=seq,
            size=size,
            venue=venue.astype(np.uint8),
            condition=condition.astype(np.int32),
            kind=np.full(len(ts), Kind.TRADE, np.uint8),
        )

    def _reject(self, number: int, what: str) -> None:
        self.n_bad += 1
        if len(self.errors) < LISTED_ERRORS:
            self.errors.append(f"{self._path}:{number}: {what}")


class _Coder:
    """Gives each distinct good text a number, in the order of their first coming."""

    def __init__(self, valid: Callable[[str], bool]) -> None:
        self._valid = valid
        self._codes: dict[str, int] = {}
        self._texts: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts so far, by number; the same object until another comes."""
        if len(self._texts) != len(self._codes):
            self._texts = tuple(self._codes)
        return self._texts

    def code(self, text: str) -> int:
        code = self._codes.get(text)
        if code is None:
            code = self._codes.setdefault(text, len(self._codes)) if self._valid(text) else _BAD
        return code


def _split(line: str) -> list[str]:
    """Split a line into its cells; a quoted cell ends with its line, so that a stray quote costs one line only."""
    if '"' in line:
        try:
            return [cell.strip() for cell in next(csv.reader([line]))]
        except csv.Error:
            return []
    cells = line.rstrip().split(",")
    return [cell.strip() for cell in cells] if " " in line or "\t" in line else cells


def _valid_condition(text: str) -> bool:
    return len(text) <= LONGEST_COND and text.isascii() and text.isprintable()


def _whole(text: str) -> int:
    """Read a number of plain digits; `int` alone would take signs, blanks and underscores, too."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else _BAD


def _ts(text: str) -> int:
    ts = _whole(text)
    return ts if EARLIEST_TS <= ts <= LATEST_TS else _BAD


@lru_cache(_CACHED_TEXTS)
def _size(text: str) -> int:
    size = _whole(text)
    return size if size <= LARGEST_SIZE else _BAD


@lru_cache(_CACHED_TEXTS)
def _venue(text: str) -> int:
    if not text:
        return 0
    return ord(text) if len(text) == 1 and text.isascii() and text.isprintable() else _BAD


@lru_cache(_CACHED_TEXTS)
def _price(text: str) -> int:
    whole, _, decimals = text.partition(".")
    digits = whole + decimals.ljust(PRICE_DECIMALS, "0")
    plain = len(decimals) <= PRICE_DECIMALS and digits.isascii() and digits.isdigit()
    units = int(digits) if plain and len(digits) < _MOST_DIGITS else _exact_price(text)
    return units if 0 < units < HUGE_PRICE else _BAD


def _exact_price(text: str) -> int:
    """Read any other spelling of a number; like `int`, `Decimal` alone would take underscores and foreign digits."""
    if "_" in text or not text.isascii():
        return _BAD
    try:
        price = Decimal(text)
        return price_units(price) if price.is_finite() else _BAD
    except InvalidOperation:
        return _BAD
