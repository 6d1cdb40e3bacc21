"""Worked examples of nights and openings, from `vectors.json` beside the repository: answers made by others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from overnight_oracle import CALENDAR, CLOSES, NIGHT, NS, OPENS, SESSION
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.estimate import EstimateRules, Method
from stream.index.partial import (
    COVERED_CLOSE,
    EXTENDED_BASE,
    EXTENDED_CLOSE,
    EXTENDED_VALUE,
    HALTED_CLOSE,
    OPEN_VALUE,
    OPENED_CLOSE,
    PRICED,
    PRICED_CLOSE,
    VALUE,
    Partial,
)
from stream.index.snapshot import Snapshot, moment_of, snapshots
from stream.index.status import Status
from stream.index.units import price_units
from stream.index.universe import Instrument, Universe
from stream.session import fair_value

PRE_MARKET = OPENS - 3 * 3600 * NS
NOON = OPENS + 5 * 3600 * NS // 2


@pytest.fixture(scope="module")
def vectors(shared: Path) -> Mapping[str, Any]:
    """Examples by the number that their id begins with."""
    text = (shared / "vectors.json").read_text("utf-8")
    return {vector["id"].partition("_")[0]: vector for vector in json.loads(text)["vectors"]}


def exact(figure: Mapping[str, str]) -> Fraction:
    return Fraction(figure["exact"])


def rounded(value: Decimal) -> str:
    return f"{value:.8f}"


def composition_of(state: Mapping[str, Any]) -> Composition:
    """Build the index of an example, whose prices before are its reference prices and its closes."""
    universe = Universe(
        tuple(
            Instrument(
                symbol,
                Fraction(state["shares"][symbol]) * Fraction(state["float"][symbol]),
                price_units(Decimal(price)),
                MappingProxyType({}),
            )
            for symbol, price in state["prices"].items()
        ),
        frozenset(),
    )
    return Composition.build(
        universe, [Definition("X", "X", {}, divisor=Decimal(state["divisor"]))]
    )


def shares_of(composition: Composition, symbol: str) -> int:
    return int(composition.indexes[0].shares[composition.row_of[symbol]])


def shot(composition: Composition, at: int, figures: Mapping[int, int], **more: Any) -> Snapshot:
    """Take a snapshot of an index whose partial holds some figures."""
    zero = Partial.zero(composition)
    columns = zero.columns.copy()
    for column, figure in figures.items():
        columns[column] = figure
    total = replace(zero, session=SESSION, columns=columns, event_ns=np.array([at - NS]))
    [one] = snapshots(composition, [0], total, moment=moment_of(CALENDAR, total, at), **more)
    return one


def gain(composition: Composition, prices: Mapping[str, str]) -> int:
    return sum(
        shares_of(composition, symbol)
        * (
            price_units(Decimal(price))
            - int(composition.reference_price[composition.row_of[symbol]])
        )
        for symbol, price in prices.items()
    )


def value_at_close(composition: Composition, symbols: Mapping[str, Any] | list[str]) -> int:
    return sum(
        shares_of(composition, symbol)
        * int(composition.reference_price[composition.row_of[symbol]])
        for symbol in symbols
    )


def test_v23_a_halted_stock_carries_its_price_and_weighs_as_stale(
    vectors: Mapping[str, Any],
) -> None:
    """The level is firm while less than half of its weight is halted; the weight is told."""
    inputs, expected = vectors["V23"]["inputs"], vectors["V23"]["expected"]
    composition = composition_of(inputs["state_before"])
    prices = dict(inputs["ticks"])
    value = gain(composition, prices)
    halted = value_at_close(composition, inputs["halted"])
    everything = value_at_close(composition, inputs["state_before"]["prices"])

    one = shot(
        composition,
        NOON,
        {VALUE: value, PRICED: 1, HALTED_CLOSE: halted, OPENED_CLOSE: everything},
    )

    assert one.level == exact(expected["level"]) * 10**8
    assert one.status is Status.FIRM
    assert Fraction(halted, everything + value) == exact(expected["stale_weight"])


def test_v36_fair_value_by_carry(vectors: Mapping[str, Any]) -> None:
    """Continuous rates, 365 days."""
    inputs, expected = vectors["V36"]["inputs"], vectors["V36"]["expected"]
    futures = Decimal(inputs["F"])

    spot = fair_value.spot_by_carry(
        futures,
        rate=Decimal(inputs["r"]),
        dividend_yield=Decimal(inputs["q"]),
        days=Decimal(inputs["days"]),
    )

    assert rounded(spot) == expected["spot"]["round8"]
    assert f"{spot:.16f}" == expected["spot"]["decimal"]
    assert rounded(futures - spot) == expected["carry_points"]["round8"]


def test_v37_a_basis_that_is_held(vectors: Mapping[str, Any]) -> None:
    """By the difference and by the ratio: `methodology.md` 3.4, worked by hand where the example is missing."""
    assert "V37" not in vectors
    futures, futures_close, spot_close = Decimal("2412.30"), Decimal(2400), Decimal("2391.50")

    by_points = fair_value.spot_by_basis(
        futures, futures_close=futures_close, spot_close=spot_close
    )
    by_ratio = fair_value.spot_by_ratio(futures, futures_close=futures_close, spot_close=spot_close)

    assert by_points == Decimal("2403.80")
    assert rounded(by_ratio) == "2403.75643750"  # 2391.50 x 1.005125


def test_v38_fair_value_by_dividends(vectors: Mapping[str, Any]) -> None:
    """Simple interest on 360 days, dividends in points."""
    inputs, expected = vectors["V38"]["inputs"], vectors["V38"]["expected"]

    spot = fair_value.spot_by_dividends(
        Decimal(inputs["F"]),
        rate=Decimal(inputs["r"]),
        days=Decimal(inputs["days"]),
        dividends=Decimal(inputs["div_points"]),
    )

    assert rounded(spot) == expected["spot"]["round8"]
    assert f"{spot:.16f}" == expected["spot"]["decimal"]


def night_of(vectors: Mapping[str, Any]) -> tuple[Composition, dict[int, int]]:
    inputs = vectors["V39"]["inputs"]
    composition = composition_of(inputs["state_before"])
    covered = value_at_close(composition, inputs["premarket"])
    return composition, {
        EXTENDED_VALUE: gain(composition, inputs["premarket"]),
        EXTENDED_BASE: covered,
        EXTENDED_CLOSE: covered,
        COVERED_CLOSE: covered,
    }


def test_v39_the_level_stands_and_the_hybrid_moves(vectors: Mapping[str, Any]) -> None:
    """Where 0.435 of the weight is enough by the setting; `coverage` is that weight."""
    expected = vectors["V39"]["expected"]
    composition, figures = night_of(vectors)
    level = round(exact(expected["level"]) * 10**8)
    coverage = round(exact(expected["coverage"]) * 10**6)

    rules = EstimateRules(hybrid_coverage=Decimal("0.4"))
    one = shot(composition, PRE_MARKET, figures, rules=rules)

    assert (one.indicative, one.last) == (level, level)
    assert (one.indicative_method, one.status) == (Method.HYBRID, Status.INDICATIVE)
    assert one.level == one.previous_close == composition.indexes[0].reference_level
    assert one.indicative_coverage == one.coverage == coverage


def test_v40_the_rest_moves_with_the_average_of_the_covered(vectors: Mapping[str, Any]) -> None:
    """On the night of V39, with the method that its coverage of 0.435 calls for."""
    composition, figures = night_of(vectors)

    one = shot(composition, PRE_MARKET, figures)

    # AAA +1 x 10 million, DDD -0.10 x 30 million: +7 million on 1,314 million, so on all 3,017.5 million.
    expected = Fraction(3_017_500_000, 3_000_000) * (1 + Fraction(7, 1314))
    assert one.indicative_method is Method.HYBRID_FILLED
    assert one.indicative == round(expected * 10**8)


def test_v41_the_settlement_takes_each_first_opening_price(vectors: Mapping[str, Any]) -> None:
    """Whenever it came; what has not opened counts at its last price. It may lie outside the range of the day."""
    state = vectors["V39"]["inputs"]["state_before"]
    composition = composition_of(state)
    first = gain(composition, {"AAA": "104", "BBB": "50"})
    now = gain(composition, {"AAA": "103", "BBB": "49.50"})
    opened = value_at_close(composition, ["AAA", "BBB"])
    figures = {
        VALUE: now,
        OPEN_VALUE: first,
        PRICED: 2,
        PRICED_CLOSE: opened,
        OPENED_CLOSE: opened,
    }

    one = shot(composition, NOON, figures, soq=True)

    # AAA +2 x 10 million, BBB +1 x 16 million on 3,017.5 million.
    assert one.soq == round(Fraction(3_053_500_000, 3_000_000) * 10**8)
    assert one.soq_opened == round(Fraction(1_804_000_000, 3_017_500_000) * 10**6)
    assert shot(composition, NOON, figures).soq is None


def test_v42_what_contracts_are_worth(vectors: Mapping[str, Any]) -> None:
    """Ticks and whole prices, of the E-mini and the micro."""
    inputs, expected = vectors["V42"]["inputs"], vectors["V42"]["expected"]
    price, tick = Decimal(inputs["price"]), Decimal("0.10")

    for name, multiplier in (("rty", Decimal(50)), ("m2k", Decimal(5))):
        value = fair_value.contract_value(tick, multiplier=multiplier)
        notional = fair_value.contract_value(price, multiplier=multiplier)
        assert f"{value:.2f}" == expected[f"{name}_tick_value"]
        assert Fraction(notional) == exact(expected[f"{name}_notional"])


def test_v43_price_limits(vectors: Mapping[str, Any]) -> None:
    """Seven percent at night, three steps down by day."""
    inputs, expected = vectors["V43"]["inputs"], vectors["V43"]["expected"]

    limits = fair_value.price_limits(Decimal(inputs["reference"]))

    assert Fraction(limits.overnight_up) == exact(expected["overnight_up"])
    assert Fraction(limits.overnight_down) == exact(expected["overnight_down"])
    assert [Fraction(limit) for limit in limits.regular] == [
        exact(expected[name]) for name in ("L1", "L2", "L3")
    ]


@pytest.mark.parametrize("at", [NIGHT, PRE_MARKET, CLOSES])
def test_nothing_that_happens_at_night_moves_the_level(vectors: Mapping[str, Any], at: int) -> None:
    """It stays at the official close until the next open."""
    composition, figures = night_of(vectors)

    assert shot(composition, at, figures).level == composition.indexes[0].reference_level
