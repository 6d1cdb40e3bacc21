"""The hand-over at the opening, stock by stock: a price on each, and none that moves without a trade."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from week.contradiction import clock_text, compare
from week.days import SECOND, cash_phase, day_of, hours, trades_cash
from week.expected import Teller, digits
from week.ledger import Ledger, Stock

#: Followed through these; the others are made of the same stocks.
CODES = ("US1000", "US2000")
_BEFORE_NS, _AFTER_NS = 120 * SECOND, 700 * SECOND


class Implied(NamedTuple):
    """What an estimate makes of the stocks of an index.

    Attributes
    ----------
    method
        Of the estimate.
    price
        That it puts on each row, 1/10000 dollar.
    source
        What that price was made of: as long as it is the same, so is the price.
    """

    method: str
    price: dict[int, Fraction]
    source: dict[int, tuple[int, ...]]


class Opening:
    """Compares indicative levels around the opening with the prices that they put on stocks."""

    def __init__(self, teller: Teller, counts: Counter[str]) -> None:
        self._teller = teller
        self._counts = counts
        self._before: dict[str, Implied] = {}

    def compare(self, ledger: Ledger, now: int, shown: Mapping[str, Mapping[str, Any]]) -> None:
        """Add the prices of all stocks up, and see that only those moved whose own or whose contract's price is new."""
        if not _is_near_opening(now):
            self._before.clear()
            return
        for code in CODES:
            method = shown[code]["indicative_method"]
            if method not in {"hybrid", "futures"}:
                self._before.pop(code, None)
                continue
            implied = self._imply(ledger, code, method, now)
            where = f"{code} at {clock_text(now)}"
            total = digits(self._teller.points(code, self._value(code, implied)))
            compare(f"{where}: by stock", shown[code]["indicative"], total)
            self._counts["indicative, stock by stock"] += 1
            before = self._before.get(code)
            if before is not None and before.method == method:
                self._compare_jumps(where, before, implied)
            self._before[code] = implied

    def _compare_jumps(self, where: str, before: Implied, after: Implied) -> None:
        for row, price in after.price.items():
            if before.source[row] == after.source[row]:
                compare(f"{where}: row {row}", price, before.price[row])
                self._counts["stocks that stand through the opening"] += 1

    def _value(self, code: str, implied: Implied) -> Fraction:
        sheet = self._teller.sheet(code)
        held = zip(sheet.row.tolist(), sheet.shares.tolist(), strict=True)
        return sum((shares * implied.price[row] for row, shares in held), Fraction(0))

    def _imply(self, ledger: Ledger, code: str, method: str, now: int) -> Implied:
        rows = self._teller.sheet(code).row.tolist()
        move, quoted = Fraction(0), 0
        if method == "futures":
            contract = self._teller.fronts(ledger, now)[code][0]
            points = Fraction(contract.price - contract.basis, 10_000)
            move, quoted = points / self._closing_level(ledger, code), contract.price
        price, source = {}, {}
        for row in rows:
            stock = ledger.stocks[row]
            price[row] = _implied_price(stock, ledger.starts, method, move)
            source[row] = _source(stock, ledger.starts, quoted)
        return Implied(method, price, source)

    def _closing_level(self, ledger: Ledger, code: str) -> Fraction:
        sheet = self._teller.sheet(code)
        held = zip(sheet.row.tolist(), sheet.shares.tolist(), strict=True)
        close = sum(ledger.stocks[row].close * shares for row, shares in held)
        return self._teller.points(code, close)


def _is_near_opening(now: int) -> bool:
    day = day_of(now)
    if cash_phase(now) == "closed" or not trades_cash(day):
        return False
    opens = hours(day)[0]
    return opens - _BEFORE_NS <= now < opens + _AFTER_NS


def _implied_price(stock: Stock, starts: int, method: str, move: Fraction) -> Fraction:
    if stock.printed(starts):
        return Fraction(stock.price)
    if method == "futures":
        return stock.close * (1 + move)
    return Fraction(stock.extended if stock.extended_ts >= starts else stock.close)


def _source(stock: Stock, starts: int, quoted: int) -> tuple[int, ...]:
    """Say what a stock's price follows: its own prints, else the contract."""
    if stock.printed(starts):
        return (stock.price,)
    return (0, quoted) if quoted else (0, 0, stock.extended)
