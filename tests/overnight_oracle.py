"""A small market at night, stock by stock in fractions: what partials say of it, and what an estimate should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

import numpy as np
from hypothesis import strategies as st

from stream.index import partial as columns
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.futures import Basis, Contract, Futures
from stream.index.partial import N_COLUMNS, NO_EVENT, Origin, Partial, no_futures
from stream.index.universe import Instrument, Universe
from stream.session.calendar import Calendar

NS = 10**9
#: The night before Tuesday 2026-07-14, which closes on 2026-07-13.
SESSION = "2026-07-14"
NIGHT = 1_783_990_800 * NS  # 21:00 in New York
OPENS = 1_784_035_800 * NS  # 09:30
CLOSES = 1_784_059_200 * NS  # 16:00
CLOSED = 1_783_972_800 * NS  # 16:00 of the day before
CALENDAR = Calendar.bundled()


@dataclass(frozen=True)
class Stock:
    """What is known of one constituent."""

    close: int
    #: Last regular or official price: the close until there is a print.
    price: int
    printed: bool = False
    #: Price of the newest extended-hours print, and whether it is newer than the last price.
    extended: int | None = None
    large: bool = True
    #: The extended-hours print came after the regular ones.
    evening: bool = False

    @property
    def live(self) -> int | None:
        return None if self.printed and not self.evening else self.extended


@dataclass(frozen=True)
class Quoted:
    """A front contract."""

    price: int
    close: int
    ts: int
    closed: int = CLOSED
    halted: bool = False


@dataclass(frozen=True)
class Market:
    """Stocks by row, each with one unit of float shares more than the one before it."""

    stocks: tuple[Stock, ...]
    large: Quoted | None = None
    small: Quoted | None = None

    def of_the_day_before(self, closes: Sequence[int]) -> Market:
        """Give the same night before the session has rolled: what are closes here are prices of a day with others."""
        stocks = (
            replace(stock, close=close, printed=True, evening=True)
            for stock, close in zip(self.stocks, closes, strict=True)
        )
        return replace(self, stocks=tuple(stocks))

    def opened(self, row: int, price: int) -> Market:
        """Give the market after one stock has opened."""
        stocks = list(self.stocks)
        stocks[row] = replace(stocks[row], price=price, printed=True)
        return replace(self, stocks=tuple(stocks))


def futures_of(basis: Basis = "held", beta: str | None = None) -> Futures:
    """Give one contract each of the large and the small, in front for ever, 73 days from expiry at night."""
    expires = NIGHT + 73 * 86_400 * NS
    return Futures(
        contracts=tuple(Contract(f"/{x}Z6", f"/{x}", 0, 2**62, expires) for x in ("L", "S")),
        underlyings=MappingProxyType({"/L": "LARGE", "/S": "SMALL"}),
        combined=MappingProxyType({"ALL": ("LARGE", "SMALL")}),
        betas=MappingProxyType({} if beta is None else {"EW": ("ALL", Decimal(beta))}),
        basis=basis,
        rate=Decimal("0.042"),
        dividend_yield=Decimal("0.013"),
        stale_after_s=60,
    )


def composition_of(market: Market, futures: Futures | None = None) -> Composition:
    """Build LARGE, SMALL, ALL of both, and EW of both at equal weights; reference prices are the closes."""
    universe = Universe(
        tuple(
            Instrument(
                f"S{row}",
                Fraction(100 + row),
                stock.close,
                MappingProxyType({"size": "large" if stock.large else "small"}),
            )
            for row, stock in enumerate(market.stocks)
        ),
        frozenset(("size",)),
        "2026-07-13",
    )
    definitions = [
        Definition("LARGE", "", {"size": frozenset(("large",))}),
        Definition("SMALL", "", {"size": frozenset(("small",))}),
        Definition("ALL", "", {}),
        Definition("EW", "", {}, weighting="equal"),
    ]
    return Composition.build(universe, definitions, futures or futures_of())


def partial_of(composition: Composition, market: Market, *, now_ns: int) -> Partial:
    """Say of a market what the books would: the definitions of the columns, one stock after the other."""
    table = np.zeros((N_COLUMNS, len(composition.indexes)), np.int64)
    for position, index in enumerate(composition.indexes):
        figures = dict.fromkeys(range(N_COLUMNS), 0)
        for row, shares in zip(index.row.tolist(), index.shares.tolist(), strict=True):
            stock = market.stocks[row]
            reference = int(composition.reference_price[row])
            figures[columns.VALUE] += shares * (stock.price - reference)
            figures[columns.CLOSE] += shares * (stock.close - reference)
            if stock.printed:
                figures[columns.PRICED] += 1
                figures[columns.PRICED_CLOSE] += shares * stock.close
                figures[columns.OPENED_CLOSE] += shares * stock.close
            if stock.live is not None:
                figures[columns.EXTENDED_VALUE] += shares * (stock.live - stock.price)
                figures[columns.EXTENDED_BASE] += shares * stock.price
            if stock.extended is not None:
                figures[columns.EXTENDED_CLOSE] += shares * stock.close
            if stock.printed or stock.extended is not None:
                figures[columns.COVERED_CLOSE] += shares * stock.close
        for column, figure in figures.items():
            table[column, position] = figure
    contracts = no_futures(len(composition.futures.contracts))
    for position, quote in enumerate((market.large, market.small)):
        if quote is not None:
            contracts[:, position] = (
                quote.price,
                quote.ts,
                quote.close,
                quote.closed,
                quote.halted,
            )
    return replace(
        Partial.zero(composition),
        session=SESSION,
        origin=Origin.LIVE,
        columns=table,
        event_ns=np.full(len(composition.indexes), now_ns - 7 * NS, np.int64),
        oldest_ns=np.full(len(composition.indexes), NO_EVENT, np.int64),
        clock_ns=now_ns,
        futures=contracts,
    )


def value_of(prices: dict[int, Fraction]) -> Fraction:
    """Add up what stocks are worth at some prices, in 1/10000 dollar, by whole float shares."""
    return sum(((100 + row) * price for row, price in prices.items()), Fraction(0))


def rows_of(market: Market, code: str) -> list[int]:
    """Find the members of LARGE, SMALL or ALL."""
    return [
        row
        for row, stock in enumerate(market.stocks)
        if code == "ALL" or stock.large == (code == "LARGE")
    ]


def closing(market: Market, code: str) -> dict[int, Fraction]:
    return {row: Fraction(market.stocks[row].close) for row in rows_of(market, code)}


def implied(
    market: Market, code: str, method: str, moves: dict[str, Fraction]
) -> dict[int, Fraction]:
    """Give the price that an estimate puts on each stock: its own, and where it has none the method's.

    `moves` tells by how much the futures of LARGE and SMALL have moved them since the close.
    """
    prices = {}
    known: dict[int, Fraction] = {}
    for row in rows_of(market, code):
        stock = market.stocks[row]
        if stock.printed:
            known[row] = Fraction(stock.price)
        elif stock.live is not None and method != "futures":
            known[row] = Fraction(stock.live)
    average = Fraction(1)
    if method == "hybrid_filled":
        average = value_of(known) / value_of(
            {row: Fraction(market.stocks[row].close) for row in known}
        )
    for row in rows_of(market, code):
        stock = market.stocks[row]
        move = moves["LARGE" if stock.large else "SMALL"] if method == "futures" else average
        prices[row] = known.get(row, stock.close * move)
    return prices


def level_of(composition: Composition, code: str, prices: dict[int, Fraction]) -> int:
    """Give the level at some prices: 1000 at the closes, by the ratio of the values (in 10^-8 points)."""
    index = composition.indexes[composition.codes.index(code)]
    shown = Fraction(index.divisor.value) * 10**4  # in 1/10000 dollar per point
    return round(value_of(prices) / shown * 10**8)


@st.composite
def markets(draw: st.DrawFn, *, extended: bool = True) -> Market:
    """Draw a market in which nothing has opened."""
    stocks = []
    for row in range(draw(st.integers(2, 7))):
        close = draw(st.integers(10_000, 5_000_000))
        trades = extended and draw(st.booleans())
        move = draw(st.integers(-1500, 1500))
        price = max(1, close + close * move // 10_000)
        stocks.append(Stock(close, close, extended=price if trades else None, large=row % 2 == 0))
    return Market(tuple(stocks))


def contract_move(quote: Quoted, level: Fraction, basis: Basis, carry: Fraction) -> Fraction:
    """Work out S / S_close from `methodology.md` 3.4, S_close and prices in points."""
    now, then = Fraction(quote.price, 10**4), Fraction(quote.close, 10**4)
    match basis:
        case "held":
            return (now - (then - level)) / level
        case "ratio":
            return now / then
        case "carry":
            return now * carry / level
