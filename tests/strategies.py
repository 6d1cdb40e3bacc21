"""Hypothesis strategies: universes with indexes on them, logs of ticks, and their cuts into batches and partitions."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
from hypothesis import strategies as st

import oracle
from oracle import NS, Line, Plan, Print, World
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.ticks import Ticks
from stream.index.universe import Instrument, Universe

OPENING = oracle.nanoseconds("2026-07-17", "09:30:00")
CLOSING = oracle.nanoseconds("2026-07-17", "16:00:00")

_GROWTH = (
    None,
    Decimal(0),
    Decimal("0.25"),
    Decimal("0.36"),
    Decimal("0.5"),
    Decimal("0.995"),
    Decimal(1),
)
_WEIGHTINGS = ("float_cap", "float_cap", "equal", "price", "capped")
_LIMITS = ("0.15", "0.3", "0.4", "0.5", "0.75", "1")


def universe_of(lines: Sequence[Line]) -> Universe:
    """Write lines as the engine reads them from a file."""
    codes = sorted({code for line in lines for code in line.member})
    instruments = []
    for line in lines:
        attributes = {code: "yes" if code in line.member else "no" for code in codes}
        if line.growth is not None:
            attributes["growth"] = str(line.growth)
        instruments.append(
            Instrument(line.symbol, line.float_shares, line.price, MappingProxyType(attributes))
        )
    return Universe(tuple(instruments), frozenset({"symbol", "price", "float_shares", *codes}))


def definition_of(plan: Plan) -> Definition:
    """Write a plan as the engine reads it from a file."""
    return Definition(
        code=plan.code,
        name=plan.code,
        select={plan.code: frozenset(("yes",))},
        weighting=plan.weighting,  # type: ignore[arg-type]
        limit=plan.limit,
        style=plan.style,  # type: ignore[arg-type]
        base_level=plan.base_level,
        divisor=plan.divisor,
    )


def composition_of(world: World) -> Composition:
    """Build what the engine makes of a world."""
    return Composition.build(
        universe_of(world.lines), [definition_of(plan) for plan in world.plans]
    )


def ticks_of(prints: Sequence[Print]) -> Ticks:
    """Write ticks as columns."""
    return Ticks(
        row=np.array([one.row for one in prints], np.int32),
        price=np.array([one.price for one in prints], np.int64),
        ts=np.array([one.ts for one in prints], np.int64),
        seq=np.array([one.seq for one in prints], np.uint64),
        cond=np.array([one.cond for one in prints], np.uint16),
        kind=np.array([one.kind for one in prints], np.uint8),
        recorded=np.array([one.recorded for one in prints], np.int64),
    )


@st.composite
def worlds(draw: st.DrawFn, *, max_lines: int = 7, max_plans: int = 5) -> World:
    """Draw a universe and overlapping, sparse indexes of every weighting."""
    codes = [f"I{i}" for i in range(draw(st.integers(1, max_plans)))]
    shares = st.builds(Fraction, st.integers(1, 10**11), st.sampled_from((1, 3, 1000)))
    lines = tuple(
        Line(
            symbol=f"S{row}",
            price=draw(st.sampled_from((1, 7, 9999, 10_000, 123_456, 7_500_000_000))),
            float_shares=draw(shares),
            growth=draw(st.sampled_from(_GROWTH)),
            member=draw(st.frozensets(st.sampled_from(codes))),
        )
        for row in range(draw(st.integers(1, max_lines)))
    )
    plans = []
    for code in codes:
        style = draw(st.sampled_from((None, None, "growth", "value")))
        weighting = draw(st.sampled_from(_WEIGHTINGS))
        n = len(
            oracle.members(World(lines, ()), Plan(code, weighting, None, style, Decimal(1), None))
        )
        fitting = [Decimal(limit) for limit in _LIMITS if Fraction(limit) * n >= 1]
        limit = draw(st.sampled_from(fitting)) if weighting == "capped" and fitting else None
        plans.append(
            Plan(
                code=code,
                weighting=weighting if weighting != "capped" or limit is not None else "equal",
                limit=limit,
                style=style,
                base_level=draw(st.sampled_from((Decimal(1000), Decimal("135.00"), Decimal(7)))),
                divisor=draw(
                    st.sampled_from(
                        (None, None, Decimal(3_000_000), Decimal("1.2345678901234567890123456789"))
                    )
                ),
            )
        )
    world = World(lines, tuple(plans))
    return world if _worth_something(world) else World(lines, (_plain(codes[0]),))


def _plain(code: str) -> Plan:
    return Plan(code, "price", None, None, Decimal(1000), None)


def _worth_something(world: World) -> bool:
    made = oracle.sheets(world)
    return bool(made) and all(
        sheet.reference > 0
        and Fraction(sheet.reference) / Fraction(10) ** (4 + sheet.k) / sheet.divisor
        > Fraction(1, 10**7)
        for sheet in made
    )


@st.composite
def selecting_worlds(draw: st.DrawFn) -> World:
    """Draw a world in which at least one index is worth something."""
    world = draw(worlds())
    if not oracle.sheets(world):
        first = world.lines[0]
        line = Line(
            first.symbol,
            first.price,
            first.float_shares,
            first.growth,
            frozenset((world.plans[0].code,)),
        )
        world = World((line, *world.lines[1:]), world.plans)
    return world


_TIMES = st.one_of(
    st.integers(OPENING, OPENING + 3),
    st.integers(OPENING, OPENING + 3),
    st.integers(OPENING + 10, OPENING + 12),
    st.sampled_from(
        (
            OPENING - 1,
            OPENING + 5 * NS,
            CLOSING - 1,
            CLOSING,
            CLOSING + 3600 * NS,
            OPENING + 86_400 * NS,
        )
    ),
)
_SEQS = st.sampled_from((0, 0, 0, 1, 2, 3, 4, 2**64 - 1))
_PRICES = st.integers(0, 20)
_CONDS = st.sampled_from(
    (1, 1, 1, 1, 0, 64, 1024 | 1, 128, 256, 2, 1 | 32, 32768, 4096, 16384 | 1, 65535)
)
_KINDS = st.sampled_from((0,) * 12 + (1, 2, 3, 4, 5, 6, 7))
_LAGS = st.sampled_from((0, 0, 0, 0, 2 * NS, 2 * NS + 1, -3600 * NS))


def _price(base: int, choice: int) -> int:
    """Choose a price around the reference price, its bound, and the least."""
    at = (
        base,
        base + 1,
        max(1, base - 1),
        8 * base,
        8 * base + 1,
        8 * base - 1,
        1,
        2**62,
        2 * base,
    )
    return at[choice] if choice < len(at) else max(1, base * choice // 15)


@st.composite
def logs(
    draw: st.DrawFn,
    world: World,
    *,
    max_size: int = 40,
    plain: bool = False,
    unmixed: bool = False,
) -> list[Print]:
    """Draw the log of a partition.

    `plain` leaves out what is not judged by time; `unmixed` numbers all ticks of a symbol or none.
    """
    # Half of the logs are crowded: one or two symbols, two instants, few numbers, nothing refused at sight.
    crowded = draw(st.booleans())
    plain = plain or crowded
    last_row = len(world.lines) - 1
    # Lists are short unless told otherwise.
    shortest = draw(st.sampled_from((0, max_size // 4, max_size // 2)))
    one = st.tuples(
        st.integers(0 if plain else -1, min(last_row, 1) if crowded else last_row),
        _PRICES,
        st.integers(OPENING, OPENING + 1) if crowded else _TIMES,
        st.sampled_from((0, 1, 2, 3)) if crowded else _SEQS,
        st.just(1) if plain else _CONDS,
        st.just(0) if plain else _KINDS,
        st.just(0) if plain else _LAGS,
    )
    prints = []
    for row, choice, ts, seq, cond, kind, lag in draw(
        st.lists(one, min_size=shortest, max_size=max_size)
    ):
        number = seq
        if unmixed:
            number = (seq or 5) if row % 2 else 0
        base = world.lines[max(row, 0)].price
        prints.append(Print(row, _price(base, choice), ts, number, cond, kind, ts - lag))
    return prints


def histories(**options: Any) -> st.SearchStrategy[tuple[World, list[Print]]]:
    """Draw a world and a log of its ticks."""
    return selecting_worlds().flatmap(
        lambda world: st.tuples(st.just(world), logs(world, **options))
    )


def cuts(n: int) -> st.SearchStrategy[list[int]]:
    """Draw the ends of consecutive batches that cover n ticks; some may be empty."""
    return st.lists(st.integers(0, n), max_size=6).map(lambda inner: sorted([*inner, n]))
