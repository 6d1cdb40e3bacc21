"""Snapshots as JSON (`formats.md`, Redis), written with orjson; every decimal keeps the digits it was computed with."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

from stream.index.estimate import COVERAGE_DECIMALS
from stream.index.partial import Origin
from stream.index.snapshot import PERCENT_DECIMALS, Snapshot
from stream.index.units import LEVEL_DECIMALS, PRICE_DECIMALS, decimal_text
from stream.session.calendar import CashPhase, Phase

VERSION = 1

_ORIGINS = {origin: origin.name.lower() for origin in Origin}
_PHASES = {phase: phase.name.lower() for phase in Phase}
_CASH_PHASES = {phase: phase.name.lower() for phase in CashPhase}


def _number(value: int, decimals: int) -> orjson.Fragment:
    return orjson.Fragment(decimal_text(value, decimals).encode())


def _number_or_null(value: int | None, decimals: int) -> orjson.Fragment | None:
    return None if value is None else _number(value, decimals)


def snapshot_fields(snapshot: Snapshot) -> dict[str, Any]:
    """Give the fields of a snapshot that was not published."""
    level = _number(snapshot.level, LEVEL_DECIMALS)
    indicative = _number_or_null(snapshot.indicative, LEVEL_DECIMALS)
    fields = {
        "v": VERSION,
        "code": snapshot.code,
        "name": snapshot.name,
        "origin": _ORIGINS[snapshot.origin],
        "event_ns": snapshot.event_ns,
        "session": snapshot.session,
        "composition": snapshot.composition,
        "phase": _PHASES[snapshot.phase],
        "cash_phase": _CASH_PHASES[snapshot.cash_phase],
        "status": snapshot.status,
        "level": level,
        "indicative": indicative,
        "indicative_method": snapshot.indicative_method,
        "indicative_age_s": snapshot.indicative_age_s,
        "indicative_coverage": _number_or_null(snapshot.indicative_coverage, COVERAGE_DECIMALS),
        "last": _number(snapshot.last, LEVEL_DECIMALS),
        "previous_close": _constant(snapshot.previous_close),
        "change": _number(snapshot.change, LEVEL_DECIMALS),
        "change_pct": _number(snapshot.change_pct, PERCENT_DECIMALS),
        "market_value": snapshot.market_value,
        "divisor": snapshot.divisor,
        "constituents": snapshot.constituents,
        "priced": snapshot.priced,
        "stale": snapshot.stale,
        "coverage": _number(snapshot.coverage, COVERAGE_DECIMALS),
        "age_s": snapshot.age_s,
        "oldest_age_s": snapshot.oldest_age_s,
        "up": snapshot.up,
        "down": snapshot.down,
        "unchanged": snapshot.unchanged,
    }
    if snapshot.high is not None and snapshot.low is not None and snapshot.open is not None:
        fields["open"] = _constant(snapshot.open)
        fields["high"] = _constant(snapshot.high)
        fields["low"] = _constant(snapshot.low)
    if snapshot.soq is not None and snapshot.soq_opened is not None:
        fields["soq"] = _number(snapshot.soq, LEVEL_DECIMALS)
        fields["soq_opened"] = _number(snapshot.soq_opened, COVERAGE_DECIMALS)
    return fields


@lru_cache(maxsize=4096)
def _constant(level: int) -> orjson.Fragment:
    return _number(level, LEVEL_DECIMALS)


def encode_published(snapshot: Snapshot, *, epoch: int, seq: int, published_ns: int) -> bytes:
    """Write a snapshot as it is published.

    Parameters
    ----------
    snapshot
        Of one index.
    epoch
        Of the publisher.
    seq
        Number of this publication of this code in the epoch, from 1.
    published_ns
        Clock of the publisher, ns since 1970 UTC.
    """
    fields = snapshot_fields(snapshot)
    fields["epoch"] = epoch
    fields["seq"] = seq
    fields["published_ns"] = published_ns
    return orjson.dumps(fields)


def encode_heartbeat(*, published_ns: int, phase: Phase, indexes: int) -> bytes:
    """Write the heartbeat that lets a subscriber tell quiet from dead.

    Parameters
    ----------
    published_ns
        Clock of the publisher, ns since 1970 UTC.
    phase
        Of the futures session then.
    indexes
        How many it has levels of.
    """
    beat = {"published_ns": published_ns, "phase": _PHASES[phase], "indexes": indexes}
    return orjson.dumps(beat)


def encode_price(price: int, ts: int, *, gap: bool) -> bytes:
    """Write one entry of the prices hash: last price in dollars, its event time, and whether later prints may be lost."""
    text = decimal_text(price, PRICE_DECIMALS).encode()
    return b'{"price":%b,"ts":%d%b}' % (text, ts, b',"gap":true' if gap else b"")
