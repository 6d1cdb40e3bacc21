"""What must come out: books, partials and levels by the laws, in plain numbers, record by record (`design.md`, laws 1 to 7).

Nothing here is computed by the code under test. A `Ledger` keeps what a book must hold at every offset of its log, so that
whatever anyone writes down or publishes can be compared with the log up to the offset that it names.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

NS = 1_000_000_000
END_OF_TIME = 2**63 - 1
NEW_YORK = ZoneInfo("America/New_York")
ORIGINS = ("live", "replay", "simulated")

#: Of a symbol: event time, number and price of its newest good print.
Print = tuple[int, int, int]


@dataclass(frozen=True)
class Sheet:
    """One index: shares in 10^-k by symbol, and dollars per point."""

    code: str
    k: int
    shares: Mapping[str, int]
    divisor: Fraction


@dataclass(frozen=True)
class World:
    """A composition in plain numbers."""

    id: str
    price: Mapping[str, int]
    sheets: tuple[Sheet, ...]

    def __hash__(self) -> int:
        return hash(self.id)

    def sheet(self, code: str) -> Sheet:
        return next(each for each in self.sheets if each.code == code)


@dataclass(frozen=True)
class Sums:
    """What a partition contributes to one index."""

    value: int = 0
    priced: int = 0
    up: int = 0
    down: int = 0
    priced_close: int = 0
    close: int = 0
    event_ns: int = -1

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.value + other.value,
            self.priced + other.priced,
            self.up + other.up,
            self.down + other.down,
            self.priced_close + other.priced_close,
            self.close + other.close,
            max(self.event_ns, other.event_ns),
        )


@dataclass
class State:
    """A book at one offset; `newest`, `close` and `bound` hold what differs from the composition."""

    world: World
    session: str = ""
    starts: int = 0
    ends: int = END_OF_TIME
    control: int = 0
    origin: int = 0
    newest: dict[str, Print] = field(default_factory=dict)
    waiting: dict[str, Print] = field(default_factory=dict)
    close: dict[str, int] = field(default_factory=dict)
    bound: dict[str, int] = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    _sums: dict[str, Sums] = field(default_factory=dict)

    @property
    def standing(self) -> tuple[str, str]:
        return self.world.id, self.session

    @property
    def touched(self) -> frozenset[str]:
        return frozenset(symbol for symbol, (ts, _, _) in self.newest.items() if ts >= 0)

    def price(self, symbol: str) -> int:
        return self.newest[symbol][2] if symbol in self.newest else self.world.price[symbol]

    def ts(self, symbol: str) -> int:
        return self.newest[symbol][0] if symbol in self.newest else -1

    def previous(self, symbol: str) -> int:
        return self.close.get(symbol, self.world.price[symbol])

    def highest(self, symbol: str) -> int:
        return self.bound.get(symbol, 8 * self.world.price[symbol])

    def sums(self, code: str) -> Sums:
        """Add up one index afresh."""
        if code not in self._sums:
            total = Sums()
            for symbol, shares in self.world.sheet(code).shares.items():
                total += self._contribution(symbol, shares)
            self._sums[code] = total
        return self._sums[code]

    def _contribution(self, symbol: str, shares: int) -> Sums:
        reference, price, close = (
            self.world.price[symbol],
            self.price(symbol),
            self.previous(symbol),
        )
        priced = self.ts(symbol) >= self.starts
        return Sums(
            value=shares * (price - reference),
            priced=int(priced),
            up=int(priced and price > close),
            down=int(priced and price < close),
            priced_close=shares * close if priced else 0,
            close=shares * (close - reference),
            event_ns=self.ts(symbol),
        )

    def copy(self) -> State:
        return replace(
            self,
            newest=dict(self.newest),
            waiting=dict(self.waiting),
            close=dict(self.close),
            bound=dict(self.bound),
            _sums={},
        )


class Ledger:
    """All states of one partition's book, by offset.

    Attributes
    ----------
    states
        `states[o]` is that of all records before offset `o`.
    counts
        `counts[o]`: what became of the ticks before offset `o`, by reason.
    obeyed
        Numbered control records in the order in which they were obeyed, as their fields.
    """

    def __init__(self, partition: int, first: World, worlds: Mapping[str, World]) -> None:
        self.states = [State(first)]
        self.counts: list[Counter[str]] = [Counter()]
        self.obeyed: list[dict[str, Any]] = []
        self._partition = partition
        self._worlds = worlds

    def append(self, value: bytes | None, recorded_ns: int) -> None:
        """Take the next record of the log."""
        state, counts = self.states[-1], self.counts[-1]
        text = value or b""
        if text.startswith(b"CTRL"):
            state = self._obey(state, json.loads(text[4:]))
        else:
            state, verdicts = self._trade(state, text, recorded_ns)
            counts = counts + Counter(verdicts)
        self.states.append(state)
        self.counts.append(counts)

    # ---- ticks -----------------------------------------------------------------------------------

    def _trade(self, state: State, text: bytes, recorded: int) -> tuple[State, list[str]]:
        try:
            found = json.loads(text, parse_float=Decimal)
        except ValueError:
            return state, ["malformed"]
        state = state.copy()
        ticks = found if isinstance(found, list) else [found]
        return state, [_apply(state, tick, recorded) for tick in ticks]

    # ---- control records -------------------------------------------------------------------------

    def _obey(self, before: State, control: dict[str, Any]) -> State:
        state = before.copy()
        if control["type"] == "origin":
            _declare(state, ORIGINS.index(control["origin"]))
            return state
        number = control.get("number", 0)
        if number:
            if number <= state.control:
                return before
            state.control = number
            self.obeyed.append(control)
        match control["type"]:
            case "roll":
                _roll(state, control["session"], control["starts_ns"], control["ends_ns"])
            case "composition":
                if control["composition"] != state.world.id:
                    _compose(state, self._worlds[control["composition"]])
            case "contested":
                state.refused |= frozenset(control["symbols"]).intersection(state.world.price)
            case "override":
                if control["symbol"] in state.world.price:
                    self._override(state, control)
        return state

    def _override(self, state: State, control: dict[str, Any]) -> None:
        symbol, here = control["symbol"], control["home"] == self._partition
        match control["action"]:
            case "price":
                _set_price(state, symbol, control["price"], control["ts"], here=here)
            case "bound":
                _lift(state, symbol, control["price"])
            case "exclude":
                state.excluded |= {symbol}
            case "include":
                state.excluded -= {symbol}
                if symbol in state.refused and control["home"] >= 0:
                    state.refused -= {symbol}
                    if not here:
                        for kept in (state.newest, state.waiting, state.close):
                            kept.pop(symbol, None)


@cache
def _hours(day: int) -> tuple[int, int]:
    """Give opening and closing of the New York day that holds this noon, UTC seconds."""
    date = datetime.fromtimestamp(day * 86_400 + 61_200, NEW_YORK).date()
    if date.weekday() > 4:
        return 0, 0
    first = datetime(date.year, date.month, date.day, 9, 30, tzinfo=NEW_YORK)
    last = datetime(date.year, date.month, date.day, 16, 0, tzinfo=NEW_YORK)
    return int(first.timestamp()) * NS, int(last.timestamp()) * NS


def _is_regular(ts: int) -> bool:
    opens, closes = _hours(ts // (86_400 * NS))
    return opens <= ts < closes


def _apply(state: State, tick: dict[str, Any], recorded: int) -> str:  # noqa: PLR0911 - a reason each
    """Judge one tick, and put it into the state if it is good."""
    symbol, ts, seq = tick["symbol"], tick["ts"], tick.get("seq", 0)
    price = round(Fraction(tick["price"]) * 10_000)
    if symbol in state.refused:
        return "wrong_partition"
    if symbol not in state.world.price:
        return "unknown_symbol"
    if ts > recorded + 2 * NS:
        return "future"
    if symbol in state.excluded or tick.get("cond", "@") != "@" or not _is_regular(ts):
        return "ineligible"
    if price > state.highest(symbol):
        return "out_of_bounds"
    prints = state.waiting if ts >= state.ends else state.newest
    last_ts, last_seq, _ = prints.get(symbol, (-1, 0, 0))
    if ts == last_ts and seq and seq == last_seq:
        return "duplicate"
    if ts < last_ts or (ts == last_ts and seq and seq < last_seq):
        return "older"
    prints[symbol] = (ts, last_seq if ts == last_ts and not seq else seq, price)
    return "applied"


def _declare(state: State, origin: int) -> None:
    if origin > state.origin:
        state.origin = origin
        state.session, state.starts, state.ends = "", 0, END_OF_TIME
        _let_in(state, END_OF_TIME)


def _roll(state: State, session: str, starts: int, ends: int) -> None:
    if session <= state.session:
        return
    _let_in(state, starts)
    for symbol in state.world.price:
        if state.session or state.ts(symbol) < starts:
            _set_close(state, symbol, state.price(symbol))
    state.session, state.starts, state.ends = session, starts, ends
    _let_in(state, ends)


def _set_close(state: State, symbol: str, close: int) -> None:
    state.close.pop(symbol, None)
    if close != state.world.price[symbol]:
        state.close[symbol] = close


def _let_in(state: State, before: int) -> None:
    for symbol, (ts, seq, price) in list(state.waiting.items()):
        if ts < before:
            del state.waiting[symbol]
            if ts > state.ts(symbol) and symbol not in state.excluded:
                state.newest[symbol] = (ts, seq, price)


def _compose(state: State, world: World) -> None:
    old = state.copy()
    state.world = world
    state.newest, state.waiting, state.close, state.bound = {}, {}, {}, {}
    both = [symbol for symbol in world.price if symbol in old.world.price]
    for symbol in both:
        if old.world.price[symbol] == world.price[symbol] and symbol in old.bound:
            _lift(state, symbol, old.bound[symbol])
    for symbol in both:
        same = old.world.price[symbol] == world.price[symbol]
        bound = state.highest(symbol)
        ts, seq, price = old.newest.get(symbol, (-1, 0, old.world.price[symbol]))
        good = (same or ts >= state.starts) and price <= bound
        if ts >= 0:
            state.newest[symbol] = (ts, seq, price if good else world.price[symbol])
        close = old.previous(symbol)
        if same and close <= bound:
            _set_close(state, symbol, close)
        if symbol in old.waiting and old.waiting[symbol][2] <= bound:
            state.waiting[symbol] = old.waiting[symbol]
    state.excluded = old.excluded.intersection(world.price)
    state.refused = old.refused.intersection(world.price)


def _set_price(state: State, symbol: str, price: int, ts: int, *, here: bool) -> None:
    if not here or price > state.highest(symbol) or ts < state.ts(symbol):
        return
    seq = state.newest[symbol][1] if symbol in state.newest and ts == state.ts(symbol) else 0
    state.newest[symbol] = (ts, seq, price)


def _lift(state: State, symbol: str, price: int) -> None:
    """Lift a bound, unless the sum of some index could then reach 2^63."""
    if price <= state.highest(symbol):
        return
    for sheet in state.world.sheets:
        if symbol in sheet.shares:
            bounds = {each: state.highest(each) for each in sheet.shares} | {symbol: price}
            if sum(sheet.shares[each] * bounds[each] for each in sheet.shares) >= 2**63:
                return
    state.bound[symbol] = price


# ---- levels ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Level:
    """What must be published of one index, in the units of its fields."""

    level: int
    previous_close: int
    market_value: int
    coverage: int
    change_pct: int
    sums: Sums


def level_of(states: Sequence[State], code: str) -> Level:
    """Work out an index from states that stand in one composition."""
    sheet, sums = states[0].world.sheet(code), Sums()
    for state in states:
        sums += state.sums(code)
    reference = sum(n * states[0].world.price[symbol] for symbol, n in sheet.shares.items())
    level, close = _points(sheet, reference + sums.value), _points(sheet, reference + sums.close)
    return Level(
        level=level,
        previous_close=close,
        market_value=round(Fraction(reference + sums.value, 10**sheet.k)),
        coverage=round(Fraction(sums.priced_close * 10**6, reference + sums.close)),
        change_pct=_half_away(Fraction((level - close) * 10_000, close)) if close else 0,
        sums=sums,
    )


def _points(sheet: Sheet, value: int) -> int:
    return round(Fraction(value, 10 ** (4 + sheet.k)) / sheet.divisor * 10**8)


def _half_away(value: Fraction) -> int:
    rounded = int(abs(value) + Fraction(1, 2))
    return rounded if value >= 0 else -rounded


def shared(states: Iterable[State]) -> frozenset[str]:
    """Find the symbols that have a price in several states: they stand on several partitions."""
    seen: Counter[str] = Counter()
    for state in states:
        seen.update(state.touched)
    return frozenset(symbol for symbol, n in seen.items() if n > 1)
