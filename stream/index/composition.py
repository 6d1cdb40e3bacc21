"""The composition: which instruments each index holds, in integers that add up exactly (`design.md`, law 1)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from stream.errors import CompositionError
from stream.index.definitions import Definition
from stream.index.divisor import Divisor
from stream.index.futures import Futures
from stream.index.units import BOUND_MULTIPLE, INT64_LIMIT
from stream.index.universe import MAX_INSTRUMENTS, Universe
from stream.index.weights import index_shares, style_part

#: Finer index shares than 10^-9 gain nothing and make market values hard to read.
FINEST_K = 9


@dataclass(frozen=True, slots=True)
class Index:
    """One index of a composition.

    Attributes
    ----------
    code, name
        As defined.
    k
        Its index shares count 10^-k shares, its market values 10^-(4+k) dollar.
    row, shares
        int64, shape (n_members,): the members' rows, ascending, and their index shares.
    reference_value
        Market value at the reference prices, in 10^-(4+k) dollar.
    divisor
        Dollars per index point.
    reference_level
        Level at the reference prices, in 10^-8 points.
    """

    code: str
    name: str
    k: int
    row: NDArray[np.int64]
    shares: NDArray[np.int64]
    reference_value: int
    divisor: Divisor
    reference_level: int


@dataclass(frozen=True, slots=True)
class Memberships:
    """All memberships of all indexes, ordered by row: what a batch of ticks walks through.

    Memberships of row `r` stand at `start[r]` to `start[r + 1]`.

    Attributes
    ----------
    start
        int64, shape (n_symbols + 1,): contracts are members of nothing.
    index
        int64, shape (n_memberships,): position of the index.
    shares
        int64, shape (n_memberships,): index shares in the index's own 10^-k.
    reference
        int64, shape (n_memberships,): reference value of the constituent, in the index's 10^-(4+k) dollar.
    """

    start: NDArray[np.int64]
    index: NDArray[np.int64]
    shares: NDArray[np.int64]
    reference: NDArray[np.int64]

    def of_rows(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find the memberships of some rows.

        Parameters
        ----------
        rows
            int64, shape (n,).

        Returns
        -------
        membership : int64 array, shape (m,)
            Positions in `index`, `shares` and `reference`.
        nth : int64 array, shape (m,)
            For each of them, which of the given rows it belongs to.

        Notes
        -----
        O(n + m): the cost of a batch is the memberships it touches, however many indexes there are.
        """
        first = self.start[rows]
        count = self.start[rows + 1] - first
        nth = np.repeat(np.arange(len(rows), dtype=np.int64), count)
        before = np.cumsum(count) - count
        return np.arange(len(nth), dtype=np.int64) + (first - before)[nth], nth


_NO_FUTURES = Futures.none()


