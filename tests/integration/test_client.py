"""The reference client on a real Redis: both forms of it, against the real sink, through everything that goes wrong."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from integration.conftest import eventually
from integration.followers import (
    Following,
    Form,
    HalfOpenProxy,
    Publisher,
    following,
    is_back,
    new_publisher,
    publishing,
)
from stream.client import AsyncLevels, How, Levels, Lost, Reconnected, Update
from stream.errors import ServiceError
from stream.services import EmbeddedRedis

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
CODES = ("US1000", "US2000")
#: What Redis had before.
DEFAULT_LIMITS = "pubsub 33554432 8388608 60"


async def joined(follower: Following, *, seq: int, epoch: int = 1) -> None:
    await eventually(lambda: follower.last() == (epoch, seq), within_s=20)


def until(epoch: int, last: int) -> list[tuple[int, int]]:
    return [(epoch, seq) for seq in range(1, last + 1)]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedRedis(tmp_path_factory.mktemp("client-redis")) as server:
        yield server.url


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """Give a Redis that a test may stop, or fill under the names that everyone uses."""
    with EmbeddedRedis(tmp_path / "redis") as server:
        yield server


both = pytest.mark.parametrize("form", ["sync", "asyncio"])


# ---- following -----------------------------------------------------------------------------------


@both
async def test_a_late_joiner_begins_with_the_snapshot_and_goes_on_live(
    form: Form, url: str
) -> None:
    """The newest of each index, then every publication, each once, to the last digit."""
    async with publishing(url) as publisher:
        for _ in range(5):
            await publisher.publish(*CODES)
        with following(form, url, publisher) as follower:
            await joined(follower, seq=5)
            for _ in range(100):
                await publisher.publish(*CODES)
            await joined(follower, seq=105)
            await eventually(lambda: follower.last("US2000") == (1, 105))

    for code in CODES:
        first, *others = follower.of(code)
        assert (first.key, first.how, first.missed) == ((1, 5), How.SNAPSHOT, 0)
        assert [u.key for u in others] == until(1, 105)[5:]
        assert {u.how for u in others} == {How.LIVE}
    assert str(follower.of("US1000")[-1].level) == "1000.00000105"
    assert follower.statuses == []


@both
async def test_an_index_that_comes_later_is_followed_too(form: Form, url: str) -> None:
    """Without a value when the follower joined, the first publication is the first update."""
    async with publishing(url) as publisher:
        with following(form, url, publisher) as follower:
            await publisher.publish("US2000")
            await eventually(partial(follower.of, "US2000"))
            await publisher.publish(*CODES)
            await joined(follower, seq=1)

    assert [(u.key, u.how, u.missed) for u in follower.of("US1000")] == [((1, 1), How.LIVE, 0)]


@both
async def test_others_are_passed_over(form: Form, url: str) -> None:
    """Who asked for one index is given that one alone, each publication of it."""
    async with publishing(url) as publisher:
        await publisher.publish(*CODES)
        with following(form, url, publisher, codes=["US2000"]) as follower:
            await eventually(partial(follower.of, "US2000"))
            for _ in range(10):
                await publisher.publish(*CODES)
            await eventually(lambda: follower.last("US2000") == (1, 11))

    assert follower.keys("US2000") == until(1, 11)
    assert follower.keys("US1000") == []


@both
async def test_packed_publications_come_like_all_others(form: Form, url: str) -> None:
    """On the one channel nothing is missing; on a code's own channel, what was packed is counted."""
    async with publishing(url) as publisher:
        await publisher.publish(*CODES)
        with (
            following(form, url, publisher, codes=["US1000"]) as full,
            following(form, url, publisher, codes=["US1000"], thin=True) as thin,
        ):
            await joined(full, seq=1)
            await joined(thin, seq=1)
            for number in range(2, 12):
                await publisher.publish(*CODES, packed=number != 11)
            await joined(full, seq=11)
            await joined(thin, seq=11)

    assert full.keys() == until(1, 11)
    assert [(u.key, u.missed) for u in thin.updates] == [((1, 1), 0), ((1, 11), 9)]


