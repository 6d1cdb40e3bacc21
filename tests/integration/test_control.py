"""Control records on their way: sessions, operators' decisions, contested symbols, through real logs (laws 4, 5 and 7)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

import oracle
from integration.conftest import (
    OPEN_NS,
    Lab,
    Sender,
    all_day,
    all_in,
    daytime,
    eventually,
    is_ready,
    level_and_value,
    running,
    session_of,
    tick,
)
from integration.logs import DAY_NS, NOON, S, Snapshots, are_at, closes, closes_at, said
from stream.feed.producer import partition_of
from stream.feed.run import replay
from stream.index.control import OriginRecord, Override, Roll
from stream.pipeline.worker import Worker
from stream.settings import Settings
from stream.wire import control

pytestmark = pytest.mark.timeout(120)


def types(records: Sequence[dict[str, Any]]) -> list[str]:
    return [record["type"] for record in records]


def override(symbol: str, action: Any, ts: int = NOON, price: int = 0) -> bytes:
    return control.encode(Override(symbol, action, "jo", "a test", ts, price))


async def obeyed(worker: Worker, number: int, task: asyncio.Task[None]) -> None:
    """Wait until every book has obeyed the list up to a number, and what came of it is published."""
    await eventually(
        lambda: (
            all(book.control >= number for book in worker.intake.books.values()) and worker.idle
        ),
        watch=task,
    )


async def decide(
    lab: Lab, worker: Worker, task: asyncio.Task[None], symbol: str, action: str, **more: int
) -> None:
    """Append an operator's wish, and wait until its decision, which names a partition, was obeyed and published."""
    topic = worker.settings.control_topic
    before = len(await lab.read_topic(topic))
    await lab.append(topic, override(symbol, action, **more))

    async def decided() -> int | None:
        """Give the number of the decision."""
        for record in (await lab.read_topic(topic))[before:]:
            made = control.decode(record.value)
            if isinstance(made, Override) and (made.symbol, made.action) == (symbol, action):
                number = int(record.offset) + 1 if made.home >= 0 else None
                if number is not None:
                    return number
        return None

    await obeyed(worker, await eventually(decided, watch=task), task)


# ---- sessions ------------------------------------------------------------------------------------


async def live_and_close(
    lab: Lab, settings: Settings, sender: Sender, days: Sequence[int]
) -> list[Snapshots]:
    """Give what is shown after ticks of three sessions, in the second of which the worker stands."""
    before, now, after = days
    worker = lab.worker(settings)
    shown = []
    async with running(worker) as task:
        await eventually(lambda: is_ready(worker), watch=task)
        await sender.send(tick("AIG", "50", before), partition=0)
        await sender.send(tick("IBM", "190", before), partition=1)
        await obeyed(worker, 2, task)
        shown.append(await lab.snapshots(settings))
        await sender.send(tick("AIG", "51", now), partition=0)
        await all_in(worker, 3, task)
        shown.append(await lab.snapshots(settings))
        # The first of a session that has not begun here waits for its roll.
        await sender.send(tick("AIG", "52", after), partition=0)
        await sender.send(tick("IBM", "191", now), partition=1)
        await all_in(worker, 5, task)
        shown.append(await lab.snapshots(settings))
    assert worker.intake.account.applied == 5
    return shown


async def live_on(
    lab: Lab, settings: Settings, sender: Sender, days: Sequence[int]
) -> list[Snapshots]:
    """Give what is shown by a worker that starts in the third session."""
    worker = lab.worker(settings)
    async with running(worker) as task:
        await obeyed(worker, 3, task)
        await eventually(partial(is_ready, worker), watch=task)
        promoted = await lab.snapshots(settings)
        await sender.send(tick("IBM", "189", days[2]), partition=1)
        await all_in(worker, 1, task)
        return [promoted, await lab.snapshots(settings)]


#: Longer than ticks are kept.
QUIET_DAYS = 20


