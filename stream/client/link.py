"""What the connections of both forms have in common: how they are made, and which failures pass."""

from __future__ import annotations

import random
from typing import TypedDict

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    RedisError,
    ResponseError,
)

from stream.client.core import Core
from stream.client.options import Options
from stream.errors import ServiceError

#: What a connection can fail with.
FAILURES = (RedisError, OSError)

#: Messages that are read ahead, where they have come already, before the user is given the first of them.
READ_AHEAD = 256

#: Not 0 even for one who does not want to wait: asyncio would give up before it looked at the socket.
SHORTEST_S = 0.001


class Timeouts(TypedDict):
    """Arguments of redis-py, alike for both forms.

    Attributes
    ----------
    socket_timeout, socket_connect_timeout
        Seconds.
    protocol
        Of Redis, 2: replies of one shape with every server.
    """

    socket_timeout: float
    socket_connect_timeout: float
    protocol: int


def timeouts(options: Options) -> Timeouts:
    """Give the arguments: a connection that keeps silent for as long as the publisher may is dead, too."""
    return Timeouts(
        socket_timeout=options.silence_s,
        socket_connect_timeout=options.silence_s,
        protocol=2,
    )


def new_core(options: Options, now: float) -> Core:
    """Make a core that draws its waits at random."""
    return Core(options, now=now, uniform=random.uniform)


def check_passes(error: Exception, options: Options) -> None:
    """Raise what no new connection would mend: a wrong password, a command that is not allowed.

    Raises
    ------
    ServiceError
        Where it does not pass by itself.
    """
    refused = isinstance(error, AuthenticationError | AuthorizationError | ResponseError)
    if refused and not isinstance(error, ClusterDownError):
        raise ServiceError(f"Redis {options.address} refuses: {error}") from error


def silence(options: Options) -> TimeoutError:
    """Make the failure of a connection that nothing but silence tells of."""
    return TimeoutError(f"no heartbeat for {options.silence_s:g} s")


def reason(error: Exception) -> str:
    """Put a failure into words; some come without any."""
    return str(error) or type(error).__name__
