"""Snapshots as JSON: the fields of the contract, with every digit that was computed."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.index.estimate import Method
from stream.index.partial import Origin
from stream.index.snapshot import Snapshot
from stream.index.status import Status
from stream.session.calendar import CashPhase, Phase
from stream.wire import snapshots

PAGE = (Path(__file__).parents[2] / "docs" / "snapshots.md").read_text(encoding="utf-8")
SHOT = Snapshot(
    code="US1000",
    name='The "Thousand"',
    composition="2026-07-17-abc",
    session="2026-07-17",
    phase=Phase.PRE_MARKET,
    cash_phase=CashPhase.PRE_MARKET,
    status=Status.INDICATIVE,
    origin=Origin.LIVE,
    event_ns=1_784_304_000_000_000_001,
    level=100_583_333_333,
    indicative=100_600_000_001,
    indicative_method=Method.HYBRID_FILLED,
    indicative_age_s=4,
    indicative_coverage=123_450,
    last=100_600_000_001,
    open=100_000_000_001,
    high=100_600_000_000,
    low=99_900_000_000,
    previous_close=100_000_000_000,
    change=600_000_001,
    change_pct=60,
    market_value="3017500000.0000",
    divisor="3000000",
    constituents=5,
    priced=4,
    stale=1,
    age_s=3,
    oldest_age_s=86_400,
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
        "phase": "pre_market",
        "cash_phase": "pre_market",
        "status": "indicative",
        "level": Decimal("1005.83333333"),
        "indicative": Decimal("1006.00000001"),
        "indicative_method": "hybrid_filled",
        "indicative_age_s": 4,
        "indicative_coverage": Decimal("0.123450"),
        "last": Decimal("1006.00000001"),
        "open": Decimal("1000.00000001"),
        "high": Decimal("1006.00000000"),
        "low": Decimal("999.00000000"),
        "previous_close": Decimal("1000.00000000"),
        "change": Decimal("6.00000001"),
        "change_pct": Decimal("0.60"),
        "market_value": "3017500000.0000",
        "divisor": "3000000",
        "constituents": 5,
        "priced": 4,
        "stale": 1,
        "age_s": 3,
        "oldest_age_s": 86_400,
        "coverage": Decimal("0.912345"),
        "up": 2,
        "down": 1,
        "unchanged": 1,
    }
    assert b'"level":1005.83333333,' in message
    assert b'"change_pct":0.60,' in message


LEVELS = st.integers(0, 2**80)


@given(LEVELS, st.integers(-(2**80), 2**80), st.integers(-(10**9), 10**9), LEVELS, LEVELS)
def test_every_digit_of_a_level_is_written(
    level: int, change: int, percent: int, opened: int, close: int
) -> None:
    """No number passes through a binary fraction on its way out."""
    shot = SHOT._replace(level=level, last=level + 3, change=change, change_pct=percent)
    shot = shot._replace(open=opened, high=opened + 1, low=close, previous_close=close)
    shot = shot._replace(indicative=level + 1, soq=level + 2, soq_opened=abs(percent))

    fields = read(snapshots.encode_published(shot, epoch=1, seq=1, published_ns=0))

    assert fields["level"] == Decimal(f"{level}E-8")
    assert fields["indicative"] == Decimal(f"{level + 1}E-8")
    assert fields["soq"] == Decimal(f"{level + 2}E-8")
    assert fields["last"] == Decimal(f"{level + 3}E-8")
    assert fields["soq_opened"] == Decimal(f"{abs(percent)}E-6")
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
    assert not fields.keys() & {"open", "high", "low"}


@pytest.mark.parametrize("status", Status)
def test_every_snapshot_says_how_far_it_is_to_be_relied_on(status: Status) -> None:
    """In one word."""
    fields = read(
        snapshots.encode_published(SHOT._replace(status=status), epoch=1, seq=1, published_ns=0)
    )

    assert fields["status"] == status.name.lower()


@pytest.mark.parametrize(
    ("phase", "cash_phase"),
    [*product(Phase, [CashPhase.CLOSED]), *product([Phase.CLOSED], CashPhase)],
)
def test_phases_go_out_under_their_names(phase: Phase, cash_phase: CashPhase) -> None:
    """In snapshots and heartbeats alike."""
    shot = SHOT._replace(phase=phase, cash_phase=cash_phase)

    fields = snapshots.snapshot_fields(shot)

    assert (fields["phase"], fields["cash_phase"]) == (
        phase.name.lower(),
        cash_phase.name.lower(),
    )
    beat = read(snapshots.encode_heartbeat(published_ns=1, phase=phase, indexes=1))
    assert beat["phase"] == phase.name.lower()


def test_what_is_not_known_is_null() -> None:
    """An estimate and ages; the settlement is left out."""
    shot = SHOT._replace(
        indicative=None,
        indicative_method=None,
        indicative_age_s=None,
        indicative_coverage=None,
        age_s=None,
        oldest_age_s=None,
    )

    fields = read(snapshots.encode_published(shot, epoch=1, seq=1, published_ns=0))

    absent = ("indicative", "indicative_method", "indicative_age_s", "indicative_coverage")
    assert [fields[name] for name in (*absent, "age_s", "oldest_age_s")] == [None] * 6
    assert not fields.keys() & {"soq", "soq_opened"}


def test_the_page_describes_every_field_and_no_other() -> None:
    """In one table, some rows of which hold several."""
    rows = re.findall(r"^\| (`.+?`) \|", PAGE, re.MULTILINE)
    described = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    settling = SHOT._replace(soq=1, soq_opened=1)

    fields = read(snapshots.encode_published(settling, epoch=1, seq=1, published_ns=0))

    assert len(described) == len(set(described))
    assert set(described) == fields.keys()


def test_heartbeats_and_prices_have_the_fields_of_the_contract() -> None:
    """A subscriber tells quiet from dead; a heat-map has the last price in dollars."""
    heartbeat = read(
        snapshots.encode_heartbeat(published_ns=5, phase=Phase.MAINTENANCE, indexes=38)
    )

    assert heartbeat == {"published_ns": 5, "phase": "maintenance", "indexes": 38}
    price = {"price": Decimal("333.7400"), "ts": 9}
    assert read(snapshots.encode_price(3_337_400, 9, gap=False)) == price
    assert read(snapshots.encode_price(3_337_400, 9, gap=True)) == {**price, "gap": True}