@both
async def test_who_joins_late_finds_packed_values(form: Form, url: str) -> None:
    """The hash of packed publications counts like the keys, whichever is newer."""
    async with publishing(url) as publisher:
        await publisher.publish("US1000", packed=True)
        await publisher.publish("US1000")
        await publisher.publish("US2000")
        await publisher.publish("US2000", packed=True)
        with (
            following(form, url, publisher) as every,
            following(form, url, publisher, codes=CODES) as named,
        ):
            for follower in (every, named):
                await joined(follower, seq=2)
                await eventually(partial(follower.of, "US2000"))

    for follower in (every, named):
        assert sorted((u.code, u.key) for u in follower.updates) == [(c, (1, 2)) for c in CODES]


async def test_the_newest_can_be_read_once(url: str) -> None:
    """Both forms give the newest of each index, or of those that were asked for."""
    async with publishing(url) as publisher:
        for _ in range(3):
            await publisher.publish(*CODES)
        prefix = publisher.names.prefix
        plain = await asyncio.to_thread(Levels(url, prefix=prefix).newest)
        some = await AsyncLevels(url, prefix=prefix, codes=["US2000", "NONE"]).newest()

    assert {code: u.key for code, u in plain.items()} == {"US1000": (1, 3), "US2000": (1, 3)}
    assert {code: str(u.level) for code, u in some.items()} == {"US2000": "1000.00000003"}


async def test_who_is_given_time_gets_nothing_where_nothing_comes(url: str) -> None:
    """`get` ends in time, with None, and what comes later is not lost."""
    async with (
        publishing(url) as publisher,
        AsyncLevels(url, prefix=publisher.names.prefix) as levels,
    ):
        began = time.monotonic()
        nothing = [await levels.get(timeout_s=0.1) for _ in range(5)]
        took = time.monotonic() - began
        await publisher.publish("US1000")
        update = await levels.get(timeout_s=10)

    assert nothing == [None] * 5
    assert 0.4 < took < 5
    assert isinstance(update, Update)


async def test_a_cancelled_taker_loses_nothing(url: str) -> None:
    """Whoever breaks off waiting again and again is given every publication all the same."""
    async with publishing(url) as publisher:
        await publisher.publish("US1000")

        async def publish() -> None:
            for _ in range(200):
                # Large, so that waiting is broken off in the middle of a message, too.
                await publisher.publish("US1000", padding=200_000)
                await asyncio.sleep(random.uniform(0, 0.01))

        keys: list[tuple[int, int]] = []
        async with AsyncLevels(url, prefix=publisher.names.prefix) as levels:
            first = await anext(levels)
            task = asyncio.create_task(publish())
            deadline = time.monotonic() + 40
            broken_off = 0
            while keys[-1:] != [(1, 201)]:
                assert time.monotonic() < deadline
                try:
                    async with asyncio.timeout(random.uniform(0, 0.003)):
                        keys.append((await anext(levels)).key)
                except TimeoutError:
                    broken_off += 1
            await task

    assert first.key == (1, 1)
    assert keys == until(1, 201)[1:]
    assert broken_off > 20
    assert levels.counts.losses == 0


# ---- what goes wrong -----------------------------------------------------------------------------


@both
async def test_a_gap_is_filled_from_the_stream(form: Form, url: str) -> None:
    """Connections are cut again and again while publications go on: every one is delivered, once, in order."""
    async with publishing(url) as publisher:
        await publisher.publish(*CODES)
        with following(form, url, publisher) as follower:
            await joined(follower, seq=1)
            for number in range(1, 401):
                if number % 100 == 50:
                    await eventually(publisher.subscribers)
                    follower.pause()
                    await publisher.cut()
                if number % 100 == 60:
                    follower.resume()
                await publisher.publish(*CODES)
            await joined(follower, seq=401)
            await eventually(lambda: follower.last("US2000") == (1, 401))
            await eventually(lambda: is_back(follower))

    for code in CODES:
        assert follower.keys(code) == until(1, 401)
        assert sum(u.missed for u in follower.of(code)) == 0
    assert follower.levels.counts.losses >= 4
    assert follower.levels.counts.filled >= 4 * 8
    assert [type(s) for s in follower.statuses[:2]] == [Lost, Reconnected]


