"""Compositions on their topic: what is read has the same id and gives the same levels, or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from oracle import World
from strategies import composition_of, damaged, selecting_worlds
from stream.errors import WireError
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.futures import Contract, Futures
from stream.index.partial import VALUE, Partial
from stream.index.snapshot import Snapshot, moment_of, snapshots
from stream.index.universe import read_universe
from stream.session.calendar import Calendar
from stream.wire import compositions

NOON = oracle.nanoseconds("2026-07-17", "12:00:00")
EXAMPLE = Composition.build(
    read_universe(
        [
            "symbol,price,float_shares,size,price_date,growth",
            "AIG,48.73,1000.5,large,2026-07-16,0.25",
            "BAC,14,3,large,2026-07-17,",
            "XYZ,1,1,small,2026-07-17,1",
        ]
    ),
    [
        Definition("ALL", 'The "All"', {}),
        Definition("EW", "", {"size": frozenset(("large",))}, weighting="equal"),
        Definition("NONE", "", {"size": frozenset(("micro",))}),
    ],
)


FUTURES = Futures(
    contracts=(Contract("/AZ6", "/A", 0, 10**18, 2 * 10**18), Contract("/AH7", "/A", 1, 2, 3)),
    underlyings=MappingProxyType({"/A": "ALL"}),
    combined=MappingProxyType({}),
    betas=MappingProxyType({"EW": ("ALL", Decimal("1.250"))}),
    basis="carry",
    rate=Decimal("0.040"),
    dividend_yield=Decimal("-0.01"),
    stale_after_s=7,
)
WITH_FUTURES = Composition.of(EXAMPLE.universe, EXAMPLE.indexes, EXAMPLE.left_out, FUTURES)


def shots_of(composition: Composition, gains: Sequence[int]) -> list[Snapshot]:
    columns = np.zeros_like(Partial.zero(composition).columns)
    columns[VALUE] = gains
    total = replace(Partial.zero(composition), columns=columns)
    moment = moment_of(Calendar.bundled(), total, NOON)
    return snapshots(composition, range(len(composition.indexes)), total, moment=moment)


@given(st.data())
def test_a_composition_that_was_stored_gives_the_same_levels(data: st.DataObject) -> None:
    """The same id and snapshots, to the last digit; and the levels of the law."""
    world: World = data.draw(selecting_worlds())
    ours = composition_of(world)
    price = [data.draw(st.integers(1, 8 * line.price)) for line in world.lines]

    read = compositions.decode(compositions.encode(ours))

    values = [
        [
            sum(
                shares * prices[row]
                for row, shares in zip(index.row.tolist(), index.shares.tolist(), strict=True)
            )
            for index in ours.indexes
        ]
        for prices in (price, [line.price for line in world.lines])
    ]
    gains = [now - reference for now, reference in zip(*values, strict=True)]
    assert shots_of(read, gains) == shots_of(ours, gains)
    for shot, value, index in zip(shots_of(read, gains), values[0], ours.indexes, strict=True):
        dollars = Fraction(value) / Fraction(10) ** (4 + index.k)
        assert shot.level == oracle.half_even(dollars / Fraction(index.divisor.value) * 10**8)
    assert_equal(read, ours)


def assert_equal(read: Composition, ours: Composition) -> None:
    assert (read.id, read.codes, read.left_out) == (ours.id, ours.codes, ours.left_out)
    assert read.universe.symbols == ours.universe.symbols
    assert read.universe.date == ours.universe.date
    assert dict(read.row_of) == dict(ours.row_of)
    assert (read.symbols, read.futures) == (ours.symbols, ours.futures)
    for a, b in zip(read.indexes, ours.indexes, strict=True):
        assert (a.name, a.k, a.reference_value) == (b.name, b.k, b.reference_value)
        assert a.reference_level == b.reference_level
        assert (a.divisor, a.divisor.value) == (b.divisor, b.divisor.value)
    for one, other in zip(arrays(read), arrays(ours), strict=True):
        assert (one.dtype, one.tolist()) == (other.dtype, other.tolist())
    assert [each.float_shares for each in read.universe.instruments] == [
        each.float_shares for each in ours.universe.instruments
    ]


def arrays(composition: Composition) -> Iterator[Any]:
    yield composition.reference_price
    yield composition.highest_price
    members = composition.memberships
    yield from (members.start, members.index, members.shares, members.reference)
    for index in composition.indexes:
        yield from (index.row, index.shares)


def test_all_columns_of_the_constituents_go_along() -> None:
    """Pages show them; text as it stood in the file."""
    read = compositions.decode(compositions.encode(EXAMPLE))

    assert_equal(read, EXAMPLE)
    for ours, theirs in zip(EXAMPLE.universe.instruments, read.universe.instruments, strict=True):
        assert dict(theirs.attributes) == dict(ours.attributes)
    assert read.universe.columns == EXAMPLE.universe.columns
    assert read.universe.instruments[0].float_shares == Fraction(2001, 2)
    assert read.left_out == ("NONE",)


def test_the_form_is_the_one_that_other_workers_read() -> None:
    """Version 1: JSON, exact numbers as text."""
    fields = json.loads(compositions.encode(EXAMPLE))

    assert fields.keys() == {
        "v",
        "id",
        "date",
        "symbols",
        "reference_prices",
        "float_shares",
        "columns",
        "indexes",
        "left_out",
    }
    assert (fields["v"], fields["id"], fields["date"]) == (1, EXAMPLE.id, "2026-07-17")
    assert fields["symbols"] == ["AIG", "BAC", "XYZ"]
    assert fields["reference_prices"] == [487_300, 140_000, 10_000]
    assert fields["float_shares"] == ["2001/2", "3", "1"]
    assert fields["columns"]["size"] == ["large", "large", "small"]
    [all_, equal] = fields["indexes"]
    unit = 10 ** all_["k"]
    assert all_ == {
        "code": "ALL",
        "name": 'The "All"',
        "k": all_["k"],
        "rows": [0, 1, 2],
        "index_shares": [10_005 * unit // 10, 3 * unit, unit],
        "reference_value": 487_973_650 * unit,  # 1000.5 x 48.73 + 3 x 14 + 1 dollars
        "reference_level": 1000 * 10**8,
        "divisor": all_["divisor"],
    }
    assert Fraction(all_["divisor"]) == Fraction("48.797365")
    assert (equal["code"], equal["rows"]) == ("EW", [0, 1])


def test_futures_go_along_where_there_are_any() -> None:
    """What estimates are made of is the same for all workers; exact numbers as text."""
    message = compositions.encode(WITH_FUTURES)

    assert_equal(compositions.decode(message), WITH_FUTURES)
    assert json.loads(message)["futures"] == {
        "contracts": [
            {
                "symbol": "/AZ6",
                "root": "/A",
                "front_from_ns": 0,
                "front_until_ns": 10**18,
                "expires_ns": 2 * 10**18,
            },
            {
                "symbol": "/AH7",
                "root": "/A",
                "front_from_ns": 1,
                "front_until_ns": 2,
                "expires_ns": 3,
            },
        ],
        "underlyings": {"/A": "ALL"},
        "combined": {},
        "betas": {"EW": {"parent": "ALL", "beta": "1.250"}},
        "basis": "carry",
        "rate": "0.040",
        "dividend_yield": "-0.01",
        "stale_after_s": 7,
    }


def changed(change: Callable[[Any], object], of: Composition = EXAMPLE) -> bytes:
    fields = json.loads(compositions.encode(of))
    change(fields)
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x["symbols"].__setitem__(0, "AAA"),
        lambda x: x["symbols"].reverse(),
        lambda x: x["reference_prices"].__setitem__(1, 140_001),
        lambda x: x["indexes"][0]["index_shares"].__setitem__(2, 7),
        lambda x: x["indexes"][0].update(divisor="1"),
        lambda x: x["indexes"][0].update(k=3),
        lambda x: x["indexes"][0].update(code="ALLE"),
        lambda x: x["indexes"][0].update(reference_value=1),
        lambda x: x["indexes"][0].update(reference_level=1),
        lambda x: x["indexes"].reverse(),
        lambda x: x["indexes"].pop(),
        lambda x: x["indexes"][1]["rows"].__setitem__(1, 2),
        lambda x: x["indexes"][1]["rows"].__setitem__(1, -1),
        lambda x: x.update(date="2026-07-18"),
        lambda x: x.update(id="2026-07-17-000000000000"),
    ],
)
def test_contents_that_are_not_those_of_the_id_are_refused(
    change: Callable[[Any], object],
) -> None:
    """What a level depends on is in the id."""
    with pytest.raises(WireError, match="its contents are those of"):
        compositions.decode(changed(change))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.pop("futures"),
        lambda x: x["futures"].update(basis="held"),
        lambda x: x["futures"].update(rate="0.041"),
        lambda x: x["futures"].update(stale_after_s=8),
        lambda x: x["futures"]["underlyings"].update({"/A": "EW"}),
        lambda x: x["futures"]["contracts"].pop(),
        lambda x: x["futures"]["contracts"][0].update(front_until_ns=1),
        lambda x: x["futures"]["betas"]["EW"].update(beta="1.26"),
    ],
)
def test_futures_that_are_not_those_of_the_id_are_refused(change: Callable[[Any], object]) -> None:
    """What an indicative level depends on is in the id too."""
    with pytest.raises(WireError, match="its contents are those of"):
        compositions.decode(changed(change, WITH_FUTURES))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        changed(lambda x: x["futures"].update(basis="given"), WITH_FUTURES),
        changed(lambda x: x["futures"].update(rate="much"), WITH_FUTURES),
        changed(lambda x: x["futures"].update(combined={"OTHER": ["ALL"]}), WITH_FUTURES),
        changed(lambda x: x["futures"].update(combined={"EW": ["ALL"]}), WITH_FUTURES),
        changed(lambda x: x["futures"]["contracts"][0].update(symbol="AIG"), WITH_FUTURES),
        b"null",
        b"{}",
        b"\xff",
        b'{"v":' * 100_000,
        compositions.encode(EXAMPLE)[:-1],
        compositions.encode(EXAMPLE).replace(b"AIG", b"\xff\xff\xff"),
        changed(lambda x: x.update(v=2)),
        changed(lambda x: x.pop("indexes")),
        changed(lambda x: x.update(indexes=[])),
        changed(lambda x: x["symbols"].pop()),
        changed(lambda x: x["float_shares"].__setitem__(0, "many")),
        changed(lambda x: x["float_shares"].__setitem__(0, "1/0")),
        changed(lambda x: x["columns"]["size"].pop()),
        changed(lambda x: x["reference_prices"].__setitem__(0, 2**63)),
        changed(lambda x: x["indexes"][0].update(divisor="1 dollar")),
        changed(lambda x: x["indexes"][0].update(divisor="NaN")),
        changed(lambda x: x["indexes"][0].update(divisor="Infinity")),
        changed(lambda x: x["indexes"][0]["rows"].__setitem__(2, 3)),
        changed(lambda x: x["indexes"][0]["rows"].pop()),
        changed(lambda x: x["indexes"][0]["rows"].__setitem__(0, 2**63)),
        changed(lambda x: x["indexes"][0]["index_shares"].pop()),
        changed(lambda x: x["indexes"][0]["index_shares"].__setitem__(0, -(2**64))),
    ],
)
def test_what_is_no_composition_of_this_version_is_a_wire_error(value: bytes) -> None:
    """No other exception leaves the decoder."""
    with pytest.raises(WireError, match="composition"):
        compositions.decode(value)


@given(damaged(compositions.encode(WITH_FUTURES)))
def test_damaged_bytes_are_that_composition_or_a_wire_error(value: bytes) -> None:
    """Whatever was changed, cut or inserted: what is read has the same levels and futures."""
    try:
        read = compositions.decode(value)
    except WireError as error:
        assert str(error).startswith("composition")  # noqa: PT017 - either is right
    else:
        assert (read.id, read.futures) == (WITH_FUTURES.id, FUTURES)
        assert [index.divisor for index in read.indexes] == [i.divisor for i in EXAMPLE.indexes]
        for index, ours in zip(read.indexes, EXAMPLE.indexes, strict=True):
            assert np.array_equal(index.shares, ours.shares)
            assert index.reference_value == ours.reference_value
            assert index.reference_level == ours.reference_level


@pytest.mark.parametrize("shares", ["1e9999999", "-1", "0.5", "", "1/0x2"])
def test_float_shares_are_fractions_as_they_are_written(shares: str) -> None:
    """What Python would read as a number too, but nobody writes: one of them would take minutes."""
    fields = json.loads(compositions.encode(EXAMPLE))
    fields["float_shares"][0] = shares

    with pytest.raises(WireError, match="float shares"):
        compositions.decode(json.dumps(fields).encode())
