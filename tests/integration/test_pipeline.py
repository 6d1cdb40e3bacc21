"""The laws of the whole road, from real Kafka to real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from integration.conftest import (
    CLOSE_NS,
    CODES,
    MS,
    OPEN_NS,
    REFERENCE,
    Lab,
    all_in,
    doubt_of,
    eventually,
    frame,
    is_ready,
    last_prices,
    level_and_value,
    levels_of,
    read_rows,
    redis_client,
    running,
    subscribed,
    tick,
    told,
)
from stream.cli.main import main
from stream.errors import ServiceError
from stream.feed.run import replay
from stream.gateway.health import HealthServer
from stream.gateway.metrics import WorkerMetrics
from stream.index.control import Contested
from stream.pipeline.worker import Worker
from stream.services import EmbeddedRedis
from stream.session.calendar import Calendar
from stream.settings import Settings

pytestmark = pytest.mark.timeout(180)

NOON = OPEN_NS + 9_000 * 1_000 * MS


def levels_command(capsys: pytest.CaptureFixture[str], lab: Lab, *arguments: str) -> dict[str, Any]:
    assert main(["levels", *arguments, "--constituents", str(lab.constituents), "--json"]) == 0
    report: dict[str, Any] = told(capsys.readouterr().out.splitlines()[-1].encode())
    return report


# ---- 1. the tape ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("partitions", "message_format", "frame_size"),
    [
        (1, "json", 1),
        (3, "json", 1),
        (8, "json", 1),
        (3, "frame", 1),
        (8, "frame", 7),
        (1, "frame", 1000),
        (3, "frame", 1000),
    ],
)
async def test_partitions_and_format_change_no_digit(
    lab: Lab,
    tape: Path,
    capsys: pytest.CaptureFixture[str],
    partitions: int,
    message_format: str,
    frame_size: int,
) -> None:
    """Law 1: the tape ends at the oracle's levels however it is cut, and so it does without a server."""
    rows = read_rows(tape)
    prices, applied = last_prices(rows)
    settings = lab.settings(partitions=partitions)
    worker = lab.worker(settings)

    async with running(worker) as task:
        await replay(settings, tape, speed=None, format=message_format, frame_size=frame_size)  # type: ignore[arg-type]
        await all_in(worker, len(rows), task)
        published = await lab.snapshots(settings)

    account = worker.intake.account
    assert level_and_value(published) == levels_of(prices)
    assert (account.ticks, account.applied) == (len(rows), applied)
    assert account.applied + sum(account.refused.values()) == account.ticks
    assert {one["origin"] for one in published.values()} == {"replay"}
    report = levels_command(capsys, lab, str(tape))
    for code, one in published.items():
        without = report["levels"][code]
        # The command line gives the opening quotation on any day.
        assert without.keys() - one.keys() == {"soq", "soq_opened"}
        assert {name: one[name] for name in without if name in one} == {
            name: value for name, value in without.items() if name in one
        }


async def test_the_whole_tape_ends_at_the_oracles_levels(lab: Lab, full_tape: Path) -> None:
    """All 137,816 prints of the day, over three partitions, to the last digit."""
    rows = read_rows(full_tape)
    assert len(rows) == 137_816
    settings = lab.settings(partitions=3)
    worker = lab.worker(settings)

    async with running(worker) as task:
        await replay(settings, full_tape, speed=None, format="frame", frame_size=100)
        await all_in(worker, len(rows), task)
        assert level_and_value(await lab.snapshots(settings)) == levels_of(last_prices(rows)[0])


