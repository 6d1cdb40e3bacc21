"""Law 1 of the design: index shares, reference values and divisors against fractions worked out by hand."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from oracle import Line, Plan, World
from strategies import composition_of, selecting_worlds
from stream.index.divisor import Divisor
from stream.index.units import divide_half_away, divide_half_even, price_units
from stream.index.weights import style_part

DIVISORS = st.builds(
    lambda digits, exponent: Decimal(f"{digits}E{exponent}"),
    st.integers(1, 10**20),
    st.integers(-30, 8),
)


@given(selecting_worlds())
def test_a_composition_holds_the_integers_worked_out_by_hand(world: World) -> None:
    """Members, k, index shares, reference values and divisors are those of the weighting's definition."""
    composition, expected = composition_of(world), oracle.sheets(world)

    assert composition.codes == tuple(sheet.code for sheet in expected)
    for index, sheet in zip(composition.indexes, expected, strict=True):
        assert index.k == sheet.k
        assert dict(zip(index.row.tolist(), index.shares.tolist(), strict=True)) == sheet.shares
        assert index.reference_value == sheet.reference
        assert Fraction(index.divisor.value) == sheet.divisor
    made = {sheet.code for sheet in expected}
    assert composition.left_out == tuple(p.code for p in world.plans if p.code not in made)
    assert composition.reference_price.tolist() == [line.price for line in world.lines]
    assert composition.highest_price.tolist() == [8 * line.price for line in world.lines]


@given(selecting_worlds())
def test_memberships_by_row_are_those_of_the_indexes(world: World) -> None:
    """Walking the rows meets every membership once, with its index, shares and reference value."""
    composition = composition_of(world)
    memberships = composition.memberships
    met = []
    for row, line in enumerate(world.lines):
        for at in range(memberships.start[row], memberships.start[row + 1]):
            index, shares = int(memberships.index[at]), int(memberships.shares[at])
            assert memberships.reference[at] == shares * line.price
            met.append((composition.codes[index], row, shares))

    expected = [
        (sheet.code, row, shares)
        for sheet in oracle.sheets(world)
        for row, shares in sheet.shares.items()
    ]
    assert sorted(met) == sorted(expected)
    assert len(met) == len(memberships.index)


@given(selecting_worlds())
def test_the_same_contents_have_the_same_id_and_others_another(world: World) -> None:
    """A composition's id is a function of its contents; a price that differs by the least unit changes it."""
    line = world.lines[0]
    dearer = Line(line.symbol, line.price + 1, line.float_shares, line.growth, line.member)

    same = composition_of(world).id == composition_of(world).id
    other = composition_of(World((dearer, *world.lines[1:]), world.plans)).id

    assert same
    assert other != composition_of(world).id


@given(
    rows=st.lists(
        st.tuples(st.integers(1, 10**6), st.integers(10, 10**10), st.booleans()),
        min_size=2,
        max_size=9,
    ),
    styled=st.booleans(),
)
def test_disjoint_float_cap_indexes_add_up_to_the_one_that_holds_both(
    rows: list[tuple[int, int, bool]], *, styled: bool
) -> None:
    """Sizes add up to the whole, and growth and value to their parent, in integers and without remainder."""
    lines = tuple(
        Line(
            f"S{i}",
            price,
            Fraction(shares),
            Decimal("0.355") if styled else None,
            frozenset(("ALL", "G", "V", "LARGE" if large or i == 0 else "SMALL")),
        )
        for i, (price, shares, large) in enumerate(rows)
    )
    plans = [
        Plan(c, "float_cap", None, None, Decimal(1000), None) for c in ("ALL", "LARGE", "SMALL")
    ]
    if styled:
        plans += [
            Plan(c, "float_cap", None, s, Decimal(1), None)
            for c, s in (("G", "growth"), ("V", "value"))
        ]
    made = {index.code: index for index in composition_of(World(lines, tuple(plans))).indexes}

    assert made["ALL"].reference_value == made["LARGE"].reference_value + (
        made["SMALL"].reference_value if "SMALL" in made else 0
    )
    assert len({index.k for index in made.values()}) == 1
    if styled:
        assert (made["G"].shares + made["V"].shares == made["ALL"].shares).all()
        assert made["G"].reference_value + made["V"].reference_value == made["ALL"].reference_value