@dataclass(frozen=True, slots=True)
class Composition:
    """Constituents in force: universe, indexes and everything derived from both.

    Attributes
    ----------
    id
        Date of the reference prices and a digest of the contents.
    universe
        The instruments, one a row.
    indexes
        Those that select something, in order of definition.
    left_out
        Codes of definitions that select nothing.
    reference_price
        int64, shape (n_rows,): 1/10000 dollar.
    highest_price
        int64, shape (n_rows,): a price above it is out of bounds (law 1).
    memberships
        Of all indexes, by row.
    symbols
        Of the universe, then of the futures contracts: one a row.
    row_of
        Rows by symbol.
    futures
        Those that stand for one of the indexes.
    """

    id: str
    universe: Universe
    indexes: tuple[Index, ...]
    left_out: tuple[str, ...]
    reference_price: NDArray[np.int64]
    highest_price: NDArray[np.int64]
    memberships: Memberships
    symbols: tuple[str, ...] = field(repr=False)
    row_of: Mapping[str, int] = field(repr=False)
    futures: Futures = field(repr=False)

    @classmethod
    def build(
        cls,
        universe: Universe,
        definitions: Sequence[Definition],
        futures: Futures = _NO_FUTURES,
    ) -> Composition:
        """Build the composition of a universe and a set of definitions.

        Parameters
        ----------
        universe
            The instruments with their reference prices.
        definitions
            Any number of indexes; those that select nothing are left out.
        futures
            Contracts; those that stand for none of the indexes are left out.

        Returns
        -------
        Composition

        Raises
        ------
        CompositionError
            Where no index selects anything, or one cannot be held in 63 bits; where a contract's symbol is a
            constituent's, or an index does not consist of those that futures combine it from.
        """
        members = {
            definition.code: [
                row
                for row, instrument in enumerate(universe.instruments)
                if definition.selects(instrument)
            ]
            for definition in definitions
        }
        used = [definition for definition in definitions if members[definition.code]]
        if not used:
            raise CompositionError(_nothing_selected(universe, definitions))
        family = _family_k(universe, used, members)
        indexes = tuple(
            _index(universe, definition, members[definition.code], family) for definition in used
        )
        left_out = tuple(d.code for d in definitions if not members[d.code])
        return cls.of(universe, indexes, left_out, futures.kept({index.code for index in indexes}))

    @classmethod
    def of(
        cls,
        universe: Universe,
        indexes: Sequence[Index],
        left_out: Sequence[str],
        futures: Futures = _NO_FUTURES,
    ) -> Composition:
        """Put together a composition whose indexes are worked out already, as a stored one's are.

        Parameters
        ----------
        universe
            The instruments with their reference prices.
        indexes
            With index shares, reference values and divisors.
        left_out
            Codes of definitions that select nothing.
        futures
            Of these indexes alone.

        Raises
        ------
        CompositionError
            Where the futures do not go with universe and indexes.
        """
        _check_futures(universe, {index.code: index for index in indexes}, futures)
        symbols = universe.symbols + futures.symbols
        price = np.array([i.price for i in universe.instruments], dtype=np.int64)
        return cls(
            id=_identity(universe, indexes, futures),
            universe=universe,
            indexes=tuple(indexes),
            left_out=tuple(left_out),
            reference_price=price,
            highest_price=price * BOUND_MULTIPLE,
            memberships=_memberships(price, indexes, len(symbols)),
            symbols=symbols,
            row_of={symbol: row for row, symbol in enumerate(symbols)},
            futures=futures,
        )

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the indexes, in order."""
        return tuple(index.code for index in self.indexes)


def _nothing_selected(universe: Universe, definitions: Sequence[Definition]) -> str:
    wanted = {column for definition in definitions for column in definition.select}
    missing = sorted(wanted - universe.columns)
    hint = f"; the constituents have no column {', '.join(missing)}" if missing else ""
    return f"no index selects any of the {len(universe)} constituents{hint}"


def _in_family(definition: Definition) -> bool:
    """Float-cap indexes share k, so that their index shares are the same and add up."""
    return definition.weighting == "float_cap"


def _family_k(
    universe: Universe, definitions: Sequence[Definition], members: dict[str, list[int]]
) -> int:
    rows = {row for d in definitions if _in_family(d) for row in members[d.code]}
    values = [universe.instruments[row] for row in rows]
    return _finest_k(
        "float-cap family",
        [instrument.float_shares for instrument in values],
        [instrument.price for instrument in values],
    )


def _finest_k(what: str, shares: Sequence[Fraction], prices: Sequence[int]) -> int:
    """Choose the largest k for which 8 times the sum of bound values stays below 2^63."""
    for k in range(FINEST_K, -FINEST_K - 1, -1):
        scale = Fraction(10) ** k
        total = sum(round(s * scale) * p for s, p in zip(shares, prices, strict=True))
        if BOUND_MULTIPLE * total < INT64_LIMIT:
            return k
    raise CompositionError(f"{what}: its market value cannot be held in 63 bits")


def _index(universe: Universe, definition: Definition, rows: Sequence[int], family_k: int) -> Index:
    instruments = [universe.instruments[row] for row in rows]
    exact = index_shares(definition, instruments)
    prices = [instrument.price for instrument in instruments]
    k = family_k if _in_family(definition) else _finest_k(f"index {definition.code}", exact, prices)
    shares = [round(share * Fraction(10) ** k) for share in exact]
    if definition.style is not None:
        shares = [
            style_part(share, Decimal(instrument.attributes["growth"]), definition.style)
            for share, instrument in zip(shares, instruments, strict=True)
        ]
    reference = sum(share * price for share, price in zip(shares, prices, strict=True))
    if reference == 0:
        raise CompositionError(
            f"index {definition.code}: its members are worth nothing in units of 10^{-k} shares"
        )
    divisor = (
        Divisor.of(definition.divisor, k=k)
        if definition.divisor is not None
        else Divisor.from_base(reference, k=k, base_level=definition.base_level)
    )
    level = divisor.level(reference)
    if level == 0:
        raise CompositionError(
            f"index {definition.code}: its level rounds to 0: choose a higher base level or a smaller divisor"
        )
    return Index(
        code=definition.code,
        name=definition.name,
        k=k,
        row=np.array(rows, dtype=np.int64),
        shares=np.array(shares, dtype=np.int64),
        reference_value=reference,
        divisor=divisor,
        reference_level=level,
    )


def _check_futures(universe: Universe, indexes: Mapping[str, Index], futures: Futures) -> None:
    both = set(universe.symbols).intersection(futures.symbols)
    if both:
        raise CompositionError(f"{min(both)} is a constituent and a futures contract")
    n_rows = len(universe) + len(futures.contracts)
    if futures.contracts and n_rows > MAX_INSTRUMENTS:
        raise CompositionError(
            f"{n_rows} instruments with the futures contracts; at most {MAX_INSTRUMENTS} are possible"
        )
    for code, parts in futures.combined.items():
        if not _consists_of(indexes[code], [indexes[part] for part in parts]):
            raise CompositionError(
                f"futures: combined: index {code} does not consist of {' and '.join(parts)}: "
                "their market values do not add up to its own"
            )


def _consists_of(whole: Index, parts: Sequence[Index]) -> bool:
    """Tell whether an index holds the index shares of its parts, in the same units, and nothing else."""
    row = np.concatenate([part.row for part in parts])
    shares = np.concatenate([part.shares for part in parts])
    order = np.argsort(row, kind="stable")
    return (
        all(part.k == whole.k for part in parts)
        and np.array_equal(row[order], whole.row)
        and np.array_equal(shares[order], whole.shares)
    )


def _memberships(price: NDArray[np.int64], indexes: Sequence[Index], n_symbols: int) -> Memberships:
    row = np.concatenate([index.row for index in indexes])
    position = np.repeat(
        np.arange(len(indexes), dtype=np.int64), [len(index.row) for index in indexes]
    )
    shares = np.concatenate([index.shares for index in indexes])
    order = np.argsort(row, kind="stable")
    row, position, shares = row[order], position[order], shares[order]
    start = np.searchsorted(row, np.arange(n_symbols + 1)).astype(np.int64)
    return Memberships(start, position, shares, shares * price[row])


def _identity(universe: Universe, indexes: Sequence[Index], futures: Futures) -> str:
    digest = hashlib.sha256()
    for symbol in universe.symbols:
        digest.update(symbol.encode() + b"\n")
    for index in indexes:
        figures = (index.k, index.divisor.value, index.reference_value, index.reference_level)
        digest.update(f"{index.code} {' '.join(map(str, figures))}\n".encode())
        for array in (index.row, index.shares):
            digest.update(array.astype("<i8").tobytes())
    digest.update(repr([instrument.price for instrument in universe.instruments]).encode())
    if futures.contracts:
        digest.update(futures.canonical().encode())
    return f"{universe.date or 'undated'}-{digest.hexdigest()[:12]}"