async def test_a_live_log_rolls_where_it_is_overdue(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 5: a worker that starts rolls to the session of the clock; closes become previous closes, counts begin again."""
    zone = daytime()
    settings = lab.settings(partitions=2, calendar=all_day(lab.folder, zone))
    sessions = [session_of(days, zone) for days in (QUIET_DAYS + 1, QUIET_DAYS, 0)]
    days = [starts for _, starts in sessions]
    async with lab.sender(settings) as sender:
        # Only the ticks' own times are old: a broker would soon drop records that are.
        then = SimpleNamespace(time_ns=lambda: days[1] + S, monotonic=time.monotonic)
        with monkeypatch.context() as clock:
            clock.setattr("stream.pipeline.control_log.time", then)
            rolled, traded, waiting = await live_and_close(lab, settings, sender, days)
        promoted, after = await live_on(lab, settings, sender, days)

    at_the_open = {"AIG": 500_000, "IBM": 1_900_000}
    assert are_at(rolled, at_the_open)
    assert closes(rolled) == closes(traded) == closes(waiting) == closes_at(at_the_open)
    one = rolled["US1000"]
    assert (one["session"], one["priced"], one["coverage"]) == (sessions[1][0], 0, "0.000000")
    assert one["open"] == one["high"] == one["low"] == one["level"]
    one = traded["US1000"]
    assert are_at(traded, {"AIG": 510_000, "IBM": 1_900_000})
    assert (one["priced"], one["up"], one["down"], one["unchanged"]) == (1, 1, 0, 0)
    assert (one["high"], one["low"]) == (one["level"], one["open"])
    at_the_close = {"AIG": 510_000, "IBM": 1_910_000}
    assert are_at(waiting, at_the_close)

    assert are_at(promoted, {"AIG": 520_000, "IBM": 1_910_000})
    assert closes(promoted) == closes(after) == closes_at(at_the_close)
    one = promoted["US1000"]
    assert (one["session"], one["priced"], one["up"]) == (sessions[2][0], 1, 1)
    assert one["open"] == one["level"]
    one = after["US1000"]
    assert are_at(after, {"AIG": 520_000, "IBM": 1_890_000})
    assert (one["priced"], one["up"], one["down"]) == (2, 1, 1)
    assert (one["open"], one["low"]) == (promoted["US1000"]["level"], one["level"])
    await check_rolls(lab, settings, zone, days_ago=(QUIET_DAYS, 0))


async def check_rolls(
    lab: Lab, settings: Settings, zone: ZoneInfo, *, days_ago: Sequence[int]
) -> None:
    """See that the list holds an announcement and these rolls, and each log the same, numbered."""
    listed = await said(lab, settings.control_topic)
    assert types(listed) == ["composition", "roll", "roll"]
    rolls = []
    for days in days_ago:
        (name, starts), (_, ends) = session_of(days, zone), session_of(days - 1, zone)
        rolls.append({"type": "roll", "session": name, "starts_ns": starts, "ends_ns": ends})
    for partition in range(settings.partitions):
        copied = await said(lab, settings.ticks_topic, partition=partition)
        assert [each.pop("number") for each in copied] == [1, 2, 3]
        assert copied[1:] == rolls


async def test_no_clock_rolls_a_log_of_long_ago(lab: Lab) -> None:
    """Ticks of 2013 that declare no origin stay as they are; what the list holds that is no record of it is passed over."""
    settings = lab.settings()
    worker = lab.worker(settings)
    bad = (b"CTRL{}", b"news", control.encode(OriginRecord("simulated")))
    async with lab.sender(settings) as sender, running(worker) as task:
        await obeyed(worker, 1, task)
        await sender.send(tick("AIG", "50", NOON))
        await all_in(worker, 1, task)
        await lab.append(settings.control_topic, *bad)
        # By the time this is obeyed, the list was gone through more than once with that tick in the sum.
        await decide(lab, worker, task, "AIG", "exclude")
        snapshots = await lab.snapshots(settings)
        assert worker.control is not None
        assert worker.control.unreadable == len(bad)

    assert set(types(await said(lab, settings.ticks_topic))) == {"composition", "override"}
    assert {(one["session"], one["origin"]) for one in snapshots.values()} == {(None, "live")}
    assert are_at(snapshots, {"AIG": 500_000})


async def test_a_replayed_log_rolls_in_place(lab: Lab, tmp_path: Path) -> None:
    """Law 8: the feed writes the rolls, wherever the cuts between batches and partitions are; no clock adds one."""
    days = ("2013-10-07", "2013-10-08")
    opening = [oracle.nanoseconds(day, "09:30:00") for day in days]
    trades = [
        (opening[0] + S, "AIG", "48.00"),
        (opening[0] + 2 * S, "IBM", "185.00"),
        (opening[0] + 3 * S, "AIG", "49.00"),
        # After the close: of the first session, though it sets no price.
        (oracle.nanoseconds(days[0], "16:00:01"), "AIG", "99.00"),
        (opening[1] + S, "BAC", "14.50"),
        (opening[1] + 2 * S, "AIG", "48.50"),
    ]
    path = tmp_path / "two-days.csv"
    lines = [f"{ts},{symbol},{price},100,N,@" for ts, symbol, price in trades]
    path.write_text("\n".join(["ts,symbol,price,size,venue,cond", *lines]) + "\n")
    settings = lab.settings(partitions=3)
    worker = lab.worker(settings)
    async with running(worker) as task:
        await eventually(lambda: is_ready(worker), watch=task)
        await replay(settings, path, speed=None)
        await all_in(worker, len(trades), task)
        await obeyed(worker, 1, task)
        assert not worker.not_ready()
        snapshots = await lab.snapshots(settings)

    one = snapshots["US1000"]
    assert (one["session"], one["origin"]) == (days[1], "replay")
    assert are_at(snapshots, {"AIG": 485_000, "IBM": 1_850_000, "BAC": 145_000})
    assert closes(snapshots) == closes_at({"AIG": 490_000, "IBM": 1_850_000})
    assert (one["priced"], one["up"], one["down"]) == (2, 1, 1)
    assert types(await said(lab, settings.control_topic)) == ["composition"]


async def test_levels_are_held_while_partitions_cross(lab: Lab) -> None:
    """Law 5: only partials of one session are added; until the last partition has crossed, the last level stays."""
    settings = lab.settings(partitions=2)
    rolls = [
        control.encode(Roll(f"2013-10-{7 + i:02d}", starts, starts + DAY_NS))
        for i, starts in enumerate((OPEN_NS, OPEN_NS + DAY_NS))
    ]
    worker = lab.worker(settings)

    async def held() -> bool:
        found = await lab.snapshots(settings)
        return {one["status"] for one in found.values()} == {"held"}

    async with lab.sender(settings) as sender, running(worker) as task:
        await eventually(lambda: is_ready(worker), watch=task)
        for partition in (0, 1):
            for value in (control.encode(OriginRecord("replay")), rolls[0]):
                await sender.send(value, partition=partition)
        await sender.send(tick("AIG", "50", OPEN_NS), partition=0)
        await sender.send(tick("IBM", "190", OPEN_NS), partition=1)
        await all_in(worker, 2, task)
        await eventually(lambda: not worker.not_ready(), watch=task)
        before = await lab.snapshots(settings)

        await sender.send(rolls[1], partition=0)
        await sender.send(tick("AIG", "51", OPEN_NS + DAY_NS), partition=0)
        await sender.send(tick("IBM", "192", OPEN_NS + S), partition=1)
        await eventually(held, watch=task)
        ends = await lab.ends(settings)
        await eventually(
            lambda: all(offset >= ends[p] for p, offset in newest_offsets(worker).items()),
            watch=task,
        )
        between = await lab.snapshots(settings)
        reasons = worker.not_ready()

        await sender.send(rolls[1], partition=1)
        await eventually(lambda: not worker.not_ready() and worker.idle, watch=task)
        after = await lab.snapshots(settings)

    assert are_at(before, {"AIG": 500_000, "IBM": 1_900_000})
    assert level_and_value(between) == level_and_value(before)
    assert {one["session"] for one in between.values()} == {"2013-10-07"}
    assert any("different" in reason and "2013-10-08" in reason for reason in reasons)
    assert {one["status"] for one in after.values()} <= {"opening", "firm"}
    assert {one["session"] for one in after.values()} == {"2013-10-08"}
    assert are_at(after, {"AIG": 510_000, "IBM": 1_920_000})
    assert closes(after) == closes_at({"AIG": 500_000, "IBM": 1_920_000})


def newest_offsets(worker: Worker) -> dict[int, int]:
    """Give how far the newest partials are, whether they can be added up or not."""
    partials = worker.aggregator.partials if worker.aggregator is not None else {}
    return {partition: one.offsets[partition] for partition, one in partials.items()}


# ---- operators -----------------------------------------------------------------------------------

#: AIG is put where Kafka's own partitioner would not: where it was seen counts.
AIG, IBM = 1, 0


async def decide_and_trade(lab: Lab, settings: Settings, sender: Sender) -> Worker:
    """Let a worker see each kind of decision, with ticks before and after it; check what each does."""
    worker = lab.worker(settings)
    ticks = 0

    async def trade(symbol: str, price: str, seconds: int) -> None:
        nonlocal ticks
        ticks += 1
        partition = AIG if symbol == "AIG" else IBM
        await sender.send(tick(symbol, price, NOON + seconds * S), partition=partition)
        await all_in(worker, ticks, task)

    async def check(**prices: int) -> None:
        assert are_at(await lab.snapshots(settings), prices)

    async with running(worker) as task:
        await eventually(lambda: is_ready(worker), watch=task)
        await trade("AIG", "50", 0)
        await decide(lab, worker, task, "AIG", "price", ts=NOON + 10 * S, price=480_000)
        await check(AIG=480_000)
        await trade("AIG", "49", 5)
        await check(AIG=480_000)
        await trade("AIG", "49.50", 20)
        await trade("AIG", "500", 21)
        await check(AIG=495_000)
        await decide(lab, worker, task, "AIG", "bound", price=6_000_000)
        await trade("AIG", "500", 22)
        await check(AIG=5_000_000)
        await decide(lab, worker, task, "IBM", "exclude")
        await trade("IBM", "150", 0)
        await check(AIG=5_000_000)
        await decide(lab, worker, task, "IBM", "include")
        await trade("IBM", "190", 0)
        # A writer that was replaced between appending and knowing it appends again: it says nothing new.
        for record in await lab.read_topic(settings.ticks_topic, partition=IBM):
            if b'"exclude"' in record.value:
                await sender.send(record.value, partition=IBM)
        await trade("IBM", "191", 1)
        await trade("AIG", "48", 30)
        await check(AIG=480_000, IBM=1_910_000)
    assert worker.intake.account.ticks == ticks
    return worker


async def test_overrides_act_on_all_partitions_exactly_once(lab: Lab) -> None:
    """Laws 4 and 5: a decision is obeyed at its place in every log, once, over restarts, copies and re-reading."""
    assert partition_of("AIG", 2) != AIG
    settings = lab.settings(partitions=2)
    async with lab.sender(settings) as sender:
        worker = await decide_and_trade(lab, settings, sender)
        account = worker.intake.account
        listed = await said(lab, settings.control_topic)
        assert +account.refused == {"older": 1, "out_of_bounds": 1, "ineligible": 1}
        for partition in (0, 1):
            copied = await said(lab, settings.ticks_topic, partition=partition)
            numbers = list(dict.fromkeys(each["number"] for each in copied))
            assert numbers == list(range(1, len(listed) + 1))
            assert {each["home"] for each in copied if each.get("symbol") == "AIG"} == {-1, AIG}

        # From the checkpoints, then from the log alone.
        from_log = replace(settings, checkpoints_topic=f"{settings.checkpoints_topic}-new")
        for life, before in ((settings, 0), (from_log, account.ticks + 3)):
            worker = lab.worker(life)
            async with running(worker) as task:
                await eventually(partial(is_ready, worker), watch=task)
                await all_in(worker, before, task)
                assert are_at(await lab.snapshots(life), {"AIG": 480_000, "IBM": 1_910_000})
                # That a bound was lifted is remembered, and up to where.
                for i, price in enumerate(("599", "601", "48")):
                    value = tick("AIG", price, NOON + (31 + before) * S + i)
                    await sender.send(value, partition=AIG)
                await all_in(worker, before + 3, task)
            refused = worker.intake.account.refused["out_of_bounds"]
            assert (worker.intake.account.ticks, refused) == (before + 3, 3 if before else 1)
    assert await said(lab, settings.control_topic) == listed


# ---- contests ------------------------------------------------------------------------------------


async def test_a_contested_symbol_is_refused_on_both_until_it_is_included(lab: Lab) -> None:
    """Law 7: the log says so to both partitions; an `include` lets it go on in one, and it can be contested again."""
    settings = lab.settings(partitions=2)
    home = partition_of("AIG", 2)
    other = 1 - home
    worker = lab.worker(settings)

    async def is_free() -> bool:
        found = await lab.snapshots(settings)
        held = any(one["status"] == "held" for one in found.values())
        return not held and not worker.not_ready()

    async with lab.sender(settings) as sender, running(worker) as task:
        await obeyed(worker, 1, task)
        await sender.send(tick("AIG", "50", NOON), partition=home)
        await all_in(worker, 1, task)
        await sender.send(tick("AIG", "60", NOON), partition=other)
        await obeyed(worker, 2, task)
        for partition in (0, 1):
            copied = await said(lab, settings.ticks_topic, partition=partition)
            assert copied[1:] == [{"type": "contested", "symbols": ["AIG"], "number": 2}]
            await sender.send(tick("AIG", "70", NOON + S), partition=partition)
        await all_in(worker, 4, task)
        held = await lab.snapshots(settings)
        assert worker.intake.account.refused["wrong_partition"] == 2

        await decide(lab, worker, task, "AIG", "include")
        await eventually(is_free, watch=task)
        free = await lab.snapshots(settings)
        await sender.send(tick("AIG", "51", NOON + 2 * S), partition=home)
        await all_in(worker, 5, task)
        after = await lab.snapshots(settings)

        await sender.send(tick("AIG", "60", NOON + 3 * S), partition=other)
        await obeyed(worker, 5, task)
        await sender.send(tick("AIG", "52", NOON + 4 * S), partition=home)
        await all_in(worker, 7, task)
        again = await lab.snapshots(settings)

    assert are_at(held, {"AIG": 500_000})
    assert held["US1000"]["status"] == held["US1000-FINANCIALS"]["status"] == "held"
    assert held["US1000-TECHNOLOGY"]["status"] != "held"
    assert are_at(free, {"AIG": 500_000})
    assert are_at(after, {"AIG": 510_000})
    assert after["US1000"]["priced"] == 1
    assert are_at(again, {"AIG": 510_000})
    assert again["US1000"]["status"] == "held"
    assert worker.intake.account.refused["wrong_partition"] == 3
    listed = types(await said(lab, settings.control_topic))
    assert listed == ["composition", "contested", "override", "override", "contested"]