@both
async def test_what_the_stream_has_lost_is_counted(form: Form, url: str) -> None:
    """Of a gap of fifty, the stream holds the last ten: they come, and forty are missed."""
    async with publishing(url) as publisher:
        await publisher.publish("US1000")
        with following(form, url, publisher) as follower:
            await joined(follower, seq=1)
            follower.pause()
            await publisher.cut()
            for _ in range(50):
                await publisher.publish("US1000")
            await publisher.admin.xtrim(
                publisher.names.stream("US1000"), maxlen=10, approximate=False
            )
            before = follower.keys()
            follower.resume()
            await joined(follower, seq=51)

    assert before == [(1, 1)]
    assert [(u.key, u.missed) for u in follower.updates[1:]] == [
        ((1, 42), 40),
        *(((1, seq), 0) for seq in range(43, 52)),
    ]
    assert follower.updates[-1].how is How.SNAPSHOT


@both
async def test_a_redis_that_comes_back_empty_is_followed_again(
    form: Form, fresh: EmbeddedRedis
) -> None:
    """The outage is told and waited out, and the numbers of the publisher's next values say what is gone."""
    async with publishing(fresh.url) as publisher:
        await publisher.publish("US1000")
        with following(form, fresh.url, publisher) as follower:
            await joined(follower, seq=1)
            fresh.stop()
            await eventually(lambda: follower.statuses)
            fresh.start()
            await publisher.reconnect()
            publisher.seq["US1000"] += 4  # tried in vain meanwhile
            await publisher.publish("US1000")
            await joined(follower, seq=6)
            await eventually(lambda: is_back(follower))
            publisher.start_again()
            await publisher.publish("US1000")
            await joined(follower, seq=1, epoch=2)

    assert [(u.key, u.missed) for u in follower.updates] == [((1, 1), 0), ((1, 6), 4), ((2, 1), 0)]
    assert [type(s) for s in follower.statuses] == [Lost, Reconnected]


@both
async def test_a_connection_on_which_nothing_comes_is_made_anew(form: Form, url: str) -> None:
    """A half-open socket has no error to show: silence of the heartbeat is one, and nothing is missed by it."""
    async with publishing(url) as publisher:
        await publisher.publish("US1000")
        proxy = HalfOpenProxy(url)
        async with proxy.running() as proxied:
            with following(form, proxied, publisher, silence_s=1.0) as follower:
                await joined(follower, seq=1)
                proxy.swallow()
                before = proxy.connections
                for _ in range(20):
                    await publisher.publish("US1000")
                await joined(follower, seq=21)
                await eventually(lambda: is_back(follower))
                assert proxy.connections > before

    assert follower.keys() == until(1, 21)
    assert sum(u.missed for u in follower.updates) == 0
    lost = follower.statuses[0]
    assert isinstance(lost, Lost)
    assert "no heartbeat for 1 s" in lost.reason
    assert 1.0 <= lost.silent_s < 5.0


@both
async def test_a_redis_that_accepts_and_says_nothing_is_tried_again(form: Form, url: str) -> None:
    """A connection on which not even the greeting is answered is no connection."""
    async with publishing(url) as publisher:
        await publisher.publish("US1000")
        proxy = HalfOpenProxy(url)
        proxy.deaf = True
        async with proxy.running() as proxied:
            with following(form, proxied, publisher, silence_s=0.5) as follower:
                await eventually(lambda: follower.levels.counts.losses >= 2)
                proxy.deaf = False
                await joined(follower, seq=1)
                await eventually(lambda: is_back(follower))

    assert [type(status) for status in follower.statuses] == [Lost, Reconnected]


