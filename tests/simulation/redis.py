"""A small Redis, and the client through which the real sink talks to it; the sink's own scripts run in it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from simulation import lua
from simulation.process import running

#: Words by which the sink's scripts are told apart, for the trace.
_SCRIPTS = (("HSET', KEYS", "mirror"), ("ARGV[3], ARGV[4]", "beat"), ("PUBLISH", "publish"))


#: Writes that a replica may be behind.
MOST_BEHIND = 8


class Redis:
    """One server, and a replica that is some writes behind.

    Attributes
    ----------
    up
        Whether it answers.
    keys, hashes
        What it holds.
    listener
        Told of everything that is published, with its channel.
    """

    def __init__(self) -> None:
        self.up = True
        self.keys: dict[str, bytes] = {}
        self.hashes: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
        self.listener: Callable[[str, bytes], None] = lambda *_: None
        self._before: deque[tuple[dict[str, bytes], dict[str, dict[str, bytes]]]] = deque(
            maxlen=MOST_BEHIND
        )
        self._commands: dict[bytes, Callable[..., Any]] = {
            b"GET": self._get,
            b"SET": self._set,
            b"HSET": self._hset,
            b"XADD": lambda *_: b"0-1",
            b"PUBLISH": self._publish,
        }

    def flush(self) -> None:
        """Lose everything, as a server that starts again without its file."""
        self.keys.clear()
        self.hashes.clear()
        self._before.clear()

    def fail_over(self, n_writes: int) -> None:
        """Let a replica take over that lacks the last writes."""
        for _ in range(min(n_writes, len(self._before))):
            self.keys, hashes = self._before.pop()
            self.hashes = defaultdict(dict, hashes)

    def call(self, command: bytes, *args: Any) -> Any:
        """Do one command.

        Raises
        ------
        ConnectionError
            Where the server is away.
        """
        if not self.up:
            raise ConnectionError("away")
        return self._commands[command](*(lua.text(_encoded(arg)) for arg in args))

    def run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script; nothing else happens meanwhile."""
        env: lua.Env = {
            **lua.LIBRARY,
            "redis": {b"call": self.call},
            "KEYS": {i: key.encode() for i, key in enumerate(keys, 1)},
            "ARGV": {i: lua.text(_encoded(arg)) for i, arg in enumerate(args, 1)},
        }
        if not self.up:
            raise ConnectionError("away")
        # Only scripts write, and not all of them.
        before = dict(self.keys), {key: dict(fields) for key, fields in self.hashes.items()}
        result = lua.program(script)(env)
        if before != (self.keys, self.hashes):
            self._before.append(before)
        return result

    def _get(self, key: bytes) -> Any:
        # What is not there is false to a script.
        return self.keys.get(key.decode(), False)

    def _set(self, key: bytes, value: bytes) -> None:
        self.keys[key.decode()] = value

    def _hset(self, key: bytes, name: bytes, value: bytes) -> None:
        self.hashes[key.decode()][name.decode()] = value

    def _publish(self, channel: bytes, message: bytes) -> None:
        self.listener(channel.decode(), message)


def _encoded(arg: Any) -> Any:
    return arg.encode() if isinstance(arg, str) else arg


class Client:
    """As much of redis-py as the sink uses, for the process that runs now."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self._process = running()
        self._server = self._process.redis

    async def _ask(self, what: str, lane: str, land: Callable[[], Any]) -> Any:
        op = self._process.submit(what, land, lane=("redis", lane), error=RedisConnectionError)
        return await self._process.answer(op)

    def register_script(self, script: str) -> Callable[..., Any]:
        """Give what runs a script in the server; scripts of one process run in the order of their calls."""
        name = next((name for word, name in _SCRIPTS if word in script), "ask")

        async def call(*, keys: Sequence[str], args: Sequence[Any]) -> Any:
            run = self._server.run
            return await self._ask(
                f"{name} at epoch {args[0]}", "script", lambda: run(script, keys, args)
            )

        return call

    async def get(self, key: str) -> bytes | None:
        return await self._ask(f"get {key}", "get", lambda: self._server.call(b"GET", key)) or None

    async def aclose(self) -> None:
        return None
