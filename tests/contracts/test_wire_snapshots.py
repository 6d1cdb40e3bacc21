"""Snapshots as JSON: the fields of the contract, with every digit that was computed."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.index.aggregate import Doubt
from stream.index.partial import Origin
from stream.index.snapshot import Snapshot
from stream.wire import snapshots

PAGE = (Path(__file__).parents[2] / "docs" / "snapshots.md").read_text(encoding="utf-8")
SHOT = Snapshot(
    code="US1000",
    name='The "Thousand"',
    composition="2026-07-17-abc",
    session="2026-07-17",
    origin=Origin.LIVE,
    event_ns=1_784_304_000_000_000_001,
    level=100_583_333_333,
    open=100_000_000_001,
    high=100_600_000_000,
    low=99_900_000_000,
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
        "session": "2026-07-17",
        "composition": "2026-07-17-abc",
        "level": Decimal("1005.83333333"),
        "last": Decimal("1005.83333333"),
        "open": Decimal("1000.00000001"),
        "high": Decimal("1006.00000000"),
        "low": Decimal("999.00000000"),
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


LEVELS = st.integers(0, 2**80)


@given(LEVELS, st.integers(-(2**80), 2**80), st.integers(-(10**9), 10**9), LEVELS, LEVELS)
def test_every_digit_of_a_level_is_written(
    level: int, change: int, percent: int, opened: int, close: int
) -> None:
    """No number passes through a binary fraction on its way out."""
    shot = SHOT._replace(level=level, change=change, change_pct=percent)
    shot = shot._replace(open=opened, high=opened + 1, low=close, previous_close=close)

    fields = read(snapshots.encode_published(shot, epoch=1, seq=1, published_ns=0))

    assert fields["level"] == fields["last"] == Decimal(f"{level}E-8")
    assert fields["change"] == Decimal(f"{change}E-8")
    assert fields["change_pct"] == Decimal(f"{percent}E-2")
    assert (fields["open"], fields["high"]) == (
        Decimal(f"{opened}E-8"),
        Decimal(f"{opened + 1}E-8"),
    )
    assert fields["low"] == fields["previous_close"] == Decimal(f"{close}E-8")


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


def test_without_a_session_there_is_no_open_high_or_low() -> None:
    """The session is null then; absent numbers are left out."""
    shot = SHOT._replace(session=None, open=None, high=None, low=None)

    fields = read(snapshots.encode_published(shot, epoch=1, seq=1, published_ns=0))

    assert fields["session"] is None
    assert not fields.keys() & {"open", "high", "low", "status"}


@pytest.mark.parametrize(("doubt", "status"), [(Doubt.HELD, "held"), (Doubt.STALE, "stale")])
def test_an_index_that_is_in_doubt_says_why(doubt: Doubt, status: str) -> None:
    """One that is not says nothing: there is no calendar yet that could call it firm."""
    assert snapshots.snapshot_fields(SHOT._replace(doubt=doubt))["status"] == status
    assert "status" not in snapshots.snapshot_fields(SHOT)


def test_the_page_describes_every_field_and_no_other() -> None:
    """In one table, some rows of which hold several."""
    rows = re.findall(r"^\| (`.+?`) \|", PAGE, re.MULTILINE)
    described = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    held = SHOT._replace(doubt=Doubt.HELD)

    fields = read(snapshots.encode_published(held, epoch=1, seq=1, published_ns=0))

    assert len(described) == len(set(described))
    assert set(described) == fields.keys()


def test_heartbeats_and_prices_have_the_fields_of_the_contract() -> None:
    """A subscriber tells quiet from dead; a heat-map has the last price in dollars."""
    heartbeat = read(snapshots.encode_heartbeat(published_ns=5, indexes=38))

    assert heartbeat.items() >= {"published_ns": 5, "indexes": 38}.items()
    price = {"price": Decimal("333.7400"), "ts": 9}
    assert read(snapshots.encode_price(3_337_400, 9, gap=False)) == price
    assert read(snapshots.encode_price(3_337_400, 9, gap=True)) == {**price, "gap": True}
