"""Futures files: which contract stands for which index, when it is in front, and what is wrong with a file."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import CompositionError, FileError
from stream.files import load_composition
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.futures import Contract, Futures, read_futures
from stream.index.universe import read_universe
from stream.session.calendar import Calendar

NEW_YORK = ZoneInfo("America/New_York")
NS = 10**9
TEXT = """
zone = "America/New_York"
basis = "carry"
rate = "0.042"
dividend_yield = 0.013
stale_after_s = 5

[underlyings]
"/L" = "LARGE"
"/S" = "SMALL"

[combined]
ALL = ["LARGE", "SMALL"]

[betas]
EW = { parent = "ALL", beta = "1.25" }

[[contract]]
symbols = ["/LU6", "/SU6"]
rolls = 2026-09-10T18:00:00
expires = 2026-09-18T09:30:00

[[contract]]
symbols = ["/LZ6"]
rolls = 2026-12-10T23:00:00Z
expires = 2026-12-18T14:30:00Z
"""
BUNDLED = load_composition().futures


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * NS


def built(futures: Futures, *codes: str) -> Composition:
    """Build a composition of some of four indexes."""
    select = {
        "LARGE": {"size": frozenset(("large",))},
        "SMALL": {"size": frozenset(("small",))},
    }
    definitions = [
        Definition(code, "", select.get(code, {}), "equal" if code == "EW" else "float_cap")
        for code in codes
    ]
    universe = read_universe(["symbol,price,float_shares,size", "A,1,1,large", "B,2,3,small"])
    return Composition.build(universe, definitions, futures)


def test_a_file_is_read_as_it_is_written() -> None:
    """Times without an offset are local to its zone; each contract is in front until it rolls to the next of its root."""
    futures = read_futures(TEXT)

    first, second = at("2026-09-10T18:00:00"), at("2026-12-10T18:00:00")
    expiry = at("2026-09-18T09:30:00")
    assert futures == Futures(
        contracts=(
            Contract("/LU6", "/L", 0, first, expiry),
            Contract("/SU6", "/S", 0, first, expiry),
            Contract("/LZ6", "/L", first, second, at("2026-12-18T09:30:00")),
        ),
        underlyings={"/L": "LARGE", "/S": "SMALL"},
        combined={"ALL": ("LARGE", "SMALL")},
        betas={"EW": ("ALL", Decimal("1.25"))},
        basis="carry",
        rate=Decimal("0.042"),
        dividend_yield=Decimal("0.013"),
        stale_after_s=5,
    )
    assert futures.symbols == ("/LU6", "/SU6", "/LZ6")
    assert futures.front(first - 1) == {"LARGE": 0, "SMALL": 1}
    assert futures.front(first) == {"LARGE": 2}
    assert futures.front(second) == {}


def test_a_file_may_say_nothing_but_its_zone() -> None:
    """It stands for no futures at all."""
    assert read_futures('zone = "UTC"').kept({"US2000"}) == Futures.none()


@given(st.integers(at("2025-01-01T00:00:00"), at("2027-12-31T23:59:59")))
def test_there_is_a_front_contract_at_every_instant_of_three_years(ts: int) -> None:
    """One of each root, not expired."""
    front = BUNDLED.front(ts)

    assert front.keys() == {"US2000", "US1000"}
    for code, position in front.items():
        contract = BUNDLED.contracts[position]
        assert BUNDLED.underlyings[contract.root] == code
        assert contract.expires_ns > ts


def test_the_bundled_contracts_are_quarterly() -> None:
    """They expire on the calendar's expiry days at 09:30, and roll at 18:00 on the Thursday a week before."""
    calendar = Calendar.bundled()
    quarters = [(year, month) for year in (2025, 2026, 2027) for month in (3, 6, 9, 12)]
    quarters.append((2028, 3))

    found = iter(BUNDLED.contracts)
    for year, month in quarters:
        day = calendar.expiry(year, month)
        thursday = day - timedelta(7 + (day.weekday() - 3) % 7)
        for root in ("/RTY", "/RS1"):
            contract = next(found)
            assert contract.symbol == f"{root}{'HMUZ'[month // 3 - 1]}{year % 10}"
            assert contract.root == root
            assert contract.expires_ns == at(f"{day}T09:30:00")
            assert contract.front_until_ns == at(f"{thursday}T18:00:00")
    assert next(found, None) is None
    assert calendar.expiry(2026, 6).isoformat() == "2026-06-18"


