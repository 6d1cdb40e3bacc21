"""`capstream watch` and the screen of the demo: a subscriber like any other."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from integration.conftest import eventually
from integration.followers import Publisher, publishing
from stream.cli import watch
from stream.cli.watch import Follower, show
from stream.errors import ServiceError
from stream.services import EmbeddedRedis
from stream.settings import Settings

CODES = ("US1000", "US2000")
#: What a screen needs beside what a made-up level has.
SCREEN = (
    '"origin":"simulated","event_ns":null,"change":1.5,"change_pct":0.15,"priced":3,"constituents":4,'
    '"phase":"regular","status":"firm","last":1000.0,"indicative":null,"coverage":0.75,"age_s":0'
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedRedis(tmp_path_factory.mktemp("watch-redis")) as server:
        yield server.url


def environment(publisher: Publisher, url: str) -> dict[str, str]:
    ours = {n: text for n, text in os.environ.items() if not n.startswith("CAPSTREAM_")}
    return ours | {
        "CAPSTREAM_KAFKA_URL": "127.0.0.1:1",
        "CAPSTREAM_REDIS_URL": url,
        "CAPSTREAM_REDIS_PREFIX": publisher.names.prefix,
    }


@contextmanager
def watching(settings: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "stream.cli.main", "watch", *arguments],
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def next_line(process: subprocess.Popen[str]) -> dict[str, object]:
    assert process.stdout is not None
    line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 30)
    fields: dict[str, object] = json.loads(line, parse_float=str)
    return fields


async def test_json_is_a_line_for_each_publication(url: str) -> None:
    """Beginning with the newest, in the digits that were published, through a lost connection, until it is ended."""
    async with publishing(url) as publisher:
        await publisher.publish(*CODES)
        with watching(environment(publisher, url), "US2000", "--json") as process:
            lines = [await next_line(process)]
            await publisher.cut()
            for _ in range(5):
                await publisher.publish(*CODES)
            while lines[-1]["seq"] != 6:
                lines.append(await next_line(process))
            process.send_signal(signal.SIGINT)
            _, errors = await asyncio.to_thread(process.communicate, timeout=20)

    assert process.returncode == 0
    assert "redis_lost" in errors
    assert [(line["code"], line["level"]) for line in lines] == [
        ("US2000", f"1000.0000000{seq}") for seq in range(1, 7)
    ]


async def test_a_redis_that_refuses_ends_it_with_a_reason(url: str) -> None:
    """One line, without the password, and status 2, on the screen as with --json."""
    async with publishing(url) as publisher:
        await publisher.admin.execute_command("ACL", "SETUSER", "nobody", "on", ">right", "-@all")
        settings = environment(publisher, url.replace("//", "//nobody:wrong@"))
        for arguments in ([], ["--json"], ["--once"]):
            with watching(settings, *arguments) as process:
                _, errors = await asyncio.to_thread(process.communicate, timeout=20)
            assert process.returncode == 2
            assert len(errors.splitlines()) == 1
            assert "refuses" in errors
            assert "wrong@" not in errors


async def test_the_screen_shows_what_is_published(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest level of each index, the rate of publications, and how long nothing was heard."""
    out = io.StringIO()
    monkeypatch.setattr(
        watch,
        "Console",
        lambda: Console(file=out, force_terminal=True, width=100, height=30),
    )
    async with publishing(url) as publisher:
        follower = Follower(Settings(redis_url=url, redis_prefix=publisher.names.prefix))
        following = asyncio.create_task(follower.run())
        stop = asyncio.Event()
        await publisher.publish(*CODES, more=SCREEN)
        shown = asyncio.create_task(show(follower, stop))
        await eventually(lambda: len(follower.snapshots) == 2, watch=following)
        for _ in range(20):
            await publisher.publish(*CODES, more=SCREEN)
        await eventually(lambda: follower.snapshots["US2000"]["seq"] == 21, watch=following)
        await eventually(lambda: "US2000" in out.getvalue(), watch=following)
        seen, rate, silent_s = (
            follower.publications,
            follower.publications_per_s,
            follower.silent_s,
        )
        stop.set()
        await shown
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    assert seen == 21
    assert 0 < rate <= 21
    assert silent_s < 3
    assert "SIMULATED" in out.getvalue()
    assert "1,000.00" in out.getvalue()


async def test_the_follower_of_the_demo_waits_for_redis(tmp_path: Path) -> None:
    """It may be started before Redis is, and says for how long it has heard nothing."""
    with EmbeddedRedis(tmp_path / "redis") as server:
        address = server.url
        server.stop()
        follower = Follower(Settings(redis_url=address), codes=["US1000"])
        began = time.monotonic()
        following = asyncio.create_task(follower.run())
        await eventually(lambda: follower.silent_s > 0.3, watch=following)
        server.start()
        publisher = Publisher(address, Settings().redis_prefix)
        await publisher.publish(*CODES)
        await eventually(lambda: set(follower.snapshots) == {"US1000"}, watch=following)
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
        await publisher.close()

    assert time.monotonic() - began < 30


def test_before_the_first_level_there_is_nothing_to_print(url: str) -> None:
    """--once says so, instead of an empty table."""
    settings = Settings(redis_url=url, redis_prefix="nothing:")
    with pytest.raises(ServiceError, match="no level yet"):
        watch._print_once(settings, [], as_json=False)
