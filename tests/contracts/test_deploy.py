"""The deployment and the code say the same."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import redis
import yaml

from stream import __version__
from stream.cli.common import DEFAULT_KAFKA_URL, DEFAULT_REDIS_URL
from stream.cli.main import COMMANDS, build_parser
from stream.errors import FencedError, ServiceError
from stream.publish.redis import Message, RedisSink
from stream.services.kafka import KAFKA_VERSION
from stream.services.ports import free_ports
from stream.services.process import ServiceProcess
from stream.services.redis import redis_server
from stream.settings import PREFIX, Settings, read_settings, variable
from stream.topics import (
    CHECKPOINTS_CONFIG,
    CLOSES_CONFIG,
    COMPOSITIONS_CONFIG,
    CONTROL_CONFIG,
    DEAD_LETTERS_CONFIG,
    LEVELS_CONFIG,
    PARTIALS_CONFIG,
    TICKS_CONFIG,
)
from stream.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
#: Services that run this program.
OURS = [name for name, service in SERVICES.items() if "build" in service]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
DAY_MS = 86_400_000

each_service = pytest.mark.parametrize("name", SERVICES)
each_of_ours = pytest.mark.parametrize("name", OURS)


def variables() -> dict[str, str]:
    """Read the environment of Kafka's container."""
    lines = (DEPLOY / "kafka.env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def directives(path: Path) -> dict[str, str]:
    """Read a redis.conf."""
    lines = path.read_text("utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


def published_ports(service: dict[str, Any]) -> list[list[str]]:
    """Split published ports into address, port of the machine, port of the container."""
    return [str(port).split(":") for port in service.get("ports", [])]


def runs_once(service: dict[str, Any]) -> bool:
    """Tell a service that ends by itself."""
    return service.get("restart") == "no"


@each_service
def test_ports_are_open_to_this_machine_alone(name: str) -> None:
    """Each published port is bound to the loopback, under the number it has inside."""
    for port in published_ports(SERVICES[name]):
        assert len(port) == 3, port
        assert port[0] == "127.0.0.1"
        assert port[1] == port[2]


@each_service
def test_a_service_tells_its_health_or_ends(name: str) -> None:
    """A service that stays up has a health check, of its own or from its Dockerfile."""
    service = SERVICES[name]
    own = service.get("healthcheck", {})
    built_in = "build" in service and "HEALTHCHECK" in DOCKERFILE and not own.get("disable")

    assert runs_once(service) or "test" in own or built_in


@each_service
def test_a_service_has_a_limit_and_a_restart_policy(name: str) -> None:
    """None may take all memory, and each says what happens after its end."""
    assert re.fullmatch(r"\d+[mg]", SERVICES[name]["mem_limit"])
    assert SERVICES[name]["restart"] in {"unless-stopped", "no"}


@each_service
def test_a_service_waits_for_what_can_be_waited_for(name: str) -> None:
    """It waits for the health of what stays up, and for the end of what ends."""
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        expected = "completed_successfully" if runs_once(SERVICES[other]) else "healthy"
        assert wait["condition"] == f"service_{expected}"


@each_service
def test_mounted_files_exist(name: str) -> None:
    """A file that is mounted is in the repository, and read-only; every volume is declared."""
    for volume in SERVICES[name].get("volumes", []):
        source, _, rest = volume.partition(":")
        if source.startswith("."):
            assert (ROOT / source).is_file()
            assert rest.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


def test_images_are_pinned() -> None:
    """Each image names a major version at least, ours the version of the package."""
    images = {service["image"] for service in SERVICES.values()}
    images |= set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))

    assert f"capstream:{__version__}" in images
    for image in images:
        assert re.search(r":v?\d+(\.\d+)*(-slim)?$", image), image


def test_kafka_is_the_version_that_the_tests_run_on() -> None:
    """Containers and embedded services have one version of Kafka."""
    for name in ("kafka", "topics"):
        assert SERVICES[name]["image"] == f"apache/kafka:{KAFKA_VERSION}"


@each_of_ours
def test_the_program_accepts_its_environment(name: str) -> None:
    """Each variable is a setting, with a value that it can have."""
    environment = {key: str(value) for key, value in SERVICES[name]["environment"].items()}

    assert all(key.startswith(PREFIX) for key in environment)
    read_settings(environment)


def test_variables_that_are_mentioned_exist() -> None:
    """No file of the deployment names a setting that the program would refuse."""
    known = {variable(field) for field in Settings.__struct_fields__}

    for path in [ROOT / "docker-compose.yml", *DEPLOY.iterdir()]:
        named = set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", path.read_text("utf-8")))
        assert named <= known, path.name


@each_of_ours
def test_the_command_exists(name: str) -> None:
    """What a container runs is a command of ours."""
    assert re.search(r'^ENTRYPOINT \["capstream"\]$', DOCKERFILE, re.MULTILINE)
    assert SERVICES[name]["command"][0] in COMMANDS


