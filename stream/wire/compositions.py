"""Compositions on their topic: members, index shares, reference values and divisors, as JSON (`formats.md`, Kafka topics).

What is stored is what was worked out, not what it was worked out from: a later version of the program that would round index
shares differently still gives the levels of the day.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

import msgspec
import numpy as np

from stream.errors import CompositionError, WireError
from stream.index.composition import Composition, Index
from stream.index.divisor import Divisor
from stream.index.futures import Basis, Contract, Futures
from stream.index.universe import Instrument, Universe

VERSION = 1

_FRACTION = re.compile(r"[0-9]{1,1000}(/[0-9]{1,1000})?")


class _Index(msgspec.Struct):
    code: str
    name: str
    k: int
    rows: list[int]
    index_shares: list[int]
    reference_value: int
    reference_level: int
    divisor: str


class _Contract(msgspec.Struct):
    symbol: str
    root: str
    front_from_ns: int
    front_until_ns: int
    expires_ns: int


class _Beta(msgspec.Struct):
    parent: str
    beta: str


class _Futures(msgspec.Struct):
    contracts: list[_Contract]
    underlyings: dict[str, str]
    combined: dict[str, list[str]]
    betas: dict[str, _Beta]
    basis: Basis
    rate: str
    dividend_yield: str
    stale_after_s: int


class _Composition(msgspec.Struct, omit_defaults=True):
    v: int
    id: str
    date: str
    symbols: list[str]
    reference_prices: list[int]
    float_shares: list[str]
    columns: dict[str, list[str]]
    indexes: list[_Index]
    left_out: list[str]
    futures: _Futures | None = None


_decode = msgspec.json.Decoder(_Composition).decode


def encode(composition: Composition) -> bytes:
    """Write a composition."""
    universe = composition.universe
    names = sorted({name for each in universe.instruments for name in each.attributes})
    return msgspec.json.encode(
        _Composition(
            v=VERSION,
            id=composition.id,
            date=universe.date,
            symbols=list(universe.symbols),
            reference_prices=composition.reference_price.tolist(),
            float_shares=[str(each.float_shares) for each in universe.instruments],
            columns={
                name: [each.attributes.get(name, "") for each in universe.instruments]
                for name in names
            },
            indexes=[
                _Index(
                    code=index.code,
                    name=index.name,
                    k=index.k,
                    rows=index.row.tolist(),
                    index_shares=index.shares.tolist(),
                    reference_value=index.reference_value,
                    reference_level=index.reference_level,
                    divisor=str(index.divisor.value),
                )
                for index in composition.indexes
            ],
            left_out=list(composition.left_out),
            futures=_futures_fields(composition.futures),
        )
    )


def decode(message: bytes) -> Composition:
    """Read a composition.

    Raises
    ------
    WireError
        Where it is not one of this version, or its contents do not have the id that it names.
    """
    try:
        wire = _decode(message)
        if wire.v != VERSION:
            raise WireError(f"composition: expected version {VERSION}, found {wire.v}")
        composition = Composition.of(
            _universe(wire),
            [_index(i) for i in wire.indexes],
            wire.left_out,
            _futures(wire.futures) if wire.futures is not None else Futures.none(),
        )
    except (
        msgspec.MsgspecError,
        CompositionError,
        ValueError,
        ArithmeticError,
        LookupError,
    ) as error:
        raise WireError(f"composition: {error}") from error
    if composition.id != wire.id:
        raise WireError(f"composition {wire.id}: its contents are those of {composition.id}")
    return composition


def _universe(wire: _Composition) -> Universe:
    instruments = tuple(
        Instrument(
            symbol,
            _fraction(shares),
            price,
            MappingProxyType({name: values[row] for name, values in wire.columns.items()}),
        )
        for row, (symbol, shares, price) in enumerate(
            zip(wire.symbols, wire.float_shares, wire.reference_prices, strict=True)
        )
    )
    return Universe(instruments, frozenset(wire.columns), wire.date)


def _fraction(text: str) -> Fraction:
    """Read a fraction as `str` writes it: `1e9999999` would be one, too, and take minutes."""
    if not _FRACTION.fullmatch(text):
        raise ValueError(f"float shares: expected a fraction, found {text[:32]!r}")
    return Fraction(text)


def _index(wire: _Index) -> Index:
    return Index(
        code=wire.code,
        name=wire.name,
        k=wire.k,
        row=np.array(wire.rows, np.int64),
        shares=np.array(wire.index_shares, np.int64),
        reference_value=wire.reference_value,
        divisor=Divisor.of(Decimal(wire.divisor), k=wire.k),
        reference_level=wire.reference_level,
    )


def _futures_fields(futures: Futures) -> _Futures | None:
    if not futures.contracts:
        return None
    return _Futures(
        contracts=[
            _Contract(
                each.symbol,
                each.root,
                each.front_from_ns,
                each.front_until_ns,
                each.expires_ns,
            )
            for each in futures.contracts
        ],
        underlyings=dict(futures.underlyings),
        combined={code: list(parts) for code, parts in futures.combined.items()},
        betas={code: _Beta(parent, str(beta)) for code, (parent, beta) in futures.betas.items()},
        basis=futures.basis,
        rate=str(futures.rate),
        dividend_yield=str(futures.dividend_yield),
        stale_after_s=futures.stale_after_s,
    )


def _futures(wire: _Futures) -> Futures:
    return Futures(
        contracts=tuple(Contract(*msgspec.structs.astuple(each)) for each in wire.contracts),
        underlyings=MappingProxyType(wire.underlyings),
        combined=MappingProxyType({code: tuple(parts) for code, parts in wire.combined.items()}),
        betas=MappingProxyType(
            {code: (each.parent, Decimal(each.beta)) for code, each in wire.betas.items()}
        ),
        basis=wire.basis,
        rate=Decimal(wire.rate),
        dividend_yield=Decimal(wire.dividend_yield),
        stale_after_s=wire.stale_after_s,
    )
