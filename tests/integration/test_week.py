"""An hour of a simulated week through a real Kafka and a real Redis: the end of a session, its close, and what follows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from integration.conftest import Lab, eventually, is_ready, redis_client, running, subscribed
from stream.feed.run import simulate
from stream.files import load_composition
from stream.index.composition import Composition
from stream.settings import Settings
from week.days import NEW_YORK, Week, hours, instant
from week.expected import AGES, Patience, Teller, facts_of, told
from week.ledger import Ledger
from week.market import Tick, constituents, parts
from week.played import Played

DAY = date(2026, 7, 15)
HOUR = Week(
    datetime(2026, 7, 15, 15, 30, tzinfo=NEW_YORK), datetime(2026, 7, 15, 16, 30, tzinfo=NEW_YORK)
)
SPEED = 180.0
#: Trades of shares in a simulated second of regular hours.
RATE = 4.0
SEED = 5
PARTITIONS = 3

Snapshots = Mapping[str, Mapping[str, Any]]

#: What depends on when something was published, and not on the ticks alone.
OF_A_PUBLICATION = {"epoch", "seq", "published_ns", "open", "high", "low", *AGES}


class Alone(NamedTuple):
    """What the same ticks make without servers: by the engine, and by the ledger; how many ticks there are."""

    engine: Snapshots
    ledger: Snapshots
    n_ticks: int


async def alone(composition: Composition) -> Alone:
    """Make the ticks of the hour once more, from their seed, and their levels."""
    played = Played(composition, n_partitions=PARTITIONS, form="json")
    ledger, n_ticks = Ledger(composition), 0
    async with played.publishing():
        for part in parts(composition, HOUR, seed=SEED, rate=RATE, every_s=3600.0):
            ticks = iter(part.ticks)
            for trades, session, begins in played.sessions(part.trades):
                if begins:
                    played.roll(session)
                    ledger.roll(session.name, session.starts_ns)
                played.write(trades)
                take(ledger, (next(ticks) for _ in range(len(trades))))
                n_ticks += len(trades)
        played.deliver()
        await played.publish()
    return Alone(played.sink.newest, expected(composition, ledger), n_ticks)


def take(ledger: Ledger, ticks: Iterable[Tick]) -> None:
    for tick in ticks:
        ledger.take(tick)


def expected(composition: Composition, ledger: Ledger) -> Snapshots:
    stale = Patience(composition).stale(ledger, [ledger.clock()] * len(ledger.stocks))
    facts = facts_of(ledger, stale)
    return told(Teller(composition), ledger, facts, now=ledger.clock(), session_day=hours(DAY))


def lasting(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in snapshot.items() if name not in OF_A_PUBLICATION}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("week") / "few.csv"
    path.write_text("\n".join(constituents(60)))
    return path


async def hashes(settings: Settings, codes: Iterable[str]) -> dict[str, dict[str, str]]:
    async with redis_client(settings) as client:
        return {
            code: {
                day.decode(): close.decode()
                for day, close in (
                    await client.hgetall(f"{settings.redis_prefix}closes:{code}")
                ).items()
            }
            for code in codes
        }


async def test_an_hour_around_the_close_ends_as_the_engine_says(lab: Lab, few: Path) -> None:
    """Half past three to half past four in twenty seconds: each level, close and status is that of the ticks alone."""
    composition = load_composition(few)
    settings = lab.settings(constituents=str(few), partitions=PARTITIONS)
    worker = lab.worker(settings, composition)
    async with subscribed(settings) as heard, asyncio.TaskGroup() as group:
        feed = group.create_task(
            simulate(
                settings,
                rate=RATE * SPEED,
                seed=SEED,
                start=HOUR.starts,
                end=HOUR.ends,
                speed=SPEED,
            )
        )
        async with running(worker) as task:
            summary = await feed
            await eventually(lambda: is_ready(worker) and worker.idle, watch=task)
            await eventually(lambda: lab.read_up(worker), watch=task)
            by_itself = await alone(composition)

            async def all_told() -> bool:
                shown = await lab.snapshots(settings)
                return {code: lasting(one) for code, one in shown.items()} == {
                    code: lasting(one) for code, one in by_itself.engine.items()
                }

            assert summary.ticks == by_itself.n_ticks == worker.intake.account.ticks
            await eventually(all_told, watch=task)
            shown = await lab.snapshots(settings)
            written = await hashes(settings, shown)

    for code, one in by_itself.ledger.items():
        for name in ("level", "previous_close", "status", "indicative", "indicative_method"):
            assert shown[code][name] == one[name], (code, name)
    assert {code: closes[str(DAY)] for code, closes in written.items()} == {
        code: one["level"] for code, one in shown.items()
    }
    published = [json.loads(data) for name, data in heard.messages if name.startswith("level:")]
    for each in published:
        assert (each["cash_phase"] == "regular") >= (each["status"] == "firm")
    assert {each["status"] for each in published} >= {"firm", "closing", "official_close"}
    beats = [json.loads(data) for data in heard.of("heartbeat")]
    assert {each["phase"] for each in beats} >= {"regular", "post_market"}
    # One a second, on a machine that may be busy.
    assert len(beats) >= 0.5 * summary.seconds
    assert instant(DAY, HOUR.ends.time()) > by_itself.engine["US3000"]["event_ns"]
