"""What a snapshot should say (`formats.md`), from the prices in force: sums from nothing at each moment, and fractions."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.index.composition import Composition
from stream.index.composition import Index as Sheet
from week.days import MINUTE, SECOND, cash_phase, day_of, hours, last_close, phase
from week.ledger import NONE, Contract, Ledger, Stock

CLOSING_NS = 15 * MINUTE
_NEVER = 2**62


class Estimate(NamedTuple):
    """An indicative level in points, or None, and what is said of it."""

    level: Fraction | None
    method: str | None
    age_s: int | None
    coverage: Fraction | None
    stale: bool = False


NOTHING = Estimate(None, None, None, None)


class Sums(NamedTuple):
    """What the constituents of an index add up to, in its own 10^-(4+k) dollar, and how many they are."""

    value: int
    close: int
    opened_close: int
    printed_value: int
    printed_close: int
    halted_close: int
    live_value: int
    live_base: int
    any_extended_close: int
    covered_close: int
    printed: int
    up: int
    down: int
    official: int
    corrected: int
    stale: int


class Facts(NamedTuple):
    """The prices in force at one moment, column by column; rows of `table` are those of `Sums`."""

    table: NDArray[np.int64]
    newest: NDArray[np.int64]


def facts_of(ledger: Ledger, stale: Sequence[bool]) -> Facts:
    starts = ledger.starts
    rows = [
        _row(stock, starts, is_stale) for stock, is_stale in zip(ledger.stocks, stale, strict=True)
    ]
    newest = np.array([stock.newest for stock in ledger.stocks], np.int64)
    return Facts(np.array(rows, np.int64).T, newest)


def _row(stock: Stock, starts: int, stale: bool) -> tuple[int, ...]:  # noqa: FBT001 - one of many columns
    price, close = stock.price, stock.close
    printed = stock.printed(starts)
    extended = stock.extended_ts != NONE and stock.extended_ts >= starts
    live = extended and stock.extended_ts > stock.ts
    return (
        price,
        close,
        close * (stock.opening > 0),
        price * printed,
        close * printed,
        close * stock.halted,
        stock.extended * live,
        price * live,
        close * extended,
        close * (printed or extended),
        printed,
        printed and price > close,
        printed and price < close,
        stock.official_ts != NONE,
        stock.corrected,
        stale,
    )


#: How many of `Sums` are values; the others count.
N_VALUES = 10


class Patience:
    """For how long each stock may be silent in regular hours (`docs/prices.md`, Stale constituents)."""

    def __init__(self, composition: Composition) -> None:
        value = [float(s.float_shares * s.price) for s in composition.universe.instruments]
        heaviest = max(value)
        self._ns = [int(min(60 * (heaviest / each) ** 0.5, 3600) * SECOND) for each in value]

    def stale(self, ledger: Ledger, clocks: Sequence[int]) -> list[bool]:
        """Tell which stocks are stale, each by the clock of its partition."""
        opens = {clock: _opening(clock) for clock in set(clocks)}
        return [
            stock.ts != NONE and max(stock.ts, opens[clock]) < clock - patience
            for stock, clock, patience in zip(ledger.stocks, clocks, self._ns, strict=True)
        ]


def _opening(clock: int) -> int:
    """Give when the regular hours began that an instant lies in; outside them nothing is stale."""
    regular = clock != NONE and cash_phase(clock) == "regular"
    return hours(day_of(clock))[0] if regular else _NEVER


class Teller:
    """Says what a composition's indexes should be at prices in force.

    Parameters
    ----------
    composition
        Members, index shares and divisors: what a publisher tells beforehand.
    """

    def __init__(self, composition: Composition) -> None:
        self._composition = composition
        self._sheets = {index.code: index for index in composition.indexes}
        shape = (len(composition.indexes), len(composition.universe))
        self._shares, self._members = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for position, index in enumerate(composition.indexes):
            self._shares[position, index.row] = index.shares
            self._members[position, index.row] = 1
        #: Dollars of an index's 10^-(4+k), and points a dollar.
        self._points: dict[str, Fraction] = {
            index.code: 1 / (Fraction(index.divisor.value) * 10 ** (4 + index.k))
            for index in composition.indexes
        }

    def points(self, code: str, value: int | Fraction) -> Fraction:
        return value * self._points[code]

    def sheet(self, code: str) -> Sheet:
        return self._sheets[code]

    def sums(self, facts: Facts) -> dict[str, Sums]:
        # Market values of law 1 fit into 63 bits: these sums are exact.
        values = facts.table[:N_VALUES] @ self._shares.T
        counts = facts.table[N_VALUES:] @ self._members.T
        both = np.concatenate([values, counts]).T.tolist()
        return {code: Sums(*row) for code, row in zip(self._composition.codes, both, strict=True)}

    def newest(self, facts: Facts) -> dict[str, int]:
        return {
            index.code: int(facts.newest[index.row].max()) for index in self._composition.indexes
        }

    def oldest(self, facts: Facts, starts: int) -> dict[str, int]:
        known = np.where(facts.newest >= max(starts, 0), facts.newest, _NEVER)
        return {index.code: int(known[index.row].min()) for index in self._composition.indexes}

    # ---- futures ---------------------------------------------------------------------------------

    def fronts(self, ledger: Ledger, now: int) -> dict[str, tuple[Contract, bool, bool]]:
        """Give the front contract of each index that has one: whether it speaks, and whether it should and does not."""
        futures = self._composition.futures
        found = {}
        for each, contract in zip(futures.contracts, ledger.contracts, strict=True):
            if not each.front_from_ns <= now < each.front_until_ns or not contract.price:
                continue
            at_limit = contract.basis > 0 and (
                abs(Fraction(contract.price, contract.basis) - 1) >= Fraction(7, 100)
            )
            old = now - contract.ts > 60 * SECOND
            mute = old or at_limit or phase(now) == "maintenance"
            shut = phase(now) == "closed"
            based = contract.basis > 0 and contract.basis_ts == last_close(now)
            found[futures.underlyings[each.root]] = (
                contract,
                based and not mute and not shut,
                mute and not shut,
            )
        return found

    def _parts(self, code: str) -> tuple[str, ...]:
        futures = self._composition.futures
        parent = futures.betas[code][0] if code in futures.betas else code
        return futures.combined.get(parent, (parent,))

    def move(self, code: str, closes: dict[str, int], fronts: dict[str, Any]) -> Fraction:
        """Say how far the futures have moved an index from its close, relatively.

        A contract has moved its own index by the points that it has moved; a combined index by its parts' values; one with
        a beta by so many times its parent's move.
        """
        futures = self._composition.futures
        if code in futures.betas:
            parent, beta = futures.betas[code]
            return Fraction(beta) * self.move(parent, closes, fronts)
        gained = worth = Fraction(0)
        for part in self._parts(code):
            contract = fronts[part][0]
            dollars = closes[part] / Fraction(10) ** (4 + self._sheets[part].k)
            points = self.points(part, closes[part])
            gained += dollars * Fraction(contract.price - contract.basis, 10_000) / points
            worth += dollars
        return gained / worth

    # ---- estimates -------------------------------------------------------------------------------

    def estimate(
        self,
        code: str,
        sums: dict[str, Sums],
        fronts: dict[str, Any],
        *,
        now: int,
        newest: int,
        opening: bool,
    ) -> Estimate:
        """Estimate an index outside regular hours or while it opens (`docs/overnight.md`)."""
        own = sums[code]
        base = own.close if opening else own.value
        covered = own.any_extended_close if opening else own.live_base
        coverage = Fraction(covered, base)
        age = max(0, now - newest) // SECOND if newest != NONE else None
        live_gain = own.live_value - own.live_base
        if coverage >= Fraction(1, 2):
            return Estimate(self.points(code, own.value + live_gain), "hybrid", age, coverage)
        parts = self._parts(code)
        quotes = [fronts[part] for part in parts] if all(p in fronts for p in parts) else []
        age_of_futures = (
            max(0, now - min(contract.ts for contract, _, _ in quotes)) // SECOND
            if quotes
            else None
        )
        if quotes and all(speaks for _, speaks, _ in quotes):
            gain = self._futures_gain(code, sums, fronts, opening=opening)
            level = self.points(code, own.value + gain)
            return Estimate(level, "futures", age_of_futures, coverage)
        stale = any(mute for _, _, mute in quotes)
        if coverage >= Fraction(1, 20):
            filled = self._filled(own, opening=opening)
            if filled is not None:
                level = self.points(code, filled)
                return Estimate(level, "hybrid_filled", age, coverage, stale)
        return Estimate(None, None, age_of_futures, coverage, stale)

    def _futures_gain(
        self, code: str, sums: dict[str, Sums], fronts: dict[str, Any], *, opening: bool
    ) -> Fraction:
        """Move what has not opened as the futures moved; a combined index as its parts."""
        closes = {each: one.close if opening else one.value for each, one in sums.items()}
        combined = self._composition.futures.combined
        gain = Fraction(0)
        for part in combined.get(code, (code,)):
            rest = closes[part] - (sums[part].printed_close if opening else 0)
            gain += rest * self.move(part, closes, fronts)
        return gain

    @staticmethod
    def _filled(own: Sums, *, opening: bool) -> Fraction | None:
        """Let what has no price move as the average of what has one."""
        if not opening:
            return own.value * Fraction(own.live_value, own.live_base)
        known_close = own.printed_close + own.live_base
        if known_close <= 0:
            return None
        average = Fraction(own.printed_value + own.live_value, known_close)
        rest = own.close - known_close
        return own.printed_value + own.live_value + rest * average


def status_of(
    own: Sums,
    estimate: Estimate,
    *,
    regular: bool,
    opening: bool,
    closing: bool,
    members: int,
    known: bool,
) -> str:
    """Find the first status that applies, of a market without doubts."""
    if regular:
        if 2 * own.halted_close >= own.close:
            return "halted"
        if 2 * own.stale > members:
            return "stale"
        return "opening" if opening else "firm"
    applies = {
        "stale": estimate.stale,
        "closing": closing and own.official < own.printed,
        "indicative": estimate.level is not None,
        "corrected": own.corrected > 0,
        "official_close": known,
        "closed": True,
    }
    return next(status for status, it_does in applies.items() if it_does)


def digits(points: Fraction, places: int = 8) -> str:
    """Round once, half to even, and write with so many places."""
    scaled = round(points * 10**places)
    sign = "-" if scaled < 0 else ""
    whole, rest = divmod(abs(scaled), 10**places)
    return f"{sign}{whole}.{rest:0{places}d}"


def percent(change: str, close: str) -> Decimal:
    """Give a change in percent, rounded half away from zero."""
    exact = Decimal(change) * 100 / Decimal(close)
    return exact.quantize(Decimal("0.01"), ROUND_HALF_UP)


def told(
    teller: Teller, ledger: Ledger, facts: Facts, *, now: int, session_day: tuple[int, int]
) -> dict[str, dict[str, Any]]:
    """Say what the snapshot of each index should be, in the text of its numbers; ages apart, in seconds.

    Parameters
    ----------
    teller, ledger, facts
        The composition, the prices in force and these in columns.
    now
        The clock: the newest event time.
    session_day
        Opening and close of the session in force.
    """
    sums, newest = teller.sums(facts), teller.newest(facts)
    oldest = teller.oldest(facts, ledger.starts)
    fronts = teller.fronts(ledger, now)
    regular = cash_phase(now) == "regular"
    closes = session_day[1]
    closing = not regular and closes <= now < closes + CLOSING_NS
    found = {}
    for code, own in sums.items():
        opening = regular and 4 * own.opened_close < 3 * own.close
        estimate = NOTHING
        if opening or not regular:
            estimate = teller.estimate(
                code, sums, fronts, now=now, newest=newest[code], opening=opening
            )
        sheet = teller.sheet(code)
        status = status_of(
            own,
            estimate,
            regular=regular,
            opening=opening,
            closing=closing,
            members=len(sheet.row),
            known=newest[code] != NONE,
        )
        if regular and status != "opening":
            estimate = NOTHING
        level = digits(teller.points(code, own.value))
        close = digits(teller.points(code, own.close))
        indicative = None if estimate.level is None else digits(estimate.level)
        last = level if indicative is None else indicative
        change = str(Decimal(last) - Decimal(close))
        found[code] = {
            "code": code,
            "session": ledger.session or None,
            "phase": phase(now),
            "cash_phase": cash_phase(now),
            "status": status,
            "event_ns": newest[code] if newest[code] != NONE else None,
            "level": level,
            "indicative": indicative,
            "indicative_method": estimate.method,
            "indicative_coverage": None
            if estimate.coverage is None
            else digits(estimate.coverage, 6),
            "last": last,
            "previous_close": close,
            "change": f"{Decimal(change):.8f}",
            "change_pct": percent(change, close),
            "market_value": digits(Fraction(own.value) / Fraction(10) ** (4 + sheet.k), 4),
            "constituents": len(sheet.row),
            "priced": own.printed,
            "stale": own.stale,
            "coverage": digits(Fraction(own.covered_close, own.close), 6),
            "up": own.up,
            "down": own.down,
            "unchanged": own.printed - own.up - own.down,
            "age_s": (now - newest[code]) // SECOND if newest[code] != NONE else None,
            "oldest_age_s": (now - oldest[code]) // SECOND if oldest[code] < _NEVER else None,
            "indicative_age_s": estimate.age_s,
        }
    return found


#: What grows with time alone: a snapshot is not published again for it.
AGES = ("age_s", "oldest_age_s", "indicative_age_s")
