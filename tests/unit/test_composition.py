"""Compositions: the choice of k, the bundled family, and what cannot be built."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from stream.errors import CapstreamError, CompositionError
from stream.files import load_composition
from stream.index.composition import Composition, Index
from stream.index.definitions import Definition
from stream.index.partial import Partial
from stream.index.sectors import SECTORS
from stream.index.snapshot import level_text, market_value_text, moment_of, snapshots
from stream.index.universe import Universe, read_universe
from stream.session.calendar import Calendar

ALL = Definition("ALL", "All", {})


def universe(*rows: str) -> Universe:
    return read_universe(["symbol,price,float_shares,size,growth", *rows])


def build(*rows: str, definitions: tuple[Definition, ...] = (ALL,)) -> Composition:
    return Composition.build(universe(*rows), definitions)


@pytest.fixture(scope="module")
def family() -> dict[str, Index]:
    """Give the bundled indexes by code."""
    return {index.code: index for index in load_composition().indexes}


def members(index: Index) -> dict[int, int]:
    return dict(zip(index.row.tolist(), index.shares.tolist(), strict=True))


def test_the_bundled_family_has_38_indexes(family: dict[str, Index]) -> None:
    """Three sizes, each by eleven sectors, and two of equal weight; styles are left out without their column."""
    sizes = ("US1000", "US2000", "US3000")
    expected = {code for size in sizes for code in (size, *(f"{size}-{s}" for s in SECTORS))}

    assert set(family) == expected | {"US1000EW", "US2000EW"}
    assert len(family) == 38
    assert load_composition().left_out == ("US2000G", "US2000V")


def test_the_bundled_family_starts_at_its_base_level(family: dict[str, Index]) -> None:
    """Every index stands at 1000 at the file's prices."""
    composition = load_composition()
    nothing = Partial.zero(composition)
    moment = moment_of(Calendar.bundled(), nothing, now_ns=0)

    for position, index in enumerate(composition.indexes):
        shot = snapshots(composition, [position], nothing, moment=moment)[0]
        assert level_text(shot.level) == "1000.00000000"
        assert (shot.coverage, shot.priced, shot.event_ns) == (0, 0, None)
        assert shot.constituents == len(index.row)
    assert len(family["US1000"].row) == 1000
    assert composition.id.startswith("2026-07-17-")


def test_large_and_small_add_up_to_all_exactly(family: dict[str, Index]) -> None:
    """Members, shares and values of the broad index are those of its two parts."""
    large, small, broad = (members(family[code]) for code in ("US1000", "US2000", "US3000"))

    assert large | small == broad
    assert not large.keys() & small.keys()
    assert (
        family["US1000"].reference_value + family["US2000"].reference_value
        == family["US3000"].reference_value
    )


@pytest.mark.parametrize("code", ["US1000", "US2000", "US3000"])
def test_sectors_add_up_to_their_parent_exactly(family: dict[str, Index], code: str) -> None:
    """No member and no unit of value is lost or counted twice."""
    parts = [family[f"{code}-{sector}"] for sector in SECTORS]

    merged = {row: shares for part in parts for row, shares in members(part).items()}
    assert merged == members(family[code])
    assert sum(len(part.row) for part in parts) == len(family[code].row)
    assert sum(part.reference_value for part in parts) == family[code].reference_value
    assert {part.k for part in parts} == {family[code].k}


@pytest.mark.parametrize("code", ["US1000EW", "US2000EW"])
def test_equal_weights_are_equal_to_the_last_unit_of_shares(
    family: dict[str, Index], code: str
) -> None:
    """No member differs from the mean by more than half a unit of its shares."""
    index = family[code]
    price = load_composition().reference_price[index.row]
    total = sum(
        Fraction(i.price) * i.float_shares
        for row, i in enumerate(load_composition().universe.instruments)
        if row in set(index.row.tolist())
    )
    mean = total / len(index.row) * Fraction(10) ** index.k

    for one, shares in zip(price.tolist(), index.shares.tolist(), strict=True):
        assert abs(one * shares - mean) <= Fraction(one, 2)


@pytest.mark.parametrize("code", ["US3000", "US1000EW", "US2000EW"])
def test_k_is_the_largest_that_fits(family: dict[str, Index], code: str) -> None:
    """8 times the sum of bound values fits into 63 bits, and ten times finer shares would not."""
    index = family[code]

    assert 8 * index.reference_value < 2**63
    assert 80 * index.reference_value >= 2**63


@pytest.mark.parametrize(
    ("float_shares", "price", "k"),
    [
        ("1", "0.0001", 9),
        ("1", "100", 9),
        (str(2**60 - 1), "0.0001", 0),
        (str(2**60), "0.0001", -1),
        (str((2**60 - 1) * 10), "0.0001", -1),
        (str(2**60 * 10), "0.0001", -2),
        ("115292150460684697", "0.0001", 1),
        ("115292150460684698", "0.0001", 0),
        (str((2**60 - 1) * 10**9), "0.0001", -9),
    ],
)
def test_the_edge_of_63_bits_decides_k(float_shares: str, price: str, k: int) -> None:
    """One share more or less than fits changes k; huge universes count tens of shares, tiny ones 10^-9."""
    [index] = build(f"A,{price},{float_shares},,").indexes

    assert index.k == k
    assert index.shares.tolist() == [round(Fraction(float_shares) * Fraction(10) ** k)]