@given(
    st.integers(0, 2**63 - 1),
    st.decimals(min_value=0, max_value=1, allow_nan=False, allow_infinity=False),
)
def test_growth_and_value_parts_add_up_to_the_shares(shares: int, growth: Decimal) -> None:
    """The value part is rounded half even, the growth part is the rest, and neither is negative."""
    parts = [style_part(shares, growth, style) for style in ("growth", "value")]

    assert parts == [shares - parts[1], oracle.half_even(shares * (1 - Fraction(growth)))]
    assert min(parts) >= 0


@given(st.integers(1, 2**63 - 1), DIVISORS, st.integers(-9, 9))
def test_a_level_is_the_exact_quotient_rounded_half_even(
    value: int, divisor: Decimal, k: int
) -> None:
    """A market value over a divisor is rounded once, at the eighth place."""
    exact = Fraction(value) / Fraction(10) ** (4 + k) / Fraction(divisor)

    assert Divisor.of(divisor, k=k).level(value) == oracle.half_even(exact * 10**8)


@given(st.integers(1, 2**63 - 1), st.integers(10**33, 10**34 - 1), st.integers(-45, -20))
def test_all_34_digits_of_a_divisor_count(value: int, digits: int, exponent: int) -> None:
    """No digit of a divisor is dropped before the division."""
    divisor = Decimal(f"{digits}E{exponent}")
    exact = Fraction(value, 10**4) / Fraction(divisor)

    assert Divisor.of(divisor, k=0).level(value) == oracle.half_even(exact * 10**8)


def test_a_divisor_does_not_depend_on_the_callers_decimal_context() -> None:
    """A thread with a narrow decimal context computes the same level."""
    wide = Divisor.of(Decimal("2.718281828459045"), k=0)

    with localcontext() as context:
        context.prec = 5
        narrow = Divisor.of(Decimal("2.718281828459045"), k=0)
        base = Divisor.from_base(27182818284590452, k=0, base_level=Decimal(1000))

    assert narrow.level(10**18) == wide.level(10**18)
    assert base.value == Decimal("2718281828.4590452")


@given(
    st.integers(1, 2**63 - 1), st.integers(-9, 9), st.sampled_from(("1000", "135.00", "0.07", "3"))
)
def test_a_base_level_makes_a_divisor_of_34_digits(value: int, k: int, level: str) -> None:
    """The divisor is the market value in dollars over the base level, to 34 significant digits."""
    divisor = Divisor.from_base(value, k=k, base_level=Decimal(level))

    dollars = Fraction(value) / Fraction(10) ** (4 + k)
    assert Fraction(divisor.value) == oracle.significant(dollars / Fraction(level), 34)
    assert divisor.k == k


@given(st.integers(), st.integers(min_value=1))
def test_integer_divisions_round_as_they_say(numerator: int, denominator: int) -> None:
    """One takes a tie to the even neighbour, the other away from zero."""
    exact = Fraction(numerator, denominator)

    assert divide_half_even(numerator, denominator) == oracle.half_even(exact)
    assert divide_half_away(numerator, denominator) == oracle.half_away(exact)


@pytest.mark.parametrize(
    ("numerator", "even", "away"),
    [(5, 2, 3), (-5, -2, -3), (7, 4, 4), (-7, -4, -4), (1, 0, 1), (-1, 0, -1)],
)
def test_halves_round_to_even_or_away(numerator: int, even: int, away: int) -> None:
    """The ties themselves, written out."""
    assert divide_half_even(numerator, 2) == even
    assert divide_half_away(numerator, 2) == away


@given(
    st.decimals(
        min_value=Decimal("-1E15"), max_value=Decimal("1E15"), allow_nan=False, allow_infinity=False
    )
)
def test_a_price_is_rounded_once_half_even(price: Decimal) -> None:
    """A price of any precision becomes the nearest 1/10000 dollar, a tie the even one."""
    assert price_units(price) == oracle.half_even(Fraction(price) * 10_000)
