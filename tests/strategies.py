"""Hypothesis strategies: universes with indexes on them, logs of ticks, and their cuts into batches and partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
from hypothesis import strategies as st

import oracle
from oracle import NS, Ledger, Line, Plan, Print, World
from stream.index.composition import Composition
from stream.index.control import (
    Announcement,
    Contested,
    Control,
    OriginRecord,
    Override,
    Roll,
)
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


@st.composite
def damaged(draw: st.DrawFn, message: bytes) -> bytes:
    """Draw what becomes of a message some of whose bytes are changed, cut or inserted."""
    value = bytearray(message)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(value)))
        value[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(value[: draw(st.sampled_from((None, None, None, len(value) // 2)))])


# ---------------------------------------------------------------------------------------------
# Logs of several sessions, with control records

SESSIONS = ("2026-07-14", "2026-07-15", "2026-07-16", "2026-07-17")
_OPENINGS = tuple(oracle.nanoseconds(day, "09:30:00") for day in SESSIONS)
_MIDNIGHTS = tuple(
    oracle.nanoseconds(day, "00:00:00") for day in ("2026-07-13", *SESSIONS, "2026-07-18")
)
#: A symbol that no composition holds.
NOBODYS = "ZZ"
#: The highest price of a control record.
HIGHEST_PRICE = 2**60 - 1


@dataclass(frozen=True)
class Tick:
    """One tick as a feed writes it: it names its symbol, whose row depends on the composition in force."""

    symbol: str
    price: int
    ts: int
    seq: int
    cond: int
    kind: int
    recorded_ms: int

    def at(self, world: World) -> Print:
        """Give what it is in a world."""
        rows = [row for row, line in enumerate(world.lines) if line.symbol == self.symbol]
        row = rows[0] if rows else -1
        recorded = self.recorded_ms * 10**6
        return Print(row, self.price, self.ts, self.seq, self.cond, self.kind, recorded)


Entry = Tick | Control


@dataclass(frozen=True)
class History:
    """A log of ticks and control records, and the compositions that it may announce; it begins in the first one."""

    compositions: tuple[Composition, ...]
    worlds: Mapping[str, World]
    log: tuple[Entry, ...]

    @property
    def composition(self) -> Composition:
        """The one it begins with."""
        return self.compositions[0]

    @property
    def symbols(self) -> list[str]:
        """All that its compositions hold."""
        return sorted({line.symbol for world in self.worlds.values() for line in world.lines})

    def ledger(self, partition: int = 0) -> Ledger:
        """Open a ledger for it."""
        first = self.composition.id
        return Ledger(self.worlds[first], composition=first, partition=partition)

    def by_id(self, composition: str) -> Composition:
        """Find a composition."""
        return next(each for each in self.compositions if each.id == composition)


def tell(ledger: Ledger, control: Control, worlds: Mapping[str, World]) -> bool:
    """Tell a ledger what a control record says."""
    match control:
        case OriginRecord():
            return ledger.declare(control.origin)
        case Roll():
            return ledger.roll(
                control.session, control.starts_ns, control.ends_ns, number=control.number
            )
        case Announcement():
            return ledger.compose(
                worlds[control.composition], control.composition, number=control.number
            )
        case Contested():
            return ledger.contest(control.symbols, number=control.number)
        case Override():
            return _override(ledger, control)


def _override(ledger: Ledger, one: Override) -> bool:
    match one.action:
        case "price":
            return ledger.set_price(one.symbol, one.price, one.ts, home=one.home, number=one.number)
        case "bound":
            return ledger.lift(one.symbol, one.price, number=one.number)
        case "exclude":
            return ledger.exclude(one.symbol, number=one.number)
        case "include":
            return ledger.include(one.symbol, home=one.home, number=one.number)


@st.composite
def variants(draw: st.DrawFn, world: World) -> World:
    """Draw another composition's world: members come, go and move, some reference prices and weightings change."""
    order = draw(st.permutations(world.lines))
    lines = []
    for line in order[draw(st.integers(0, 1)) :] or order:
        up, down = draw(st.sampled_from(((1, 1), (1, 1), (1, 1), (2, 1), (100, 1), (1, 9))))
        lines.append(replace(line, price=max(1, line.price * up // down)))
    if draw(st.booleans()):
        lines.insert(0, replace(lines[0], symbol="NEW", float_shares=Fraction(10**9, 3)))
    plans = []
    for plan in world.plans:
        weighting = draw(st.sampled_from((plan.weighting, plan.weighting, "price", "equal")))
        limit = plan.limit if weighting == "capped" else None
        n = len(oracle.members(World(tuple(lines), ()), plan))
        if limit is not None and limit * n < 1:
            weighting, limit = "equal", None
        plans.append(replace(plan, weighting=weighting, limit=limit))
    other = World(tuple(lines), tuple(plans))
    return other if _worth_something(other) else world


@st.composite
def _instants(draw: st.DrawFn, day: int) -> int:
    """Draw a time of a day or of a neighbouring one, mostly one of few, so that there are ties."""
    near = min(max(day + draw(st.sampled_from((0, 0, 0, 0, 0, 1, 1, -1))), 0), len(SESSIONS) - 1)
    at = draw(st.sampled_from((0, 0, 1, 1, 2, 2, 3, 4, 5, 6, NS, 3600 * NS, 13 * 3600 * NS // 2)))
    return _OPENINGS[near] + at


def _mostly_held(symbols: Mapping[str, int]) -> list[str]:
    held = sorted(symbols.keys() - {NOBODYS})
    return [*held * (1 + 8 // len(held)), NOBODYS]


@st.composite
def _ticks(draw: st.DrawFn, symbols: Mapping[str, int], day: int) -> Tick:
    symbol = draw(st.sampled_from(_mostly_held(symbols)))
    base, ts = symbols[symbol], draw(_instants(day))
    usual = (base, base + 1, max(1, base - 1), 2 * base, max(1, base // 3))
    unusual = (1, 8 * base, 8 * base + 1, 90 * base, 10**6 * base)
    lag = draw(st.sampled_from((0,) * 8 + (3_600_000, -2000, -2001)))
    return Tick(
        symbol=symbol,
        price=draw(st.sampled_from((*usual, *usual, *unusual))),
        ts=ts,
        seq=draw(st.sampled_from((0, 0, 0, 1, 2, 3, 2**64 - 1))),
        cond=draw(st.sampled_from((1,) * 24 + (0, 64, 2, 1 | 32))),
        kind=draw(st.sampled_from((0,) * 30 + (1, 4))),
        recorded_ms=ts // 10**6 + lag,
    )


@st.composite
def _rolls(draw: st.DrawFn, day: int) -> Roll:
    near = min(max(day + draw(st.sampled_from((0, 0, 0, 1, 1, -1))), 0), len(SESSIONS) - 1)
    starts, ends = _MIDNIGHTS[near + 1], _MIDNIGHTS[near + 2]
    if draw(st.integers(0, 3)) == 0:
        # Edges among the times of the ticks, where one belongs to this session or to another.
        starts = _OPENINGS[near] + draw(st.integers(0, 2))
        ends = draw(st.sampled_from((starts + 1, starts + 2, ends)))
    return Roll(SESSIONS[near], starts, ends)


@st.composite
def _overrides(draw: st.DrawFn, symbols: Mapping[str, int], day: int) -> Override:
    symbol = draw(st.sampled_from(_mostly_held(symbols)))
    action = draw(
        st.sampled_from(("price", "price", "bound", "bound", "exclude", "include", "include"))
    )
    times = draw(st.sampled_from((1, 2, 8, 9, 90, 91, 10**4, 10**6, 10**9, 10**15)))
    return Override(
        symbol=symbol,
        action=action,  # type: ignore[arg-type]
        author="desk",
        reason="a reason",
        ts=draw(_instants(day)),
        price=min(symbols[symbol] * times, HIGHEST_PRICE),
        home=draw(st.sampled_from((0, 0, 0, 1, -1))),
    )


_KINDS_OF_CONTROL = (
    *("roll",) * 8,
    *("composition",) * 4,
    *("override",) * 8,
    *("contested",) * 2,
    "origin",
)


@st.composite
def _controls(
    draw: st.DrawFn, symbols: Mapping[str, int], day: int, compositions: Sequence[Composition]
) -> Control:
    names = st.lists(st.sampled_from(_mostly_held(symbols)), max_size=2).map(tuple)
    origins: st.SearchStrategy[Any] = st.sampled_from(("live", "replay", "simulated"))
    # The first one is in force already, as a rule.
    announced = (*compositions[1:], *compositions[1:], *compositions)
    announcements = st.sampled_from([Announcement(each.id) for each in announced])
    match draw(st.sampled_from(_KINDS_OF_CONTROL)):
        case "roll":
            return draw(_rolls(day))
        case "composition":
            return draw(announcements)
        case "override":
            return draw(_overrides(symbols, day))
        case "contested":
            return Contested(draw(names))
        case _:
            return OriginRecord(draw(origins))


@st.composite
def session_histories(
    draw: st.DrawFn, *, max_size: int = 40, controls_in: int = 4, repeats: bool = True
) -> History:
    """Draw a log of some days with control records in it, about one in so many entries.

    Some are numbered, as a control writer numbers them; with `repeats` some come again, or are older than those before.
    """
    world = draw(selecting_worlds())
    worlds = [world, *draw(st.lists(variants(world), min_size=1, max_size=2))]
    compositions = tuple(composition_of(each) for each in worlds)
    symbols = {line.symbol: line.price for each in reversed(worlds) for line in each.lines}
    symbols[NOBODYS] = 7
    log: list[Entry] = []
    number, size = 0, draw(st.integers(max_size // 2, max_size))
    for i in range(size):
        day = i * len(SESSIONS) // size
        if draw(st.integers(1, controls_in)) > 1:
            log.append(draw(_ticks(symbols, day)))
            continue
        control = draw(_controls(symbols, day, compositions))
        if not isinstance(control, OriginRecord):
            mark = draw(st.sampled_from(("next", "next", "next", "jump", "none", "old")))
            if mark in ("next", "jump"):
                number += 1 if mark == "next" else 3
                control = replace(control, number=number)
            elif mark == "old" and repeats:
                control = replace(control, number=draw(st.integers(min(1, number), number)))
        log.append(control)
    ids = dict(zip([each.id for each in compositions], worlds, strict=True))
    return History(compositions, ids, tuple(log))
