"""Takeover: workers share the partitions, stop, are cut off and come back, and no digit changes (laws 4 to 6 and 10)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from integration.conftest import (
    CODES,
    REFERENCE,
    Lab,
    all_in,
    doubt_of,
    eventually,
    is_ready,
    levels_of,
    running,
    subscribed,
    tick,
    told,
    write_constituents,
)
from integration.logs import (
    NEWER_STOCKS,
    NOON,
    Snapshots,
    Trader,
    are_at,
    begin_session,
    books_written,
    said,
    shown,
)
from stream.files import load_composition
from stream.gateway.health import HealthServer
from stream.gateway.metrics import WorkerMetrics
from stream.index.control import Override
from stream.pipeline.worker import Worker
from stream.settings import Settings
from stream.wire import control

pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def fleet(*workers: Worker) -> AsyncIterator[Callable[[Worker], Awaitable[None]]]:
    """Run workers, and give the way to stop one of them cleanly."""
    async with AsyncExitStack() as all_of_them:
        alive = {}
        for worker in workers:
            alive[worker] = await all_of_them.enter_async_context(AsyncExitStack())
            await alive[worker].enter_async_context(running(worker))
        yield lambda worker: alive[worker].aclose()


def publisher_of(*workers: Worker) -> Worker | None:
    publishing = [worker for worker in workers if worker.publisher is not None]
    return publishing[0] if len(publishing) == 1 else None


def settled(*workers: Worker, partitions: int) -> bool:
    """Tell whether each partition has one owner, one worker publishes, and none has anything to complain of."""
    return (
        sorted(p for worker in workers for p in worker.intake.books) == list(range(partitions))
        and (one := publisher_of(*workers)) is not None
        and is_ready(one)
        and not any(worker.not_ready() for worker in workers)
    )


# ---- stopped -------------------------------------------------------------------------------------


async def readiness(worker: Worker) -> tuple[int, str]:
    registry = WorkerMetrics().registry
    async with (
        HealthServer(worker, registry, host="127.0.0.1", port=0) as server,
        aiohttp.ClientSession() as web,
        web.get(f"{server.url}/readyz") as answer,
    ):
        return answer.status, (await answer.json())["status"]


async def test_others_take_over_from_a_publisher_that_stops(lab: Lab) -> None:
    """Laws 4 to 6: more workers than partitions; epochs grow, digits stay, and open, high and low go on."""
    settings = lab.settings(partitions=2, partials="topic")
    workers = [lab.worker(settings) for _ in range(4)]
    async with lab.sender(settings) as sender, fleet(*workers) as stop:
        await eventually(lambda: settled(*workers, partitions=2))
        for worker in workers:
            idle = not worker.intake.books and worker.publisher is None
            assert await readiness(worker) == (200, "standby" if idle else "ready")
        assert any(worker.standby for worker in workers)

        trader = Trader(sender)
        await begin_session(sender, 0, 1)
        # From here on IBM only rises, so that no order in which partitions are added up gives a lower level.
        await trader.trade()
        await eventually(partial(shown, lab, settings, dict(trader.prices)))
        for price in (600_000, 400_000):
            trader.number += 1
            await trader.print("AIG", price, partition=0)
            last = await eventually(partial(shown, lab, settings, dict(trader.prices)))
        first = {code: last[code] | {} for code in CODES}
        low, high = (
            levels_of(REFERENCE | trader.prices | {"AIG": p})["US1000"][0]
            for p in (400_000, 600_000)
        )

        for _ in range(2):
            one = publisher_of(*workers)
            assert one is not None
            workers.remove(one)
            await stop(one)
            await trader.trade()
            await eventually(lambda: settled(*workers, partitions=2))
            now: Snapshots = await eventually(partial(shown, lab, settings, trader.prices))
            for code in CODES:
                assert now[code]["epoch"] > last[code]["epoch"]
                assert now[code]["session"] == first[code]["session"]
                assert now[code]["open"] == first[code]["open"]
            assert (now["US1000"]["low"], now["US1000"]["high"]) == (low, high)
            last = now


async def test_all_switch_when_one_with_newer_files_publishes(lab: Lab, tmp_path: Path) -> None:
    """Law 5: workers are renewed one by one; those with older files follow the log, before and after the change."""
    path = write_constituents(tmp_path / "four.csv", NEWER_STOCKS, day="2013-10-07")
    settings = lab.settings(partitions=2, partials="topic")
    older, newer, follower = (
        lab.worker(settings, files) for files in (None, load_composition(path), None)
    )

    async def in_newer() -> bool:
        return are_at(await lab.snapshots(settings), trader.prices, NEWER_STOCKS)

    async with lab.sender(settings) as sender, AsyncExitStack() as first, AsyncExitStack() as then:
        trader = Trader(sender)
        await first.enter_async_context(running(older))
        await eventually(lambda: settled(older, partitions=2))
        await trader.trade()
        await eventually(partial(shown, lab, settings, trader.prices))

        await then.enter_async_context(running(newer))
        await eventually(lambda: settled(older, newer, partitions=2))
        await first.aclose()
        await eventually(in_newer)

        async with running(follower):
            await eventually(lambda: settled(newer, follower, partitions=2))
            await trader.trade()
            await eventually(in_newer)
            await then.aclose()
            await eventually(lambda: settled(follower, partitions=2))
            trader.number += 1
            await trader.print("WFC", 420_000, partition=0)
            await eventually(in_newer)
    announced = [each["composition"] for each in await said(lab, settings.control_topic)]
    assert announced == [older.composition.id, newer.composition.id]


# ---- cut off -------------------------------------------------------------------------------------


async def test_a_worker_that_is_cut_off_is_replaced_and_does_no_harm_when_it_is_back(
    lab: Lab,
) -> None:
    """Laws 5 and 6: stale until another has its partition, and not afterwards; who wakes up late wins nothing."""
    settings = lab.settings(partitions=2, partials="topic", checkpoint_s=0.5)
    workers = [
        lab.worker(replace(settings, kafka_url=lab.faults.kafka_url(link))) for link in (0, 1)
    ]
    async with lab.sender(settings) as sender, fleet(*workers), subscribed(settings) as heard:
        trader = Trader(sender)

        async def trade() -> Snapshots:
            await trader.trade()
            found: Snapshots = await eventually(partial(shown, lab, settings, trader.prices))
            return found

        try:
            await eventually(lambda: settled(*workers, partitions=2))
            # Of a stock that was not seen anywhere nobody can tell which partition it stands on.
            await trader.print("BAC", 140_500, partition=0)
            await trade()
            for number in (0, 1):
                await eventually(lambda: settled(*workers, partitions=2))
                one = publisher_of(*workers)
                assert one is not None
                (other,) = [worker for worker in workers if worker is not one]
                if number:
                    await cut_off_the_publisher(lab, workers, one, other)
                else:
                    await cut_off_the_other(lab, settings, workers, one, other)
                await trade()
                lab.faults.mend()
                await eventually(lambda: settled(*workers, partitions=2))
                await trade()
        finally:
            lab.faults.mend()

    numbers = [(told(data)["epoch"], told(data)["seq"]) for data in heard.of("level:US1000")]
    assert numbers == sorted(set(numbers))


async def cut_off_the_other(
    lab: Lab, settings: Settings, workers: list[Worker], one: Worker, other: Worker
) -> None:
    """Cut off the worker that does not publish: its stocks' indexes are stale until its partition has a new owner."""
    (lost,) = other.intake.books
    sector = "US1000-FINANCIALS" if lost == 0 else "US1000-TECHNOLOGY"
    expected = {code: "stale" if code in ("US1000", "US3000", sector) else None for code in CODES}

    async def stale() -> bool:
        found = await lab.snapshots(settings)
        return {code: doubt_of(found[code]) for code in CODES} == expected

    lab.faults.kafka("half-open", workers.index(other))
    await eventually(stale)
    await eventually(lambda: len(one.intake.books) == 2)


