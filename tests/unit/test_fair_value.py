"""Fair value: identities that hold whatever the rates, and limits to the last unit."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from math import factorial

from hypothesis import given
from hypothesis import strategies as st

from stream.session.fair_value import (
    carry_factor,
    contract_value,
    limit_locked,
    price_limits,
    spot_by_basis,
    spot_by_carry,
    spot_by_dividends,
    spot_by_ratio,
)

POINTS = st.decimals(1, 100_000, places=4)
RATES = st.decimals(Decimal("-0.1"), Decimal("0.1"), places=5)
DAYS = st.decimals(0, 400, places=3)


@given(POINTS, RATES, RATES, DAYS)
def test_carry_is_the_exponential_of_the_rates(
    futures: Decimal, rate: Decimal, dividend_yield: Decimal, days: Decimal
) -> None:
    """Compared with its series in fractions."""
    exponent = (Fraction(dividend_yield) - Fraction(rate)) * Fraction(days) / 365
    series = sum((exponent**n / factorial(n) for n in range(30)), Fraction(0))

    factor = carry_factor(rate=rate, dividend_yield=dividend_yield, days=days)
    spot = spot_by_carry(futures, rate=rate, dividend_yield=dividend_yield, days=days)

    assert abs(Fraction(factor) / series - 1) < Fraction(1, 10**32)
    assert abs(Fraction(spot) / (Fraction(futures) * series) - 1) < Fraction(1, 10**32)


@given(POINTS, RATES, DAYS, st.decimals(0, 100, places=2))
def test_interest_and_dividends_come_off_as_they_went_on(
    spot: Decimal, rate: Decimal, days: Decimal, dividends: Decimal
) -> None:
    """F = S (1 + r d / 360) - Div, solved for S."""
    futures = Fraction(spot) * (1 + Fraction(rate) * Fraction(days) / 360) - Fraction(dividends)
    with localcontext(prec=60):
        price = Decimal(futures.numerator) / Decimal(futures.denominator)

    found = spot_by_dividends(price, rate=rate, days=days, dividends=dividends)

    assert abs(Fraction(found) / Fraction(spot) - 1) < Fraction(1, 10**30)


@given(POINTS, POINTS, POINTS)
def test_a_basis_that_is_held_gives_the_close_at_the_close(
    futures: Decimal, futures_close: Decimal, spot_close: Decimal
) -> None:
    """And then moves by as many points, or by as many percent."""
    assert spot_by_basis(futures_close, futures_close=futures_close, spot_close=spot_close) == (
        spot_close
    )
    by_points = spot_by_basis(futures, futures_close=futures_close, spot_close=spot_close)
    assert by_points - spot_close == futures - futures_close
    by_ratio = spot_by_ratio(futures, futures_close=futures_close, spot_close=spot_close)
    exact = Fraction(spot_close) * Fraction(futures) / Fraction(futures_close)
    assert abs(Fraction(by_ratio) / exact - 1) < Fraction(1, 10**32)


@given(POINTS, st.sampled_from((5, 50, 100)))
def test_a_contract_is_worth_its_points_times_its_multiplier(
    points: Decimal, multiplier: int
) -> None:
    """Exactly."""
    assert Fraction(contract_value(points, multiplier=Decimal(multiplier))) == (
        Fraction(points) * multiplier
    )


@given(st.integers(1, 10**9), st.integers(1, 2 * 10**9))
def test_a_contract_is_locked_at_its_limits_and_beyond(reference: int, price: int) -> None:
    """The same limits in units and in points."""
    limits = price_limits(Decimal(reference).scaleb(-4))
    at = Decimal(price).scaleb(-4)

    locked = not limits.overnight_down < at < limits.overnight_up
    assert limit_locked(price, reference) == locked
    assert [Fraction(limit) for limit in (*limits[:2], *limits.regular)] == [
        Fraction(reference, 10**4) * percent / 100 for percent in (107, 93, 93, 87, 80)
    ]


def test_results_do_not_depend_on_the_callers_context() -> None:
    """Of 34 digits always."""
    with localcontext(prec=3):
        few = spot_by_carry(
            Decimal("2400.00"),
            rate=Decimal("0.042"),
            dividend_yield=Decimal("0.013"),
            days=Decimal(45),
        )
        spot = spot_by_basis(
            Decimal("2410.50"), futures_close=Decimal("2400.10"), spot_close=Decimal("2391.50")
        )
        limits = price_limits(Decimal("2391.50"))

    assert few == spot_by_carry(
        Decimal("2400.00"),
        rate=Decimal("0.042"),
        dividend_yield=Decimal("0.013"),
        days=Decimal(45),
    )
    assert len(few.as_tuple().digits) == 34
    assert spot == Decimal("2401.90")
    assert limits.overnight_up == Decimal("2558.9050")