def test_levels_at_any_instant_are_the_oracles(
    lab: Lab, full_tape: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--at` means up to and including: at 15:59, and at instants that several prints share."""
    rows = read_rows(full_tape)
    shared = [
        ts
        for ts, same in groupby(row[0] for row in rows)
        if sum(1 for _ in same) >= 5 and OPEN_NS <= ts < CLOSE_NS
    ]
    instants = random.Random(7).sample(shared, 3)
    moments = {"15:59": CLOSE_NS - 60_000 * MS}
    for ts in instants:
        seconds, ms = divmod(ts // MS, 1000)
        moments[f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ms:03d}+00:00"] = ts

    for text, at in moments.items():
        report = levels_command(capsys, lab, str(full_tape), "--at", text)
        prices, applied = last_prices(rows, at=at)
        assert level_and_value(report["levels"]) == levels_of(prices), text
        assert report["applied"] == applied
        assert report["ticks"] == sum(row[0] <= at for row in rows)


# ---- 2. partials through memory and topic --------------------------------------------------------


async def test_two_workers_share_partitions_and_end_at_the_same_levels(
    lab: Lab, tape: Path
) -> None:
    """Law 5: who computes a partial does not matter."""
    rows = read_rows(tape)
    settings = lab.settings(partitions=4, partials="topic")
    one, two = lab.worker(settings), lab.worker(settings)
    expected = levels_of(last_prices(rows)[0])

    async with running(one) as first, running(two) as second:
        await eventually(
            lambda: (
                len(one.intake.books) == len(two.intake.books) == 2
                and not one.not_ready()
                and not two.not_ready()
            ),
            watch=first,
        )
        await replay(settings, tape, speed=None)

        async def there() -> bool:
            found = await lab.snapshots(settings)
            return set(CODES) <= set(found) and level_and_value(found) == expected

        await eventually(there, watch=second)
        assert [one.publisher, two.publisher].count(None) == 1


async def test_one_worker_over_the_topic_gives_the_same_levels(lab: Lab, tape: Path) -> None:
    """Memory and topic are the same code."""
    rows = read_rows(tape)
    settings = lab.settings(partitions=3, partials="topic")
    worker = lab.worker(settings)
    expected = levels_of(last_prices(rows)[0])

    async with running(worker) as task:
        await replay(settings, tape, speed=None)

        async def there() -> bool:
            found = await lab.snapshots(settings)
            return set(CODES) <= set(found) and level_and_value(found) == expected

        await eventually(there, watch=task)


async def test_a_worker_in_memory_mode_that_lost_partitions_publishes_no_partial_sums(
    lab: Lab,
) -> None:
    """Half of the partitions make no level: a second worker silences the first, and is silent itself."""
    settings = lab.settings(partitions=2)
    one, two = lab.worker(settings), lab.worker(settings)
    async with (
        lab.sender(settings) as sender,
        subscribed(settings) as heard,
        running(one) as first,
    ):
        await eventually(lambda: is_ready(one), watch=first)
        await sender.send(tick("AIG", "50", NOON), partition=0)
        await sender.send(tick("IBM", "190", NOON), partition=1)
        await all_in(one, 2, first)
        late = tuple(book.partial() for book in one.intake.books.values())
        async with running(two) as second:
            await eventually(
                lambda: len(one.intake.books) == len(two.intake.books) == 1, watch=second
            )
            # What the channel between books and aggregator still held comes now.
            one._on_partials(late, -1)
            before = len(heard.of("levels"))
            ends = {
                0: await sender.send(tick("AIG", "51", NOON + MS), partition=0),
                1: await sender.send(tick("IBM", "191", NOON + MS), partition=1),
            }
            await eventually(
                lambda: all(
                    book.offset > ends[partition]
                    for worker in (one, two)
                    for partition, book in worker.intake.books.items()
                ),
                watch=second,
            )
            assert one.not_ready()
            assert two.not_ready()
            assert [w.aggregator and w.aggregator.complete for w in (one, two)] == [False, False]
            assert len(heard.of("levels")) == before


# ---- 3. Redis, seen through a worker -------------------------------------------------------------


async def test_prices_are_mirrored_and_heartbeats_come_every_second(lab: Lab) -> None:
    """The hash of prices holds what has traded; a heartbeat a second says that quiet is not dead."""
    settings = lab.settings()
    worker = lab.worker(settings)
    async with (
        lab.sender(settings) as sender,
        subscribed(settings) as heard,
        running(worker) as task,
    ):
        await eventually(lambda: is_ready(worker), watch=task)
        await sender.send(tick("AIG", "49.0700", NOON))
        await eventually(lambda: len(heard.of("heartbeat")) >= 3, watch=task)
        async with redis_client(settings) as client:
            prices = await client.hgetall(f"{settings.redis_prefix}prices")

    assert {name: json.loads(text) for name, text in prices.items()} == {
        b"AIG": {"price": 49.07, "ts": NOON}
    }
    beats = [json.loads(data) for data in heard.of("heartbeat")]
    assert {beat["indexes"] for beat in beats} == {len(lab.composition.indexes)}
    for beat in beats:
        assert beat["phase"] == Calendar.bundled().phase(beat["published_ns"]).name.lower()
    gaps = [b["published_ns"] - a["published_ns"] for a, b in pairwise(beats)]
    assert all(500 * MS < gap < 3_000 * MS for gap in gaps)


async def test_calculation_goes_on_without_redis_and_all_newest_values_follow(
    lab: Lab, tmp_path: Path
) -> None:
    """Law 10: nothing waits for Redis, nothing queues, and an empty one is filled again."""
    with EmbeddedRedis(tmp_path) as server:
        settings = lab.settings(redis_url=server.url)
        worker = lab.worker(settings)
        async with lab.sender(settings) as sender, running(worker) as task:
            await eventually(lambda: is_ready(worker), watch=task)
            await sender.send(tick("IBM", "190", NOON))
            await all_in(worker, 1, task)
            before = await lab.snapshots(settings)
            await asyncio.to_thread(server.stop)
            for i in range(300):
                await sender.producer.send(
                    settings.ticks_topic, tick("AIG", f"{40 + i / 100:.2f}", NOON + i), partition=0
                )
            await sender.producer.flush()
            await eventually(lambda: worker.intake.account.applied == 301, watch=task)
            await eventually(worker.not_ready, watch=task)
            assert worker.publisher is not None
            await eventually(lambda: worker.publisher and worker.publisher.failing, watch=task)
            await asyncio.to_thread(server.start)
            async with subscribed(settings) as heard:
                await eventually(lambda: is_ready(worker) and worker.idle, watch=task)
                after = await lab.snapshots(settings)
                assert len(heard.of("levels")) <= 2

    expected = levels_of({**REFERENCE, "IBM": 1_900_000, "AIG": 429_900})
    assert level_and_value(after) == expected
    assert set(after) == set(before)
    for code, one in after.items():
        assert (one["epoch"], one["seq"]) > (before[code]["epoch"], before[code]["seq"])


async def test_a_redis_that_came_back_empty_in_a_quiet_market_is_filled_again(
    lab: Lab, tmp_path: Path
) -> None:
    """Law 10: everything can be republished, also where no publication failed while Redis was away."""
    with EmbeddedRedis(tmp_path) as server:
        settings = lab.settings(redis_url=server.url)
        worker = lab.worker(settings)
        async with lab.sender(settings) as sender, running(worker) as task:
            await eventually(lambda: is_ready(worker), watch=task)
            await sender.send(tick("IBM", "190", NOON))
            await all_in(worker, 1, task)
            before = await lab.snapshots(settings)
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)

            async def filled() -> bool:
                async with redis_client(settings) as client:
                    prices = await client.hgetall(f"{settings.redis_prefix}prices")
                return set(await lab.snapshots(settings)) == set(before) and b"IBM" in prices

            await eventually(filled, within_s=6, watch=task)


async def test_a_worker_is_not_ready_before_it_has_published(lab: Lab) -> None:
    """`/readyz` is for those who route readers: while Redis answers nothing there is no level to be read."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    worker = lab.worker(lab.settings(redis_url=f"redis://127.0.0.1:{port}/0"))
    ready_without_level = []

    def watched() -> bool:
        if not worker.not_ready():
            ready_without_level.append(worker.publisher)
        return worker.publisher is not None and worker.publisher.failing

    async with server, running(worker) as task:
        await eventually(watched, watch=task)
        assert worker.not_ready()
    assert not ready_without_level


# ---- 5. restart ----------------------------------------------------------------------------------


async def test_a_restarted_worker_goes_on_where_the_last_one_stopped(lab: Lab, tape: Path) -> None:
    """Law 4: no tick is read twice, identical levels, a higher epoch, seq from 1; commits follow for tools that show lag."""
    rows = read_rows(tape)
    settings = lab.settings(partitions=3)
    await replay(settings, tape, speed=None, format="frame", frame_size=50)
    lives, accounts, offsets = [], [], {}
    for ticks in (len(rows), 0):
        worker = lab.worker(settings)
        async with running(worker) as task:
            await eventually(partial(is_ready, worker), watch=task)
            await all_in(worker, ticks, task)
            lives.append(await lab.snapshots(settings))
        accounts.append(worker.intake.account.ticks)
        offsets = {p: book.offset for p, book in worker.intake.books.items()}

    first, second = lives
    assert accounts == [len(rows), 0]
    assert level_and_value(first) == level_and_value(second) == levels_of(last_prices(rows)[0])
    assert all(second[code]["epoch"] > first[code]["epoch"] for code in first)
    assert {one["seq"] for one in second.values()} == {1}
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_url)
    await admin.start()
    try:
        committed = await admin.list_consumer_group_offsets(settings.group)
    finally:
        await admin.close()
    assert {tp.partition: one.offset for tp, one in committed.items()} == offsets


@pytest.mark.parametrize("publish_backlog", [False, True])
async def test_a_backlog_is_published_while_it_is_read_only_if_asked_for(
    lab: Lab, full_tape: Path, *, publish_backlog: bool
) -> None:
    """Levels of this morning are not news: the first one shown is the newest."""
    rows = read_rows(full_tape)
    settings = lab.settings(publish_backlog=publish_backlog, cadence_ms=0)
    await replay(settings, full_tape, speed=None)
    worker = lab.worker(settings)
    async with running(worker) as task:
        await all_in(worker, len(rows), task)
        async with redis_client(settings) as client:
            shown = await client.xrange(f"{settings.redis_prefix}stream:US1000")

    values = [told(entry[b"data"])["market_value"] for _, entry in shown]
    expected = levels_of(last_prices(rows)[0])["US1000"][1]
    assert values[-1] == expected
    assert (len(values) > 1) == publish_backlog


async def test_the_epoch_grows_also_where_redis_forgot_it(lab: Lab) -> None:
    """Law 6: the claim's offset in Kafka outlives Redis."""
    settings = lab.settings()
    epochs = []
    for _ in range(2):
        worker = lab.worker(settings)
        async with running(worker) as task:
            await eventually(partial(is_ready, worker), watch=task)
            epochs.append((await lab.snapshots(settings))["US1000"]["epoch"])
        async with redis_client(settings) as client:
            await client.delete(
                *[key async for key in client.scan_iter(match=f"{settings.redis_prefix}*")]
            )
    assert epochs[1] > epochs[0]


async def fence(settings: Settings, epoch: int) -> None:
    """Do to Redis what a publisher of this epoch does first."""
    async with redis_client(settings) as client:
        await client.set(f"{settings.redis_prefix}epoch", epoch)


async def test_a_lone_worker_that_was_taken_over_from_resigns_and_claims_anew(lab: Lab) -> None:
    """Law 6: its heartbeat tells it, while nothing is traded; its partitions are its own, so screens do not stay dark."""
    settings = lab.settings()
    worker = lab.worker(settings)
    async with running(worker) as task:
        await eventually(lambda: is_ready(worker), watch=task)
        before = await lab.snapshots(settings)
        worker.settings = replace(settings, session_timeout_s=1.0)
        await fence(settings, 10**4)
        await eventually(lambda: worker.publisher is None, within_s=5, watch=task)
        assert await lab.snapshots(settings) == before
        await eventually(lambda: is_ready(worker) and worker.idle, watch=task)
        after = await lab.snapshots(settings)

    assert level_and_value(after) == levels_of(REFERENCE)
    (epoch,) = {one["epoch"] for one in after.values()}
    assert epoch > 10**4


async def test_one_of_many_that_was_taken_over_from_resigns(lab: Lab) -> None:
    """Law 6: it became the publisher while it ran; fenced, it publishes nothing, and claims anew if the role is its own."""
    settings = lab.settings(partials="topic", partitions=2)
    one, two = lab.worker(settings), lab.worker(settings)
    async with lab.sender(settings) as sender, AsyncExitStack() as first, running(two) as second:
        await first.enter_async_context(running(one))
        await eventually(
            lambda: (
                len(one.intake.books) == len(two.intake.books) == 1
                and (is_ready(one) or is_ready(two))
            ),
            watch=second,
        )
        await first.aclose()
        await eventually(lambda: is_ready(two), watch=second)
        before = await lab.snapshots(settings)
        # Where Kafka says for a while that the role is still its own, it waits twice this long.
        two.settings = replace(two.settings, session_timeout_s=1.0)
        await fence(settings, 10**4)
        await sender.send(tick("AIG", "50", NOON))
        await eventually(lambda: two.publisher is None, watch=second)
        assert await lab.snapshots(settings) == before
        await eventually(lambda: is_ready(two) and two.idle, watch=second)
        after = await lab.snapshots(settings)

    assert level_and_value(after) == levels_of({**REFERENCE, "AIG": 500_000})
    (epoch,) = {one["epoch"] for one in after.values()}
    assert epoch > 10**4


# ---- 6. bad input --------------------------------------------------------------------------------

FAR_AHEAD = 2**63 - 1
GOOD = tick("AIG", "49", NOON)
MALFORMED, UNKNOWN, FUTURE = "malformed", "unknown_symbol", "future"

#: Value, then the reason of each tick in it: `applied`, or why it is refused, with its position in an array or frame.
BAD_INPUT: list[tuple[str, bytes | None, list[str]]] = [
    ("cut JSON", b'{"symbol":"AIG","price":49', [MALFORMED]),
    ("a valid message between broken ones", GOOD, ["applied"]),
    ("price as text", tick("AIG", '"49"', NOON), [MALFORMED]),
    ("ts as a fraction", tick("AIG", "49", NOON).replace(b"000000}", b"0.5}"), [MALFORMED]),
    ("no price", b'{"symbol":"AIG","ts":%d}' % NOON, [MALFORMED]),
    ("NaN", tick("AIG", "NaN", NOON), [MALFORMED]),
    ("Infinity", tick("AIG", "Infinity", NOON), [MALFORMED]),
    ("minus Infinity", tick("AIG", "-Infinity", NOON), [MALFORMED]),
    ("zero", tick("AIG", "0", NOON), [MALFORMED]),
    ("rounds to zero", tick("AIG", "0.00005", NOON), [MALFORMED]),
    ("negative", tick("AIG", "-49", NOON), [MALFORMED]),
    ("nine times the bound price", tick("AIG", "436.51", NOON), ["out_of_bounds"]),
    ("unknown symbol", tick("ZZZZ", "1", NOON), [UNKNOWN]),
    ("symbol too long", tick("ABCDEFGHI", "1", NOON), [MALFORMED]),
    ("empty symbol", tick("", "1", NOON), [MALFORMED]),
    ("negative size", tick("AIG", "49", NOON, size=-1), [MALFORMED]),
    ("unknown kind", tick("AIG", "49", NOON, kind="gossip"), [MALFORMED]),
    ("year 2100", tick("AIG", "49", 4_102_444_800 * 1_000 * MS), [FUTURE]),
    ("before 1990", tick("AIG", "49", 631_151_999_999_999_999), [MALFORMED]),
    ("beyond 63 bits", tick("AIG", "49", 2**63), [MALFORMED]),
    ("not UTF-8", b'{"symbol":"A\xff","price":1,"ts":1}', [MALFORMED]),
    ("deep nesting", b"[" * 50_000, [MALFORMED]),
    ("JSON of another kind", b"[1,null]", [MALFORMED, MALFORMED]),
    ("empty array", b"[]", []),
    (
        "array with bad elements",
        b"["
        + b",".join(
            [
                tick("AIG", "49.01", NOON + 1),
                tick("AIG", "-1", NOON + 1),
                tick("NOPE", "1", NOON),
                b"5",
            ]
        )
        + b"]",
        ["applied", MALFORMED, UNKNOWN, MALFORMED],
    ),
    ("frame", frame(("AIG", NOON + 2, 490_200)), ["applied"]),
    ("frame cut", frame(("AIG", NOON + 2, 490_200))[:-1], [MALFORMED]),
    ("frame header cut", b"TICK\x01", [MALFORMED]),
    ("frame with more than it says", frame(("AIG", NOON + 2, 490_200)) + b"\0", [MALFORMED]),
    ("frame with less than it says", frame(("AIG", NOON, 1), count=2**32 - 1), [MALFORMED]),
    ("frame of version 2", frame(("AIG", NOON + 2, 490_200), version=2), [MALFORMED]),
    (
        "frame with bad records",
        frame(("AIG", NOON + 3, 490_300), ("AIG", NOON, 0), ("NOPE", NOON, 1), ("AIG", 5, 1)),
        ["applied", MALFORMED, UNKNOWN, MALFORMED],
    ),
    ("wrong magic", b"TOCK" + frame(("AIG", NOON, 1))[4:], [MALFORMED]),
    ("control record of no kind", b"CTRL{}", [MALFORMED]),
    ("900 KB", b"x" * 900_000, [MALFORMED]),
    ("empty message", b"", [MALFORMED]),
    ("tombstone", None, [MALFORMED]),
    ("the last good one", tick("AIG", "49.05", NOON + 5), ["applied"]),
]


async def test_bad_input_is_accounted_for_and_kept(lab: Lab) -> None:
    """Law 9: each tick counts once, the good ones count, and dead letters carry reason, origin and bytes."""
    settings = lab.settings()
    worker = lab.worker(settings)
    offsets: list[int] = []
    now_ahead = tick("AIG", "49", time.time_ns() + 3_600_000 * MS)
    inputs = [*BAD_INPUT[:-1], ("an hour ahead", now_ahead, [FUTURE]), BAD_INPUT[-1]]
    expected = Counter(reason for _, _, reasons in inputs for reason in reasons)
    dead_reasons = (MALFORMED, UNKNOWN, FUTURE)

    async with lab.sender(settings) as sender, running(worker) as task:
        await eventually(lambda: is_ready(worker), watch=task)
        for name, value, _ in inputs:
            offsets.append(await sender.send(value, key=name.encode()))
        await eventually(
            lambda: worker.intake.books[0].offset == offsets[-1] + 1 and worker.idle, watch=task
        )
        n_dead = sum(expected[reason] for reason in dead_reasons)
        letters: list[Any] = []

        async def all_written() -> bool:
            letters[:] = await lab.read_topic(settings.dead_letters_topic)
            return len(letters) >= n_dead

        await eventually(lambda: not len(worker.dead_letters), watch=task)
        with contextlib.suppress(pytest.fail.Exception):  # what is missing is shown below
            await eventually(all_written, within_s=5, watch=task)
        snapshot = (await lab.snapshots(settings))["US1000"]

    account = worker.intake.account
    assert account.applied == expected.pop("applied")
    assert {reason: n for reason, n in account.refused.items() if n} == dict(expected)
    assert account.applied + sum(account.refused.values()) == account.ticks
    assert snapshot["market_value"] == levels_of({**REFERENCE, "AIG": 490_500})["US1000"][1]

    found: Counter[tuple[str, str]] = Counter()
    by_offset = dict(zip(offsets, inputs, strict=True))
    for letter in letters:
        headers = {key: text.decode() for key, text in letter.headers}
        name, value, reasons = by_offset[int(headers["offset"])]
        body = value or b""
        found[(name, headers["reason"])] += 1
        assert letter.key == name.encode()
        assert letter.value == body[: 64 * 1024]
        assert (headers["topic"], headers["partition"]) == (settings.ticks_topic, "0")
        assert {"reason", "detail", "index"} <= set(headers)
        if len(body) > 64 * 1024:
            assert headers["sha256"] == hashlib.sha256(body).hexdigest()
        if len(reasons) > 1:
            assert reasons[int(headers["index"])] == headers["reason"]
        if headers["reason"] == MALFORMED:
            assert headers["detail"]
    assert found == Counter(
        (name, reason)
        for name, _, reasons in inputs
        for reason in reasons
        if reason in dead_reasons
    )


def has_obeyed(worker: Worker, kind: type) -> bool:
    """Tell whether every book has come past the newest control record of a kind."""
    records = worker.control.writer.records if worker.control is not None else []
    newest = max((one.number for one in records if isinstance(one, kind)), default=None)
    return newest is not None and all(
        book.control >= newest for book in worker.intake.books.values()
    )


async def test_a_symbol_on_two_partitions_holds_its_indexes(lab: Lab) -> None:
    """Law 7: held in the snapshot, not ready by name, and further ticks refused with dead letters."""
    settings = lab.settings(partitions=2)
    worker = lab.worker(settings)
    metrics = WorkerMetrics()
    metrics.watch(worker)
    async with (
        lab.sender(settings) as sender,
        running(worker) as task,
        HealthServer(worker, metrics.registry, host="127.0.0.1", port=0) as server,
        aiohttp.ClientSession() as web,
    ):
        await eventually(lambda: is_ready(worker), watch=task)
        await sender.send(tick("AIG", "50", NOON), partition=0)
        await all_in(worker, 1, task)
        before = await lab.snapshots(settings)
        await sender.send(tick("AIG", "60", NOON + MS), partition=1)
        await all_in(worker, 2, task)

        async def held() -> bool:
            return doubt_of((await lab.snapshots(settings))["US1000"]) == "held"

        await eventually(held, watch=task)
        # The control writer says so in the log, and from there on its ticks are refused.
        await eventually(partial(has_obeyed, worker, Contested), watch=task)
        for partition in (0, 1):
            await sender.send(tick("AIG", "70", NOON + 2 * MS), partition=partition)
        await sender.send(tick("IBM", "190", NOON), key=b"IBM", partition=1)
        await all_in(worker, 5, task)
        after = await lab.snapshots(settings)
        async with web.get(f"{server.url}/readyz") as ready:
            status, text = ready.status, await ready.text()
        await eventually(lambda: not len(worker.dead_letters), watch=task)

        async def buried() -> list[Any]:
            letters = await lab.read_topic(settings.dead_letters_topic)
            return letters if len(letters) >= 2 else []

        letters = await eventually(buried, within_s=5, watch=task)

    assert {code for code in after if after[code]["status"] == "held"} >= {
        "US1000",
        "US3000",
        "US1000-FINANCIALS",
    }
    for code in ("US1000", "US1000-FINANCIALS"):
        assert after[code]["level"] == before[code]["level"]
    technology = after["US1000-TECHNOLOGY"]
    assert technology["status"] != "held"
    assert technology["level"] == levels_of({**REFERENCE, "IBM": 1_900_000})[technology["code"]][0]
    assert status == 503
    assert "AIG" in text
    assert worker.intake.account.refused["wrong_partition"] == 2
    assert [dict(letter.headers)["reason"] for letter in letters] == [b"wrong_partition"] * 2


@pytest.mark.parametrize("as_frame", [False, True])
async def test_the_latest_time_that_the_contract_allows_costs_only_itself(
    lab: Lab, *, as_frame: bool
) -> None:
    """Laws 3 and 9: the wire takes a `ts` up to 2^63 - 1; such a tick is refused as future, its neighbours count."""
    settings = lab.settings()
    worker = lab.worker(settings)
    bad = frame(("AIG", FAR_AHEAD, 490_000)) if as_frame else tick("AIG", "49", FAR_AHEAD)
    good = [tick("IBM", "190", NOON + i) for i in range(10)]
    async with lab.sender(settings) as sender, running(worker) as task:
        await eventually(lambda: is_ready(worker), watch=task)
        await sender.send_batches([*good[:5], bad, *good[5:]], [11])
        await eventually(lambda: worker.intake.account.ticks == 11, within_s=8, watch=task)

    assert worker.intake.account.applied == 10
    assert worker.intake.account.refused["future"] == 1


async def test_an_absurd_time_costs_no_more_than_any_other(lab: Lab) -> None:
    """One bad clock must not hold up everybody: a tick of the year 2250 takes no second of the loop."""
    settings = lab.settings()
    worker = lab.worker(settings)
    async with lab.sender(settings) as sender, running(worker) as task:
        await eventually(lambda: is_ready(worker), watch=task)
        spent = time.process_time()
        await sender.send(tick("AIG", "49", 2**63 - 1 - 13 * 366 * 86_400 * 1_000 * MS))
        await all_in(worker, 1, task)
        spent = time.process_time() - spent
    assert worker.intake.account.refused["future"] == 1
    assert spent < 0.3


async def test_an_error_while_a_fetch_is_applied_loses_no_tick_silently(lab: Lab) -> None:
    """Laws 4 and 9: either the worker ends with the error, or the ticks of that fetch are read again."""
    settings = lab.settings()
    calls = []

    def fail_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("a fault of ours")

    worker = lab.worker(settings, observe_batch=fail_once)
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        async with lab.sender(settings) as sender:
            await eventually(lambda: is_ready(worker), watch=task)
            await sender.send(tick("IBM", "190", NOON))
            await eventually(lambda: calls or task.done())
            await sender.send(tick("AIG", "49", NOON))
            await eventually(lambda: task.done() or worker.intake.account.ticks >= 1)
            if not task.done():
                await eventually(
                    lambda: task.done() or worker.intake.account.ticks == 2, within_s=5
                )
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)


# ---- 8. HTTP -------------------------------------------------------------------------------------


async def test_metrics_agree_with_the_snapshots_and_the_account(lab: Lab, tape: Path) -> None:
    """What Prometheus reads parses, adds up, and shows the published levels."""
    rows = read_rows(tape)
    settings = lab.settings(partitions=2)
    metrics = WorkerMetrics()
    worker = lab.worker(settings, observe_delay=metrics.publication_delay.observe)
    async with (
        HealthServer(worker, metrics.registry, host="127.0.0.1", port=0) as server,
        aiohttp.ClientSession() as web,
    ):

        async def get(path: str) -> tuple[int, str]:
            async with web.get(server.url + path) as answer:
                return answer.status, await answer.text()

        assert (await get("/readyz"))[0] == 503
        metrics.watch(worker)
        assert (await get("/livez"))[0] == 200
        async with running(worker) as task:
            await replay(settings, tape, speed=None)
            await all_in(worker, len(rows), task)
            await eventually(lambda: is_ready(worker), watch=task)
            assert (await get("/readyz"))[0] == 200
            assert (await get("/livez"))[0] == 200
            _, text = await get("/metrics")
            snapshots = await lab.snapshots(settings)

    families = {family.name: family for family in text_string_to_metric_families(text)}
    values: dict[str, dict[tuple[str, ...], float]] = {}
    for family in families.values():
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                continue
            values.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    _, applied = last_prices(rows)
    assert values["capstream_ticks_total"][()] == len(rows)
    assert values["capstream_ticks_applied_total"][()] == applied
    assert sum(values["capstream_ticks_refused_total"].values()) == len(rows) - applied
    assert values["capstream_recompute_drift"][()] == 0
    assert sum(values["capstream_lag_records"].values()) == 0
    for code, one in snapshots.items():
        assert values["capstream_level"][(code,)] == float(one["level"])
        assert values["capstream_epoch"][()] == one["epoch"]
    for name in ("capstream_publication_delay_seconds", "capstream_tick_age_seconds"):
        buckets = [s for s in families[name].samples if s.name.endswith("_bucket")]
        bounds = [float(s.labels["le"]) for s in buckets]
        counts = [s.value for s in buckets]
        assert bounds == sorted(bounds)
        assert counts == sorted(counts)
        assert counts[-1] == values[f"{name}_count"][()] > 0
    for family in families.values():
        assert family.name.startswith("capstream_")
        if family.type == "counter":
            assert all(s.name.endswith("_total") for s in family.samples)
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


async def test_a_port_in_use_is_one_line(lab: Lab) -> None:
    """The line names the address and the option that mends it."""
    worker = lab.worker(lab.settings())
    registry = WorkerMetrics().registry
    async with HealthServer(worker, registry, host="127.0.0.1", port=0) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(ServiceError, match=rf"127\.0\.0\.1:{port}.*--metrics-port") as error:
            async with HealthServer(worker, registry, host="127.0.0.1", port=port):
                pass
        assert "\n" not in str(error.value)
    await worker._sink.close()