def test_the_bundled_indexes_follow_their_contracts() -> None:
    """The broad one by the market values of the two."""
    composition = load_composition()

    assert composition.futures.underlyings == {"/RTY": "US2000", "/RS1": "US1000"}
    assert composition.futures.combined == {"US3000": ("US1000", "US2000")}
    assert (composition.futures.betas, composition.futures.basis) == ({}, "held")
    n = len(composition.universe)
    assert composition.symbols == composition.universe.symbols + composition.futures.symbols
    assert composition.row_of["/RTYZ6"] == n + composition.futures.symbols.index("/RTYZ6")
    assert len(composition.memberships.start) == len(composition.symbols) + 1
    assert composition.memberships.start[n] == composition.memberships.start[-1]


def test_a_users_file_replaces_the_bundled_one(tmp_path: Path) -> None:
    """Its errors name it."""
    path = tmp_path / "mine.toml"
    path.write_text('zone = "UTC"', "utf-8")
    assert load_composition(futures=path).futures == Futures.none()
    path.write_text("", "utf-8")
    with pytest.raises(FileError, match=r"mine\.toml: Object missing required field `zone`"):
        load_composition(futures=path)


def test_only_what_stands_for_an_index_is_kept() -> None:
    """Parts without which nothing can be combined, parents without which nothing can follow."""
    futures = read_futures(TEXT)

    whole = built(futures, "LARGE", "SMALL", "ALL", "EW").futures
    half = built(futures, "LARGE", "ALL", "EW").futures
    assert whole == futures
    assert half.symbols == ("/LU6", "/LZ6")
    assert (half.underlyings, half.combined, half.betas) == ({"/L": "LARGE"}, {}, {})
    assert built(futures, "ALL").futures == Futures.none()


def test_what_estimates_depend_on_is_in_the_id() -> None:
    """Without futures it is the id of before; with them, each figure counts."""
    futures = read_futures(TEXT)
    [first, *rest] = futures.contracts
    others = [
        replace(futures, contracts=(replace(first, expires_ns=first.expires_ns + 1), *rest)),
        replace(futures, contracts=(replace(first, front_until_ns=1), *rest)),
        replace(futures, contracts=(*rest, first)),
        replace(futures, underlyings={"/L": "SMALL", "/S": "LARGE"}),
        replace(futures, combined={}),
        replace(futures, betas={"EW": ("ALL", Decimal("1.26"))}),
        replace(futures, betas={"EW": ("LARGE", Decimal("1.25"))}),
        replace(futures, basis="held"),
        replace(futures, rate=Decimal("0.043")),
        replace(futures, dividend_yield=Decimal(0)),
        replace(futures, stale_after_s=6),
    ]

    def id_of(one: Futures) -> str:
        return built(one, "LARGE", "SMALL", "ALL", "EW").id

    ids = {id_of(one) for one in (*others, futures, Futures.none())}
    assert len(ids) == len(others) + 2
    assert id_of(Futures.none()) == built(Futures.none(), "LARGE", "SMALL", "ALL", "EW").id
    assert id_of(replace(Futures.none(), stale_after_s=9)) == id_of(Futures.none())


def test_an_index_is_combined_from_all_of_its_parts_and_nothing_else() -> None:
    """Else the sum of their market values would not be its own."""
    futures = read_futures(TEXT)
    universe = read_universe(
        ["symbol,price,float_shares,size", "A,1,1,large", "B,2,3,small", "C,2,3,micro"]
    )
    large = Definition("LARGE", "", {"size": frozenset(("large",))})
    small = Definition("SMALL", "", {"size": frozenset(("small",))})
    equal = Definition("ALL", "", {"size": frozenset(("large", "small"))}, "equal")

    for whole in (Definition("ALL", "", {}), equal):
        with pytest.raises(CompositionError, match="combined: index ALL does not consist of"):
            Composition.build(universe, [large, small, whole], futures)


def test_parts_in_other_units_are_no_parts() -> None:
    """Equal numbers of other fractions of a share."""
    built_well = built(read_futures(TEXT), "LARGE", "SMALL", "ALL", "EW")
    indexes = [
        replace(index, k=index.k - 1) if index.code == "SMALL" else index
        for index in built_well.indexes
    ]

    with pytest.raises(CompositionError, match="index ALL does not consist of LARGE and SMALL"):
        Composition.of(built_well.universe, indexes, (), built_well.futures)