def test_a_universe_too_large_for_any_k_is_refused() -> None:
    """Beyond 10^9 shares a unit nothing would be left to count."""
    with pytest.raises(CompositionError, match="cannot be held in 63 bits"):
        build("A,1,1e24,,")


def test_the_widest_of_a_family_sets_its_k_and_others_choose_their_own() -> None:
    """A small float-cap index shares the k of the whole; an equal-weight one on the same members need not."""
    small = Definition("SMALL", "", {"size": frozenset(("small",))})
    equal = Definition("EQUAL", "", {"size": frozenset(("small",))}, weighting="equal")

    made = {
        index.code: index.k
        for index in build(
            "A,1,100000000000000,large,", "B,1,1,small,", definitions=(ALL, small, equal)
        ).indexes
    }

    assert made == {"ALL": 0, "SMALL": 0, "EQUAL": 9}


def test_growth_and_value_add_up_to_their_parent_share_by_share() -> None:
    """Whatever the probabilities, no unit is lost."""
    rows = [f"S{i},{i}.37,{1000 + 7 * i},small,0.{i}3" for i in range(1, 10)]
    styles = tuple(Definition(s.upper(), s, {}, style=s) for s in ("growth", "value"))

    parent, growth, value = build(*rows, definitions=(ALL, *styles)).indexes

    assert (growth.shares + value.shares == parent.shares).all()
    assert growth.reference_value + value.reference_value == parent.reference_value
    assert growth.k == value.k == parent.k


def test_definitions_that_select_nothing_are_left_out() -> None:
    """They are named, and the others stand."""
    none = Definition("NONE", "", {"size": frozenset(("giant",))})

    composition = build("A,1,1,small,", definitions=(none, ALL))

    assert (composition.codes, composition.left_out) == (("ALL",), ("NONE",))


def test_a_composition_of_nothing_is_refused_and_names_the_missing_column() -> None:
    """A misspelt column is the likely reason."""
    typo = Definition("X", "", {"siez": frozenset(("small",))})
    empty = Definition("X", "", {"size": frozenset(("giant",))})

    with pytest.raises(CompositionError, match=r"any of the 1 constituents; .* no column siez$"):
        build("A,1,1,small,", definitions=(typo,))
    with pytest.raises(CompositionError, match=r"any of the 1 constituents$"):
        build("A,1,1,small,", definitions=(empty,))


def test_a_cap_too_low_for_its_members_is_refused() -> None:
    """Two members of at most 0.4 cannot add up to one."""
    capped = Definition("X", "", {}, weighting="capped", limit=Decimal("0.4"))

    with pytest.raises(
        CompositionError, match=r"index X: 2 members of at most 0\.4 .* raise its limit"
    ):
        build("A,1,1,,", "B,1,1,,", definitions=(capped,))


def test_an_index_worth_nothing_is_refused() -> None:
    """Beside a giant, a member's shares may round to none."""
    small = Definition("SMALL", "", {"size": frozenset(("small",))})

    with pytest.raises(CompositionError, match="index SMALL: its members are worth nothing"):
        build("A,1,1000000000000000000,large,", "B,1,1,small,", definitions=(ALL, small))


@pytest.mark.parametrize("price", ["1e15", "2e14", "115292150460685"])
def test_a_price_whose_bound_does_not_fit_is_refused(price: str) -> None:
    """Eight times a price must fit into 63 bits, of an index's member or of none."""
    small = Definition("SMALL", "", {"size": frozenset(("small",))})

    with pytest.raises(CapstreamError):
        build(f"A,{price},1,large,", "B,1,1,small,", definitions=(small,))


@pytest.mark.parametrize(
    "definition",
    [
        Definition("X", "", {}, base_level=Decimal("1e-9")),
        Definition("X", "", {}, divisor=Decimal("1e30")),
    ],
)
def test_a_level_that_rounds_to_zero_is_refused(definition: Definition) -> None:
    """No change in percent could be given of it: the composition is refused and the index named."""
    with pytest.raises(CompositionError, match="index X"):
        build("A,1,1,,", definitions=(definition,))


@pytest.mark.parametrize(
    ("float_shares", "price", "text"),
    [
        ("3", "1.2345", "3.7035"),
        ("0.5", "0.0001", "0.0000"),
        ("1.5", "0.0001", "0.0002"),
        ("10000000000000", "1.5", "15000000000000.0000"),
        ("12345678901234567890", "0.0001", "1234567890123456.7900"),
    ],
)
def test_market_values_are_dollars_with_four_places(
    float_shares: str, price: str, text: str
) -> None:
    """Finer units are rounded half to even, coarser ones filled with zeros."""
    [index] = build(f"A,{price},{float_shares},,").indexes

    assert market_value_text(index, index.reference_value) == text


def test_reference_values_are_held_per_membership() -> None:
    """Rows in order, indexes in order of definition within a row."""
    small = Definition("SMALL", "", {"size": frozenset(("small",))})

    composition = build("A,2,10,large,", "B,3,10,small,", definitions=(ALL, small))

    unit = 10 ** composition.indexes[0].k
    memberships = composition.memberships
    assert memberships.start.tolist() == [0, 1, 3]
    assert memberships.index.tolist() == [0, 0, 1]
    assert memberships.shares.tolist() == [10 * unit] * 3
    assert memberships.reference.tolist() == [200_000 * unit, 300_000 * unit, 300_000 * unit]
    found, nth = memberships.of_rows(np.array([1, 0]))
    assert (found.tolist(), nth.tolist()) == ([1, 2, 0], [0, 0, 1])
