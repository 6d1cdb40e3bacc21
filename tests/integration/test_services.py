"""The laws of the embedded services, on real ones."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import platformdirs
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream.errors import ServiceError
from stream.services import KAFKA_VERSION, Addresses, EmbeddedKafka, EmbeddedRedis, Pids, embedded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

psutil = pytest.importorskip("psutil")

GONE_S = 40.0

PARENT = """
import json, signal, sys
from pathlib import Path
from stream.services import EmbeddedKafka, EmbeddedRedis

with EmbeddedRedis(Path("redis")) as redis, EmbeddedKafka(Path("kafka")) as kafka:
    signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
    pids = [redis.pids.keeper, redis.pids.service, kafka.pids.keeper, kafka.pids.service]
    print(json.dumps({"pids": pids, "redis": redis.url}), flush=True)
    sys.stdin.read()
"""

COMMAND = """
import argparse, sys
from stream.cli import services

parser = argparse.ArgumentParser()
services.add_parser(parser.add_subparsers())
args = parser.parse_args(["services", *sys.argv[1:]])
sys.exit(args.run(args))
"""

START_KAFKA = """
import sys
from pathlib import Path
from stream.services import EmbeddedKafka

for missing in sys.argv[3:]:
    sys.modules[missing] = None
with EmbeddedKafka(Path(sys.argv[1]), cache=Path(sys.argv[2]), say=print) as kafka:
    print(kafka.url)