@both
async def test_a_publisher_that_falls_silent_is_told(form: Form, url: str) -> None:
    """With Redis in the best of health: levels grow old all the same, until there is a publisher again."""
    publisher = new_publisher(url)
    await publisher.publish("US1000")
    with following(form, url, publisher, silence_s=0.5) as follower:
        await eventually(lambda: follower.levels.counts.losses >= 3)
        before = follower.statuses
        beating = asyncio.create_task(publisher.beat())
        await eventually(lambda: is_back(follower))
        beating.cancel()
    await publisher.close()

    assert [type(status) for status in before] == [Lost]
    assert follower.keys() == [(1, 1)]
    back = follower.statuses[-1]
    assert isinstance(back, Reconnected)
    assert back.attempts >= 3
    assert back.silent_s >= 3 * 0.5


@both
async def test_a_slow_subscriber_is_cut_off_and_comes_back(form: Form, url: str) -> None:
    """Redis closes the connection of whoever lets too much gather; he finds the newest, and knows what he missed."""
    async with publishing(url) as publisher:
        await publisher.publish("US1000")
        with following(form, url, publisher, backlog=20) as follower:
            await joined(follower, seq=1)
            await publisher.admin.config_set("client-output-buffer-limit", "pubsub 100kb 0 0")
            try:
                follower.pause()
                sent = 1
                while await publisher.subscribers():
                    assert sent < 1_000
                    await publisher.publish("US1000", padding=100_000)
                    sent += 1
            finally:
                await publisher.admin.config_set("client-output-buffer-limit", DEFAULT_LIMITS)
            for _ in range(100):
                await publisher.publish("US1000")
            follower.resume()
            await joined(follower, seq=sent + 100)
            await eventually(lambda: is_back(follower))
            await publisher.publish("US1000")
            await joined(follower, seq=sent + 101)

    updates = follower.updates
    assert all(a.key < b.key for a, b in pairwise(updates))
    assert len(updates) + sum(u.missed + u.conflated for u in updates) == sent + 101
    assert sum(u.missed for u in updates) >= 100 - 20
    assert follower.levels.counts.losses == 1


@both
async def test_a_slow_taker_finds_the_newest(form: Form, url: str) -> None:
    """What came while he was busy is kept up to the backlog; beyond it, the newest of each code and a count."""
    async with publishing(url) as publisher:
        await publisher.publish(*CODES)
        with following(form, url, publisher, backlog=10) as follower:
            await joined(follower, seq=1)
            follower.pause()
            for _ in range(200):
                await publisher.publish(*CODES)
            follower.resume()
            await joined(follower, seq=201)
            await eventually(lambda: follower.last("US2000") == (1, 201))

    for code in CODES:
        updates = follower.of(code)
        assert sum(u.missed for u in updates) == 0
        assert len(updates) + sum(u.conflated for u in updates) == 201
        assert len(updates) <= 25
    assert follower.statuses == []