@each_of_ours
def test_the_command_line_is_understood(name: str) -> None:
    """What a container runs has the options that it is given."""
    build_parser().parse_args(SERVICES[name]["command"])


def test_services_are_where_the_program_looks_for_them() -> None:
    """From this machine, Kafka and Redis have the addresses that are the defaults."""
    (kafka,), (database,) = (published_ports(SERVICES[name]) for name in ("kafka", "redis"))

    assert ":".join(kafka[:2]) == DEFAULT_KAFKA_URL
    assert ":".join(database[:2]) == urlsplit(DEFAULT_REDIS_URL).netloc


@each_of_ours
def test_containers_find_each_other(name: str) -> None:
    """In containers, addresses are names of services, at ports on which these listen."""
    settings = read_settings(SERVICES[name]["environment"])
    advertised = variables()["KAFKA_ADVERTISED_LISTENERS"].split(",")

    assert f"CONTAINERS://{settings.kafka_url}" in advertised
    assert f"MACHINE://{DEFAULT_KAFKA_URL}" in advertised
    assert settings.kafka_url.split(":")[0] == "kafka"
    assert urlsplit(settings.redis_url).netloc == "redis:6379"


def test_kafka_listens_on_what_it_advertises() -> None:
    """The listeners of Kafka agree in name and port, and none has another's port."""
    kafka = variables()
    listening = dict(one.split("://") for one in kafka["KAFKA_LISTENERS"].split(","))
    controller = listening.pop(kafka["KAFKA_CONTROLLER_LISTENER_NAMES"])
    advertised = dict(one.split("://") for one in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","))

    assert kafka["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"{kafka['KAFKA_NODE_ID']}@{controller}"
    assert kafka["KAFKA_INTER_BROKER_LISTENER_NAME"] in listening
    assert {name: address.split(":")[1] for name, address in listening.items()} == {
        name: address.split(":")[1] for name, address in advertised.items()
    }


def test_metrics_have_one_port_everywhere() -> None:
    """Worker, image, health check and Prometheus agree on the port of the metrics."""
    port = Settings().metrics_port
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))
    (job,) = prometheus["scrape_configs"]
    (found,) = job["dns_sd_configs"]

    assert port == 9108
    assert published_ports(SERVICES["worker"]) == [["127.0.0.1", str(port), str(port)]]
    assert re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE) == [str(port)]
    assert f"http://127.0.0.1:{port}/livez" in DOCKERFILE
    assert (found["names"], found["port"]) == (["worker"], port)


def test_metrics_can_be_reached_from_other_containers() -> None:
    """In its container, a worker serves its metrics on all addresses."""
    assert SERVICES["worker"]["environment"]["CAPSTREAM_METRICS_HOST"] == "0.0.0.0"  # noqa: S104


def test_topics_are_those_of_the_code(tmp_path: Path) -> None:
    """The script creates the topics that a worker would create, with the same settings."""
    recorder = tmp_path / "kafka-topics"
    recorder.write_text('#!/bin/sh\necho "$*"\n')
    recorder.chmod(0o755)

    done = subprocess.run(
        [shutil.which("bash") or "bash", DEPLOY / "topics.sh"],
        env={"PATH": "/usr/bin:/bin", "KAFKA_TOPICS": str(recorder)},
        capture_output=True,
        text=True,
        check=True,
    )

    created = {}
    for line in done.stdout.splitlines():
        assert " --create --if-not-exists " in line
        assert "--bootstrap-server kafka:19092 " in line
        (topic,) = re.findall(r"--topic (\S+)", line)
        (partitions,) = re.findall(r"--partitions (\d+)", line)
        created[topic] = int(partitions), dict(re.findall(r"--config=(\S+)=(\S+)", line))
    assert created == {
        names.TICKS_TOPIC: (Settings().partitions, TICKS_CONFIG),
        names.PARTIALS_TOPIC: (1, PARTIALS_CONFIG),
        names.CHECKPOINTS_TOPIC: (Settings().partitions, CHECKPOINTS_CONFIG),
        names.COMPOSITIONS_TOPIC: (1, COMPOSITIONS_CONFIG),
        names.CONTROL_TOPIC: (1, CONTROL_CONFIG),
        names.LEVELS_TOPIC: (1, LEVELS_CONFIG),
        names.CLOSES_TOPIC: (1, CLOSES_CONFIG),
        names.INDEX_CLOSES_TOPIC: (1, CLOSES_CONFIG),
        names.DEAD_LETTERS_TOPIC: (1, DEAD_LETTERS_CONFIG),
    }


