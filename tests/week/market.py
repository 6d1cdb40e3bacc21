"""What goes in: some of the bundled stocks, indexes of every sort, both futures roots, and a simulated week's trades."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from importlib import resources
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.feed.simulated import SimulatedTape
from stream.feed.trades import Trades, inserted, one_trade
from stream.files import load_composition
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.ticks import Kind
from stream.index.universe import read_universe
from stream.session.calendar import Calendar
from week.days import MINUTE, SECOND, Week, cash_phase, ns, phase

LARGE, SMALL = frozenset(("large",)), frozenset(("small",))

#: Two with futures of their own, one of both, one that follows its parent by a beta, sectors that hold at night, equal
#: weights, growth.
DEFINITIONS = (
    Definition("US1000", "Large", {"size": LARGE}),
    Definition("US2000", "Small", {"size": SMALL}),
    Definition("US3000", "All", {}),
    Definition("US3000-TECHNOLOGY", "Technology", {"sector": frozenset(("TECHNOLOGY",))}),
    Definition(
        "US2000-FINANCIALS", "Small banks", {"sector": frozenset(("FINANCIALS",)), "size": SMALL}
    ),
    Definition("US3000-HEALTHCARE", "Health", {"sector": frozenset(("HEALTHCARE",))}),
    Definition("US1000EW", "Large, equal", {"size": LARGE}, weighting="equal"),
    Definition("US3000G", "Growth", {}, style="growth"),
)
BETAS = {"US2000-FINANCIALS": ("US2000", Decimal("1.25")), "US1000EW": ("US3000", Decimal("0.9"))}

#: A correction, a bust, a halt: whatever is no trade.
TRADE = 0
#: A tick that is off by as much is one that the market made bad.
_OFF = 0.15


class Tick(NamedTuple):
    """One trade, in plain values; `at` is when it goes out, `ts` what it says of itself."""

    at: int
    row: int
    ts: int
    price: int
    seq: int
    size: int
    venue: str
    cond: str
    kind: int


@dataclass(frozen=True)
class Part:
    """Trades that go out one after another, as the feed has them and one by one; before them something may be published."""

    trades: Trades
    ticks: list[Tick]
    publishes: bool


def constituents(n_stocks: int) -> list[str]:
    """Take every so-manieth bundled stock, of each size, sector and exchange; a third each is growth, value, and both.

    Returns
    -------
    list of str
        Lines of a constituents file.
    """
    bundled = resources.files("stream.index") / "bundled" / "us_universe.csv"
    head, *lines = bundled.read_text("utf-8").splitlines()
    chosen = lines[:: len(lines) // n_stocks][:n_stocks]
    return [f"{head},growth", *(f"{line},{(i % 3) / 2}" for i, line in enumerate(chosen))]


@cache
def composition_of(n_stocks: int) -> Composition:
    """Build the indexes of so many stocks."""
    universe = read_universe(constituents(n_stocks))
    futures = replace(load_composition().futures, betas=MappingProxyType(BETAS))
    return Composition.build(universe, DEFINITIONS, futures)


def parts(
    composition: Composition,
    week: Week,
    *,
    seed: int,
    rate: float,
    every_s: float | None,
    sparse: int = 1,
) -> Iterator[Part]:
    """Give a week's trades, cut where something is to be published.

    Parameters
    ----------
    composition
        The stocks and contracts.
    week
        When.
    seed, rate
        Of the simulated market.
    every_s
        Simulated seconds between publications; None for a minute, and less around openings, closes and incidents.
    sparse
        So many times as long, where `every_s` is None.
    """
    start, end = ns(week.starts), ns(week.ends)
    tape = SimulatedTape(composition, Calendar.bundled(), seed, rate=rate, start_ns=start)
    cutter = _Cutter(every_s, sparse)
    for made, due in tape:
        trades, at = _with_prints_in_halts(made, due)
        n = int(np.searchsorted(at, end))
        if n:
            yield from cutter.cut(trades.take(slice(0, n)), at[:n].tolist())
        if n < len(at):
            return


def _with_prints_in_halts(
    trades: Trades, at: NDArray[np.int64]
) -> tuple[Trades, NDArray[np.int64]]:
    """Let another venue print a halted stock, just after each halt: the market's own feed never does."""
    for place in np.flatnonzero(trades.kind == Kind.HALT)[::-1].tolist():
        ts = int(trades.ts[place]) + 1
        strange = one_trade(
            trades.symbols,
            trades.conditions,
            symbol=int(trades.symbol[place]),
            ts=ts,
            price=int(trades.price[place]) * 101 // 100,
            size=100,
            venue=ord("D"),
        )
        trades, at = inserted(trades, strange, place + 1), np.insert(at, place + 1, ts)
    return trades, at


class _Cutter:
    """Says after which trades something is published."""

    def __init__(self, every_s: float | None, sparse: int) -> None:
        self._sparse = sparse
        self._every = None if every_s is None else int(every_s * 10**9)
        self._last: dict[int, int] = {}
        self._slot: object = None
        self._after_incident = False

    def cut(self, trades: Trades, at: list[int]) -> Iterator[Part]:
        ticks = ticks_of(trades, at)
        cuts = [i for i, tick in enumerate(ticks) if self._cuts_before(tick)]
        for first, last in pairwise(sorted({0, *cuts, len(ticks)})):
            publishes = first in cuts[:1] or first > 0
            yield Part(trades.take(slice(first, last)), ticks[first:last], publishes)

    def _cuts_before(self, tick: Tick) -> bool:
        """Cut where the clock passes a line of the grid, before each incident and after it."""
        is_incident = self._is_incident(tick)
        slot = self._slot_of(tick.at)
        cuts = is_incident or self._after_incident or slot != self._slot
        self._slot, self._after_incident = slot, is_incident
        return cuts

    def _is_incident(self, tick: Tick) -> bool:
        last, self._last[tick.row] = self._last.get(tick.row, tick.price), tick.price
        return tick.kind != TRADE or tick.cond in {"5", "9"} or abs(tick.price - last) > _OFF * last

    def _slot_of(self, at: int) -> object:
        if self._every is not None:
            return at // self._every
        return cash_phase(at), at // (self._sparse * _grid(at))


def _grid(at: int) -> int:
    """Say how far apart publications are: a minute, around openings and closes seconds, while most stocks open less."""
    cash = cash_phase(at)
    if cash == "regular" and cash_phase(at - 3 * SECOND) == "pre_market":
        return SECOND // 50
    if cash == "post_market" and cash_phase(at - MINUTE) == "regular":
        return SECOND
    # For a minute of their break, the last prices of futures are new enough to look alive.
    if phase(at) == "maintenance" != phase(at - MINUTE):
        return SECOND
    near = {cash_phase(at + offset * MINUTE) for offset in (-12, -2, 0, 1)}
    return 5 * SECOND if "regular" in near and len(near) > 1 else MINUTE


def ticks_of(trades: Trades, at: list[int]) -> list[Tick]:
    letters = trades.conditions
    columns = zip(
        at,
        trades.symbol.tolist(),
        trades.ts.tolist(),
        trades.price.tolist(),
        trades.seq.tolist(),
        trades.size.tolist(),
        trades.venue.tolist(),
        trades.condition.tolist(),
        trades.kind.tolist(),
        strict=True,
    )
    return [
        Tick(a, row, ts, price, seq, size, chr(venue) if venue else "", letters[cond], kind)
        for a, row, ts, price, seq, size, venue, cond, kind in columns
    ]