"""


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    with embedded(tmp_path_factory.mktemp("services")) as running:
        yield running


def script(text: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", text, *map(str, arguments)]


def all_gone(pids: list[int]) -> bool:
    """Wait, up to a deadline, until no process runs; one that only awaits its burial does not."""
    deadline = time.monotonic() + GONE_S
    while any(map(is_alive, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def exchange(kafka_url: str, topic: str, value: bytes) -> bytes:
    """Send one record and read the first one of the topic."""
    async with AIOKafkaProducer(bootstrap_servers=kafka_url) as producer:
        await producer.send_and_wait(topic, value)
    return await first_value(kafka_url, topic)


async def first_value(kafka_url: str, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka_url,
        group_id=f"{topic}-readers",
        session_timeout_ms=6000,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    async with consumer:
        record = await asyncio.wait_for(consumer.getone(), timeout=30)
    value: bytes = record.value
    return value


async def create_topic(kafka_url: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_url)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


def test_a_record_that_is_sent_to_kafka_is_received(addresses: Addresses) -> None:
    """A member of a group gets what a producer has sent."""

    async def round_trip() -> bytes:
        await create_topic(addresses.kafka_url, "greetings")
        return await exchange(addresses.kafka_url, "greetings", b"good morning")

    assert asyncio.run(round_trip()) == b"good morning"


def test_kafka_commits_transactions(addresses: Addresses) -> None:
    """The single node can hold the state of transactions."""

    async def commit() -> int:
        await create_topic(addresses.kafka_url, "transfers")
        producer = AIOKafkaProducer(
            bootstrap_servers=addresses.kafka_url, transactional_id="transfers"
        )
        async with producer, producer.transaction():
            record = await producer.send_and_wait("transfers", b"100")
        return int(record.offset)

    assert asyncio.run(commit()) == 0


def test_redis_answers_a_ping(addresses: Addresses) -> None:
    """The URL is one that a Redis client understands and that answers."""
    with redis.Redis.from_url(addresses.redis_url) as client:
        assert client.ping() is True


def test_every_socket_that_listens_is_on_the_loopback(tmp_path: Path) -> None:
    """Neither service can be reached from another machine."""
    with (
        EmbeddedRedis(tmp_path / "redis") as server,
        EmbeddedKafka(tmp_path / "kafka") as broker,
    ):
        assert server.pids is not None
        assert broker.pids is not None
        redis_sockets, kafka_sockets = (
            [
                connection.laddr.ip
                for connection in psutil.Process(pids.service).net_connections(kind="inet")
                if connection.status == psutil.CONN_LISTEN
            ]
            for pids in (server.pids, broker.pids)
        )

    assert redis_sockets == ["127.0.0.1"]
    assert len(kafka_sockets) == 2
    assert {address.removeprefix("::ffff:") for address in kafka_sockets} == {"127.0.0.1"}


def test_a_restart_in_the_same_folder_on_the_same_port_keeps_the_data(tmp_path: Path) -> None:
    """A record sent before a stop is read after the next start, at the same address."""
    # A folder that a configuration file or a poor locale would garble.
    folder = tmp_path / "Kurse, größer # 1"

    async def send(url: str) -> None:
        await create_topic(url, "kept")
        async with AIOKafkaProducer(bootstrap_servers=url) as producer:
            await producer.send_and_wait("kept", b"still here")

    with EmbeddedKafka(folder) as kafka:
        first_url = kafka.url
        asyncio.run(send(first_url))
    with EmbeddedKafka(folder, port=int(first_url.split(":")[1])) as kafka:
        second_url = kafka.url
        value = asyncio.run(first_value(second_url, "kept"))

    assert second_url == first_url
    assert value == b"still here"


def test_a_persistent_redis_keeps_what_a_plain_one_forgets(tmp_path: Path) -> None:
    """Data outlive a restart of the same object only where that was asked for."""
    found = {}
    for persistent in (True, False):
        server = EmbeddedRedis(tmp_path / str(persistent), persistent=persistent)
        with server, redis.Redis.from_url(server.url) as client:
            client.set("level", "100")
        with server, redis.Redis.from_url(server.url) as client:
            found[persistent] = client.get("level")

    assert found == {True: b"100", False: None}


def test_a_service_that_died_can_be_started_again_at_its_address(tmp_path: Path) -> None:
    """After the death of the service, the same object starts it anew on the same port."""
    server = EmbeddedRedis(tmp_path)
    with server:
        url, pids = server.url, pids_of(server)
        os.kill(pids.service, signal.SIGKILL)
        assert all_gone([pids.service, pids.keeper])

        server.start()

        assert server.url == url
        with redis.Redis.from_url(url) as client:
            assert client.ping() is True


def test_stop_and_start_may_be_repeated(tmp_path: Path) -> None:
    """A second stop or start does nothing."""
    server = EmbeddedRedis(tmp_path)
    server.stop()
    server.start()
    pids = pids_of(server)
    server.start()
    assert server.pids == pids
    server.stop()
    server.stop()

    assert server.pids is None
    assert all_gone([pids.keeper, pids.service])


def pids_of(service: EmbeddedRedis | EmbeddedKafka) -> Pids:
    assert service.pids is not None
    return service.pids


@contextmanager
def parent_of_services(folder: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    with subprocess.Popen(
        script(PARENT),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        try:
            yield parent, json.loads(parent.stdout.readline())
        finally:
            parent.kill()


def test_the_services_of_a_killed_parent_end(tmp_path: Path) -> None:
    """Not even a parent killed with SIGKILL leaves a JVM, a redis-server or a keeper behind."""
    with parent_of_services(tmp_path) as (parent, said):
        assert all(map(is_alive, said["pids"]))

        parent.send_signal(signal.SIGKILL)

        assert all_gone(said["pids"])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can kill a child with its parent")
def test_the_services_of_a_killed_keeper_end(tmp_path: Path) -> None:
    """A keeper killed with SIGKILL takes its service along."""
    with EmbeddedRedis(tmp_path) as server:
        pids = pids_of(server)

        os.kill(pids.keeper, signal.SIGKILL)

        assert all_gone([pids.service])


def test_an_interrupt_of_the_foreground_group_reaches_the_parent_alone(tmp_path: Path) -> None:
    """A Ctrl-C leaves the services to the parent, which can still use and then stop them."""
    with parent_of_services(tmp_path) as (parent, said):
        assert parent.stdin is not None
        assert parent.stdout is not None

        os.killpg(parent.pid, signal.SIGINT)

        assert parent.stdout.readline() == "interrupted\n"
        with redis.Redis.from_url(said["redis"]) as client:
            assert client.ping() is True
        assert all(map(is_alive, said["pids"]))
        parent.stdin.close()
        assert all_gone(said["pids"])


def test_services_started_at_once_do_not_meet(tmp_path: Path) -> None:
    """Concurrent starts get ports, processes and clusters of their own."""
    together = threading.Barrier(2)

    def serve(folder: Path) -> Addresses:
        with embedded(folder) as addresses:
            asyncio.run(create_topic(addresses.kafka_url, "once"))
            together.wait(timeout=120)
            return addresses

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(serve, [tmp_path / "one", tmp_path / "other"])

    assert one.kafka_url != other.kafka_url
    assert one.redis_url != other.redis_url


def test_a_folder_serves_one_service_at_a_time(tmp_path: Path) -> None:
    """A second start in the same folder is refused and does not disturb the first."""
    with EmbeddedRedis(tmp_path) as first:
        with pytest.raises(ServiceError, match=f"already run by process {pids_of(first).service}"):
            EmbeddedRedis(tmp_path).start()

        with redis.Redis.from_url(first.url) as client:
            assert client.ping() is True


def test_a_failed_start_shows_the_end_of_the_log(tmp_path: Path) -> None:
    """A port that somebody else has is named by the service's own words, and nothing stays."""
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]
        for service in (
            EmbeddedRedis(tmp_path / "redis", port=port),
            EmbeddedKafka(tmp_path / "kafka", port=port),
        ):
            with pytest.raises(
                ServiceError, match=r"(?is)ended with status 1.*already in use"
            ) as no:
                service.start()

            assert str(tmp_path) in str(no.value)
            assert service.pids is None


