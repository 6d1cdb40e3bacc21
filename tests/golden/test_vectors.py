"""Worked examples of the methodology, from `vectors.json` beside the repository: exact answers, made by others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import oracle
from oracle import Print
from strategies import ticks_of
from stream.feed.tape import read_tape
from stream.feed.trades import tape_ticks
from stream.index import units
from stream.index.book import Book
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.partial import (
    EXTENDED_BASE,
    EXTENDED_CLOSE,
    HALTED_CLOSE,
    OFFICIAL,
    Partial,
)
from stream.index.price_rules import PriceRules
from stream.index.snapshot import Snapshot, moment_of, snapshots
from stream.index.ticks import Ticks, Verdict
from stream.index.universe import Instrument, Universe
from stream.index.weights import index_shares, style_part
from stream.session.calendar import Calendar
from stream.wire.symbols import SymbolTable

NEW_YORK = Calendar.bundled()
DAY = "2026-07-17"
NOON = oracle.nanoseconds(DAY, "12:00:00")


@pytest.fixture(scope="module")
def vectors(shared: Path) -> Mapping[str, Any]:
    """Examples by the number that their id begins with."""
    text = (shared / "vectors.json").read_text("utf-8")
    return {vector["id"].partition("_")[0]: vector for vector in json.loads(text)["vectors"]}


def exact(figure: Mapping[str, str]) -> Fraction:
    return Fraction(figure["exact"])


def instrument(symbol: str, price: str, shares: str, share: str, **attributes: str) -> Instrument:
    return Instrument(
        symbol,
        Fraction(shares) * Fraction(share),
        units.price_units(Decimal(price)),
        MappingProxyType(attributes),
    )


def universe_of(inputs: Mapping[str, Any]) -> Universe:
    return Universe(
        tuple(
            instrument(
                line["symbol"],
                line["price"],
                line["shares"],
                line["float"],
                industry=line["industry"],
                size="large" if line["symbol"] in inputs.get("large", ()) else "small",
            )
            for line in inputs["universe"]
        ),
        frozenset(("industry", "size")),
    )


def universe_before(state: Mapping[str, Any]) -> Universe:
    return Universe(
        tuple(
            instrument(symbol, price, state["shares"][symbol], state["float"][symbol])
            for symbol, price in state["prices"].items()
        ),
        frozenset(),
    )


def ticks_at(composition: Composition, prices: Mapping[str, str], at: int = NOON) -> list[Print]:
    symbols = composition.universe.symbols
    return [
        Print(symbols.index(s), units.price_units(Decimal(p)), at, 0, 1, 0, at)
        for s, p in prices.items()
    ]


def snapshots_after(composition: Composition, prints: list[Print]) -> dict[str, Snapshot]:
    book = Book(composition, calendar=NEW_YORK, partition=0)
    book.apply(ticks_of(prints))
    return shots_of(composition, book.partial())


def shots_of(composition: Composition, partial: Partial) -> dict[str, Snapshot]:
    moment = moment_of(NEW_YORK, partial, NOON)
    positions = range(len(composition.indexes))
    return {one.code: one for one in snapshots(composition, positions, partial, moment=moment)}


def composition_before(state: Mapping[str, Any]) -> Composition:
    definition = Definition("X", "X", {}, divisor=Decimal(state["divisor"]))
    return Composition.build(universe_before(state), [definition])


def level_of(value: Fraction) -> int:
    return oracle.half_even(value * 10**8)


def weights(composition: Composition, prices: Mapping[str, int]) -> dict[str, Fraction]:
    index = composition.indexes[0]
    values = {
        composition.universe.symbols[row]: prices[composition.universe.symbols[row]] * shares
        for row, shares in zip(index.row.tolist(), index.shares.tolist(), strict=True)
    }
    return {symbol: Fraction(value, sum(values.values())) for symbol, value in values.items()}


def test_v01_base_level_and_divisor(vectors: Mapping[str, Any]) -> None:
    """The base level makes the divisor; market value, level and weights follow exactly."""
    inputs, expected = vectors["V01"]["inputs"], vectors["V01"]["expected"]
    definition = Definition("X", "X", {}, base_level=Decimal(inputs["base_level"]))

    composition = Composition.build(universe_of(inputs), [definition])
    shot = shots_of(composition, Partial.zero(composition))["X"]

    assert Fraction(shot.market_value) == exact(expected["market_value"])
    assert Fraction(shot.divisor) == exact(expected["divisor"])
    assert shot.level == level_of(exact(expected["level"]))
    assert shot.event_ns is None
    prices = {one.symbol: one.price for one in composition.universe.instruments}
    assert weights(composition, prices) == {s: exact(w) for s, w in expected["weights"].items()}


def test_v02_price_moves_contributions_and_breadth(vectors: Mapping[str, Any]) -> None:
    """Prices move, the divisor does not: level, contributions, sectors, weights and breadth are exact."""
    inputs, expected = vectors["V02"]["inputs"], vectors["V02"]["expected"]
    by_industry = [
        Definition(
            name.upper().replace(" ", ""),
            name,
            {"industry": frozenset((name,))},
            divisor=Decimal(3_000_000),
        )
        for name in expected["sector_contribution_points"]
    ]
    composition = Composition.build(universe_of(inputs), [Definition("X", "X", {}), *by_industry])

    shots = snapshots_after(composition, ticks_at(composition, inputs["new_prices"]))

    shot = shots["X"]
    assert Fraction(shot.divisor) == exact(expected["divisor"])
    assert Fraction(shot.market_value) == exact(expected["market_value"])
    assert shot.level == level_of(exact(expected["level"]))
    assert units.decimal_text(shot.level, 8) == expected["level"]["round8"]
    assert shot.change_pct == oracle.half_away(exact(expected["index_return"]) * 10_000)
    assert (shot.up, shot.down, shot.unchanged) == (
        expected["advancers"],
        expected["decliners"],
        expected["unchanged"],
    )
    for definition in by_industry:
        index = composition.indexes[composition.codes.index(definition.code)]
        moved = Fraction(shots[definition.code].market_value) - Fraction(
            index.reference_value, 10 ** (4 + index.k)
        )
        points = moved / Fraction(index.divisor.value)
        assert points == exact(expected["sector_contribution_points"][definition.name])
    now = {s: units.price_units(Decimal(p)) for s, p in inputs["new_prices"].items()}
    assert weights(composition, now) == {s: exact(w) for s, w in expected["weight_after"].items()}
    index, divisor = composition.indexes[0], Fraction(shot.divisor)
    for row, shares in zip(index.row.tolist(), index.shares.tolist(), strict=True):
        one = composition.universe.instruments[row]
        points = Fraction((now[one.symbol] - one.price) * shares, 10 ** (4 + index.k)) / divisor
        assert points == exact(expected["contribution_points"][one.symbol])


def test_v23_a_halted_stock_counts_at_its_last_price(vectors: Mapping[str, Any]) -> None:
    """What is sent in its halt is refused, and its weight at the closes and now is told."""
    inputs, expected = vectors["V23"]["inputs"], vectors["V23"]["expected"]
    composition = composition_before(inputs["state_before"])
    book = Book(composition, calendar=NEW_YORK, partition=0)
    rows = [composition.row_of[symbol] for symbol in inputs["halted"]]
    halts = [Print(row, 1, NOON, 0, 0, oracle.KINDS.index("halt"), NOON) for row in rows]
    refused = [Print(row, 260_000, NOON + 1, 0, 1, 0, NOON + 1) for row in rows]
    prints = ticks_at(composition, dict(inputs["ticks"]))

    verdicts = book.apply(ticks_of([*halts, *refused, *prints]))

    partial = book.partial()
    shot = shots_of(composition, partial)["X"]
    assert [Verdict(v).reason for v in verdicts] == ["applied", "ineligible", "applied"]
    assert shot.level == level_of(exact(expected["level"]))
    value = composition.indexes[0].reference_value + int(partial.value[0])
    assert Fraction(int(partial.columns[HALTED_CLOSE][0]), value) == exact(expected["stale_weight"])


#: The filter of the example, and what it makes of the second print.
NO_GUARD = PriceRules(limit_bp=1_000, guard_bp=0)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("rules", "bad", "levels"),
    [(None, "applied", "levels_without_filter"), (NO_GUARD, "suspect", "levels_with_filter")],
)
def test_v44_a_cancel_restores_the_price_before(
    vectors: Mapping[str, Any], rules: PriceRules | None, bad: str, levels: str, *, together: bool
) -> None:
    """Where the bad print was shown, the last good price comes back; a filter never shows it."""
    inputs, expected = vectors["V44"]["inputs"], vectors["V44"]["expected"]
    composition = composition_before(inputs["state_before"])
    prints = [bust_of(composition, line, NOON + n) for n, line in enumerate(inputs["ticks"])]

    verdicts, found = [], []
    for n in range(1, len(prints) + 1):
        book = Book(composition, calendar=NEW_YORK, rules=rules, partition=0)
        batches = [prints[:n]] if together else [[one] for one in prints[:n]]
        verdicts = [Verdict(v).reason for batch in batches for v in book.apply(ticks_of(batch))]
        found.append(shots_of(composition, book.partial())["X"].level)

    assert verdicts == ["applied", bad, "applied", "applied"]
    assert found == [level_of(Fraction(level)) for level in expected[levels]]


def bust_of(composition: Composition, line: tuple[str, str | None, str], at: int) -> Print:
    """Read a line of the example: the cancel names the number 77 and, in its place, the time of that print."""
    symbol, price, what = line
    kind, _, number = what.partition(" id=")
    cancels = kind == "cancel"
    return Print(
        composition.row_of[symbol],
        1 if price is None else units.price_units(Decimal(price)),
        at - 1 if cancels else at,
        int(number or 0),
        1,
        oracle.KINDS.index(kind),
        at,
    )


@pytest.mark.parametrize("together", [True, False])
def test_v45_a_late_tick_does_not_replace_a_newer_price(
    vectors: Mapping[str, Any], *, together: bool
) -> None:
    """A tick with an older event time is refused, in the same batch or a later one."""
    inputs, expected = vectors["V45"]["inputs"], vectors["V45"]["expected"]
    composition = composition_before(inputs["state_before"])
    book = Book(composition, calendar=NEW_YORK, partition=0)
    prints = []
    for symbol, price, at, seq in inputs["ticks"]:
        ts = oracle.nanoseconds(DAY, at)
        row = composition.universe.symbols.index(symbol)
        prints.append(Print(row, units.price_units(Decimal(price)), ts, seq, 1, 0, ts))

    for batch in [prints] if together else [[one] for one in prints]:
        book.apply(ticks_of(batch))

    assert shots_of(composition, book.partial())["X"].level == level_of(exact(expected["level"]))


def test_v46_an_incremental_update_equals_a_full_computation(vectors: Mapping[str, Any]) -> None:
    """One tick moves the level by exactly its share, and a fresh sum agrees."""
    inputs, expected = vectors["V46"]["inputs"], vectors["V46"]["expected"]
    composition = composition_before(inputs["state_before"])
    book = Book(composition, calendar=NEW_YORK, partition=0)

    book.apply(ticks_of(ticks_at(composition, dict([inputs["tick"]]))))

    shot = shots_of(composition, book.partial())["X"]
    assert shot.level == level_of(exact(expected["level"]))
    assert shot.change == level_of(exact(expected["delta_points"]))
    assert book.partial().same_values(book.recomputed())


def test_v59_large_and_small_add_up_to_broad(vectors: Mapping[str, Any]) -> None:
    """Market values of two parts add up to the whole, and its return is their weighted mean."""
    inputs, expected = vectors["V59"]["inputs"], vectors["V59"]["expected"]
    definitions = [
        Definition("LARGE", "", {"size": frozenset(("large",))}),
        Definition("SMALL", "", {"size": frozenset(("small",))}),
        Definition("BROAD", "", {}),
    ]
    composition = Composition.build(universe_of(inputs), definitions)

    shots = snapshots_after(composition, ticks_at(composition, inputs["new_prices"]))

    for code in ("large", "small", "broad"):
        shot, index = (
            shots[code.upper()],
            composition.indexes[composition.codes.index(code.upper())],
        )
        assert Fraction(shot.market_value) == exact(expected[f"mv_{code}"])
        before = Fraction(index.reference_value, 10 ** (4 + index.k))
        assert Fraction(shot.market_value) / before - 1 == exact(expected[f"ret_{code}"])
        assert shot.level == level_of((1 + exact(expected[f"ret_{code}"])) * 1000)


@pytest.mark.parametrize("number", ["V31", "V32"])
def test_v31_v32_a_cap_redistributes_until_none_is_above(
    vectors: Mapping[str, Any], number: str
) -> None:
    """What is cut goes to the uncapped in proportion, again and again until all fit."""
    inputs, expected = vectors[number]["inputs"], vectors[number]["expected"]
    members = [Instrument(s, Fraction(weight), 1) for s, weight in inputs["weights"].items()]
    definition = Definition("X", "X", {}, weighting="capped", limit=Decimal(inputs["cap"]))

    shares = index_shares(definition, members)

    assert dict(zip(inputs["weights"], shares, strict=True)) == {
        symbol: exact(weight) for symbol, weight in expected["capped"].items()
    }


def test_v33_equal_weight_index_shares(vectors: Mapping[str, Any]) -> None:
    """Each member gets an equal part of the market value at its price."""
    inputs, expected = vectors["V33"]["inputs"], vectors["V33"]["expected"]
    universe = universe_before(inputs["state_before"])
    level = Fraction(6035, 6)

    shares = index_shares(Definition("X", "X", {}, weighting="equal"), universe.instruments)

    assert dict(zip(universe.symbols, shares, strict=True)) == {
        symbol: exact(share) for symbol, share in expected["index_shares"].items()
    }
    value = sum(s * i.price for s, i in zip(shares, universe.instruments, strict=True)) / 10_000
    assert value / level == exact(expected["divisor"])


def test_v35_a_style_split_divides_the_index_shares(vectors: Mapping[str, Any]) -> None:
    """Value takes its probability of the shares, growth the rest."""
    inputs, expected = vectors["V35"]["inputs"], vectors["V35"]["expected"]
    shares = int(Fraction(inputs["shares"]) * Fraction(inputs["float"]))
    growth = 1 - Decimal(inputs["p_value"])

    assert style_part(shares, growth, "value") == exact(expected["value_index_shares"])
    assert style_part(shares, growth, "growth") == exact(expected["growth_index_shares"])


def test_v55_display_rounds_decimals_half_up(vectors: Mapping[str, Any]) -> None:
    """Two places for display, a tie away from zero, from text or a decimal and never a binary float."""
    inputs, expected = vectors["V55"]["inputs"], vectors["V55"]["expected"]

    shown = [units.round_display(text) for text in inputs["values"]]

    assert shown == expected["display2"]
    assert [units.round_display(Decimal(text)) for text in inputs["values"]] == shown
    assert units.round_display("2.675") == "2.68"
    assert units.round_display("-1005.835") == "-1005.84"
    assert units.round_display("-0.001") == "0.00"
    assert units.round_display("7", places=4) == "7.0000"


END_OF_DAY = oracle.nanoseconds("2013-10-07", "23:59:59")
#: Official closes of 2013-10-07 by their daily files, in 1/10000 dollar, and when they were printed in New York.
OFFICIAL_CLOSES = {
    "AIG": (487_300, "16:00:07.744000"),
    "BAC": (138_100, "16:00:04.718000"),
    "IBM": (1_820_100, "16:01:04.221000"),
}


@pytest.fixture(scope="module")
def real_tape(shared: Path) -> tuple[Composition, Ticks]:
    """Three stocks of the New York exchange on one day, with 50 dollars as reference price of each."""
    path = shared / "data" / "trades_2013-10-07.csv.gz"
    if not path.is_file():
        pytest.skip(f"no recorded trades: {path} is missing")
    listed = MappingProxyType({"mic": "XNYS"})
    universe = Universe(
        tuple(Instrument(symbol, Fraction(1), 500_000, listed) for symbol in OFFICIAL_CLOSES),
        frozenset(("mic",)),
    )
    composition = Composition.build(universe, [Definition("X", "X", {})])
    symbols = SymbolTable(composition.symbols)
    parts = [tape_ticks(trades, symbols) for trades in read_tape(path)]
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in Ticks.__slots__]
    return composition, Ticks(*columns)


@pytest.mark.parametrize("symbol", sorted(OFFICIAL_CLOSES))
def test_the_official_close_of_a_real_tape_is_that_of_the_primary_exchange(
    real_tape: tuple[Composition, Ticks], symbol: str
) -> None:
    """It comes at its own event time, and trades outside regular hours leave the last price alone (2.5)."""
    composition, tape = real_tape
    row = composition.row_of[symbol]
    log = tape.take(tape.row == row)
    book = Book(composition, calendar=NEW_YORK, partition=0)
    price, printed = OFFICIAL_CLOSES[symbol]
    at = oracle.nanoseconds("2013-10-07", printed)
    opening, closing = (oracle.nanoseconds("2013-10-07", t) for t in ("09:30:00", "16:00:00"))
    shares = int(composition.indexes[0].shares[0])
    plain = (log.cond & ~np.uint16(oracle.REGULAR_BITS)) == 0
    last = log.price[plain & (log.ts < closing)][-1]

    def price_after(first: int, end: int) -> int:
        """Take the trades of some stretch; give the last price after them."""
        book.apply(log.take((log.ts >= first) & (log.ts < end)))
        return int(book.price[row])

    assert price_after(0, opening) == 500_000
    assert book.partial().columns[EXTENDED_CLOSE].tolist() == [500_000 * shares]
    assert price_after(opening, closing) == last
    assert price_after(closing, at) == last
    assert book.partial().columns[OFFICIAL].tolist() == [0]
    assert price_after(at, at + 1) == price
    assert book.partial().columns[OFFICIAL].tolist() == [1]
    assert price_after(at + 1, END_OF_DAY) == price
    assert book.partial().columns[EXTENDED_BASE].tolist() == [price * shares]