async def cut_off_the_publisher(
    lab: Lab, workers: list[Worker], one: Worker, other: Worker
) -> None:
    """Cut off the worker that publishes: the other takes its role with a newer epoch."""
    epoch = one.publisher.epoch if one.publisher is not None else 0
    lab.faults.kafka("half-open", workers.index(one))
    await eventually(
        lambda: (
            len(other.intake.books) == 2
            and other.publisher is not None
            and other.publisher.epoch > epoch
        )
    )


async def test_who_resigns_does_nothing_any_more(lab: Lab) -> None:
    """Law 6: however busy a publisher was, its tasks end with its role, or its heartbeats would hide that it is gone."""
    settings = lab.settings(cadence_ms=0)
    worker = lab.worker(settings)
    roles = ["control", "heartbeat", "levels", "publish"]

    async def trade() -> None:
        for i in count():
            await sender.send(tick("AIG", f"{40 + i % 100 / 10}", NOON + i))

    def playing() -> list[str]:
        return sorted(task.get_name() for task in asyncio.all_tasks() if task.get_name() in roles)

    async with lab.sender(settings) as sender, running(worker) as task:
        await eventually(lambda: is_ready(worker), watch=task)
        flow = asyncio.create_task(trade())
        for _ in range(8):
            publisher = worker.publisher
            await worker._become_publisher()
            assert worker.publisher not in (None, publisher)
            await eventually(partial(is_ready, worker), watch=task)
        flow.cancel()
        await eventually(lambda: playing() == roles, within_s=5, watch=task)


