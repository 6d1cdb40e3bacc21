"""Divisors: 34-digit decimals, and the one exact division by them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal

from stream.index.units import LEVEL_DECIMALS, PRICE_DECIMALS, divide_half_even

#: IEEE 754 decimal128 carries 34 digits.
DIVISOR_CONTEXT = Context(prec=34)


@dataclass(frozen=True, slots=True)
class Divisor:
    """Dollars of market value per index point.

    Attributes
    ----------
    value
        The divisor in dollars, up to 34 digits; positive.
    k
        Index shares count 10^-k shares, so market values count 10^-(4+k) dollar.
    text
        The value as a plain decimal number.
    """

    value: Decimal
    k: int
    text: str
    _numerator: int
    _denominator: int

    @classmethod
    def of(cls, value: Decimal, *, k: int) -> Divisor:
        """Prepare the division by a divisor in dollars."""
        _, digits, exponent = value.as_tuple()
        # By its digits: Decimal's own operations would round to the caller's context.
        mantissa = int("".join(map(str, digits)))
        # level = market_value * 10^-(4+k) / (mantissa * 10^exponent), counted in 10^-8 points
        shift = LEVEL_DECIMALS - PRICE_DECIMALS - k - int(exponent)
        return cls(
            value, k, format(value, "f"), 10 ** max(shift, 0), mantissa * 10 ** max(-shift, 0)
        )

    @classmethod
    def from_base(cls, market_value: int, *, k: int, base_level: Decimal) -> Divisor:
        """Make the divisor that gives a market value its base level (`methodology.md` 2.1).

        Parameters
        ----------
        market_value
            At the reference prices, in 10^-(4+k) dollar.
        base_level
            Index points.
        """
        dollars = Decimal(market_value).scaleb(-(PRICE_DECIMALS + k), DIVISOR_CONTEXT)
        return cls.of(DIVISOR_CONTEXT.divide(dollars, base_level), k=k)

    def level(self, market_value: int) -> int:
        """Divide a market value by the divisor, rounded once, half to even.

        Parameters
        ----------
        market_value
            In 10^-(4+k) dollar.

        Returns
        -------
        int
            Index points in 10^-8.

        Examples
        --------
        >>> Divisor.of(Decimal(3_000_000), k=0).level(30_175_000_000_000)
        100583333333
        """
        return divide_half_even(*self.exact_level(market_value))

    def exact_level(self, market_value: int) -> tuple[int, int]:
        """Divide a market value by the divisor without rounding.

        Parameters
        ----------
        market_value
            In 10^-(4+k) dollar.

        Returns
        -------
        tuple of int
            Numerator and denominator of the level in 10^-8 points; the denominator is positive, and depends on the
            divisor alone.
        """
        return market_value * self._numerator, self._denominator