def test_a_contract_is_no_constituent() -> None:
    """One symbol, one row."""
    universe = read_universe(["symbol,price,float_shares", "/LU6,1,1"])

    with pytest.raises(CompositionError, match="/LU6 is a constituent and a futures contract"):
        Composition.build(universe, [Definition("LARGE", "", {})], read_futures(TEXT))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('/S" =', 'S" =', r"underlyings: expected a root such as '/RTY', found 'S'"),
        ('"SMALL"\n', '"LARGE"\n', r"underlyings: /S: /L stands for 'LARGE' already"),
        ("ALL = [", "SMALL = [", r"combined: SMALL: it has futures of its own in `underlyings`"),
        ('"LARGE", "SMALL"', '"LARGE"', r"combined: ALL: expected two or more .* found \['LARGE'\]"),
        ('"LARGE", "SMALL"', '"LARGE", "LARGE"', r"combined: ALL: expected two or more different"),
        ('"LARGE", "SMALL"', '"LARGE", "EW"', r"combined: ALL: 'EW' is no index of `underlyings`"),
        ("EW = {", "ALL = {", r"betas: ALL: it stands in `underlyings` or `combined` already"),
        ('parent = "ALL"', 'parent = "EW"', r"betas: EW: parent: expected .* found 'EW'"),
        ('"1.25"', '"10"', r"betas: EW: beta: expected a number between -10 and 10, found '10'"),
        ('"1.25"', '"x"', r"betas: EW: beta: expected a number between -10 and 10, found 'x'"),
        ('"0.042"', '"4.2"', r"rate: expected a number between -1 and 1, found '4.2'"),
        ("0.013", "nan", r"dividend_yield: expected a number between -1 and 1, found nan"),
        ("stale_after_s = 5", "stale_after_s = 0", r"stale_after_s: expected more than 0, found 0"),
        ("America/New_York", "Mars", r"zone: expected one such as 'America/New_York', found 'Mars'"),
        ("/LU6", "/LA6", r"contract '/LA6': symbols: expected root, month and year"),
        ("/LU6", "LU6", r"contract 'LU6': symbols: expected root, month and year"),
        ("/LU6", "/TOOLONGU6", r"contract '/TOOLONGU6': symbols: expected root, month and year"),
        ("/LU6", "/RTYU6", r"contract '/RTYU6': symbols: '/RTY' is no root of `underlyings`"),
        ("/LZ6", "/SU6", r"contract '/SU6': symbols: it stands there twice"),
        ("2026-12-10", "2026-12-19", r"contract '/LZ6': rolls: 2026-12-19 .* later than it expires"),
        ("2026-12-10", "2026-09-09", r"contract '/LZ6': rolls: .* not later than .* of /L before"),
        ('"carry"', '"given"', r"Invalid enum value 'given' - at `\$\.basis`"),
        ("basis =", "bases =", r"Object contains unknown field `bases`"),
        ("2026-09-10T18:00:00", "18", r"Expected `datetime`, got `int` - at `\$\.contract\[0\]\.rolls`"),
        ("zone =", "zone", r"Expected '=' after a key"),
    ],
)  # fmt: skip
def test_an_error_names_file_key_and_value(old: str, new: str, message: str) -> None:
    """And what was expected."""
    assert old in TEXT

    with pytest.raises(FileError, match=r"^mine\.toml: " + message):
        read_futures(TEXT.replace(old, new, 1), file="mine.toml")


def test_the_page_shows_a_file_that_can_be_used() -> None:
    """With all of its tables."""
    page = (Path(__file__).parents[2] / "docs" / "overnight.md").read_text("utf-8")
    match = re.search(r"```toml\n(.+?)```", page, re.DOTALL)
    assert match is not None

    futures = read_futures(match[1])

    assert futures.betas == {"US2000-ENERGY": ("US2000", Decimal("1.2"))}
    assert replace(futures, betas={}, contracts=()) == replace(BUNDLED, contracts=())
    assert set(futures.contracts) <= {replace(each, front_from_ns=0) for each in BUNDLED.contracts}
