"""The universe: every instrument that some index may hold, one row each, in the order of its file."""

from __future__ import annotations

import csv
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from stream.errors import FileError
from stream.index.sectors import ALIASES, SECTORS, sector_code
from stream.index.units import BOUND_MULTIPLE, INT64_LIMIT, PRICE_SCALE, price_units

SYMBOL_LENGTH = 8
SYMBOL_CHARACTERS = frozenset(string.ascii_letters + string.digits + string.punctuation)

#: How many bad lines an error lists before it only counts the rest.
LISTED_ERRORS = 50

#: Book rows are sorted by radix on 16 bits.
MAX_INSTRUMENTS = 65_535

#: Dollars; 8 times it fits into 63 bits (law 1).
HIGHEST_PRICE = INT64_LIMIT // (BOUND_MULTIPLE * PRICE_SCALE) - 1


@dataclass(frozen=True, slots=True)
class Instrument:
    """One line of a constituents file.

    Attributes
    ----------
    symbol
        1 to 8 printable ASCII characters.
    float_shares
        Shares available to the public, exact; positive.
    price
        Reference price in 1/10000 dollar; positive.
    attributes
        Every column as text, sectors under our names: what index definitions select on.
    """

    symbol: str
    float_shares: Fraction
    price: int
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Universe:
    """Instruments in file order; an instrument's position is its row in every array of the engine.

    Attributes
    ----------
    instruments
        One per row.
    columns
        Names of the columns that the file has.
    date
        The newest `price_date` of the file, or an empty string.
    """

    instruments: tuple[Instrument, ...]
    columns: frozenset[str]
    date: str = ""

    def __len__(self) -> int:
        return len(self.instruments)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols by row."""
        return tuple(instrument.symbol for instrument in self.instruments)


def valid_symbol(symbol: str) -> bool:
    """Tell whether a symbol is 1 to 8 printable ASCII characters without a space.

    Examples
    --------
    >>> valid_symbol("BRK.B"), valid_symbol(""), valid_symbol("TOOLONGSYM"), valid_symbol("É")
    (True, False, False, False)
    """
    return 0 < len(symbol) <= SYMBOL_LENGTH and SYMBOL_CHARACTERS.issuperset(symbol)


def read_universe(
    lines: Iterable[str], *, file: str = "constituents", sectors: Mapping[str, str] | None = None
) -> Universe:
    """Read a constituents file (`formats.md`, Files).

    Parameters
    ----------
    lines
        The file's lines, header first.
    file
        Its name, for error messages.
    sectors
        Further names of sectors, each mapped to one of ours.

    Returns
    -------
    Universe

    Raises
    ------
    FileError
        Naming file, line, column and value of every bad line.
    """
    reader = csv.reader(lines)
    header = [name.strip().lower() for name in next(reader, [])]
    _check_header(header, file)
    extra = {name.strip().lower(): code for name, code in (sectors or {}).items()}
    errors: list[str] = []
    instruments: list[Instrument] = []
    line_of: dict[str, int] = {}
    for cells in _rows(reader, file, errors):
        if not cells:
            continue
        line = reader.line_num
        if len(cells) != len(header):
            errors.append(f"{file}:{line}: expected {len(header)} columns, found {len(cells)}")
            continue
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        faults = _Faults(file, line, errors)
        instrument = _read_instrument(row, faults, extra)
        if instrument is None:
            continue
        first = line_of.setdefault(instrument.symbol, line)
        if first != line:
            faults.add("symbol", f"{instrument.symbol!r} stands on line {first} already")
            continue
        instruments.append(instrument)
    if len(instruments) > MAX_INSTRUMENTS:
        errors.append(
            f"{file}: {len(instruments)} instruments; at most {MAX_INSTRUMENTS} are possible"
        )
    if not instruments and not errors:
        errors.append(f"{file}: no constituents, only a header")
    if errors:
        raise FileError(_listing(errors))
    dates = [instrument.attributes.get("price_date", "") for instrument in instruments]
    return Universe(tuple(instruments), frozenset(header), max(dates))


def _check_header(header: Sequence[str], file: str) -> None:
    missing = [name for name in ("symbol", "price") if name not in header]
    if "float_shares" not in header and not {"shares", "float"} <= set(header):
        missing.append("float_shares (or shares and float)")
    if missing:
        raise FileError(f"{file}:1: missing column {', '.join(missing)}")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise FileError(f"{file}:1: column {', '.join(repeated)} stands twice")


def _rows(reader: Any, file: str, errors: list[str]) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        errors.append(f"{file}:{reader.line_num}: {error}; is a quote never closed?")


class _Faults:
    """Collects what is wrong with one line."""

    def __init__(self, file: str, line: int, errors: list[str]) -> None:
        self._place = f"{file}:{line}"
        self._errors = errors
        self.any = False

    def add(self, column: str, what: str) -> None:
        self.any = True
        self._errors.append(f"{self._place}: {column}: {what}")

    def number(self, row: Mapping[str, str], column: str) -> Decimal | None:
        text = row[column]
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite():
            self.add(column, f"expected a number, found {text!r}")
            return None
        return value

    def positive(self, row: Mapping[str, str], column: str) -> Decimal | None:
        value = self.number(row, column)
        if value is not None and value <= 0:
            self.add(column, f"expected more than 0, found {row[column]!r}")
            return None
        return value

    def share(self, row: Mapping[str, str], column: str) -> Decimal | None:
        value = self.number(row, column)
        if value is not None and not 0 <= value <= 1:
            self.add(column, f"expected 0 to 1, found {row[column]!r}")
            return None
        return value


def _read_instrument(
    row: dict[str, str], faults: _Faults, sectors: Mapping[str, str]
) -> Instrument | None:
    symbol = row["symbol"]
    if not valid_symbol(symbol):
        faults.add("symbol", f"expected 1 to 8 printable ASCII characters, found {symbol!r}")
    price = faults.positive(row, "price")
    if price is not None and price > HIGHEST_PRICE:
        faults.add("price", f"expected at most {HIGHEST_PRICE}, found {row['price']!r}")
        price = None
    units = price_units(price) if price is not None else 0
    if price is not None and units == 0:
        faults.add("price", f"{row['price']!r} is less than the least price, 0.0001")
    float_shares = _read_float_shares(row, faults)
    if row.get("sector"):
        code = sectors.get(row["sector"].lower()) or sector_code(row["sector"])
        if code is None:
            faults.add("sector", f"unknown sector {row['sector']!r}; known: {_known_sectors()}")
        else:
            row["sector"] = code
    if row.get("growth"):
        faults.share(row, "growth")
    if row.get("currency", "USD") not in ("", "USD"):
        faults.add("currency", f"expected USD, found {row['currency']!r}")
    if faults.any or float_shares is None:
        return None
    return Instrument(symbol, float_shares, units, MappingProxyType(row))


def _read_float_shares(row: Mapping[str, str], faults: _Faults) -> Fraction | None:
    if "float_shares" in row:
        float_shares = faults.positive(row, "float_shares")
        return None if float_shares is None else Fraction(float_shares)
    shares, share = faults.positive(row, "shares"), faults.share(row, "float")
    if shares is None or share is None:
        return None
    if share == 0:
        faults.add("float", "no share is available to the public: leave the line out")
        return None
    return Fraction(shares) * Fraction(share)


def _known_sectors() -> str:
    return ", ".join((*SECTORS, *sorted(alias.title() for alias in ALIASES)))


def _listing(errors: Sequence[str]) -> str:
    more = len(errors) - LISTED_ERRORS
    shown = list(errors[:LISTED_ERRORS])
    if more > 0:
        shown.append(f"and {more} more bad lines")
    return "\n".join(shown)
