"""Integers and decimals: rounding and text."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.index.units import decimal_text, price_units


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("333.74", 3_337_400),
        ("0.0001", 1),
        ("0.00005", 0),
        ("0.00015", 2),
        ("0.00025", 2),
        ("0.000250000000000000000000000000000000000000001", 3),
        ("1.00005", 10_000),
        ("1.00015", 10_002),
        ("-1.00015", -10_002),
        ("1E+5", 1_000_000_000),
        ("12345678901234567890.12345", 123456789012345678901234),
    ],
)
def test_a_price_becomes_ten_thousandths_half_even(text: str, units: int) -> None:
    """Once, from all of its digits."""
    assert price_units(Decimal(text)) == units


def test_a_price_wider_than_anyone_could_mean_is_invalid() -> None:
    """It raises, rather than lose digits."""
    with pytest.raises(InvalidOperation):
        price_units(Decimal("1E+61"))


@given(st.integers(), st.integers(-6, 20))
def test_decimal_text_is_the_number_with_all_its_places(value: int, decimals: int) -> None:
    """Plain digits, as many places as asked for, and never a minus zero."""
    text = decimal_text(value, decimals)

    assert Decimal(text) == Decimal(f"{value}E{-decimals}")
    assert len(text.partition(".")[2]) == max(decimals, 0)
    assert "E" not in text
    assert value or "-" not in text
