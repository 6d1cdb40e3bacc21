"""The Redis contract, on a real Redis: what subscribers, late joiners and gap fillers find (`formats.md`, Redis)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from integration.conftest import (
    MS,
    OPEN_NS,
    REFERENCE,
    Lab,
    Subscriber,
    eventually,
    level_and_value,
    levels_of,
    redis_client,
    subscribed,
    told,
)
from stream.errors import FencedError, ServiceError
from stream.index.aggregate import Aggregator
from stream.index.book import Book
from stream.index.ticks import Ticks
from stream.publish.publisher import Publisher
from stream.publish.redis import TIMEOUT_S, Message, RedisSink
from stream.services import EmbeddedRedis
from stream.settings import Settings

pytestmark = pytest.mark.timeout(60)

ALL = {"US1000", "US1000-FINANCIALS", "US1000-TECHNOLOGY", "US3000"}


class Desk:
    """A book, its sum and a publisher: all of a worker but Kafka."""

    def __init__(self, lab: Lab, settings: Settings, *, epoch: int = 1) -> None:
        self.composition = lab.composition
        self.book = Book(
            lab.composition,
            calendar=settings.trading_calendar,
            rules=settings.price_rules,
            partition=0,
        )
        self.aggregator = Aggregator(lab.composition, n_partitions=1)
        self.sink = RedisSink(
            settings.redis_url, names=settings.redis_names, stream_length=settings.stream_length
        )
        self.delays: list[float] = []
        self.publisher = Publisher(
            self.aggregator,
            self.sink,
            epoch=epoch,
            cadence_s=settings.cadence_ms / 1000,
            packed_above=settings.packed_above,
            observe_delay=self.delays.append,
            calendar=settings.trading_calendar,
            feed_silent_s=settings.feed_silent_s,
        )
        self._clock = OPEN_NS
        self.tell()

    def trade(self, symbol: str, price: int) -> None:
        row = self.composition.universe.symbols.index(symbol)
        self._clock += MS
        ts = np.array([self._clock])
        self.book.apply(
            Ticks(
                row=np.array([row], np.int32),
                price=np.array([price]),
                ts=ts,
                seq=np.zeros(1, np.uint64),
                cond=np.ones(1, np.uint16),
                kind=np.zeros(1, np.uint8),
                recorded=ts,
                size=np.zeros(1, np.uint32),
                venue=np.zeros(1, np.uint8),
            )
        )
        self.book.offset += 1
        self.tell()

    def tell(self) -> None:
        self.aggregator.add(self.book.partial())
        self.publisher.wake()

    async def settled(self) -> None:
        await eventually(lambda: self.publisher.idle and not self.publisher.failing, within_s=15)


@asynccontextmanager
async def open_desk(lab: Lab, settings: Settings, *, epoch: int = 1) -> AsyncIterator[Desk]:
    desk = Desk(lab, settings, epoch=epoch)
    tasks = [asyncio.create_task(desk.publisher.run()), asyncio.create_task(desk.publisher.beat())]
    try:
        yield desk
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await desk.sink.close()
        assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


async def dump(settings: Settings) -> dict[bytes, Any]:
    """Everything under the prefix."""
    async with redis_client(settings) as client:
        return {
            key: await client.dump(key)
            async for key in client.scan_iter(match=f"{settings.redis_prefix}*")
        }


def arrays(heard: Subscriber) -> list[dict[str, dict[str, Any]]]:
    """Each publication: snapshots by code."""
    return [
        {one["code"]: one for one in json.loads(data, parse_float=str)}
        for data in heard.of("levels")
    ]


async def test_key_channel_and_stream_carry_the_same_bytes(lab: Lab) -> None:
    """Late joiners, subscribers and gap fillers see one truth; the array repeats it."""
    settings = lab.settings()
    async with subscribed(settings) as heard, open_desk(lab, settings, epoch=7) as desk:
        await desk.settled()
        for price in (490_000, 491_000):
            desk.trade("AIG", price)
            await desk.settled()
        await eventually(lambda: len(heard.of("levels")) == 3)
        async with redis_client(settings) as client:
            for code in ("US1000", "US1000-FINANCIALS", "US3000", "US1000EW"):
                messages = heard.of(f"level:{code}")
                stream = await client.xrange(f"{settings.redis_prefix}stream:{code}")
                assert [entry[b"data"] for _, entry in stream] == messages
                assert [entry[b"seq"] for _, entry in stream] == [b"1", b"2", b"3"]
                assert {entry[b"epoch"] for _, entry in stream} == {b"7"}
                assert await client.get(f"{settings.redis_prefix}snap:{code}") == messages[-1]
                read = [told(data) for data in messages]
                assert [one["seq"] for one in read] == [1, 2, 3]
                assert {one["epoch"] for one in read} == {7}
                assert read == [one[code] for one in arrays(heard)]

    snapshot = told(heard.of("level:US1000")[-1])
    expected = levels_of({**REFERENCE, "AIG": 491_000})["US1000"]
    assert (snapshot["level"], snapshot["market_value"]) == expected
    assert (snapshot["v"], snapshot["code"], snapshot["constituents"]) == (1, "US1000", 3)
    assert (snapshot["priced"], snapshot["up"], snapshot["down"]) == (1, 1, 0)
    assert snapshot["event_ns"] == OPEN_NS + 2 * MS
    assert (snapshot["previous_close"], snapshot["origin"]) == ("1000.00000000", "live")


async def test_only_what_changed_is_published(lab: Lab) -> None:
    """The first publication holds every index, a trade those that hold its stock, and no trade none."""
    settings = lab.settings()
    everything = set(lab.composition.codes)
    assert ALL <= everything
    async with subscribed(settings) as heard, open_desk(lab, settings) as desk:
        await desk.settled()
        desk.trade("IBM", 1_850_000)
        await desk.settled()
        desk.tell()
        await desk.settled()
        await eventually(lambda: len(heard.of("levels")) == 2)

    first, second = arrays(heard)
    assert set(first) == everything
    assert set(second) == {code for code in everything if not code.endswith("FINANCIALS")}


async def test_a_publication_is_one_script(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Atomic: Redis runs one command from us for all keys, channels and streams of a publication."""
    monkeypatch.setattr("stream.publish.publisher.HEARTBEAT_S", 3_600.0)
    with EmbeddedRedis(tmp_path) as server:
        settings = lab.settings(redis_url=server.url)
        async with (
            redis_client(settings) as client,
            subscribed(settings) as heard,
            open_desk(lab, settings) as desk,
        ):
            await desk.settled()
            before = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
            for price in range(490_000, 490_010):
                desk.trade("BAC", price // 3)
                await desk.settled()
            stats = await client.info("commandstats")
            await eventually(lambda: len(heard.of("levels")) == 11)
        assert stats["cmdstat_evalsha"]["calls"] - before == 10
    for publication in arrays(heard):
        assert len({one["published_ns"] for one in publication.values()}) == 1


@pytest.mark.parametrize("packed", [False, True])
async def test_a_publisher_of_an_older_epoch_is_fenced(lab: Lab, *, packed: bool) -> None:
    """Law 6: a late writer cannot win; it hears of it, and not a byte of it is seen."""
    settings = lab.settings()
    old = RedisSink(settings.redis_url, names=settings.redis_names, stream_length=10)
    async with open_desk(lab, settings, epoch=6) as desk:
        await desk.settled()
        before = await dump(settings)
        async with subscribed(settings) as heard:
            publish = old.publish_packed if packed else old.publish
            with pytest.raises(FencedError, match=r"6.*5"):
                await publish([Message("US1000", 99, b'{"code":"US1000"}')], epoch=5, again=False)
            assert await dump(settings) == before
            assert heard.messages == []
    assert await old.newest_epoch() == 6
    await old.close()


async def test_a_publisher_with_nothing_to_say_hears_that_it_was_replaced(lab: Lab) -> None:
    """Law 6: the heartbeat looks, too; none of an older publisher is heard, or it would hide that the newer one is gone."""
    settings = lab.settings()
    newer, older = (
        RedisSink(settings.redis_url, names=settings.redis_names, stream_length=10)
        for _ in range(2)
    )
    first = [Message("US1000", 1, b'{"code":"US1000"}')]
    await older.publish(first, epoch=5, again=False)
    async with subscribed(settings) as heard:
        assert await older.beat(b'{"of":5}', epoch=5)
        await newer.publish(first, epoch=6, again=False)
        with pytest.raises(FencedError, match=r"6.*5"):
            await older.beat(b'{"of":5}', epoch=5)
        assert await newer.beat(b'{"of":6}', epoch=6)
        await eventually(lambda: len(heard.of("heartbeat")) == 2)
    assert heard.of("heartbeat") == [b'{"of":5}', b'{"of":6}']
    await newer.close()
    await older.close()


async def test_many_indexes_are_packed_and_single_ones_follow(lab: Lab) -> None:
    """Above the setting: one message and one hash at once; keys and streams follow within about a second."""
    settings = lab.settings(packed_above=2)
    async with subscribed(settings) as heard, open_desk(lab, settings) as desk:
        await desk.settled()
        await eventually(lambda: heard.of("levels"))
        async with redis_client(settings) as client:
            packed = await client.hgetall(f"{settings.redis_prefix}snaps")
            assert {key.decode() for key in packed} == set(lab.composition.codes)
            first = arrays(heard)[0]
            assert {k.decode(): told(v) for k, v in packed.items()} == first

            async def followed() -> bool:
                keys = [k async for k in client.scan_iter(match=f"{settings.redis_prefix}snap:*")]
                return len(keys) == len(lab.composition.codes)

            await eventually(followed, within_s=5)
            assert heard.of("level:US1000")
            desk.trade("AIG", 490_000)
            await desk.settled()
            expected = levels_of({**REFERENCE, "AIG": 490_000})

            async def newest() -> bool:
                data = await client.get(f"{settings.redis_prefix}snap:US1000")
                return bool(told(data)["level"] == expected["US1000"][0])

            await eventually(newest, within_s=5)
    seqs = [one["US1000"]["seq"] for one in arrays(heard) if "US1000" in one]
    assert seqs == sorted(set(seqs))


async def test_after_packed_publications_the_newest_of_hash_and_key_is_right(lab: Lab) -> None:
    """A small publication after a packed one: (epoch, seq) tells a reader which of the two is newer."""
    settings = lab.settings(packed_above=4)
    newest = levels_of({**REFERENCE, "IBM": 1_850_000})
    async with open_desk(lab, settings) as desk:
        await desk.settled()
        desk.trade("IBM", 1_850_000)
        await desk.settled()

        async def right() -> bool:
            async with redis_client(settings) as client:
                packed = await client.hgetall(f"{settings.redis_prefix}snaps")
            single = await lab.snapshots(settings)
            for code, data in packed.items():
                one = told(data)
                known = single.get(code.decode())
                if known is None or (known["epoch"], known["seq"]) < (one["epoch"], one["seq"]):
                    single[code.decode()] = one
            return level_and_value(single) == newest

        await eventually(right, within_s=5)


async def test_an_outage_costs_nothing_but_time(lab: Lab, tmp_path: Path) -> None:
    """Law 10: one publication with the newest of every index when Redis is back, empty; no seq comes twice."""
    with EmbeddedRedis(tmp_path) as server:
        settings = lab.settings(redis_url=server.url)
        async with open_desk(lab, settings, epoch=3) as desk:
            await desk.settled()
            desk.trade("IBM", 1_850_000)
            await desk.settled()
            seen = {code: one["seq"] for code, one in (await lab.snapshots(settings)).items()}
            await asyncio.to_thread(server.stop)
            for step in range(50):
                desk.trade("AIG", 490_000 + step)
            await eventually(lambda: desk.publisher.failing)
            desk.trade("BAC", 141_000)
            await asyncio.to_thread(server.start)
            async with subscribed(settings) as heard:
                await desk.settled()
                after = await lab.snapshots(settings)
                assert len(heard.of("levels")) <= 1
    expected = levels_of({"AIG": 490_049, "BAC": 141_000, "IBM": 1_850_000})
    assert level_and_value(after) == expected
    assert set(after) == set(seen)
    assert all(one["seq"] > seen[code] for code, one in after.items())
    assert desk.publisher.published.failures > 0


async def test_a_redis_that_lost_everything_between_two_publications_is_filled_again(
    lab: Lab,
) -> None:
    """Law 10: it came back empty so fast that no publication failed; still every index is owed."""
    settings = lab.settings()
    async with open_desk(lab, settings) as desk:
        await desk.settled()
        async with redis_client(settings) as client:
            keys = [key async for key in client.scan_iter(match=f"{settings.redis_prefix}*")]
            await client.delete(*keys)
        desk.trade("IBM", 1_850_000)

        async def whole() -> bool:
            return set(await lab.snapshots(settings)) == set(lab.composition.codes)

        await eventually(whole, within_s=4)


@pytest.mark.parametrize("more", [False, True])
async def test_a_failover_that_loses_the_last_publications_is_noticed(
    lab: Lab, *, more: bool
) -> None:
    """Law 10: replication is asynchronous; what a replica lacks is published again, whether anything else changes or not."""
    settings = lab.settings()
    async with open_desk(lab, settings, epoch=2) as desk:
        await desk.settled()
        replica = await dump(settings)
        for symbol, price in (("IBM", 1_850_000), ("AIG", 490_000)):
            desk.trade(symbol, price)
            await desk.settled()
        seen = {code: one["seq"] for code, one in (await lab.snapshots(settings)).items()}
        async with redis_client(settings) as client, client.pipeline() as pipe:
            for key, value in replica.items():
                pipe.restore(key, 0, value, replace=True)
            await pipe.execute()
        if more:
            desk.trade("BAC", 141_000)
        expected = levels_of(
            {"AIG": 490_000, "BAC": 141_000 if more else REFERENCE["BAC"], "IBM": 1_850_000}
        )

        async def right() -> bool:
            return level_and_value(await lab.snapshots(settings)) == expected

        await eventually(right, within_s=4)
        after = await lab.snapshots(settings)
    assert all(one["seq"] > seen[code] for code, one in after.items())


async def test_a_redis_that_answers_nothing_counts_as_away(lab: Lab) -> None:
    """Connections are accepted, and then there is silence: within the time-out that is a failure like any other."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = lab.settings(redis_url=f"redis://127.0.0.1:{port}/0")
    async with server:
        started = time.monotonic()
        async with open_desk(lab, settings) as desk:
            await eventually(lambda: desk.publisher.failing, within_s=3 * TIMEOUT_S)
            assert time.monotonic() - started < 2 * TIMEOUT_S
            with pytest.raises(ServiceError, match=r"^Redis"):
                await desk.sink.beat(b"{}", epoch=1)
        assert desk.publisher.published.publications == 0


async def test_publications_keep_the_cadence(lab: Lab) -> None:
    """Never closer than the cadence, and the first tick after a quiet time goes out at once."""
    settings = lab.settings(cadence_ms=100)
    async with subscribed(settings) as heard, open_desk(lab, settings) as desk:
        await desk.settled()
        price = 490_000

        def busy() -> bool:
            nonlocal price
            price += 1
            desk.trade("AIG", price)
            return len(heard.of("levels")) >= 6

        await eventually(busy)
        await desk.settled()
        last = await lab.snapshots(settings)
        n = desk.publisher.published.publications
        quiet_until = last["US1000"]["published_ns"] + 200 * MS
        await eventually(lambda: time.time_ns() > quiet_until)
        desk.trade("BAC", 141_000)
        asked = time.time_ns()
        await eventually(lambda: desk.publisher.published.publications == n + 1)
        newest = (await lab.snapshots(settings))["US1000"]

    times = [one["US1000"]["published_ns"] for one in arrays(heard)][1:]
    gaps = [b - a for a, b in pairwise(times)]
    assert (
        min(gaps) > 80 * MS
    )  # the clock is read a moment after the start, a little later or sooner
    assert times[-1] - times[0] > (len(times) - 1) * 100 * MS - 30 * MS
    assert newest["level"] == levels_of({**REFERENCE, "AIG": price, "BAC": 141_000})["US1000"][0]
    assert newest["published_ns"] - asked < 100 * MS
    assert len(desk.delays) == desk.publisher.published.publications


async def test_cadence_zero_publishes_every_change(lab: Lab) -> None:
    """Whenever the last publication is done the next one starts."""
    settings = lab.settings(cadence_ms=0)
    async with subscribed(settings) as heard, open_desk(lab, settings) as desk:
        for step in range(20):
            await desk.settled()
            desk.trade("AIG", 490_000 + step)
        await desk.settled()
        await eventually(lambda: len(heard.of("levels")) == 21)
    assert [one["US1000"]["seq"] for one in arrays(heard)] == list(range(1, 22))


async def test_the_stream_is_capped(lab: Lab) -> None:
    """About as many as the setting says; Redis trims by whole nodes, so a few more may stand."""
    settings = lab.settings(stream_length=10)
    sink = RedisSink(settings.redis_url, names=settings.redis_names, stream_length=10)
    for seq in range(1, 1_001):
        await sink.publish([Message("US1000", seq, b'{"n":%d}' % seq)], epoch=1, again=False)
    async with redis_client(settings) as client:
        assert await client.xlen(f"{settings.redis_prefix}stream:US1000") < 250
        ((_, newest),) = await client.xrevrange(f"{settings.redis_prefix}stream:US1000", count=1)
    await sink.close()
    assert newest[b"data"] == b'{"n":1000}'
