"""The units of law 1: prices, index shares and market values are integers.

Prices count 1/10000 dollar; index shares count 10^-k shares, where a family of indexes chooses k; so a market value
counts 10^-(4+k) dollar. Everything is rounded once, half to even when it first
becomes an integer.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal

PRICE_DECIMALS = 4
PRICE_SCALE = 10**PRICE_DECIMALS
LEVEL_DECIMALS = 8
LEVEL_SCALE = 10**LEVEL_DECIMALS
NS_PER_S = 1_000_000_000

#: A tick may be worth this many times its instrument's bound price before it is refused (law 1).
BOUND_MULTIPLE = 8
INT64_LIMIT = 2**63


_GRID = Decimal(1).scaleb(-PRICE_DECIMALS)
#: Wide enough for any price that the caller could mean; a wider one raises decimal.InvalidOperation.
_WIDE = Context(prec=64)


def price_units(price: Decimal) -> int:
    """Convert a price in dollars to 1/10000 dollar, rounded once, half to even.

    Parameters
    ----------
    price
        Dollars; finite, of any precision.

    Returns
    -------
    int
        Price in 1/10000 dollar.

    Raises
    ------
    decimal.InvalidOperation
        Where the price has more than 60 digits before its point.

    Examples
    --------
    >>> price_units(Decimal("333.74")), price_units(Decimal("0.00015")), price_units(Decimal("0.00025"))
    (3337400, 2, 2)
    """
    return int(price.quantize(_GRID, ROUND_HALF_EVEN, _WIDE).scaleb(PRICE_DECIMALS, _WIDE))


def level_units(level: Decimal) -> int:
    """Convert index points to 10^-8 index points; more places than 8 are cut off.

    Examples
    --------
    >>> level_units(Decimal("1005.83333333"))
    100583333333
    """
    return int(level.scaleb(LEVEL_DECIMALS, _WIDE))


def decimal_text(value: int, decimals: int) -> str:
    """Write an integer that counts 10^-decimals as a plain decimal number.

    Examples
    --------
    >>> decimal_text(100583333333, 8), decimal_text(-5, 2), decimal_text(7, 0), decimal_text(7, -2)
    ('1005.83333333', '-0.05', '7', '700')
    """
    if decimals <= 0:
        return str(value * 10**-decimals)
    sign = "-" if value < 0 else ""
    whole, fraction = divmod(abs(value), 10**decimals)
    return f"{sign}{whole}.{fraction:0{decimals}d}"


def round_display(value: Decimal | str, places: int = 2) -> str:
    """Round a published figure for a screen, half up (away from zero), on decimals (`methodology.md` 2.6).

    Parameters
    ----------
    value
        As published.
    places
        Digits after the point.

    Returns
    -------
    str
        Never a negative zero.

    Examples
    --------
    >>> round_display("1005.835"), round_display("2.675"), round_display("-0.004")
    ('1005.84', '2.68', '0.00')
    """
    rounded = Decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, _WIDE)
    return f"{abs(rounded) if rounded.is_zero() else rounded:f}"


def divide_half_even(numerator: int, denominator: int) -> int:
    """Divide two integers and round once, half to even.

    Parameters
    ----------
    numerator, denominator
        Any integers; the denominator positive.

    Examples
    --------
    >>> divide_half_even(5, 2), divide_half_even(7, 2), divide_half_even(-5, 2)
    (2, 4, -2)
    """
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient & 1):
        quotient += 1
    return quotient


def divide_half_away(numerator: int, denominator: int) -> int:
    """Divide two integers and round once, half away from zero: the rounding of published percentages.

    Parameters
    ----------
    numerator, denominator
        Any integers; the denominator positive.

    Examples
    --------
    >>> divide_half_away(5, 2), divide_half_away(-5, 2), divide_half_away(-1, 3)
    (3, -3, 0)
    """
    magnitude = (2 * abs(numerator) + denominator) // (2 * denominator)
    return -magnitude if numerator < 0 else magnitude
