"""Futures: which contract stands for which index, and when it is in front (`methodology.md` 3.1, 3.4)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from stream.errors import FileError
from stream.index.units import NS_PER_S

#: From a price to a level: their difference or ratio at the last cash close, or the cost of carry.
Basis = Literal["held", "ratio", "carry"]

#: Seconds after which a contract's last price is too old to speak for its index.
STALE_AFTER_S = 60
#: Within it, the limits of a contract's price keep every level positive.
HIGHEST_BETA = 10

_ROOT = re.compile(r"/[A-Z0-9]{1,5}")
_SYMBOL = re.compile(r"(?P<root>/[A-Z0-9]{1,5})[FGHJKMNQUVXZ][0-9]")


@dataclass(frozen=True, slots=True)
class Contract:
    """One futures contract.

    Attributes
    ----------
    symbol, root
        `/RTYZ6` and `/RTY`.
    front_from_ns, front_until_ns
        The front one of its root then: half-open, ns since 1970 UTC.
    expires_ns
        End of its trading.
    """

    symbol: str
    root: str
    front_from_ns: int
    front_until_ns: int
    expires_ns: int


@dataclass(frozen=True, slots=True)
class Futures:
    """Contracts, and what follows from their prices.

    Attributes
    ----------
    contracts
        In order of their rows.
    underlyings
        For each root, the code of its index.
    combined
        For codes without a root, those of the indexes that they consist of.
    betas
        For further codes, the code of a parent that has one of the two, and how many times its move they make.
    basis
        From a contract's price to a level: `held` keeps the difference of the last cash close, `ratio` the ratio there,
        `carry` takes the carry until expiry off.
    rate, dividend_yield
        For `carry`: a year, continuous, 0.04 is 4 %.
    stale_after_s
        A contract says nothing once its last price is older.
    """

    contracts: tuple[Contract, ...] = ()
    underlyings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    combined: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    betas: Mapping[str, tuple[str, Decimal]] = field(default_factory=lambda: MappingProxyType({}))
    basis: Basis = "held"
    rate: Decimal = Decimal(0)
    dividend_yield: Decimal = Decimal(0)
    stale_after_s: int = STALE_AFTER_S

    @classmethod
    def none(cls) -> Futures:
        """Give no contract at all."""
        return cls()

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of the contracts, in order."""
        return tuple(each.symbol for each in self.contracts)

    def kept(self, codes: Container[str]) -> Futures:
        """Keep what stands for indexes that exist.

        Parameters
        ----------
        codes
            Of the indexes of a composition.

        Returns
        -------
        Futures
            Without a contract it is that of `none`, so that its other rules make no difference.
        """
        underlyings = {root: code for root, code in self.underlyings.items() if code in codes}
        contracts = tuple(each for each in self.contracts if each.root in underlyings)
        if not contracts:
            return Futures.none()
        mapped = {*underlyings.values()}
        combined = {
            code: parts
            for code, parts in self.combined.items()
            if code in codes and mapped.issuperset(parts)
        }
        mapped |= combined.keys()
        betas = {
            code: (parent, beta)
            for code, (parent, beta) in self.betas.items()
            if code in codes and parent in mapped
        }
        return replace(
            self,
            contracts=contracts,
            underlyings=MappingProxyType(underlyings),
            combined=MappingProxyType(combined),
            betas=MappingProxyType(betas),
        )

    def front(self, ts: int) -> dict[str, int]:
        """Find the front contracts of an instant.

        Parameters
        ----------
        ts
            ns since 1970 UTC.

        Returns
        -------
        dict
            For each index code, the position of its front contract; none where all have rolled off.
        """
        return {
            self.underlyings[each.root]: position
            for position, each in enumerate(self.contracts)
            if each.front_from_ns <= ts < each.front_until_ns
        }

    def canonical(self) -> str:
        """Write all of it in one way: equal text, equal estimates."""
        rules = (self.basis, self.rate, self.dividend_yield, self.stale_after_s)
        figures = [
            (each.symbol, each.root, each.front_from_ns, each.front_until_ns, each.expires_ns)
            for each in self.contracts
        ]
        return "\n".join(
            (
                " ".join(map(str, rules)),
                *(" ".join(map(str, each)) for each in figures),
                *(f"{root} is {code}" for root, code in sorted(self.underlyings.items())),
                *(f"{code} has {' '.join(parts)}" for code, parts in sorted(self.combined.items())),
                *(f"{code} is {b} of {parent}" for code, (parent, b) in sorted(self.betas.items())),
            )
        )


class _Contracts(msgspec.Struct, forbid_unknown_fields=True):
    """One [[contract]] table: contracts of several roots with the same dates."""

    symbols: list[str]
    rolls: datetime
    expires: datetime


class _Beta(msgspec.Struct, forbid_unknown_fields=True):
    parent: str
    beta: str | int | float


class _File(msgspec.Struct, forbid_unknown_fields=True):
    zone: str
    basis: Basis = "held"
    rate: str | int | float = 0
    dividend_yield: str | int | float = 0
    stale_after_s: int = STALE_AFTER_S
    underlyings: dict[str, str] = {}
    combined: dict[str, list[str]] = {}
    betas: dict[str, _Beta] = {}
    contract: list[_Contracts] = []


