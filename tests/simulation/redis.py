"""A small Redis, and the client through which the real sink talks to it; the sink's own scripts run in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from simulation import lua
from simulation.process import running


class Redis:
    """One server.

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
        self._commands: dict[bytes, Callable[..., Any]] = {
            b"GET": self._get,
            b"SET": self._set,
            b"EXISTS": self._exists,
            b"HSET": self._hset,
            b"XADD": lambda *_: b"0-1",
            b"PUBLISH": self._publish,
        }

    def flush(self) -> None:
        """Lose everything, as a server that starts again without its file."""
        self.keys.clear()
        self.hashes.clear()

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
        return lua.program(script)(env)

    def _get(self, key: bytes) -> Any:
        # What is not there is false to a script.
        return self.keys.get(key.decode(), False)

    def _set(self, key: bytes, value: bytes) -> None:
        self.keys[key.decode()] = value

    def _exists(self, key: bytes) -> int:
        return int(key.decode() in self.keys or bool(self.hashes.get(key.decode())))

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
        name = "mirror" if "HSET', KEYS" in script else "publish" if "PUBLISH" in script else "ask"

        async def call(*, keys: Sequence[str], args: Sequence[Any]) -> Any:
            run = self._server.run
            return await self._ask(
                f"{name} at epoch {args[0]}", "script", lambda: run(script, keys, args)
            )

        return call

    async def get(self, key: str) -> bytes | None:
        return await self._ask(f"get {key}", "get", lambda: self._server.call(b"GET", key)) or None

    async def publish(self, channel: str, message: bytes) -> None:
        call = self._server.call
        await self._ask(f"publish {channel}", "beat", lambda: call(b"PUBLISH", channel, message))

    async def exists(self, key: str) -> int:
        found = await self._ask(f"exists {key}", "beat", lambda: self._server.call(b"EXISTS", key))
        return int(found)

    async def aclose(self) -> None:
        return None
