"""Rules for bad prices: limits, the distance within which nothing is a suspect, confirmations and the guard."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle import Ledger, World
from strategies import composition_of, selecting_worlds
from stream.index.price_rules import PriceRules, guards

RULES = PriceRules()
PRICES = st.integers(1, 2**53)


@pytest.mark.parametrize(
    ("price", "wide", "limit"),
    [
        pytest.param(1_020_000, False, 102_000, id="ten percent"),
        pytest.param(1_020_000, True, 204_000, id="twice as wide"),
        pytest.param(30_000, False, 3_000, id="three dollars"),
        pytest.param(29_999, False, 8_999, id="below three dollars three times as wide"),
        pytest.param(29_999, True, 17_999, id="six times as wide"),
        pytest.param(1, False, 0, id="the lowest price"),
        pytest.param(0, True, 0, id="no price"),
    ],
)
def test_limits(price: int, limit: int, *, wide: bool) -> None:
    """By price and hours, in whole units: the fraction is cut off, since distances are whole."""
    assert RULES.limit(price, wide=wide) == limit


@given(PRICES, st.integers(1, 20_000), st.fractions(0, 1), st.fractions(0, 1))
def test_within_the_calm_distance_no_price_is_beyond_the_limit_of_another(
    price: int, limit_bp: int, one: Fraction, other: Fraction
) -> None:
    """Whichever of the two came first."""
    rules = PriceRules(limit_bp=limit_bp)
    calm = rules.calm(price)
    first, second = (price - calm + int(part * 2 * calm) for part in (one, other))

    assert abs(first - second) * 10_000 <= first * limit_bp
    assert abs(first - second) <= rules.limit(first, wide=False)


@given(PRICES, st.integers(1, 20_000))
def test_the_calm_distance_is_the_widest_of_its_kind(price: int, limit_bp: int) -> None:
    """One unit more, and the highest price would be beyond the limit of the lowest."""
    wider = PriceRules(limit_bp=limit_bp).calm(price) + 1

    assert 2 * wider * 10_000 > (price - wider) * limit_bp


@pytest.mark.parametrize(
    ("price", "confirms"),
    [(95_000, True), (94_999, False), (105_000, True), (105_001, False), (100_000, True)],
)
def test_a_suspect_is_confirmed_within_five_percent_of_it(price: int, *, confirms: bool) -> None:
    """Of the suspect's price, the edges included."""
    assert RULES.confirms(price, 100_000) is confirms


@given(selecting_worlds())
def test_the_guard_is_the_farthest_that_moves_no_index_too_far(world: World) -> None:
    """By 200 bp of its reference value and no more; what no index holds has no guard."""
    ledger = Ledger(world)

    farthest = guards(composition_of(world), RULES).tolist()

    for row in range(len(ledger.symbols)):
        held = any(sheet.shares.get(row) for sheet in ledger.sheets)
        assert not ledger.moves_an_index(row, farthest[row])
        assert ledger.moves_an_index(row, farthest[row] + 1) is held


@given(selecting_worlds(), PRICES)
def test_without_rules_everything_is_believed(world: World, price: int) -> None:
    """No distance between two prices that can be is too far."""
    rules = PriceRules.none()

    assert min(guards(composition_of(world), rules).tolist()) > 2**60
    assert min(rules.limit(price, wide=False), rules.calm(price)) > 2**60
