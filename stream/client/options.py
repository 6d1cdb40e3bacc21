"""What a user of the client chooses, checked once for both of its forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis.connection

from stream.errors import SetupError
from stream.wire.names import REDIS_PREFIX, RedisNames

DEFAULT_URL = "redis://127.0.0.1:6379/0"
BACKLOG = 1_000
#: Three heartbeats.
SILENCE_S = 3.0

#: Options that an address may set, and on which the client relies.
_FIXED = {"decode_responses", "protocol"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to follow.

    Attributes
    ----------
    url
        Address of Redis.
    codes
        Indexes to follow; none means all.
    prefix
        Begins every key and channel.
    thin
        Whether to listen on the codes' own channels instead of the one that carries everything.
    backlog
        Updates that may wait for their taker, and publications of one code that are read from its stream.
    silence_s
        Silence after which a connection counts as dead.
    give_up_s
        Silence after which to give up; None means never.

    Raises
    ------
    SetupError
        Where something of it cannot work.
    """

    url: str = DEFAULT_URL
    codes: Sequence[str] = ()
    prefix: str = REDIS_PREFIX
    thin: bool = False
    backlog: int = BACKLOG
    silence_s: float = SILENCE_S
    give_up_s: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.codes, str):
            raise SetupError(f"codes: expected a list of codes, found one text, {self.codes!r}")
        if self.thin and not self.codes:
            raise SetupError("thin: expected the codes to follow, found none")
        if self.backlog < 0:
            raise SetupError(f"backlog: expected 0 or more updates, found {self.backlog}")
        if self.silence_s <= 0:
            raise SetupError(f"silence_s: expected more than 0 seconds, found {self.silence_s}")
        if self.give_up_s is not None and self.give_up_s < 0:
            raise SetupError(f"give_up_s: expected 0 seconds or more, found {self.give_up_s}")
        self._parts()

    @property
    def names(self) -> RedisNames:
        """Keys and channels."""
        return RedisNames(self.prefix)

    @property
    def channels(self) -> tuple[str, ...]:
        """What to subscribe to; the heartbeat is the last."""
        names = self.names
        if self.thin:
            return (*(names.level(code) for code in dict.fromkeys(self.codes)), names.heartbeat)
        return (names.levels, names.heartbeat)

    @property
    def address(self) -> str:
        """Where Redis is, without user and password."""
        parts = self._parts()
        if "path" in parts:
            return str(parts["path"])
        return f"{parts.get('host', 'localhost')}:{parts.get('port', 6379)}"

    def _parts(self) -> dict[str, Any]:
        parse: Any = redis.connection.parse_url  # without annotations
        try:
            parts: dict[str, Any] = parse(self.url)
        except ValueError as error:
            # Not the address itself: it may hold a password.
            raise SetupError(f"url: expected the address of a Redis: {error}") from error
        if not _FIXED.isdisjoint(parts):
            raise SetupError(f"url: expected none of {', '.join(sorted(_FIXED))} in it")
        return parts
