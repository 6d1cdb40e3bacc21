"""Recovery: what outlives a worker, and where the next one goes on (laws 4 to 7)."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

import stream
from integration.conftest import (
    CODES,
    REFERENCE,
    Lab,
    all_in,
    eventually,
    is_ready,
    levels_of,
    redis_client,
    running,
    tick,
    told,
    write_constituents,
)
from integration.logs import (
    NEWER_STOCKS,
    NOON,
    SESSION,
    S,
    Trader,
    are_at,
    begin_session,
    books_written,
    newest_by_key,
    said,
    shown,
)
from stream.errors import SetupError
from stream.files import load_composition
from stream.index.book import Book
from stream.index.composition import Composition
from stream.index.control import Announcement
from stream.pipeline.worker import Worker
from stream.settings import Settings
from stream.topics import ensure_topics
from stream.wire import checkpoints as wire
from stream.wire import compositions, control
from stream.wire.checkpoints import Checkpoint

pytestmark = pytest.mark.timeout(120)

# ---- killed --------------------------------------------------------------------------------------


@asynccontextmanager
async def process(lab: Lab, settings: Settings) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Run a static member as a process of its own, and give the way to kill it."""
    with (lab.folder / f"{settings.group}.log").open("ab") as output:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stream.cli.main", "worker", "--id", "a"),
            env=lab.command(settings),
            stderr=output,
        )

    async def kill() -> None:
        child.send_signal(signal.SIGKILL)
        await child.wait()

    try:
        yield kill
    finally:
        if child.returncode is None:
            await kill()


async def publish_extremes(lab: Lab, settings: Settings, trader: Trader) -> tuple[str, str]:
    """Print a low and a high, see them published and recorded, and give them."""
    levels = []
    for symbol, price in (("IBM", 1_000_000), ("IBM", 2_000_000), ("AIG", 600_000)):
        trader.number += 1
        await trader.print(symbol, price, partition=int(symbol == "IBM"))
        await eventually(partial(shown, lab, settings, dict(trader.prices)))
        levels.append(levels_of(REFERENCE | trader.prices)["US1000"][0])

    async def recorded() -> bool:
        entries = [told(record.value) for record in await lab.read_topic(settings.levels_topic)]
        return {levels[0], levels[2]} <= {e["level"] for e in entries if e["code"] == "US1000"}

    await eventually(recorded)
    return levels[0], levels[2]


async def kill_in_the_middle(lab: Lab, settings: Settings, trader: Trader) -> None:
    """Kill a worker between two checkpoints, while ticks flow."""
    killed = asyncio.Event()

    async def flow() -> None:
        while not killed.is_set():
            await trader.trade()

    async def written() -> bool:
        offsets = [(await books_written(lab, settings, p)).values() for p in (0, 1)]
        return all(max(each, default=0) > 20 for each in offsets)

    async with process(lab, settings) as kill:
        trading = asyncio.create_task(flow())
        await eventually(written)
        await kill()
    killed.set()
    await trading


async def test_a_worker_that_is_killed_again_and_again_loses_and_doubles_nothing(lab: Lab) -> None:
    """Law 4: killed before its first checkpoint, and between two; the next life goes on at the very next offset."""
    settings = lab.settings(partitions=2, checkpoint_s=60.0, cadence_ms=0)
    often = replace(settings, checkpoint_s=0.1)
    await ensure_topics(settings)
    async with lab.sender(settings) as sender:
        trader = Trader(sender)
        await begin_session(sender, 0, 1)
        async with process(lab, settings) as kill:
            low, high = await publish_extremes(lab, settings, trader)
            for partition in (0, 1):
                assert not any((await books_written(lab, settings, partition)).values())
            await kill()
        await kill_in_the_middle(lab, often, trader)

        kept = [max((await books_written(lab, settings, p)).values()) for p in (0, 1)]
        left = [
            sum(
                record.offset >= kept[p] and not record.value.startswith(b"CTRL")
                for record in await lab.read_topic(settings.ticks_topic, partition=p)
            )
            for p in (0, 1)
        ]
        assert min(left) > 0
        worker = lab.worker(often, worker_id="a")
        async with running(worker) as task:
            await eventually(lambda: is_ready(worker), watch=task)
            await all_in(worker, sum(left), task)
            await trader.trade()
            await all_in(worker, sum(left) + 2, task)
            snapshots = await lab.snapshots(settings)

    account = worker.intake.account
    assert account.ticks == account.applied == sum(left) + 2
    assert are_at(snapshots, trader.prices)
    one = snapshots["US1000"]
    assert (one["session"], one["low"], one["high"]) == (SESSION.session, low, high)