def test_first_starts_at_once_repair_an_interrupted_download(tmp_path: Path) -> None:
    """Two processes find a broken cache, no Java and no Maven on the path, and both succeed."""
    cache = tmp_path / "cache"
    abandoned = cache / f"kafka-{KAFKA_VERSION}" / "download-1"
    abandoned.mkdir(parents=True)
    half = abandoned.parent / f"kafka-clients-{KAFKA_VERSION}.jar"
    half.write_bytes(b"PK\x03\x04 and no more")
    environment = {**os.environ, "PATH": str(tmp_path), "HOME": str(tmp_path)}

    starts = [
        subprocess.Popen(
            script(START_KAFKA, tmp_path / name, cache),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in ("one", "other")
    ]
    said = [start.communicate(timeout=300)[0] for start in starts]

    assert [start.returncode for start in starts] == [0, 0], said
    assert sum("Downloading Apache Kafka" in words for words in said) == 1
    assert not abandoned.exists()
    assert half.stat().st_size > 1_000_000
    assert not (tmp_path / ".m2").exists()


def test_a_later_start_is_offline(tmp_path: Path, addresses: Addresses) -> None:
    """With the jars in the cache, Kafka starts where neither jgo nor an HTTP client exists."""
    assert addresses.kafka_url
    start = subprocess.run(
        script(START_KAFKA, tmp_path, platformdirs.user_cache_path("capstream"), "jgo", "requests"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert start.returncode == 0, start.stderr
    assert "Downloading" not in start.stdout


def test_the_command_brings_services_up_that_stay_and_takes_them_down(tmp_path: Path) -> None:
    """After `up` has ended both answer, a second `up` finds them, and `down` ends them."""
    environment = {**os.environ, "CAPSTREAM_HOME": str(tmp_path)}

    def services(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            script(COMMAND, *arguments),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    before = services("status")
    try:
        up = services("up")
        urls = dict(line.removeprefix("export ").split("=", 1) for line in up.stdout.splitlines())
        again = services("up", "--json")
        status = services("status", "--json")
        with redis.Redis.from_url(urls["CAPSTREAM_REDIS_URL"]) as client:
            assert client.ping() is True
        asyncio.run(create_topic(urls["CAPSTREAM_KAFKA_URL"], "up"))
    finally:
        down = services("down", "--json")
    after = services("status", "--json")

    assert (before.returncode, up.returncode, again.returncode) == (1, 0, 0)
    assert len(up.stdout.splitlines()) == 2
    assert "already up" in again.stderr
    assert json.loads(again.stdout.splitlines()[-1]) == {
        "started": False,
        "kafka_url": urls["CAPSTREAM_KAFKA_URL"],
        "redis_url": urls["CAPSTREAM_REDIS_URL"],
    }
    running = json.loads(status.stdout.splitlines()[-1])
    pids = [pid for service in running.values() for pid in service["pids"].values()]
    assert len(set(pids)) == 4
    assert all_gone(pids)
    assert json.loads(down.stdout) == {"stopped": ["kafka", "redis"]}
    assert (after.returncode, json.loads(after.stdout)) == (1, {})


def test_services_start_where_standard_input_is_closed(tmp_path: Path) -> None:
    """A supervisor may start us without a descriptor 0; the keeper's own pipes must not take the lock's number."""
    script = (
        "import sys, pathlib\n"
        "from stream.services import EmbeddedRedis\n"
        "with EmbeddedRedis(pathlib.Path(sys.argv[1])) as redis: print(redis.url)\n"
    )

    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" "$@" <&-', sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("redis://127.0.0.1:")
