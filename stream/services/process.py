"""One service process under a keeper: start it, wait until it answers, stop it."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from stream.errors import ServiceError
from stream.services import keeper
from stream.services.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Started = TypeVar("Started")

GRACE_S = 10.0
"""How long a service may take to stop after it was asked to, before it is killed."""

_ANNOUNCE_S = 20.0
_POLL_S = 0.02
_TAIL_LINES = 15
_PORT_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Pids:
    """The two processes of a service.

    Attributes
    ----------
    keeper : int
        Process id of the keeper; a SIGTERM to it stops the service.
    service : int
        Process id of the service itself.
    """

    keeper: int
    service: int


class ServiceProcess:
    """A service process in a folder of its own, tied to the life of this process.

    Parameters
    ----------
    name : str
        What messages call the service; in lower case it names the log file.
    folder : Path
        The service's working folder. It must exist. One service at a time runs in it.
    """

    __slots__ = ("_folder", "_keeper", "_log_start", "_name", "pids")

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder
        self._keeper: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self.pids: Pids | None = None

    @property
    def alive(self) -> bool:
        """Whether the service was started and has neither been stopped nor ended by itself."""
        return self._keeper is not None and self._keeper.poll() is None

    @property
    def log(self) -> Path:
        """Where the service's own output goes."""
        return self._folder / f"{self._name.lower()}.log"

    def run(self, command: Sequence[str], *, timeout_s: float) -> None:
        """Run a command of the service to its end.

        Parameters
        ----------
        command : sequence of str
            The program and its arguments.
        timeout_s : float
            Seconds until it is stopped.

        Raises
        ------
        ServiceError
            The command failed or took too long, or the folder is in use.
        """
        process = self._spawn(command)
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ServiceError(
                self._failure(f"did not finish its preparation in {timeout_s:g} s")
            ) from None
        finally:
            self.stop()
        if status != 0:
            raise ServiceError(self._failure(f"failed in its preparation with status {status}"))

    def start(
        self, command: Sequence[str], *, answers: Callable[[int], bool], timeout_s: float
    ) -> None:
        """Start the service and wait until it answers.

        Parameters
        ----------
        command : sequence of str
            The program and its arguments.
        answers : callable
            Given the service's process id, whether that very service answers; an `OSError` means
            not yet.
        timeout_s : float
            Seconds until the attempt is given up.

        Raises
        ------
        ServiceError
            The service ended, or did not answer in time, or the folder is in use. The message has
            the last lines of the service's log.
        """
        process = self._spawn(command)
        try:
            self.pids = self._announced(process)
            self._wait(process, self.pids.service, answers, timeout_s=timeout_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the service, if it runs, and wait until it is gone."""
        if self._keeper is None:
            return
        process, self._keeper, self.pids = self._keeper, None, None
        with process:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(GRACE_S * 2)
            except subprocess.TimeoutExpired:
                process.kill()

    def detach(self) -> None:
        """Let the service live on when this process ends; `stop` no longer reaches it."""
        assert self._keeper is not None
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.write(keeper.DETACH)
        self._keeper.stdin.close()
        self._keeper.stdout.close()
        # Nobody waits for it any more; without a status Popen would warn of that when collected.
        self._keeper.returncode = 0
        self._keeper = None

    def log_tail(self) -> str:
        """Return the last lines that the service has logged since its latest start."""
        try:
            with self.log.open("rb") as lines:
                lines.seek(self._log_start)
                text = lines.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        self.stop()
        # As an isolated script, it needs no package on its path, and starts sooner.
        keeper_command = [sys.executable, "-I", "-S", keeper.__file__]
        lock_fd = _lock(self._folder, self._name)
        try:
            with self.log.open("ab") as log:
                self._log_start = log.tell()
                self._keeper = subprocess.Popen(
                    [*keeper_command, str(lock_fd), str(GRACE_S), *command],
                    bufsize=0,
                    cwd=self._folder,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    pass_fds=(lock_fd,),
                    # A Ctrl-C at the terminal is for the parent, which then stops the service.
                    start_new_session=True,
                )
        finally:
            os.close(lock_fd)
        return self._keeper

    def _announced(self, process: subprocess.Popen[bytes]) -> Pids:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], _ANNOUNCE_S)
        line = process.stdout.readline() if ready else b""
        if not line:
            raise ServiceError(self._failure("could not be launched"))
        return Pids(**json.loads(line))

    def _wait(
        self,
        process: subprocess.Popen[bytes],
        service: int,
        answers: Callable[[int], bool],
        *,
        timeout_s: float,
    ) -> None:
        deadline = time.monotonic() + timeout_s
        while not _answered(answers, service):
            if process.poll() is not None:
                raise ServiceError(self._failure(f"ended with status {process.returncode}"))
            if time.monotonic() > deadline:
                raise ServiceError(self._failure(f"did not answer in {timeout_s:g} s"))
            time.sleep(_POLL_S)

    def _failure(self, what: str) -> str:
        return f"{self._name} {what}; the end of {self.log}:\n{self.log_tail()}"


def holder(folder: Path) -> Pids | None:
    """Tell which processes run a service in a folder.

    Parameters
    ----------
    folder : Path
        The service's folder.

    Returns
    -------
    Pids or None
        None when no service runs there.
    """
    try:
        lock = (folder / "keeper.lock").open("rb")
    except FileNotFoundError:
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = lock.read()
            return Pids(**json.loads(text)) if text else None
    return None


def start_on_free_ports(n_ports: int, start: Callable[[list[int]], Started]) -> Started:
    """Start something on free ports, again on others if they are taken in the meantime.

    Parameters
    ----------
    n_ports : int
        How many ports it needs.
    start : callable
        Starts it on the given ports.

    Returns
    -------
    object
        What `start` returns.

    Raises
    ------
    ServiceError
        What `start` raises, for another reason than a port in use.
    """
    for _ in range(_PORT_ATTEMPTS - 1):
        try:
            return start(free_ports(n_ports))
        except ServiceError as error:
            if "address already in use" not in str(error).lower():
                raise
    return start(free_ports(n_ports))


def _answered(answers: Callable[[int], bool], service: int) -> bool:
    try:
        return answers(service)
    except OSError:
        return False


#: Beyond standard input, output and error.
_FIRST_FREE_FD = 3


def _lock(folder: Path, name: str) -> int:
    deadline = time.monotonic() + 1.0
    opened = os.open(folder / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    # Where our own standard input is closed, its number is free, and the keeper's pipe would take it from the lock.
    fd = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD)
    os.close(opened)
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Whoever asks whether the folder is in use holds the lock for an instant.
            if time.monotonic() > deadline:
                os.close(fd)
                pids = holder(folder)
                owner = f"process {pids.service}" if pids else "another process"
                raise ServiceError(f"{name} in {folder} is already run by {owner}") from None
            time.sleep(_POLL_S)
        else:
            return fd