# ---- checkpoints ---------------------------------------------------------------------------------


async def write_checkpoint(
    lab: Lab,
    settings: Settings,
    composition: Composition,
    *,
    offset: int = 0,
    control: int = 0,
    topic: str = "",
    partitions: int = 1,
) -> None:
    """Write what an owner of partition 0 would have written."""
    book = Book(
        composition, calendar=settings.trading_calendar, rules=settings.price_rules, partition=0
    )
    book.offset, book.control = offset, control
    checkpoint = Checkpoint(book.state(), topic or settings.ticks_topic, partitions)
    await lab.append(settings.checkpoints_topic, wire.encode(checkpoint), key=b"book/1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"offset": 4}, r"stands for offset 4, but \S+ holds 0 to 3: it was made anew"),
        ({"offset": 3, "topic": "other"}, r"is of topic other, not lab-ticks"),
        ({"offset": 3, "partitions": 2}, r"of a topic with 2 partitions, not 1"),
    ],
)
async def test_a_checkpoint_of_another_log_is_refused(
    lab: Lab, changes: dict[str, Any], words: str
) -> None:
    """Law 4: refuse to start where the checkpoint is not of this log, and say what to do."""
    settings = lab.settings()
    await ensure_topics(settings)
    async with lab.sender(settings) as sender:
        for i in range(3):
            await sender.send(tick("AIG", "50", NOON + i))
    await write_checkpoint(lab, settings, lab.composition, **changes)

    with pytest.raises(SetupError, match=words) as error:
        await asyncio.wait_for(lab.worker(settings).run(asyncio.Event()), 20)

    assert settings.checkpoints_topic in str(error.value)
    assert "CAPSTREAM_CHECKPOINTS_TOPIC" in str(error.value)


async def test_topics_of_different_partitions_are_refused(lab: Lab) -> None:
    """Law 7: symbols have moved, so what was written down of partitions is of no use."""
    settings = lab.settings(partitions=2)
    await ensure_topics(settings)
    mixed = replace(lab.settings(partitions=3), checkpoints_topic=settings.checkpoints_topic)

    with pytest.raises(SetupError, match=r"3 partitions and \S+ 2"):
        await asyncio.wait_for(lab.worker(mixed).run(asyncio.Event()), 20)


