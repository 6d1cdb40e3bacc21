"""Hypothesis strategies: universes with indexes on them, logs of ticks, and their cuts into batches and partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

import oracle
from oracle import BELIEVED, NS, Ledger, Line, Plan, Print, Rules, World
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
from stream.index.futures import Contract, Futures
from stream.index.price_rules import PriceRules
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
#: Futures of a world.
CONTRACTS = ((), (), ("/RTYZ6",), ("/RTYZ6", "/RS1Z6"))
_WEIGHTINGS = ("float_cap", "float_cap", "equal", "price", "capped")
_LIMITS = ("0.15", "0.3", "0.4", "0.5", "0.75", "1")


def universe_of(lines: Sequence[Line]) -> Universe:
    """Write lines as the engine reads them from a file."""
    codes = sorted({code for line in lines for code in line.member})
    instruments = []
    for line in lines:
        attributes = {code: "yes" if code in line.member else "no" for code in codes}
        attributes["mic"] = line.mic
        if line.growth is not None:
            attributes["growth"] = str(line.growth)
        instruments.append(
            Instrument(line.symbol, line.float_shares, line.price, MappingProxyType(attributes))
        )
    return Universe(
        tuple(instruments), frozenset({"symbol", "price", "float_shares", "mic", *codes})
    )


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


def futures_of(world: World) -> Futures:
    """Write contracts as the engine reads them from a file: each the front one of a root of its own."""
    contracts = tuple(Contract(symbol, symbol[:-2], 0, 1, 2) for symbol, _ in world.contracts)
    return Futures(contracts, {symbol[:-2]: code for symbol, code in world.contracts})


def composition_of(world: World) -> Composition:
    """Build what the engine makes of a world."""
    return Composition.build(
        universe_of(world.lines), [definition_of(plan) for plan in world.plans], futures_of(world)
    )


#: Whether prints are held back, and odd lots taken.
RULES = st.sampled_from((Rules(off=False), Rules(off=False), Rules(), Rules(odd_lots=True)))


def rules_of(rules: Rules) -> PriceRules:
    """Write rules as the engine has them."""
    believing = PriceRules.none() if rules.off else PriceRules()
    return replace(believing, odd_lots=rules.odd_lots)


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
        size=np.array([one.size for one in prints], np.uint32),
        venue=np.array([ord(one.venue or "\0") for one in prints], np.uint8),
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
            mic=draw(st.sampled_from(("", "XNYS", "XNAS", "XXXX"))),
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
    contracts = tuple((symbol, codes[0]) for symbol in draw(st.sampled_from(CONTRACTS)))
    world = World(lines, tuple(plans), contracts)
    return world if _worth_something(world) else World(lines, (_plain(codes[0]),), contracts)


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
            first.mic,
        )
        world = replace(world, lines=(line, *world.lines[1:]))
    return world


FOUR = oracle.nanoseconds("2026-07-17", "04:00:00")
SIX = oracle.nanoseconds("2026-07-17", "18:00:00")
LATE = oracle.nanoseconds("2026-07-17", "09:45:00")
MONDAY = oracle.nanoseconds("2026-07-20", "09:30:00")

#: Few instants of all hours, so that there are ties; most of them in a row, so that order matters.
_EDGES = (
    OPENING - 1,
    OPENING,
    OPENING + 5 * NS,
    LATE - 1,
    LATE,
    LATE + 599 * NS,
    LATE + 600 * NS,
    LATE + 3700 * NS,
    CLOSING - 1,
    CLOSING,
    CLOSING + 7 * NS,
    CLOSING + 3600 * NS,
    FOUR,
    FOUR - 86_400 * NS,
    SIX - 1,
    SIX,
    MONDAY,
)
_TIMES = st.one_of(
    st.integers(OPENING, OPENING + 3),
    st.integers(LATE, LATE + 3),
    st.integers(CLOSING, CLOSING + 3),
    st.integers(FOUR, FOUR + 3),
    st.sampled_from(_EDGES),
)
_SEQS = st.sampled_from((0, 0, 0, 1, 2, 3, 4, 2**64 - 1))
#: What a print may carry: plain, auctions, official prices, extended hours, odd lots, what sets nothing.
_CONDS = st.sampled_from(
    (
        *((1,) * 20),
        *(0, 1024 | 1, 64, 64, 256, 256 | 1),
        *(128, 128, 128, 2048, 2048, 2048, 4096, 4096, 4096, 4096 | 32, 128 | 64),
        *(2, 2 | 32, 1 | 32, 1 | 32, 32 | 16, 32768, 16384 | 1, 65535),
    )
)
_KINDS = st.sampled_from((0,) * 24 + (3, 4, 4, 5, 6, 6, 7, 7))
_LAGS = st.sampled_from((0, 0, 0, 0, 0, 0, 2 * NS, 2 * NS + 1, -3600 * NS))
_VENUES = st.sampled_from(("", "", "N", "N", "Q", "D", "T", "P"))
_SIZES = st.sampled_from((0, 100, 100, 2**32 - 1))

#: Parts of the reference price, most of them within the limits of each other and some just outside.
_PARTS = (
    (1, 1),
    (1, 1),
    (1, 1),
    (1001, 1000),
    (999, 1000),
    (1004, 1000),
    (1009, 1000),
    (991, 1000),
    (1019, 1000),
    (981, 1000),
    (21, 20),
    (19, 20),
    (11, 10),
    (9, 10),
    (1101, 1000),
    (899, 1000),
    (5, 4),
    (6, 5),
    (13, 10),
    (7, 10),
    (3, 2),
    (2, 1),
)
_WILD = ((8, 1), (1, 100), (9, 1))


_Choice = tuple[tuple[int, int], int]
_T = TypeVar("_T", "Print", "Tick")
#: Price of a contract.
INDEX_POINTS = 20_000_000

#: A price as a part of another one, and so much more; of no part, it is that number.
_PRICES = st.one_of(
    *(st.tuples(st.sampled_from(_PARTS), st.sampled_from((0, 0, 0, 1, -1))),) * 5,
    st.tuples(st.sampled_from(_WILD), st.sampled_from((0, 0, 1))),
    st.tuples(st.just((0, 1)), st.sampled_from((1, 2**62))),
)


def _price(base: int, choice: _Choice) -> int:
    (numerator, denominator), more = choice
    return min(max(1, base * numerator // denominator + more), 2**62)


#: Of ten ticks, so many undo an earlier one, or bring one again.
_TURNS = st.sampled_from(("new",) * 7 + ("cancel", "correct", "again"))
#: Which of the ticks before, counted from the newest, and with which price.
_ABOUT = st.tuples(st.integers(0, 7), st.booleans(), _PRICES)
_WHERE = st.tuples(_PRICES, st.integers(0, 19), st.integers(0, 99))
_WHAT = st.tuples(_CONDS, _KINDS, _LAGS, _SIZES, _VENUES)
_PLAIN = st.tuples(st.just(1), st.just(0), st.just(0), _SIZES, _VENUES)
_WHEN = st.tuples(_TIMES, _SEQS)
_CROWDED = st.tuples(st.sampled_from((*_EDGES, LATE + 1)), st.sampled_from((0, 1, 2, 3)))
_CROWDED_PLAIN = st.tuples(st.sampled_from((LATE, LATE + 1)), st.sampled_from((0, 1, 2, 3)))


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

    `plain` leaves out all but trades of regular hours and what is not judged by time; `unmixed` numbers all ticks of a
    symbol or none.
    """
    # Half of the logs are crowded: one or two symbols, few instants and numbers.
    crowded = draw(st.booleans())
    n_rows = len(world.lines) + len(oracle.contracts(world))
    when, what = _WHEN, _PLAIN if plain else _WHAT
    if crowded:
        when = _CROWDED_PLAIN if plain else _CROWDED
    one = st.tuples(st.just("new") if plain else _TURNS, _ABOUT, _WHERE, when, what)
    # Lists are short unless told otherwise.
    shortest = draw(st.sampled_from((0, max_size // 4, max_size // 2)))
    log: list[Print] = []
    for turn, about, (choice, wrong, place), (ts, seq), (cond, kind, lag, size, venue) in draw(
        st.lists(one, min_size=shortest, max_size=max_size)
    ):
        if turn != "new" and log:
            log.append(_about(turn, log, about))
            continue
        row = -1 if wrong == 0 and not crowded else place % (min(n_rows, 2) if crowded else n_rows)
        base = world.lines[row].price if row < len(world.lines) else INDEX_POINTS
        number = ((seq or 5) if row % 2 else 0) if unmixed else seq
        log.append(Print(row, _price(base, choice), ts, number, cond, kind, ts - lag, size, venue))
    return log


def _about(turn: str, before: Sequence[_T], about: tuple[int, bool, _Choice]) -> _T:
    """Cancel or correct one of the ticks before, or bring it again."""
    nth, as_it_was, choice = about
    other = before[-1 - nth % len(before)]
    if turn == "again":
        return other
    price = other.price if as_it_was else _price(other.price, choice)
    return replace(other, kind=1 if turn == "cancel" else 2, price=price)


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
#: 18:00 after midnight.
_EVENING = 18 * 3600 * NS
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
    size: int = 0
    venue: str = ""

    def at(self, world: World) -> Print:
        """Give what it is in a world."""
        symbols = [*(line.symbol for line in world.lines), *oracle.contracts(world)]
        return Print(
            row=symbols.index(self.symbol) if self.symbol in symbols else -1,
            price=self.price,
            ts=self.ts,
            seq=self.seq,
            cond=self.cond,
            kind=self.kind,
            recorded=self.recorded_ms * 10**6,
            size=self.size,
            venue=self.venue,
        )


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
        worlds = self.worlds.values()
        contracts = {symbol for world in worlds for symbol, _ in world.contracts}
        return sorted({line.symbol for world in worlds for line in world.lines} | contracts)

    def ledger(self, partition: int = 0, *, rules: Rules = BELIEVED) -> Ledger:
        """Open a ledger for it."""
        first = self.composition.id
        return Ledger(self.worlds[first], composition=first, rules=rules, partition=partition)

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
    other = World(tuple(lines), tuple(plans), world.contracts[draw(st.integers(0, 1)) :])
    return other if _worth_something(other) else world


#: Which day, counted from that of the log, hour and nanosecond: mostly one of few, so that there are ties.
_INSTANTS = st.tuples(
    st.sampled_from((0, 0, 0, 0, 0, 1, 1, -1)),
    st.sampled_from((0, 0, 0, 0, 0, 13, 13, 13, 17, -3)),
    st.sampled_from((0, 0, 1, 1, 2, 2, 3, 4, 5, 6, NS, 3600 * NS)),
)


def _instant(day: int, chosen: tuple[int, int, int]) -> int:
    further, half_hours, at = chosen
    near = min(max(day + further, 0), len(SESSIONS) - 1)
    return _OPENINGS[near] + half_hours * 1800 * NS + at


def _mostly_held(symbols: Mapping[str, int]) -> list[str]:
    held = sorted(symbols.keys() - {NOBODYS})
    return [*held * (1 + 8 // len(held)), NOBODYS]


_UNUSUAL = st.sampled_from((((90, 1), 0), ((10**6, 1), 0)))
_TICKS = st.tuples(
    st.integers(0, 10**6),
    _INSTANTS,
    st.one_of(_PRICES, _PRICES, _PRICES, _PRICES, _UNUSUAL),
    st.sampled_from((0, 0, 0, 1, 2, 3, 2**64 - 1)),
    st.sampled_from((0,) * 8 + (3_600_000, -2000, -2001)),
    _WHAT,
    st.booleans(),
)


@st.composite
def _ticks(draw: st.DrawFn, symbols: Mapping[str, int], day: int) -> Tick:
    place, instant, choice, seq, lag, (cond, kind, _, size, venue), plain = draw(_TICKS)
    held, ts = _mostly_held(symbols), _instant(day, instant)
    symbol = held[place % len(held)]
    return Tick(
        symbol=symbol,
        price=_price(symbols[symbol], choice),
        ts=ts,
        seq=seq,
        cond=1 if plain else cond,
        kind=kind,
        recorded_ms=ts // 10**6 + lag,
        size=size,
        venue=venue,
    )


@st.composite
def _rolls(draw: st.DrawFn, day: int) -> Roll:
    near = min(max(day + draw(st.sampled_from((0, 0, 0, 1, 1, -1))), 0), len(SESSIONS) - 1)
    starts, ends = _MIDNIGHTS[near + 1], _MIDNIGHTS[near + 2]
    form = draw(st.sampled_from(("midnight", "evening", "evening", "evening", "any")))
    if form == "evening":
        # Between the close and official closes that come late.
        after = _EVENING + draw(st.sampled_from((0, 0, -7200 * NS, 2 - 7200 * NS)))
        starts, ends = starts - 86_400 * NS + after, ends - 86_400 * NS + after
    elif form == "any":
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
        ts=_instant(day, draw(_INSTANTS)),
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
    symbols |= {symbol: INDEX_POINTS for symbol, _ in world.contracts}
    symbols[NOBODYS] = 7
    log: list[Entry] = []
    number, size = 0, draw(st.integers(max_size // 2, max_size))
    for i in range(size):
        day = i * len(SESSIONS) // size
        if draw(st.integers(1, controls_in)) > 1:
            turn, before = draw(_TURNS), [each for each in log[-8:] if isinstance(each, Tick)]
            if turn == "new" or not before:
                log.append(draw(_ticks(symbols, day)))
            else:
                log.append(_about(turn, before, draw(_ABOUT)))
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