# ---- services that are away ----------------------------------------------------------------------


async def test_a_worker_waits_for_kafka_and_says_so(lab: Lab) -> None:
    """Nothing listens when it starts: it can be stopped while it waits, and works when somebody does."""
    settings = lab.settings()
    away = replace(settings, kafka_url=lab.faults.kafka_url())

    def waits(worker: Worker) -> bool:
        return any(reason.startswith("kafka: ") for reason in worker.not_ready())

    lab.faults.kafka("refuse")
    try:
        worker = lab.worker(away)
        async with running(worker) as task:
            await eventually(partial(waits, worker), watch=task)
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 5

        worker = lab.worker(away)
        async with running(worker) as task:
            await eventually(partial(waits, worker), watch=task)
            lab.faults.mend()
            await eventually(partial(is_ready, worker), watch=task)
            async with lab.sender(settings) as sender:
                await sender.send(tick("AIG", "50", NOON))
            await all_in(worker, 1, task)
            assert are_at(await lab.snapshots(settings), {"AIG": 500_000})
    finally:
        lab.faults.mend()


async def test_connections_that_swallow_everything_are_survived(lab: Lab) -> None:
    """Half-open, a connection looks alive: values are late, none is lost, and all that is written works again."""
    faults = lab.faults
    settings = lab.settings(partitions=2, checkpoint_s=0.5)
    worker = lab.worker(replace(settings, kafka_url=faults.kafka_url(), redis_url=faults.redis_url))
    decision = control.encode(Override("BAC", "price", "jo", "a test", NOON, 150_000))
    try:
        async with lab.sender(settings) as sender, running(worker) as task:
            trader = Trader(sender)
            await eventually(lambda: is_ready(worker), watch=task)
            await trader.trade()
            await eventually(partial(shown, lab, settings, trader.prices), watch=task)

            faults.redis("half-open")
            await trader.trade()
            await eventually(worker.not_ready, watch=task)
            faults.mend()
            await eventually(partial(shown, lab, settings, trader.prices), watch=task)

            faults.kafka("half-open")
            await trader.trade()
            await eventually(worker.not_ready, watch=task)
            await lab.append(settings.control_topic, decision)
            faults.mend()
            trader.prices["BAC"] = 150_000
            await eventually(partial(shown, lab, settings, trader.prices), watch=task)
            await eventually(lambda: is_ready(worker), watch=task)
            ends = await lab.ends(settings)

            async def written() -> bool:
                offsets = [max((await books_written(lab, settings, p)).values()) for p in ends]
                return offsets == list(ends.values())

            await eventually(written, watch=task)
    finally:
        faults.mend()
    assert worker.intake.account.applied == worker.intake.account.ticks == 2 * trader.number


async def test_a_worker_whose_brokers_are_gone_can_be_stopped(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it would still write down is given up after some seconds: the next worker reads that part of the log again."""
    monkeypatch.setattr("stream.pipeline.worker.STOP_WITHIN_S", 1.0)
    monkeypatch.setattr("stream.pipeline.worker.LAST_CHECKPOINTS_WITHIN_S", 1.0)
    settings = lab.settings(checkpoint_s=60.0)
    worker = lab.worker(replace(settings, kafka_url=lab.faults.kafka_url()))
    try:
        async with lab.sender(settings) as sender:
            async with running(worker) as task:
                await eventually(lambda: is_ready(worker), watch=task)
                await sender.send(tick("AIG", "50", NOON))
                await all_in(worker, 1, task)
                lab.faults.kafka("half-open")
                stopping = time.monotonic()
            assert time.monotonic() - stopping < 10
    finally:
        lab.faults.mend()