def test_topics_are_kept_as_long_as_promised() -> None:
    """Ticks are kept for 8 days, dead letters for 30; partials and official closes are compacted."""
    assert TICKS_CONFIG["retention.ms"] == str(8 * DAY_MS)
    for config in (PARTIALS_CONFIG, CHECKPOINTS_CONFIG, COMPOSITIONS_CONFIG, CLOSES_CONFIG):
        assert config["cleanup.policy"] == "compact"
    assert CONTROL_CONFIG == {"retention.ms": "-1"}
    assert LEVELS_CONFIG == {"retention.ms": str(8 * DAY_MS)}
    assert DEAD_LETTERS_CONFIG == {"retention.ms": str(30 * DAY_MS)}


def test_the_image_runs_without_privileges_on_locked_versions() -> None:
    """The last user is not root, and what is installed is constrained by the lock file."""
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)

    assert users[-1:] == ["capstream"]
    assert "--constraint /tmp/requirements.lock" in DOCKERFILE


def test_the_lock_names_versions_alone() -> None:
    """The lock file pins each package to one version, and names no place to get it from."""
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    lines = [line for line in lock.splitlines() if line and not line.lstrip().startswith("#")]

    assert "://" not in lock
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+)?", line) for line in lines)


def test_there_is_no_password() -> None:
    """Configurations have places for passwords, and none in them."""
    users = (DEPLOY / "redis-users.acl.example").read_text("utf-8")

    assert "requirepass" not in directives(DEPLOY / "redis.conf")
    assert re.findall(r" [>#<]\S+", users) == [" #PASSWORD_SHA256"] * 2
    for name in OURS:
        for value in SERVICES[name]["environment"].values():
            assert "@" not in value


@pytest.fixture(scope="module")
def guarded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a Redis with our configuration and our users, whose password is `x`."""
    folder = tmp_path_factory.mktemp("redis")
    users = (DEPLOY / "redis-users.acl.example").read_text("utf-8")
    acl = folder / "users.acl"
    acl.write_text(users.replace("#PASSWORD_SHA256", ">x"))
    (port,) = free_ports(1)
    server = ServiceProcess("redis", folder)
    command = [redis_server(), DEPLOY / "redis.conf", "--port", port, "--bind", "127.0.0.1"]
    server.start(
        [*map(str, command), "--aclfile", str(acl)],
        answers=lambda _: listens(port),
        timeout_s=20,
    )
    yield f"127.0.0.1:{port}"
    server.stop()


def listens(port: int) -> bool:
    """Tell whether something accepts connections."""
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def client(user: str, address: str) -> redis.Redis:
    """Connect as a user."""
    return redis.Redis.from_url(f"redis://{user}:x@{address}/0", decode_responses=True)


async def test_the_publisher_may_publish_and_no_more(guarded_redis: str) -> None:
    """The example's publisher can do all that the sink does, and nothing beside it."""
    url = f"redis://capstream-publisher:x@{guarded_redis}/0"
    sink = RedisSink(url, names=names.RedisNames(), stream_length=10)
    other = RedisSink(url, names=names.RedisNames("other:"), stream_length=10)

    await sink.publish([Message("US1000", 1, b"{}")], epoch=1, again=False)
    await sink.publish_packed([Message("US1000", 2, b"{}")], epoch=1, again=False)
    await sink.beat(b"{}", epoch=1)
    await sink.mirror_prices({"AAPL": b"{}"}, partition=0, epoch=1)
    assert await sink.newest_epoch() == 1
    with pytest.raises(FencedError):
        await sink.publish([Message("US1000", 1, b"{}")], epoch=0, again=False)
    with pytest.raises(ServiceError):
        await other.publish([Message("US1000", 1, b"{}")], epoch=1, again=False)
    await sink.close()
    await other.close()
    with client("capstream-publisher", guarded_redis) as publisher:
        for refused in ("FLUSHALL", "CONFIG GET *", "KEYS *", "DEL idx:v1:epoch"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                publisher.execute_command(*refused.split())


def test_the_subscriber_may_read_and_no_more(guarded_redis: str) -> None:
    """The example's subscriber can read and subscribe under our prefix, and write nothing."""
    with client("capstream-subscriber", guarded_redis) as subscriber:
        subscriber.get("idx:v1:snap:US1000")
        subscriber.hgetall("idx:v1:prices")
        subscriber.xrange("idx:v1:stream:US1000")
        with subscriber.pubsub() as channels:
            channels.psubscribe("idx:v1:level:*")
            assert channels.get_message(timeout=5)

        for refused in ("SET idx:v1:snap:US1000 1", "PUBLISH idx:v1:levels 1", "GET other"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                subscriber.execute_command(*refused.split())


def test_nobody_gets_in_without_a_name(guarded_redis: str) -> None:
    """With the example's users, the default user is off."""
    with (
        redis.Redis.from_url(f"redis://{guarded_redis}/0") as nobody,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        nobody.ping()
