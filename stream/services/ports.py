"""Free ports on the loopback."""

from __future__ import annotations

import secrets
import socket

LOOPBACK = "127.0.0.1"

_LOWEST, _HIGHEST = 15_000, 29_999


def free_ports(n_ports: int) -> list[int]:
    """Find free ports on the loopback.

    Parameters
    ----------
    n_ports : int
        How many.

    Returns
    -------
    list of int
        Different ports, none of which was in use a moment ago.

    Notes
    -----
    The ports lie below the ranges from which Linux and macOS give ports to outgoing connections. A
    client that keeps trying to reach a stopped service on a port of those ranges is at last given
    that very port, connects to itself, and the service can no longer be started on it.

    The choice does not use the module `random`: tests seed it alike in all their processes.
    """
    found: set[int] = set()
    while len(found) < n_ports:
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST + 1)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        found.add(port)
    return list(found)
