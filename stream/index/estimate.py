"""The indicative level: what an index would stand at now, by extended-hours prices or futures, and by which of them.

Three estimators, the first that has enough to go by (`formats.md`, Snapshot): the prices of those constituents that have
traded; the front contract; the same prices, with the rest moved as their average. All are exact fractions, rounded once.
While the market opens, what has opened stands at its prices, and only the rest is estimated: where a constituent opens
at the price that the estimate gave it, nothing moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from stream.index.composition import Composition, Index
from stream.index.partial import (
    CLOSE,
    EXTENDED_BASE,
    EXTENDED_CLOSE,
    EXTENDED_VALUE,
    FUTURES_CLOSE,
    FUTURES_CLOSE_TS,
    FUTURES_HALTED,
    FUTURES_PRICE,
    FUTURES_TS,
    NO_EVENT,
    PRICED_CLOSE,
    VALUE,
    Partial,
)
from stream.index.units import LEVEL_SCALE, NS_PER_S, PRICE_SCALE, divide_half_even
from stream.session.calendar import Phase
from stream.session.fair_value import FAIR_VALUE_CONTEXT, carry_factor, limit_locked

COVERAGE_DECIMALS = 6
_COVERAGE_SCALE = 10**COVERAGE_DECIMALS
_LEVEL_PER_PRICE = LEVEL_SCALE // PRICE_SCALE
_DAY_NS = Decimal(86_400 * NS_PER_S)

#: Numerator and denominator, the latter positive: `fractions.Fraction` reduces at every step, which costs microseconds.
Ratio = tuple[int, int]


class Method(StrEnum):
    """How an indicative level was estimated."""

    #: Extended-hours prices, and last prices for the rest.
    HYBRID = "hybrid"
    #: As the front contract moved since the cash close.
    FUTURES = "futures"
    #: Extended-hours prices, and the rest as their average: a model.
    HYBRID_FILLED = "hybrid_filled"


@dataclass(frozen=True, slots=True)
class EstimateRules:
    """Thresholds.

    Attributes
    ----------
    hybrid_coverage, filled_coverage
        Share of the market value that must have an extended-hours price for the methods `hybrid` and `hybrid_filled`.
    opened_weight
        Share of the previous close that must have opened before an index has.
    closing_s
        Seconds after the close within which official closes are waited for.
    """

    hybrid_coverage: Decimal = Decimal("0.5")
    filled_coverage: Decimal = Decimal("0.05")
    opened_weight: Decimal = Decimal("0.75")
    closing_s: int = 15 * 60


class Estimate(NamedTuple):
    """What is known of an index beside its level.

    Attributes
    ----------
    level
        Indicative, in 10^-8 index points, or None.
    method
        That made it.
    age_s
        Of the newest price in it; without a level that of the contract which would have made one.
    coverage
        Share of the market value with an extended-hours price, in 10^-6; None where nothing is to be estimated.
    stale
        The contract that it follows is too old, halted, at its limit or in its break.
    """

    level: int | None
    method: Method | None
    age_s: int | None
    coverage: int | None
    stale: bool


#: Of a market that is open: the level says it all.
NOTHING = Estimate(None, None, None, None, stale=False)


class Quote(NamedTuple):
    """A front contract at one moment.

    Attributes
    ----------
    price, close
        Now and at the last cash close, in 1/10000 point.
    ts
        Event time of the price, ns.
    expires_ns
        End of its trading.
    sound
        It speaks for its index.
    stale
        It has a price that does not.
    """

    price: int
    close: int
    ts: int
    expires_ns: int
    sound: bool
    stale: bool


class Estimator:
    """Estimates all indexes of a composition at one moment.

    Parameters
    ----------
    composition
        In force.
    total
        Sum of the partials of all partitions.
    now_ns
        ns since 1970 UTC, in the time that the prices are of.
    phase
        Of the futures session then.
    closed_ns
        The newest cash close then.
    rules
        Thresholds.
    """

    __slots__ = (
        "_composition",
        "_filled",
        "_front",
        "_futures",
        "_hybrid",
        "_now_ns",
        "_position_of",
        "_total",
    )

    def __init__(
        self,
        composition: Composition,
        total: Partial,
        *,
        now_ns: int,
        phase: Phase,
        closed_ns: int,
        rules: EstimateRules,
    ) -> None:
        self._composition = composition
        self._total = total
        self._futures = composition.futures
        self._now_ns = now_ns
        self._hybrid = rules.hybrid_coverage.as_integer_ratio()
        self._filled = rules.filled_coverage.as_integer_ratio()
        self._front = front_quotes(
            composition, total, now_ns=now_ns, phase=phase, closed_ns=closed_ns
        )
        self._position_of = (
            {code: position for position, code in enumerate(composition.codes)}
            if self._front
            else {}
        )

    def estimate(
        self, index: Index, row: Sequence[int], event_ns: int, *, opening: bool
    ) -> Estimate:
        """Estimate an index outside regular hours, or while it opens.

        Parameters
        ----------
        index
            Of the composition.
        row
            Its column of the partial.
        event_ns
            Time of the newest price in it, or NO_EVENT.
        opening
            Regular hours have begun: what has opened stands at its prices.
        """
        value = index.reference_value + row[VALUE]
        whole = index.reference_value + row[CLOSE] if opening else value
        if whole <= 0:
            return NOTHING
        covered = row[EXTENDED_CLOSE] if opening else row[EXTENDED_BASE]
        coverage = divide_half_even(covered * _COVERAGE_SCALE, whole)
        age_s = self._age(event_ns)
        if reaches(covered, whole, self._hybrid):
            level = index.divisor.level(value + row[EXTENDED_VALUE])
            return Estimate(level, Method.HYBRID, age_s, coverage, stale=False)
        quotes = self._quotes(index.code)
        if quotes and all(quote.sound for quote in quotes):
            level = _level(index, value, self._futures_gain(index, row, opening=opening))
            oldest = min(quote.ts for quote in quotes)
            return Estimate(level, Method.FUTURES, self._age(oldest), coverage, stale=False)
        stale = any(quote.stale for quote in quotes)
        if reaches(covered, whole, self._filled):
            gain = _filled_gain(row, value, whole, opening=opening)
            if gain is not None:
                level = _level(index, value, gain)
                return Estimate(level, Method.HYBRID_FILLED, age_s, coverage, stale=stale)
        age_s = self._age(min(quote.ts for quote in quotes)) if quotes else None
        return Estimate(None, None, age_s, coverage, stale=stale)

    def _age(self, ts: int) -> int | None:
        # A price may be some milliseconds ahead of the clock.
        return max(0, self._now_ns - ts) // NS_PER_S if ts != NO_EVENT else None

    def _quotes(self, code: str) -> tuple[Quote, ...]:
        """Find the contracts that an index follows: none where one of them is missing."""
        if not self._front:
            return ()
        if code in self._futures.betas:
            code, _ = self._futures.betas[code]
        quotes = [self._front.get(part) for part in self._parts(code)]
        return tuple(quote for quote in quotes if quote is not None) if None not in quotes else ()

    def _parts(self, code: str) -> tuple[str, ...]:
        return self._futures.combined.get(code, (code,))

    def _futures_gain(self, index: Index, row: Sequence[int], *, opening: bool) -> Ratio:
        """Work out what an index gains on its market value where all that has not opened follows the futures."""
        if index.code in self._futures.betas:
            parent, beta = self._futures.betas[index.code]
            (up, down), (gain, base) = beta.as_integer_ratio(), self._move(parent, opening=opening)
            return _rest(index, row, opening=opening) * up * gain, down * base
        if index.code not in self._futures.combined:
            gain, base = self._own_move(index, row, opening=opening)
            return _rest(index, row, opening=opening) * gain, base
        terms = []
        for part in self._parts(index.code):
            one, its_row = self._of(part)
            gain, base = self._own_move(one, its_row, opening=opening)
            terms.append((_rest(one, its_row, opening=opening) * gain, base))
        return _sum(terms)

    def _move(self, code: str, *, opening: bool) -> Ratio:
        """Work out the relative move of an index by its futures, opened or not."""
        values, gains = 0, []
        for part in self._parts(code):
            index, row = self._of(part)
            value = _closing_value(index, row, opening=opening)
            gain, base = self._own_move(index, row, opening=opening)
            values += value
            gains.append((value * gain, base))
        gain, base = _sum(gains)
        return gain, base * values

    def _own_move(self, index: Index, row: Sequence[int], *, opening: bool) -> Ratio:
        """Work out how far the front contract has taken its index from its close, relatively."""
        quote, futures = self._front[index.code], self._futures
        if futures.basis == "ratio":
            return quote.price - quote.close, quote.close
        points, scale = index.divisor.exact_level(_closing_value(index, row, opening=opening))
        if futures.basis == "held":
            return (quote.price - quote.close) * _LEVEL_PER_PRICE * scale, points
        # Until expiry as of the price, not of the moment: without a trade the estimate stands still.
        days = FAIR_VALUE_CONTEXT.divide(Decimal(quote.expires_ns - quote.ts), _DAY_NS)
        up, down = carry_factor(
            rate=futures.rate, dividend_yield=futures.dividend_yield, days=days
        ).as_integer_ratio()
        return quote.price * _LEVEL_PER_PRICE * up * scale - down * points, down * points

    def _of(self, code: str) -> tuple[Index, list[int]]:
        position = self._position_of[code]
        row: list[int] = self._total.columns[:, position].tolist()
        return self._composition.indexes[position], row


def front_quotes(
    composition: Composition, total: Partial, *, now_ns: int, phase: Phase, closed_ns: int
) -> dict[str, Quote]:
    """Read the front contracts of a moment, those that have ever traded.

    Parameters
    ----------
    composition
        In force.
    total
        Sum of the partials of all partitions.
    now_ns
        The moment.
    phase
        Of the futures session then: in its break a last price says nothing, however new; nor while it is closed, but
        then nobody expects it to.
    closed_ns
        The newest cash close then: a contract's price at an earlier one is no basis.

    Returns
    -------
    dict
        By index code.
    """
    futures = composition.futures
    quotes = {}
    for code, position in futures.front(now_ns).items():
        row = total.futures[:, position].tolist()
        price, close, ts = row[FUTURES_PRICE], row[FUTURES_CLOSE], row[FUTURES_TS]
        if price <= 0:
            continue
        silent = (
            row[FUTURES_HALTED] != 0
            or phase is Phase.MAINTENANCE
            or now_ns - ts > futures.stale_after_s * NS_PER_S
            or (close > 0 and limit_locked(price, close))
        )
        based = close > 0 and row[FUTURES_CLOSE_TS] == closed_ns
        closed = phase is Phase.CLOSED
        quotes[code] = Quote(
            price,
            close,
            ts,
            futures.contracts[position].expires_ns,
            sound=based and not silent and not closed,
            stale=silent and not closed,
        )
    return quotes


def reaches(part: int, whole: int, threshold: Ratio) -> bool:
    """Tell whether a part is at least a share of the whole."""
    numerator, denominator = threshold
    return part * denominator >= whole * numerator


def _closing_value(index: Index, row: Sequence[int], *, opening: bool) -> int:
    """Give the market value at the last official close."""
    return index.reference_value + row[CLOSE if opening else VALUE]


def _rest(index: Index, row: Sequence[int], *, opening: bool) -> int:
    """Give the part of the closing value that is still to be estimated."""
    value = _closing_value(index, row, opening=opening)
    return value - row[PRICED_CLOSE] if opening else value


def _filled_gain(row: Sequence[int], value: int, whole: int, *, opening: bool) -> Ratio | None:
    """Work out what an index gains where those without a price move as the average of those with one.

    While the market opens, a constituent with a regular print is one of the latter. Were the average that of the extended
    prices alone, it would change whenever one of these opened.
    """
    if not opening:
        return row[EXTENDED_VALUE] * whole, row[EXTENDED_BASE]
    covered = row[PRICED_CLOSE] + row[EXTENDED_BASE]
    if covered <= 0:
        return None
    opened_gain = value - whole
    return (opened_gain + row[EXTENDED_VALUE]) * whole - opened_gain * covered, covered


def _sum(terms: Sequence[Ratio]) -> Ratio:
    numerator, denominator = 0, 1
    for up, down in terms:
        numerator, denominator = numerator * down + up * denominator, denominator * down
    return numerator, denominator


def _level(index: Index, value: int, gain: Ratio) -> int:
    """Divide a market value and a gain on it by the divisor, and round once."""
    up, down = gain
    points, scale = index.divisor.exact_level(value * down + up)
    return divide_half_even(points, scale * down)
