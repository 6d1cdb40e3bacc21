"""Keep one service running for as long as its parent lives, and not a moment longer.

This file is run as a script, ``python keeper.py LOCK_FD GRACE_S COMMAND...``, in a session of its
own, with the standard library alone. It starts the command, prints one line of JSON with the
process ids, and then waits for the first of these:

- the command ends: the keeper ends too, with the same status;
- its standard input ends, or its parent changes: the parent is gone, by whatever death;
- a SIGTERM: somebody asks it to stop.

In the last two cases it terminates the command, and kills it when it has not ended after the
grace. A byte `DETACH` on standard input means that the parent no longer wants to be watched.

The file descriptor LOCK_FD is a locked file. The lock lasts exactly as long as the keeper, which
makes it a proof of life that survives the reuse of process ids; the file's text is the same line
of JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DETACH = b"d"

_STDIN = 0
_STDOUT = 1
_PARENT_CHECK_S = 1.0
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Keep the command of the arguments.

    Parameters
    ----------
    arguments : list of str
        The descriptor of the locked file, the grace in seconds, and the command with its own
        arguments.

    Returns
    -------
    int
        The command's exit status; 0 when the keeper itself has stopped the command.
    """
    lock_fd, grace_s, command = int(arguments[0]), float(arguments[1]), arguments[2:]
    parent = os.getppid()
    stopped = _Wakeups()
    service = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        # The user's own Java options, class path and locale must not change what runs here.
        env={"LC_ALL": "C.UTF-8"},
        preexec_fn=_die_with_keeper(),  # noqa: PLW1509 (this process has one thread)
    )
    _announce(lock_fd, service.pid)
    if _ended_by_itself(service, stopped, parent=parent):
        return service.returncode
    _stop(service, grace_s=grace_s)
    return 0


class _Wakeups:
    """SIGTERM and SIGCHLD as a readable descriptor, so that one `select` waits for everything."""

    def __init__(self) -> None:
        self.terminate = False
        self.fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def _on_terminate(self, _number: int, _frame: object) -> None:
        self.terminate = True


def _die_with_keeper() -> Callable[[], None] | None:
    """On Linux the kernel kills the service with the keeper, were somebody to kill the keeper."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _announce(lock_fd: int, service: int) -> None:
    line = json.dumps({"keeper": os.getpid(), "service": service}).encode() + b"\n"
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, line, 0)
    # Were the parent gone already, its end of standard input will say so next.
    with contextlib.suppress(BrokenPipeError):
        os.write(_STDOUT, line)
    os.close(_STDOUT)


def _ended_by_itself(service: subprocess.Popen[bytes], wakeups: _Wakeups, *, parent: int) -> bool:
    tied = True
    while service.poll() is None:
        watched = [wakeups.fd, _STDIN] if tied else [wakeups.fd]
        readable, _, _ = select.select(watched, [], [], _PARENT_CHECK_S if tied else None)
        if wakeups.fd in readable:
            os.read(wakeups.fd, 1024)
        if wakeups.terminate:
            return False
        if _STDIN in readable:
            if os.read(_STDIN, 1) != DETACH:
                return False
            tied = False
        # A process forked by the parent may hold the pipe open after the parent's death.
        if tied and os.getppid() != parent:
            return False
    return True


def _stop(service: subprocess.Popen[bytes], *, grace_s: float) -> None:
    service.terminate()
    try:
        service.wait(grace_s)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
