"""Indicative levels: stock by stock in fractions they are the same, and the hand-over to the open market makes no jump."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight_oracle import (
    CLOSED,
    NIGHT,
    NS,
    OPENS,
    Market,
    Quoted,
    Stock,
    closing,
    composition_of,
    contract_move,
    futures_of,
    implied,
    level_of,
    markets,
    partial_of,
    value_of,
)
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.estimate import Estimate, EstimateRules, Estimator, Method
from stream.index.futures import Basis, Futures
from stream.index.partial import Partial
from stream.index.universe import read_universe
from stream.session.calendar import Phase

RULES = EstimateRules()
_EXPONENT = (Fraction("0.013") - Fraction("0.042")) * 73 / 365
#: Its exponential, by the series.
CARRY = sum((_EXPONENT**n / factorial(n) for n in range(15)), Fraction(0))
CODES = ("LARGE", "SMALL", "ALL")


def estimate_all(
    market: Market,
    futures: Futures | None = None,
    *,
    now_ns: int = NIGHT,
    opening: bool = False,
    phase: Phase = Phase.OVERNIGHT,
    rules: EstimateRules = RULES,
) -> dict[str, Estimate]:
    composition = composition_of(market, futures)
    total = partial_of(composition, market, now_ns=now_ns)
    return estimates(composition, total, now_ns, opening=opening, phase=phase, rules=rules)


def estimates(
    composition: Composition,
    total: Partial,
    now_ns: int,
    *,
    opening: bool,
    phase: Phase = Phase.OVERNIGHT,
    rules: EstimateRules = RULES,
) -> dict[str, Estimate]:
    estimator = Estimator(
        composition, total, now_ns=now_ns, phase=phase, closed_ns=CLOSED, rules=rules
    )
    return {
        index.code: estimator.estimate(
            index,
            total.columns[:, position].tolist(),
            int(total.event_ns[position]),
            opening=opening,
        )
        for position, index in enumerate(composition.indexes)
    }


def close_level(composition: Composition, market: Market, code: str) -> Fraction:
    index = composition.indexes[composition.codes.index(code)]
    return value_of(closing(market, code)) / (Fraction(index.divisor.value) * 10**4)


def moves_of(market: Market, futures: Futures) -> dict[str, Fraction]:
    """Tell how far each contract has taken its index since the close."""
    composition = composition_of(market, futures)
    return {
        code: contract_move(quote, close_level(composition, market, code), futures.basis, CARRY)
        for code, quote in (("LARGE", market.large), ("SMALL", market.small))
        if quote is not None
    }


def coverage_of(market: Market, code: str) -> Fraction:
    covered = {
        row: price
        for row, price in closing(market, code).items()
        if market.stocks[row].extended is not None
    }
    return value_of(covered) / value_of(closing(market, code))


def method_of(market: Market, code: str, *, followed: bool) -> Method | None:
    """Say what the contract says: coverage of a half, else sound futures, else coverage of a twentieth."""
    coverage = coverage_of(market, code)
    if coverage >= Fraction(1, 2):
        return Method.HYBRID
    if followed:
        return Method.FUTURES
    return Method.HYBRID_FILLED if coverage >= Fraction(1, 20) else None


@st.composite
def quoted(draw: st.DrawFn, now_ns: int = NIGHT) -> Quoted:
    """Draw a contract that is fresh and within its limits."""
    close = draw(st.integers(5_000_000, 40_000_000))
    return Quoted(close + close * draw(st.integers(-600, 600)) // 10_000, close, now_ns - NS)


# ---------------------------------------------------------------------------------------------
# What an estimate is


@given(
    data=st.data(),
    basis=st.sampled_from(("held", "ratio", "carry")),
    has_large=st.booleans(),
    has_small=st.booleans(),
)
def test_an_estimate_is_the_level_at_the_prices_that_it_puts_on_every_stock(
    data: st.DataObject, basis: Basis, *, has_large: bool, has_small: bool
) -> None:
    """Whatever the method: own prices first, then the futures or the average, one division, one rounding."""
    market = data.draw(markets())
    # Both contracts' prices are one second old, as the carry of the oracle has it.
    market = replace(
        market,
        large=replace(data.draw(quoted()), ts=NIGHT) if has_large else None,
        small=replace(data.draw(quoted()), ts=NIGHT) if has_small else None,
    )
    futures = futures_of(basis)
    composition = composition_of(market, futures)
    moves = moves_of(market, futures)

    found = estimate_all(market, futures)

    sound = {"LARGE": has_large, "SMALL": has_small, "ALL": has_large and has_small}
    for code in CODES:
        one, method = found[code], method_of(market, code, followed=sound[code])
        assert one.method == method
        assert one.coverage == round(coverage_of(market, code) * 10**6)
        assert not one.stale
        if method is None:
            assert one.level is None
            continue
        prices = implied(market, code, method, moves)
        assert one.level is not None
        # A rounding may fall on the other side: our carry has 34 digits.
        slack = 1 if basis == "carry" and method is Method.FUTURES else 0
        assert abs(one.level - level_of(composition, code, prices)) <= slack
        assert one.age_s == (0 if method is Method.FUTURES else 7)


@given(data=st.data(), basis=st.sampled_from(("held", "ratio")), followed=st.booleans())
def test_in_the_evening_an_estimate_starts_from_the_close_of_the_day(
    data: st.DataObject, basis: Basis, *, followed: bool
) -> None:
    """Not from that of the day before, which is the previous close until the session rolls."""
    market, futures = data.draw(markets()), futures_of(basis)
    if followed:
        market = replace(market, large=data.draw(quoted()), small=data.draw(quoted()))
    # No price is above 8 times its reference price.
    closes = [data.draw(st.integers(s.close // 7 + 1, 5 * s.close)) for s in market.stocks]
    evening = market.of_the_day_before(closes)
    composition = composition_of(evening, futures)
    moves = {
        code: contract_move(quote, close_level(composition, market, code), basis, CARRY)
        for code, quote in (("LARGE", market.large), ("SMALL", market.small))
        if quote is not None
    }

    found = estimate_all(evening, futures, phase=Phase.POST_MARKET)

    for code in CODES:
        method = method_of(market, code, followed=followed)
        assert found[code].method == method
        assert found[code].coverage == round(coverage_of(market, code) * 10**6)
        if method is not None:
            prices = implied(market, code, method, moves)
            assert found[code].level == level_of(composition, code, prices)


@given(data=st.data(), followed=st.booleans())
def test_while_the_market_opens_what_has_opened_stands_at_its_prices(
    data: st.DataObject, *, followed: bool
) -> None:
    """And the rest at the estimate: the same method from the first stock to the last, whatever they open at."""
    market = data.draw(markets())
    if followed:
        market = replace(market, large=data.draw(quoted(OPENS)), small=data.draw(quoted(OPENS)))
    composition, moves = composition_of(market), moves_of(market, futures_of())
    methods = {code: method_of(market, code, followed=followed) for code in CODES}

    for row in data.draw(st.permutations(range(len(market.stocks)))):
        price = data.draw(st.integers(1, 2 * market.stocks[row].close))
        market = market.opened(row, price)
        total = partial_of(composition, market, now_ns=OPENS)
        found = estimates(composition, total, OPENS, opening=True, phase=Phase.REGULAR)
        for code in CODES:
            method = methods[code]
            assert found[code].method == method
            assert found[code].coverage == round(coverage_of(market, code) * 10**6)
            if method is not None:
                prices = implied(market, code, method, moves)
                assert found[code].level == level_of(composition, code, prices)


@given(data=st.data(), followed=st.booleans())
def test_the_hand_over_makes_no_jump(data: st.DataObject, *, followed: bool) -> None:
    """Stocks that open where the estimate put them move it by no more than the rounding of their prices."""
    market = data.draw(markets())
    if followed:
        market = replace(market, large=data.draw(quoted(OPENS)), small=data.draw(quoted(OPENS)))
    composition, moves = composition_of(market), moves_of(market, futures_of())
    code = data.draw(st.sampled_from(CODES))
    method = method_of(market, code, followed=followed)
    if method is None:
        return
    index = composition.indexes[composition.codes.index(code)]
    night = estimate_all(market, now_ns=OPENS)[code].level
    before = estimate_all(market, now_ns=OPENS, opening=True)[code].level
    assert before == night

    slack = Fraction(1)
    rows = [row for row in range(len(market.stocks)) if row in closing(market, code)]
    for row in data.draw(st.permutations(rows)):
        prices = implied(market, code, method, moves)
        price = max(1, round(prices[row]))
        market = market.opened(row, price)
        # A price is rounded to 1/10000 dollar, by up to a half; the average of the filled may carry that to the rest.
        off = abs(price - prices[row]) * value_of(closing(market, code)) / market.stocks[row].close
        slack += off / (Fraction(index.divisor.value) * 10**4) * 10**8
        total = partial_of(composition, market, now_ns=OPENS)
        after = estimates(composition, total, OPENS, opening=True, phase=Phase.REGULAR)[code]
        assert after.method == method
        assert after.level is not None
        assert night is not None
        assert abs(after.level - night) <= slack
    assert after.level == index.divisor.level(
        index.reference_value + int(total.value[composition.codes.index(code)])
    )


@given(data=st.data(), beta=st.decimals(-9, 9, places=3), opening=st.booleans())
def test_a_beta_makes_its_index_move_with_its_parent(
    data: st.DataObject, beta: Decimal, *, opening: bool
) -> None:
    """By so many times the parent's move by its futures; what has opened stands at its prices."""
    market = data.draw(markets(extended=False))
    market = replace(market, large=data.draw(quoted(OPENS)), small=data.draw(quoted(OPENS)))
    futures = futures_of(beta=str(beta))
    composition = composition_of(market, futures)
    index = composition.indexes[composition.codes.index("EW")]
    moves = moves_of(market, futures)
    prices = implied(market, "ALL", "futures", moves)
    move = value_of(prices) / value_of(closing(market, "ALL")) - 1
    if opening:
        market = market.opened(0, 1 + market.stocks[0].close // 2)

    total = partial_of(composition, market, now_ns=OPENS)
    found = estimates(composition, total, OPENS, opening=opening)["EW"]

    value = Fraction(0)
    for row, shares in zip(index.row.tolist(), index.shares.tolist(), strict=True):
        stock = market.stocks[row]
        at = stock.price if stock.printed else stock.close * (1 + Fraction(beta) * move)
        value += shares * at
    exact = value / 10 ** (4 + index.k) / Fraction(index.divisor.value)
    assert found.level == round(exact * 10**8)
    assert found.method is Method.FUTURES
    assert estimate_all(market, now_ns=OPENS)["EW"].level is None


def test_worked_by_hand() -> None:
    """1000 points, futures 24 above the 1190 of the close: 1024 by the difference, 2.017 % more by the ratio."""
    stocks = (Stock(1_000_000, 1_000_000), Stock(1_000_000, 1_000_000, large=False))
    quote = Quoted(12_140_000, 11_900_000, NIGHT - 9 * NS)
    market = Market(stocks, large=quote, small=replace(quote, price=11_900_000, ts=NIGHT - 2 * NS))

    held, ratio = estimate_all(market), estimate_all(market, futures_of("ratio"))

    assert held["LARGE"] == Estimate(1024_00000000, Method.FUTURES, 9, 0, stale=False)
    assert (held["SMALL"].level, held["SMALL"].age_s) == (1000_00000000, 2)
    # 100 shares of the large and 101 of the small, all at 100 dollars: 100 / 201 of 24 points.
    assert held["ALL"].level == round((1000 + Fraction(2400, 201)) * 10**8)
    assert held["ALL"].age_s == 9  # no newer than the older of the two
    assert ratio["LARGE"].level == round(Fraction(1214, 1190) * 1000 * 10**8)
    assert held["EW"] == Estimate(None, None, None, 0, stale=False)


def test_an_estimate_is_rounded_once() -> None:
    """Also where a unit of the market value makes thousands of units of the level."""
    universe = read_universe(["symbol,price,float_shares", "A,1,100"])
    definition = Definition("LARGE", "", {}, divisor=Decimal("1E-10"))
    futures = replace(futures_of("ratio"), combined={})
    composition = Composition.build(universe, [definition], futures)
    zero = Partial.zero(composition)
    contracts = zero.futures.copy()
    contracts[:, 0] = (30_000_001, NIGHT, 30_000_000, CLOSED, 0)
    total = replace(zero, futures=contracts)

    found = estimates(composition, total, NIGHT, opening=False)["LARGE"]

    assert found.level == round(100 * 10**10 * Fraction(30_000_001, 30_000_000) * 10**8)


def test_carry_is_taken_off_from_the_time_of_the_price() -> None:
    """Without a trade the estimate stands still; a later one has less carry left."""
    stocks = (Stock(1_000_000, 1_000_000), Stock(1_000_000, 1_000_000, large=False))
    market = Market(stocks, large=Quoted(10_200_000, 10_000_000, NIGHT))
    futures = futures_of("carry")

    levels = [
        estimate_all(market, futures, now_ns=NIGHT + s * NS)["LARGE"].level for s in (0, 30, 60)
    ]
    later = replace(market, large=Quoted(10_200_000, 10_000_000, NIGHT + 60 * NS))

    assert levels == [round(1020 * CARRY * 10**8)] * 3
    assert estimate_all(later, futures, now_ns=NIGHT + 60 * NS)["LARGE"].level == pytest.approx(
        float(1020 * CARRY * 10**8) * np.exp(0.029 * 60 / (365 * 86_400)), abs=2
    )


# ---------------------------------------------------------------------------------------------
# Contracts that speak for nothing

STOCKS = (Stock(1_000_000, 1_000_000), Stock(1_000_000, 1_000_000, large=False))
FRESH = Quoted(10_100_000, 10_000_000, NIGHT - 60 * NS)


@pytest.mark.parametrize(
    ("quote", "phase"),
    [
        (replace(FRESH, ts=NIGHT - 60 * NS - 1), Phase.OVERNIGHT),  # older than stale_after_s
        (replace(FRESH, halted=True), Phase.OVERNIGHT),
        (replace(FRESH, price=10_700_000), Phase.OVERNIGHT),  # limit up
        (replace(FRESH, price=9_300_000), Phase.PRE_MARKET),  # limit down
        (replace(FRESH, price=9_100_000), Phase.OVERNIGHT),  # beyond
        (FRESH, Phase.MAINTENANCE),
    ],
)
def test_a_contract_that_says_nothing_makes_its_indexes_stale(quote: Quoted, phase: Phase) -> None:
    """No level, the age of its last price; those of both contracts with it, the other alone goes on."""
    market = Market(STOCKS, large=quote, small=FRESH)

    found = estimate_all(market, futures_of(beta="1"), phase=phase)

    age_s = (NIGHT - quote.ts) // NS
    for code in ("LARGE", "ALL", "EW"):
        assert found[code] == Estimate(None, None, age_s, 0, stale=True)
    assert (found["SMALL"].level is None) == (phase is Phase.MAINTENANCE)


@pytest.mark.parametrize(
    ("quote", "phase"),
    [
        (replace(FRESH, ts=NIGHT - 60 * NS), Phase.OVERNIGHT),
        (replace(FRESH, price=10_699_999), Phase.OVERNIGHT),
        (replace(FRESH, price=9_300_001), Phase.POST_MARKET),
        (replace(FRESH, ts=NIGHT + NS), Phase.OVERNIGHT),  # a clock slightly behind
    ],
)
def test_a_contract_within_its_limits_speaks(quote: Quoted, phase: Phase) -> None:
    """To the last second and the last hundredth of a cent."""
    found = estimate_all(Market(STOCKS, large=quote, small=quote), phase=phase)

    for code in ("LARGE", "ALL"):
        assert found[code].method is Method.FUTURES
        assert found[code].age_s == max(0, NIGHT - quote.ts) // NS


@pytest.mark.parametrize(
    ("quote", "phase"),
    [
        (None, Phase.OVERNIGHT),  # never traded
        (replace(FRESH, close=0), Phase.OVERNIGHT),  # nor at a close
        (replace(FRESH, closed=CLOSED - 86_400 * NS), Phase.OVERNIGHT),  # only at an earlier one
        (replace(FRESH, ts=NIGHT - 3600 * NS), Phase.CLOSED),  # week-end: nobody expects it to
        (FRESH, Phase.CLOSED),
    ],
)
def test_where_no_contract_can_speak_nothing_is_stale(quote: Quoted | None, phase: Phase) -> None:
    """The index stands at its official close, and says so."""
    found = estimate_all(Market(STOCKS, large=quote, small=FRESH), phase=phase)

    for code in ("LARGE", "ALL"):
        assert (found[code].level, found[code].method, found[code].stale) == (None, None, False)


def test_the_filled_prices_stand_in_for_a_contract_that_is_stale() -> None:
    """At a twentieth of the weight, and with their own age; that the contract is stale is said all the same."""
    stocks = tuple(
        Stock(1_000_000, 1_000_000, extended=1_010_000 if row == 0 else None) for row in range(10)
    )
    market = Market((*stocks, Stock(1, 1, large=False)), large=replace(FRESH, halted=True))

    found = estimate_all(market)["LARGE"]

    assert (found.level, found.method) == (1010_00000000, Method.HYBRID_FILLED)
    assert (found.age_s, found.stale) == (7, True)


def test_thresholds_are_met_when_they_are_reached() -> None:
    """And each can be set."""
    stocks = (Stock(1_010_000, 1_010_000, extended=1_020_000), Stock(1_000_000, 1_000_000))
    market = Market((*stocks, Stock(1, 1, large=False)))  # 100 x 101 and 101 x 100 dollars: a half

    def method(hybrid: str, filled: str) -> Method | None:
        rules = EstimateRules(Decimal(hybrid), Decimal(filled))
        return estimate_all(market, rules=rules)["LARGE"].method

    assert estimate_all(market)["LARGE"].method is Method.HYBRID
    assert method("0.500001", "0.05") is Method.HYBRID_FILLED
    assert method("0.6", "0.5") is Method.HYBRID_FILLED
    assert method("0.6", "0.500001") is None
