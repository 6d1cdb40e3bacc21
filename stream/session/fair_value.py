"""What a futures price says of its index: carry, dividends, basis, and the limits it moves within (`methodology.md` 3)."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import NamedTuple

#: Digits of every result here, as of divisors.
FAIR_VALUE_CONTEXT = Context(prec=34)

#: Percent that a contract may move from its reference price outside regular hours.
OVERNIGHT_LIMIT_PCT = 7
#: Percent that it may fall in regular hours, one after the other, together with the stocks.
REGULAR_LIMITS_PCT = (7, 13, 20)

_YEAR_DAYS = 365
_MONEY_MARKET_YEAR_DAYS = 360


def carry_factor(*, rate: Decimal, dividend_yield: Decimal, days: Decimal) -> Decimal:
    """Give what is left of a futures price when the carry until expiry is taken off: `exp(-(r - q) T)`.

    Parameters
    ----------
    rate, dividend_yield
        A year, continuous; 0.042 is 4.2 %.
    days
        Until expiry; a year has 365.

    Returns
    -------
    Decimal
        34 digits.

    Examples
    --------
    >>> factor = carry_factor(rate=Decimal("0.042"), dividend_yield=Decimal("0.013"), days=Decimal(45))
    >>> round(2400 * factor, 8)
    Decimal('2391.43449951')
    """
    context = FAIR_VALUE_CONTEXT
    years = context.divide(days, Decimal(_YEAR_DAYS))
    return context.exp(context.multiply(context.subtract(dividend_yield, rate), years))


def spot_by_carry(
    futures: Decimal, *, rate: Decimal, dividend_yield: Decimal, days: Decimal
) -> Decimal:
    """Take the carry until expiry off a futures price.

    Parameters
    ----------
    futures
        Index points.
    rate, dividend_yield, days
        As for `carry_factor`.

    Returns
    -------
    Decimal
        Index points, 34 digits.
    """
    factor = carry_factor(rate=rate, dividend_yield=dividend_yield, days=days)
    return FAIR_VALUE_CONTEXT.multiply(futures, factor)


def spot_by_dividends(
    futures: Decimal, *, rate: Decimal, days: Decimal, dividends: Decimal
) -> Decimal:
    """Take simple interest off a futures price, and put the dividends back that are paid before expiry.

    Parameters
    ----------
    futures
        Index points.
    rate
        A year, simple; 0.042 is 4.2 %.
    days
        Until expiry; a year has 360.
    dividends
        Index points paid before expiry; what they would earn until then is left out.

    Returns
    -------
    Decimal
        Index points, 34 digits.

    Examples
    --------
    >>> spot = spot_by_dividends(
    ...     Decimal(2400), rate=Decimal("0.042"), days=Decimal(45), dividends=Decimal("14.20")
    ... )
    >>> round(spot, 8)
    Decimal('2401.59164387')
    """
    context = FAIR_VALUE_CONTEXT
    interest = context.divide(context.multiply(rate, days), Decimal(_MONEY_MARKET_YEAR_DAYS))
    return context.divide(context.add(futures, dividends), context.add(Decimal(1), interest))


def spot_by_basis(futures: Decimal, *, futures_close: Decimal, spot_close: Decimal) -> Decimal:
    """Hold the difference that futures and index had at the cash close.

    Parameters
    ----------
    futures
        Index points now.
    futures_close, spot_close
        Both at the cash close.

    Returns
    -------
    Decimal
        Index points, 34 digits.

    Examples
    --------
    >>> spot_by_basis(Decimal("2410.50"), futures_close=Decimal("2400.10"), spot_close=Decimal("2391.50"))
    Decimal('2401.90')
    """
    context = FAIR_VALUE_CONTEXT
    return context.subtract(futures, context.subtract(futures_close, spot_close))


def spot_by_ratio(futures: Decimal, *, futures_close: Decimal, spot_close: Decimal) -> Decimal:
    """Hold the ratio that futures and index had at the cash close: for contracts that quote on another scale.

    Parameters
    ----------
    futures
        Now, in points of the contract.
    futures_close
        At the cash close.
    spot_close
        Then too, in index points.

    Returns
    -------
    Decimal
        Index points, 34 digits.

    Examples
    --------
    >>> spot_by_ratio(Decimal(2424), futures_close=Decimal(2400), spot_close=Decimal(1000))
    Decimal('1010')
    """
    context = FAIR_VALUE_CONTEXT
    return context.divide(context.multiply(spot_close, futures), futures_close)


def contract_value(points: Decimal, *, multiplier: Decimal) -> Decimal:
    """Give the dollars that a contract's points are worth: its tick, or its whole price.

    Parameters
    ----------
    points
        Index points.
    multiplier
        Dollars per point: 50 for an E-mini on the small caps, 5 for a micro.

    Examples
    --------
    >>> contract_value(Decimal("0.10"), multiplier=Decimal(50))
    Decimal('5.00')
    """
    return FAIR_VALUE_CONTEXT.multiply(points, multiplier)


class PriceLimits(NamedTuple):
    """Prices that a contract cannot pass.

    Attributes
    ----------
    overnight_up, overnight_down
        Outside regular hours.
    regular
        Downwards in regular hours, one after the other.
    """

    overnight_up: Decimal
    overnight_down: Decimal
    regular: tuple[Decimal, ...]


def price_limits(reference: Decimal) -> PriceLimits:
    """Work out the limits around a contract's reference price; exchanges round them to ticks.

    Parameters
    ----------
    reference
        Index points.

    Examples
    --------
    >>> price_limits(Decimal("2391.50")).overnight_down
    Decimal('2224.0950')
    """
    return PriceLimits(
        _moved(reference, OVERNIGHT_LIMIT_PCT),
        _moved(reference, -OVERNIGHT_LIMIT_PCT),
        tuple(_moved(reference, -percent) for percent in REGULAR_LIMITS_PCT),
    )


def _moved(reference: Decimal, percent: int) -> Decimal:
    factor = Decimal(100 + percent).scaleb(-2, FAIR_VALUE_CONTEXT)
    return FAIR_VALUE_CONTEXT.multiply(reference, factor)


def limit_locked(price: int, reference: int) -> bool:
    """Tell whether a contract stands at its overnight limit or beyond, where trading stops telling its price.

    Parameters
    ----------
    price, reference
        In the same unit; the reference positive.

    Examples
    --------
    >>> limit_locked(22_240_950, 23_915_000), limit_locked(22_240_951, 23_915_000)
    (True, False)
    """
    return 100 * abs(price - reference) >= OVERNIGHT_LIMIT_PCT * reference