@both
async def test_malformed_messages_do_not_stop_a_follower(
    form: Form, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They are counted and logged, and the next good one comes."""
    async with publishing(url) as publisher:
        names = publisher.names
        await publisher.admin.set(names.snap("US3000"), "?")
        await publisher.publish("US1000")
        with following(form, url, publisher) as follower:
            await joined(follower, seq=1)
            for bad in ("", "[", "{}", '[{"code":"US1000","epoch":1,"seq":"2"}]', "\x00"):
                await publisher.admin.publish(names.levels, bad)
            await publisher.publish("US1000")
            await joined(follower, seq=2)

    assert follower.keys() == until(1, 2)
    assert follower.levels.counts.malformed == 6
    assert caplog.text.count("message_malformed") == 6
    assert follower.statuses == []


# ---- what does not pass --------------------------------------------------------------------------


async def test_where_there_is_no_redis_it_gives_up_when_told_to(fresh: EmbeddedRedis) -> None:
    """Both forms raise after the time that was given, and name the place, but not the password."""
    fresh.stop()
    url = fresh.url.replace("//", "//:secret@")
    began = time.monotonic()
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:\d+: nothing heard for") as plain:
        await asyncio.to_thread(next, Levels(url, give_up_s=0.5))
    with pytest.raises(ServiceError, match="nothing heard for") as aio:
        await anext(AsyncLevels(url, give_up_s=0.5))
    took = time.monotonic() - began
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:\d+: Error 111 connecting"):
        await AsyncLevels(url).newest()
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:\d+: Error 111 connecting"):
        Levels(url).newest()

    assert 1.0 <= took < 5.0
    assert "secret" not in str(plain.value) + str(aio.value)


async def test_what_redis_refuses_is_not_tried_for_ever(fresh: EmbeddedRedis) -> None:
    """A wrong password, and a user who may not: an error at once; with the rights that the page names, all goes well."""
    async with publishing(fresh.url) as publisher:
        await publisher.publish("US1000")
        prefix = publisher.names.prefix
        rights = re.search(
            r"^ACL SETUSER (\S+) (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
        )
        assert rights is not None
        name, rules = rights[1], rights[2].replace("idx:v1:", prefix).split()
        rules = [">right" if rule.startswith(">") else rule for rule in rules]
        await publisher.admin.execute_command("ACL", "SETUSER", name, *rules)
        await publisher.admin.execute_command("ACL", "SETUSER", "deaf", *rules, "-subscribe")
        await publisher.admin.execute_command("ACL", "SETUSER", "blind", *rules, "-xrevrange")

        def address(user: str, password: str) -> str:
            return fresh.url.replace("//", f"//{user}:{password}@")

        for user, password in ((name, "wrong"), ("deaf", "right")):
            with pytest.raises(ServiceError, match="refuses"):
                await anext(AsyncLevels(address(user, password), prefix=prefix))
            with pytest.raises(ServiceError, match="refuses"):
                await asyncio.to_thread(next, Levels(address(user, password), prefix=prefix))
        with following("sync", address(name, "right"), publisher) as follower:
            await joined(follower, seq=1)
            follower.pause()
            await publisher.cut()
            await publisher.publish("US1000")
            await publisher.publish("US1000")
            follower.resume()
            await joined(follower, seq=3)
        with pytest.raises(ServiceError, match="refuses"):
            await fill_in_vain(address("blind", "right"), publisher)

    assert follower.keys() == until(1, 3)


async def fill_in_vain(url: str, publisher: Publisher) -> None:
    async with AsyncLevels(url, prefix=publisher.names.prefix) as levels:
        await anext(levels)
        publisher.seq["US1000"] += 1
        await publisher.publish("US1000")
        await anext(levels)


# ---- the page ------------------------------------------------------------------------------------


def examples() -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


@contextmanager
def running(source: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    path = folder / "example.py"
    path.write_text(source, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-u", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", range(len(examples())))
async def test_the_examples_of_the_page_run(
    number: int, fresh: EmbeddedRedis, tmp_path: Path
) -> None:
    """Each, as it stands but for the port, prints the level that was published, or ends by itself without an error."""
    source = examples()[number].replace("redis://127.0.0.1:6379/0", fresh.url)
    publisher = Publisher(fresh.url, "idx:v1:")
    beating = asyncio.create_task(publisher.beat())
    for _ in range(7):
        await publisher.publish(*CODES)
    try:
        with running(source, tmp_path) as process:
            assert process.stdout is not None
            line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 40)
            if not line:
                assert process.stderr is not None
                pytest.fail(process.stderr.read())
    finally:
        beating.cancel()
        await publisher.close()

    assert "1000.00000007" in line


def test_the_page_names_every_option_and_counter() -> None:
    """Each with its default; and no example has an option that does not exist."""
    page = PAGE.read_text(encoding="utf-8")
    defaults = {
        "url": '"redis://127.0.0.1:6379/0"',
        "codes": "()",
        "prefix": '"idx:v1:"',
        "thin": "False",
        "backlog": "1000",
        "silence_s": "3.0",
        "give_up_s": "None",
    }
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \| ", page, re.MULTILINE))

    assert rows == defaults
    for form in (Levels, AsyncLevels):
        shown = {
            name: json.dumps(value) if isinstance(value, str) else str(value)
            for name, value in (form.__init__.__kwdefaults__ or {}).items()
        }
        assert shown == {name: text for name, text in defaults.items() if name != "url"}
    for name in Levels().counts.__slots__:
        assert f"`{name}`" in page