def read_futures(text: str, *, file: str = "futures") -> Futures:
    """Read a futures file.

    Parameters
    ----------
    text
        TOML with the rules, the tables [underlyings], [combined] and [betas], and [[contract]] tables.
    file
        Name for error messages.

    Returns
    -------
    Futures

    Raises
    ------
    FileError
        Naming file, key and value of what is wrong.
    """
    try:
        table = msgspec.convert(tomllib.loads(text), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise FileError(f"{file}: {error}") from error
    if table.stale_after_s <= 0:
        raise FileError(f"{file}: stale_after_s: expected more than 0, found {table.stale_after_s}")
    _check_underlyings(table, file)
    _check_combined(table, file)
    return Futures(
        contracts=_contracts(table, file),
        underlyings=MappingProxyType(table.underlyings),
        combined=MappingProxyType({code: tuple(parts) for code, parts in table.combined.items()}),
        betas=MappingProxyType(dict(_betas(table, file))),
        basis=table.basis,
        rate=_decimal(table.rate, f"{file}: rate", below=1),
        dividend_yield=_decimal(table.dividend_yield, f"{file}: dividend_yield", below=1),
        stale_after_s=table.stale_after_s,
    )


def _check_underlyings(table: _File, file: str) -> None:
    root_of: dict[str, str] = {}
    for root, code in table.underlyings.items():
        if not _ROOT.fullmatch(root):
            raise FileError(f"{file}: underlyings: expected a root such as '/RTY', found {root!r}")
        first = root_of.setdefault(code, root)
        if first != root:
            raise FileError(f"{file}: underlyings: {root}: {first} stands for {code!r} already")


def _check_combined(table: _File, file: str) -> None:
    mapped = set(table.underlyings.values())
    for code, parts in table.combined.items():
        place = f"{file}: combined: {code}"
        if code in mapped:
            raise FileError(f"{place}: it has futures of its own in `underlyings`")
        if len(parts) < 2 or len(set(parts)) < len(parts):  # noqa: PLR2004 - a whole has two parts at least
            raise FileError(f"{place}: expected two or more different indexes, found {parts}")
        strange = [part for part in parts if part not in mapped]
        if strange:
            raise FileError(f"{place}: {strange[0]!r} is no index of `underlyings`")


def _betas(table: _File, file: str) -> Iterator[tuple[str, tuple[str, Decimal]]]:
    mapped = {*table.underlyings.values(), *table.combined}
    for code, one in table.betas.items():
        place = f"{file}: betas: {code}"
        if code in mapped:
            raise FileError(f"{place}: it stands in `underlyings` or `combined` already")
        if one.parent not in mapped:
            raise FileError(
                f"{place}: parent: expected an index of `underlyings` or `combined`, found {one.parent!r}"
            )
        yield code, (one.parent, _decimal(one.beta, f"{place}: beta", below=HIGHEST_BETA))


def _decimal(value: str | float, place: str, *, below: int) -> Decimal:
    try:
        number = Decimal(str(value))
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number) >= below:
        raise FileError(f"{place}: expected a number between -{below} and {below}, found {value!r}")
    return number


def _contracts(table: _File, file: str) -> tuple[Contract, ...]:
    zone = _zone(table.zone, file)
    lines = [(symbol, line) for line in table.contract for symbol in line.symbols]
    rolls: dict[str, list[int]] = {root: [0] for root in table.underlyings}
    contracts: list[Contract] = []
    for symbol, line in lines:
        place = f"{file}: contract {symbol!r}"
        root = _root(symbol, table, place)
        if symbol in {each.symbol for each in contracts}:
            raise FileError(f"{place}: symbols: it stands there twice")
        until, expires = _instant(line.rolls, zone), _instant(line.expires, zone)
        if until > expires:
            raise FileError(f"{place}: rolls: {line.rolls} is later than it expires")
        if until <= rolls[root][-1]:
            raise FileError(
                f"{place}: rolls: {line.rolls} is not later than that of the contract of {root} before it"
            )
        contracts.append(Contract(symbol, root, rolls[root][-1], until, expires))
        rolls[root].append(until)
    return tuple(contracts)


def _root(symbol: str, table: _File, place: str) -> str:
    match = _SYMBOL.fullmatch(symbol)
    if match is None:
        raise FileError(f"{place}: symbols: expected root, month and year such as '/RTYZ6'")
    if match["root"] not in table.underlyings:
        raise FileError(f"{place}: symbols: {match['root']!r} is no root of `underlyings`")
    return match["root"]


def _zone(name: str, file: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError) as error:
        raise FileError(
            f"{file}: zone: expected one such as 'America/New_York', found {name!r}"
        ) from error


def _instant(at: datetime, zone: ZoneInfo) -> int:
    """Take a time without an offset as local."""
    aware = at if at.tzinfo is not None else at.replace(tzinfo=zone)
    return int(aware.timestamp()) * NS_PER_S
