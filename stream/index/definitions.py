"""Index definitions: which constituents an index selects, and how it weighs them (`formats.md`, Files)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

import msgspec

from stream.errors import FileError
from stream.index.sectors import SECTORS, sector_code
from stream.index.universe import Instrument, Universe

Weighting = Literal["float_cap", "equal", "price", "capped"]
Style = Literal["growth", "value"]

CODE_PATTERN = re.compile(r"[A-Z0-9][A-Z0-9._-]{0,31}")


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """One [[index]] table as it stands in the file."""

    code: str
    name: str = ""
    select: dict[str, str | list[str]] = {}
    by: str | None = None
    weighting: Weighting = "float_cap"
    limit: str | float | None = None
    style: Style | None = None
    base_level: str | int | float = 1000
    base_date: str = ""
    divisor: str | int | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    index: list[_Entry] = []
    sectors: dict[str, str] = {}
    replace: bool = False


@dataclass(frozen=True, slots=True)
class IndexFile:
    """What an index file says, apart from the indexes themselves.

    Attributes
    ----------
    replaces
        The file's indexes stand instead of the bundled ones, not beside them.
    sectors
        Further names of sectors, each mapped to one of ours.
    """

    replaces: bool
    sectors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Definition:
    """One index.

    Attributes
    ----------
    code, name
        Upper-case identifier, and what people call it.
    select
        For each column, the values that a constituent may have; all columns must match.
    weighting
        How members weigh at the composition's reference prices.
    limit
        Largest weight of a member, 0..1, where the weighting is `capped`.
    style
        Take only the growth or the value part of each member's index shares.
    base_level, base_date
        Level at the reference prices, and the date they stand for (as the file says it, or empty).
    divisor
        Dollars per index point; given instead of a base level, or None.
    """

    code: str
    name: str
    select: Mapping[str, frozenset[str]]
    weighting: Weighting = "float_cap"
    limit: Decimal | None = None
    style: Style | None = None
    base_level: Decimal = Decimal(1000)
    base_date: str = ""
    divisor: Decimal | None = None

    def selects(self, instrument: Instrument) -> bool:
        """Tell whether the instrument is a member."""
        attributes = instrument.attributes
        return all(attributes.get(column) in values for column, values in self.select.items()) and (
            self.style is None or bool(attributes.get("growth"))
        )


def read_index_file(text: str, *, file: str = "indexes") -> IndexFile:
    """Read what an index file says beside its indexes: `replace` and the [sectors] table.

    Raises
    ------
    FileError
        Where the file is not valid, or a sector is not one of ours.
    """
    table = _decode(text, file)
    unknown = sorted({code for code in table.sectors.values() if code not in SECTORS})
    if unknown:
        raise FileError(f"{file}: sectors: {', '.join(unknown)} is none of {', '.join(SECTORS)}")
    return IndexFile(table.replace, table.sectors)


def read_definitions(
    text: str, *, universe: Universe, file: str = "indexes"
) -> tuple[Definition, ...]:
    """Read an index file and expand its `by` columns over a universe.

    Parameters
    ----------
    text
        TOML with [[index]] tables.
    universe
        Gives the values of the `by` columns.
    file
        Name for error messages.

    Returns
    -------
    tuple of Definition
        In file order, each followed by the indexes its `by` column makes. Whether an index selects anything is decided
        by the composition.

    Raises
    ------
    FileError
        Naming the index and field that is wrong.
    """
    definitions: list[Definition] = []
    for entry in _decode(text, file).index:
        definition = _definition(entry, file)
        definitions.append(definition)
        if entry.by is not None:
            definitions.extend(_split(definition, entry.by, universe))
    seen: set[str] = set()
    for definition in definitions:
        if not CODE_PATTERN.fullmatch(definition.code):
            raise FileError(
                f"{file}: index {definition.code!r}, made by a `by` column: expected up to 32 of A-Z 0-9 . _ -"
            )
        if definition.code in seen:
            raise FileError(f"{file}: index {definition.code} is defined twice")
        seen.add(definition.code)
    return tuple(definitions)


def _decode(text: str, file: str) -> _File:
    try:
        return msgspec.convert(tomllib.loads(text), _File)
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{file}: {error}") from error
    except msgspec.ValidationError as error:
        raise FileError(f"{file}: {error}") from error


def _definition(entry: _Entry, file: str) -> Definition:
    place = f"{file}: index {entry.code!r}"
    if not CODE_PATTERN.fullmatch(entry.code):
        raise FileError(f"{place}: code: expected up to 32 of A-Z 0-9 . _ -")
    limit = _decimal(entry.limit, f"{place}: limit") if entry.limit is not None else None
    if (entry.weighting == "capped") != (limit is not None):
        raise FileError(f"{place}: limit: a capped index needs one, no other weighting takes one")
    if limit is not None and not 0 < limit <= 1:
        raise FileError(
            f"{place}: limit: expected more than 0 and at most 1, found {entry.limit!r}"
        )
    base_level = _decimal(entry.base_level, f"{place}: base_level")
    divisor = _decimal(entry.divisor, f"{place}: divisor") if entry.divisor is not None else None
    for name, value in (("base_level", base_level), ("divisor", divisor)):
        if value is not None and value <= 0:
            raise FileError(f"{place}: {name}: expected more than 0, found {value}")
    return Definition(
        code=entry.code,
        name=entry.name or entry.code,
        select={column: _values(column, wanted) for column, wanted in entry.select.items()},
        weighting=entry.weighting,
        limit=limit,
        style=entry.style,
        base_level=base_level,
        base_date=entry.base_date,
        divisor=divisor,
    )


def _decimal(value: str | float, place: str) -> Decimal:
    try:
        number = Decimal(str(value))
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite():
        raise FileError(f"{place}: expected a number, found {value!r}")
    return number


def _values(column: str, wanted: Any) -> frozenset[str]:
    texts = [wanted] if isinstance(wanted, str) else list(wanted)
    if column == "sector":
        texts = [sector_code(text) or text for text in texts]
    return frozenset(texts)


def _split(parent: Definition, column: str, universe: Universe) -> list[Definition]:
    values = {instrument.attributes.get(column, "") for instrument in universe.instruments} - {""}
    return [
        replace(
            parent,
            code=f"{parent.code}-{value.upper()}",
            name=f"{parent.name} {_title(value)}",
            select={**parent.select, column: frozenset((value,))},
        )
        for value in sorted(values)
    ]


#: How sector codes read as words.
_TITLES = {
    "BASICMATERIALS": "Basic Materials",
    "HEALTHCARE": "Health Care",
    "REALESTATE": "Real Estate",
}


def _title(value: str) -> str:
    return _TITLES.get(value, value.title())