async def test_the_highest_offset_wins_whoever_wrote_last(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """Law 6: unreadable checkpoints are passed over, older owners' are dropped, and a late writer is not believed."""
    settings = lab.settings()
    await ensure_topics(settings)
    strange = [msgspec.msgpack.encode([99, "of a version to come"]), b"\xff\x00"]
    for number, value in enumerate(strange, start=1):
        await lab.append(settings.checkpoints_topic, value, key=b"book/%d" % number)
    ticks: list[int] = []
    written: list[tuple[bytes, int]] = []
    late: list[tuple[bytes, bytes | None]] = []
    async with lab.sender(settings) as sender:
        for life in range(3):
            await sender.send(tick("AIG", f"{50 + life}", NOON + life))
            if life == 2:
                # The first owner wakes up: it writes its old checkpoint once more, and compaction would keep it.
                await lab.append(settings.checkpoints_topic, late[0][1], key=late[0][0])
            worker = lab.worker(settings)
            async with running(worker) as task:
                await eventually(partial(is_ready, worker), watch=task)
                await all_in(worker, 1, task)
                snapshots = await lab.snapshots(settings)
            ticks.append(worker.intake.account.ticks)
            ((key, offset),) = (await books_written(lab, settings)).items()
            written.append((key, offset))
            late.append((key, (await newest_by_key(lab, settings.checkpoints_topic))[key]))

    assert caplog.text.count("checkpoint_unreadable") == len(strange)
    assert ticks == [1, 1, 1]
    # Of each life one checkpoint is left, under a key of its own, further on than the one before.
    keys, offsets = zip(*written, strict=True)
    assert len(set(keys)) == 3
    assert list(offsets) == sorted(set(offsets))
    kept = await newest_by_key(lab, settings.checkpoints_topic)
    assert [key for key, value in kept.items() if value and key.startswith(b"aggregator/")] == [
        b"aggregator/%d" % snapshots["US1000"]["epoch"]
    ]
    assert are_at(snapshots, {"AIG": 520_000})


# ---- compositions --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Composition:
    path: Path = tmp_path_factory.mktemp("files") / "four.csv"
    return load_composition(write_constituents(path, NEWER_STOCKS, day="2013-10-07"))


async def mirrored(settings: Settings, prices: dict[str, int]) -> bool:
    """Tell whether the hash of prices holds exactly these."""
    async with redis_client(settings) as client:
        found = await client.hgetall(f"{settings.redis_prefix}prices")
    shown = {name.decode(): json.loads(entry)["price"] for name, entry in found.items()}
    return shown == {name: price / 10_000 for name, price in prices.items()}


async def test_a_worker_follows_the_log_where_its_files_are_older(
    lab: Lab, newer: Composition
) -> None:
    """Law 5: new files are announced in-band, once; whoever has older ones reads the composition from its topic."""
    settings = lab.settings(partitions=2)
    again = replace(settings, checkpoints_topic=f"{settings.checkpoints_topic}-again")
    prices = {"AIG": 500_000, "IBM": 1_900_000}

    async def announced() -> list[str]:
        return [each["composition"] for each in await said(lab, settings.control_topic)]

    async def in_force(composition: Composition) -> bool:
        found = await lab.snapshots(settings)
        return {one["composition"] for one in found.values()} == {composition.id}

    async with lab.sender(settings) as sender:
        worker = lab.worker(settings)
        async with running(worker) as task:
            await eventually(partial(is_ready, worker), watch=task)
            await sender.send(tick("AIG", "50", NOON), partition=0)
            await sender.send(tick("IBM", "190", NOON), partition=1)
            await all_in(worker, 2, task)
            assert are_at(await lab.snapshots(settings), prices)
            await eventually(announced, watch=task)

        for life, files, symbol, price, n_ticks in (
            (settings, newer, "WFC", 415_000, 1),
            (settings, lab.composition, "AIG", 510_000, 1),
            (again, lab.composition, "BAC", 140_000, 5),
        ):
            worker = lab.worker(life, files)
            async with running(worker) as task:
                await eventually(partial(is_ready, worker), watch=task)
                await eventually(partial(in_force, newer), watch=task)
                assert are_at(await lab.snapshots(settings), prices, NEWER_STOCKS)
                await sender.send(tick(symbol, f"{price / 10_000}", NOON + n_ticks))
                prices[symbol] = price
                await all_in(worker, n_ticks, task)
                await eventually(partial(mirrored, settings, prices), watch=task)
                assert are_at(await lab.snapshots(settings), prices, NEWER_STOCKS)
            assert worker.intake.account.refused.total() == 0
            assert await announced() == [lab.composition.id, newer.id]

    topic = await newest_by_key(lab, settings.compositions_topic)
    assert set(topic) == {each.id.encode() for each in (lab.composition, newer)}


async def test_what_a_checkpoint_names_can_be_read(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However short a worker's life was, the composition that its checkpoints name stands in its topic."""
    # It ends before it has announced anything.
    monkeypatch.setattr("stream.pipeline.worker.CONTROL_S", 60.0)
    settings = lab.settings()
    worker = lab.worker(settings)
    async with running(worker) as task:
        await eventually(lambda: is_ready(worker), watch=task)

    assert await books_written(lab, settings)
    topic = await newest_by_key(lab, settings.compositions_topic)
    assert set(topic) == {lab.composition.id.encode()}


async def test_a_worker_that_waits_for_what_it_must_read_can_be_stopped_and_goes_on(
    lab: Lab, newer: Composition
) -> None:
    """A checkpoint names a composition that is not there yet: however long it takes, it says so, and works at last."""
    settings = lab.settings()
    await ensure_topics(settings)
    announced = [Announcement(each.id) for each in (lab.composition, newer)]
    await lab.append(settings.control_topic, *map(control.encode, announced))
    await write_checkpoint(lab, settings, newer, control=len(announced))

    def waits(worker: Worker) -> bool:
        return any(newer.id in reason for reason in worker.not_ready())

    worker = lab.worker(settings)
    async with running(worker) as task:
        await eventually(partial(waits, worker), watch=task)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 5

    worker = lab.worker(settings)
    # After this time Faust silently cuts off what it waits for, and the worker would be deaf from then on.
    assert worker._app.conf.broker_request_timeout >= 3_600
    async with lab.sender(settings) as sender, running(worker) as task:
        await eventually(partial(waits, worker), watch=task)
        message = compositions.encode(newer)
        await lab.append(settings.compositions_topic, message, key=newer.id.encode())
        await sender.send(tick("WFC", "42", NOON))
        await all_in(worker, 1, task)
        assert are_at(await lab.snapshots(settings), {"WFC": 420_000}, NEWER_STOCKS)


# ---- the record ----------------------------------------------------------------------------------


async def test_the_record_holds_each_second_and_every_extreme_and_can_be_recomputed(
    lab: Lab,
) -> None:
    """Of all publications, the last of each second and those that set open, high or low, each true at its offsets."""
    settings = lab.settings(partitions=2, cadence_ms=0)
    worker = lab.worker(settings)
    random = np.random.default_rng(5)
    async with lab.sender(settings) as sender, running(worker) as task:
        trader = Trader(sender)
        await eventually(lambda: is_ready(worker), watch=task)
        await begin_session(sender, 0, 1)
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            trader.number += 1
            for partition, symbol in enumerate(("AIG", "IBM")):
                price = REFERENCE[symbol] + int(random.integers(-20_000, 20_000))
                await trader.print(symbol, price, partition=partition)
        await all_in(worker, 2 * trader.number, task)
        async with redis_client(settings) as client:
            published = {
                code: [
                    told(entry[b"data"])
                    for _, entry in await client.xrange(f"{settings.redis_prefix}stream:{code}")
                ]
                for code in CODES
            }

    logs = [await lab.read_topic(settings.ticks_topic, partition=p) for p in (0, 1)]
    records = await lab.read_topic(settings.levels_topic)
    for code in CODES:
        kept = [told(record.value) for record in records if record.key == code.encode()]
        offsets = [one.pop("offsets") for one in kept]
        assert {one.pop("code_version") for one in kept} == {stream.__version__}
        assert kept == to_be_kept(published[code])
        assert 3 < len(kept) < len(published[code])
        for one, at in zip(kept, offsets, strict=True):
            assert (one["level"], one["market_value"]) == levels_of(prices_at(logs, at))[code]


def to_be_kept(published: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choose the publications of an index that are to be kept: the literal rule."""
    kept = []
    for number, one in enumerate(published):
        before = published[number - 1] if number else {}
        after = published[number + 1] if number + 1 < len(published) else None
        sets = any(one.get(name) != before.get(name) for name in ("session", "high", "low"))
        last = after is None or after["published_ns"] // S != one["published_ns"] // S
        # The last good level of a second is what a held one repeats.
        repeated = after is not None and after["status"] == "held"
        if sets or last or repeated or not number:
            kept.append(one)
    return kept


def prices_at(logs: list[list[Any]], offsets: Mapping[str, int]) -> dict[str, int]:
    """Replay the logs up to some offsets: the last price of each stock."""
    prices = dict(REFERENCE)
    for partition, log in enumerate(logs):
        for record in log:
            if record.offset < offsets[str(partition)] and record.value.startswith(b"{"):
                fields = told(record.value)
                prices[fields["symbol"]] = round(float(fields["price"]) * 10_000)
    return prices
