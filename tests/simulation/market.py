"""What goes in: small compositions, sessions of a week, ticks as bytes."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import NamedTuple

from simulation.truth import NS, Sheet, World
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.universe import read_universe
from stream.session.calendar import Calendar, Session
from stream.wire.ticks_json import encode_tick

CALENDAR = Calendar.bundled()

#: 2013-10-07, a Monday, 09:40 in New York.
START_NS = 1_381_153_200 * NS
DAY_NS = 86_400 * NS

SYMBOLS = ("AA", "BB", "CC", "DD")
#: Numbers of symbols, and variants of their releases.
LAYOUTS = tuple((n_symbols, variant) for n_symbols in (2, 3, 4) for variant in range(6))

DEFINITIONS = (
    Definition("ALL", "", {}),
    Definition("ODD", "", {"parity": frozenset(("odd",))}, base_level=Decimal("99.7")),
    Definition("EW", "", {}, weighting="equal"),
)


class Files(NamedTuple):
    """A composition, and the same in plain numbers."""

    composition: Composition
    world: World


@cache
def releases(n_symbols: int, variant: int) -> tuple[Files, ...]:
    """Give three compositions as they might follow each other: other shares, another reference price, another symbol."""
    chance = random.Random(f"{n_symbols}/{variant}")
    prices = {symbol: chance.randrange(50_000, 400_000) for symbol in SYMBOLS}
    shares = {symbol: chance.randrange(1, 900) for symbol in SYMBOLS}
    members = SYMBOLS[:n_symbols]
    first = _composition(members, prices, shares)
    shares |= {members[0]: shares[members[0]] + chance.randrange(1, 50)}
    second = _composition(members, prices, shares)
    if variant % 2:
        prices |= {members[-1]: prices[members[-1]] * 2}
    if variant % 3 == 0 and n_symbols > 2:
        members = members[1:]
    elif variant % 3 == 1 and n_symbols < len(SYMBOLS):
        members = SYMBOLS[: n_symbols + 1]
    shares |= {members[-1]: shares[members[-1]] + 1}
    return first, second, _composition(members, prices, shares)


def _composition(members: tuple[str, ...], prices: dict[str, int], shares: dict[str, int]) -> Files:
    lines = ["symbol,price,float_shares,parity"]
    for symbol in members:
        parity = "odd" if SYMBOLS.index(symbol) % 2 else "even"
        lines.append(f"{symbol},{Decimal(prices[symbol]) / 10_000},{shares[symbol]},{parity}")
    composition = Composition.build(read_universe(lines), DEFINITIONS)
    return Files(composition, _world(composition))


def _world(composition: Composition) -> World:
    """Give a composition as plain numbers."""
    symbols = composition.universe.symbols
    return World(
        composition.id,
        {each.symbol: each.price for each in composition.universe.instruments},
        tuple(
            Sheet(
                index.code,
                index.k,
                {
                    symbols[row]: shares
                    for row, shares in zip(index.row.tolist(), index.shares.tolist(), strict=True)
                },
                Fraction(index.divisor.value),
            )
            for index in composition.indexes
        ),
    )


def session(ts: int) -> Session:
    return CALENDAR.session_at(ts)


def next_morning(now_ns: int) -> int:
    """Give 09:35 of the next weekday."""
    opening = START_NS - 300 * NS
    days = (now_ns - opening) // DAY_NS + 1
    while days % 7 > 4:
        days += 1
    return opening + days * DAY_NS


def a_trading_day_before(ts: int) -> int:
    """Give the same time of the weekday before."""
    days = (ts - START_NS + 600 * NS) // DAY_NS % 7
    return ts - (3 if days == 0 else 1) * DAY_NS


def trade(symbol: str, price: int, ts: int, *, seq: int, cond: str = "@") -> bytes:
    return encode_tick(symbol, price, ts, seq=seq, cond=cond)
