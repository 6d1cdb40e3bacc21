"""Snapshots: percentages as they are printed, and counts among the priced."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

import oracle
from oracle import Print
from strategies import ticks_of
from stream.index.book import Book
from stream.index.composition import Composition
from stream.index.definitions import Definition
from stream.index.snapshot import Snapshot, snapshots
from stream.index.universe import read_universe
from stream.session.hours import RegularHours

NEW_YORK = RegularHours.parse("Mon-Fri 09:30-16:00 America/New_York")
NOON = oracle.nanoseconds("2026-07-17", "12:00:00")
COMPOSITION = Composition.build(
    read_universe(["symbol,price,float_shares", "A,100,1", "B,100,1", "C,100,2"]),
    [Definition("X", "An Index", {})],
)


def after(**prices: int) -> Snapshot:
    book = Book(COMPOSITION, hours=NEW_YORK, partition=0)
    prints = [Print("ABC".index(s), p, NOON + p, 0, 1, 0, NOON + p) for s, p in prices.items()]
    verdicts = book.apply(ticks_of(prints))
    assert not np.any(verdicts)
    [shot] = snapshots(COMPOSITION, [0], book.partial())
    return shot


@pytest.mark.parametrize(
    ("price", "percent"),
    [
        (1_000_200, 1),  # 0.005 %
        (999_800, -1),
        (1_000_600, 2),  # 0.015 %
        (999_400, -2),
        (1_001_000, 3),  # 0.025 %
        (999_000, -3),
        (1_000_199, 0),
        (999_801, 0),
        (2_000_000, 2500),
        (1, -2500),
    ],
)
def test_a_percentage_that_ties_is_rounded_away_from_zero(price: int, percent: int) -> None:
    """At two places, as index sheets print it, up and down alike."""
    assert after(A=price).change_pct == percent


def test_a_snapshot_is_worked_out_from_all_priced_constituents() -> None:
    """Level and change follow the value, the counts the reference prices, coverage the reference weight."""
    shot = after(A=1_010_000, B=1_000_000)

    assert (shot.code, shot.name, shot.composition) == ("X", "An Index", COMPOSITION.id)
    assert (shot.level, shot.previous_close, shot.change) == (
        1_002_50000000,
        1_000_00000000,
        2_50000000,
    )
    assert (shot.market_value, Decimal(shot.divisor)) == ("401.0000", Decimal("0.4"))
    assert (shot.constituents, shot.priced) == (3, 2)
    assert (shot.up, shot.down, shot.unchanged) == (1, 0, 1)
    assert shot.coverage == 500_000
    assert shot.event_ns == NOON + 1_010_000
    assert shot.held is False
