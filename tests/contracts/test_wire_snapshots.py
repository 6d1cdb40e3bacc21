"""Snapshots as JSON: the fields of the contract, with every digit that was computed."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.index.partial import Origin
from stream.index.snapshot import Snapshot
from stream.wire import snapshots

SHOT = Snapshot(
    code="US1000",
    name='The "Thousand"',
    composition="2026-07-17-abc",
    origin=Origin.LIVE,
    event_ns=1_784_304_000_000_000_001,
    level=100_583_333_333,
    previous_close=100_000_000_000,
    change=583_333_333,
    change_pct=58,
    market_value="3017500000.0000",
    divisor="3000000",
    constituents=5,
    priced=4,
    up=2,
    down=1,
    unchanged=1,
    coverage=912_345,
)


def read(message: bytes) -> dict[str, Any]:
    return dict(json.loads(message, parse_float=Decimal))


def test_a_published_snapshot_has_the_fields_of_the_contract() -> None:
    """Numbers are JSON numbers with fixed places, market value and divisor are strings."""
    message = snapshots.encode_published(
        SHOT, epoch=7, seq=1, published_ns=1_784_304_000_500_000_000
    )

    assert read(message) == {
        "v": 1,
        "code": "US1000",
        "name": 'The "Thousand"',
        "origin": "live",
        "epoch": 7,
        "seq": 1,
        "event_ns": 1_784_304_000_000_000_001,
        "published_ns": 1_784_304_000_500_000_000,
        "composition": "2026-07-17-abc",
        "level": Decimal("1005.83333333"),
        "last": Decimal("1005.83333333"),
        "previous_close": Decimal("1000.00000000"),
        "change": Decimal("5.83333333"),
        "change_pct": Decimal("0.58"),
        "market_value": "3017500000.0000",
        "divisor": "3000000",
        "constituents": 5,
        "priced": 4,
        "coverage": Decimal("0.912345"),
        "up": 2,
        "down": 1,
        "unchanged": 1,
    }
    assert b'"level":1005.83333333,' in message
    assert b'"change_pct":0.58,' in message


@given(st.integers(0, 2**80), st.integers(-(2**80), 2**80), st.integers(-(10**9), 10**9))
def test_every_digit_of_a_level_is_written(level: int, change: int, percent: int) -> None:
    """No number passes through a binary fraction on its way out."""
    shot = SHOT._replace(level=level, change=change, change_pct=percent)

    fields = read(snapshots.encode_published(shot, epoch=1, seq=1, published_ns=0))

    assert fields["level"] == fields["last"] == Decimal(f"{level}E-8")
    assert fields["change"] == Decimal(f"{change}E-8")
    assert fields["change_pct"] == Decimal(f"{percent}E-2")


@pytest.mark.parametrize(
    ("origin", "name"),
    [(Origin.LIVE, "live"), (Origin.REPLAY, "replay"), (Origin.SIMULATED, "simulated")],
)
def test_a_snapshot_says_where_its_prices_come_from(origin: Origin, name: str) -> None:
    """Levels of simulated or replayed prices must not pass for live ones."""
    assert snapshots.snapshot_fields(SHOT._replace(origin=origin))["origin"] == name


def test_without_a_tick_the_event_time_is_null() -> None:
    """Levels are then those of the reference prices."""
    message = snapshots.encode_published(
        SHOT._replace(event_ns=None), epoch=1, seq=1, published_ns=0
    )

    assert read(message)["event_ns"] is None


def test_a_held_index_says_so() -> None:
    """A stock counted on two partitions makes no level."""
    assert snapshots.snapshot_fields(SHOT._replace(held=True))["status"] == "held"


def test_heartbeats_and_prices_have_the_fields_of_the_contract() -> None:
    """A subscriber tells quiet from dead; a heat-map has the last price in dollars."""
    heartbeat = read(snapshots.encode_heartbeat(published_ns=5, indexes=38))

    assert heartbeat.items() >= {"published_ns": 5, "indexes": 38}.items()
    assert read(snapshots.encode_price(3_337_400, 9)) == {"price": Decimal("333.7400"), "ts": 9}
