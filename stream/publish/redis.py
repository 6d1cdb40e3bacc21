"""The Redis sink: every publication is one script call, atomic and fenced by epoch (`formats.md`, Redis; laws 6 and 10)."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from stream.errors import FencedError, ServiceError
from stream.index.snapshot import level_text
from stream.settings import mask_password
from stream.wire.names import RedisNames

#: A Redis that accepts a command and answers nothing counts as away after this long.
TIMEOUT_S = 2.0

#: The script's answer to a publication that has been overtaken by a later one.
_LATE = -2

#: What the scripts add to the prefix, which they are given as an argument.
_NAMES = RedisNames("")

# Fenced as publications are: a worker that has lost a partition would write older prices over its successor's.
# ARGV: epoch of the partition's owner; for each symbol a line of it and its entry.
_MIRROR = """
if tonumber(redis.call('GET', KEYS[2]) or '0') > tonumber(ARGV[1]) then return 1 end
redis.call('SET', KEYS[2], ARGV[1])
local text, at = ARGV[2], 1
while at <= #text do
  local space = string.find(text, ' ', at, true)
  local stop = string.find(text, '\\n', space + 1, true)
  redis.call('HSET', KEYS[1], string.sub(text, at, space - 1), string.sub(text, space + 1, stop - 1))
  at = stop + 1
end
return 0
"""

# ARGV: epoch, prefix, a line of code, date and level for each close.
_CLOSES = f"""
local newest = tonumber(redis.call('GET', KEYS[1]) or '0')
if newest > tonumber(ARGV[1]) then return newest end
local prefix, text, at = ARGV[2], ARGV[3], 1
while at <= #text do
  local space = string.find(text, ' ', at, true)
  local second = string.find(text, ' ', space + 1, true)
  local stop = string.find(text, '\\n', second + 1, true)
  redis.call('HSET', prefix .. '{_NAMES.closes("")}' .. string.sub(text, at, space - 1),
    string.sub(text, space + 1, second - 1), string.sub(text, second + 1, stop - 1))
  at = stop + 1
end
return 0
"""

# Who asks, what is there: another publisher has taken over, or Redis has lost publications that it had confirmed, since it
# came back empty, or a failover led to a replica that lacks the last ones. ARGV: epoch, the last confirmed one's number.
_FENCE = """
local newest = tonumber(redis.call('GET', KEYS[1]) or '0')
local epoch = tonumber(ARGV[1])
if newest > epoch then return newest end
local of, last = string.match(redis.call('GET', KEYS[2]) or '0 0', '^(%d+) (%d+)$')
local seen = 0
if tonumber(of) == epoch then seen = tonumber(last) end
"""
_LOST = """
if seen < tonumber(ARGV[2]) then return -1 end
"""

# Fenced, so that a publisher learns here, too, what has become of it, also while it has nothing to publish.
# ARGV: as above, channel, heartbeat.
_BEAT = f"""{_FENCE}
redis.call('PUBLISH', ARGV[3], ARGV[4])
{_LOST}
return 0
"""

# One call instead of MULTI with three commands for each index: the same atomicity, the epoch is checked in the same step, so
# that a publisher that was paused cannot overwrite its successor's values, and redis-py packs some arguments instead of
# some hundred, which took longer than all else (`docs/performance.md`). ARGV: epoch, number of the confirmed publication
# on which this one builds, its own number, prefix, stream length, a line of code, seq and data for each index
# (JSON as orjson writes it holds no line break). A publication that timed out on a connection that was given up may
# reach Redis after the next one.
_BEGIN = f"""{_FENCE}
local number = tonumber(ARGV[3])
if seen >= number then return -2 end
{_LOST}
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. ARGV[3])
if newest < epoch then redis.call('SET', KEYS[1], ARGV[1]) end
local prefix, text, all, at = ARGV[4], ARGV[6], {{}}, 1
while at <= #text do
  local space = string.find(text, ' ', at, true)
  local second = string.find(text, ' ', space + 1, true)
  local stop = string.find(text, '\\n', second + 1, true)
  local code, seq = string.sub(text, at, space - 1), string.sub(text, space + 1, second - 1)
  local data = string.sub(text, second + 1, stop - 1)
  at = stop + 1
"""
_SINGLE = f"""
  redis.call('SET', prefix .. '{_NAMES.snap("")}' .. code, data)
  redis.call('XADD', prefix .. '{_NAMES.stream("")}' .. code, 'MAXLEN', '~', ARGV[5], '*',
    'epoch', ARGV[1], 'seq', seq, 'data', data)
  redis.call('PUBLISH', prefix .. '{_NAMES.level("")}' .. code, data)
"""
_PACKED = f"""
  redis.call('HSET', prefix .. '{_NAMES.snaps}', code, data)
"""
_END = f"""
  all[#all + 1] = data
end
redis.call('PUBLISH', prefix .. '{_NAMES.levels}', '[' .. table.concat(all, ',') .. ']')
return 0
"""


@dataclass(frozen=True, slots=True)
class Message:
    """One index's part of a publication.

    Attributes
    ----------
    code
        Of the index.
    seq
        Of this publication in the epoch.
    data
        The snapshot as JSON.
    """

    code: str
    seq: int
    data: bytes


class RedisSink:
    """Writes publications, heartbeats and prices to one Redis.

    Parameters
    ----------
    url
        Address of Redis.
    names
        Keys and channels.
    stream_length
        About how many snapshots an index's stream keeps.

    Notes
    -----
    It never retries and never queues: who calls it decides what is newest when Redis is back.
    """

    def __init__(self, url: str, *, names: RedisNames, stream_length: int) -> None:
        self._publications = 0
        self._confirmed = 0
        self._names = names
        self._length = stream_length
        try:
            self._redis = redis.asyncio.from_url(
                url,
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        except ValueError as error:
            raise ServiceError(f"Redis {mask_password(url)}: {error}") from error
        self._mirror = self._redis.register_script(_MIRROR)
        self._closes = self._redis.register_script(_CLOSES)
        self._beat = self._redis.register_script(_BEAT)
        self._publish = self._redis.register_script(_BEGIN + _SINGLE + _END)
        self._publish_packed = self._redis.register_script(_BEGIN + _PACKED + _END)

    async def newest_epoch(self) -> int:
        """Give the epoch of the newest publisher that has written here, 0 where there is none.

        Raises
        ------
        ServiceError
            Where Redis is away.
        """
        return int(await self._ask(self._redis.get(self._names.epoch)) or 0)

    async def publish(self, messages: Sequence[Message], *, epoch: int, again: bool) -> None:
        """Publish some indexes, all or nothing.

        Parameters
        ----------
        messages
            One for each index.
        epoch
            Of the publisher.
        again
            Whether all that this sink has published is expected to be there still.

        Raises
        ------
        ServiceError
            Where Redis is away or refuses, and what was published is unknown; or where it has lost what was expected, and
            nothing was published.
        FencedError
            Where a publisher with a newer epoch has written here; nothing was published.
        """
        await self._fenced(self._publish, messages, epoch, again=again)

    async def publish_packed(self, messages: Sequence[Message], *, epoch: int, again: bool) -> None:
        """Publish many indexes as one message and one hash.

        Raises
        ------
        ServiceError, FencedError
            As `publish`.
        """
        await self._fenced(self._publish_packed, messages, epoch, again=again)

    async def _fenced(
        self, script: AsyncScript, messages: Sequence[Message], epoch: int, *, again: bool
    ) -> None:
        lines = b"".join(
            b"%b %d %b\n" % (message.code.encode(), message.seq, message.data)
            for message in messages
        )
        self._publications += 1
        number = self._publications
        expected = self._confirmed if again else 0
        arguments = (epoch, expected, number, self._names.prefix, self._length, lines)
        keys = (self._names.epoch, self._names.publication)
        newest = await self._ask(script(keys=keys, args=arguments))
        if newest == _LATE:
            raise ServiceError("Redis: a later publication stands there already")
        if newest < 0:
            raise ServiceError("Redis: it has lost what was published, and is filled again")
        _raise_if_fenced(newest, epoch)
        self._confirmed = number

    async def beat(self, heartbeat: bytes, *, epoch: int) -> bool:
        """Publish a heartbeat, and tell whether all that was published is still there.

        Raises
        ------
        ServiceError
            Where Redis is away.
        FencedError
            Where a publisher with a newer epoch has written here; nothing was published.
        """
        keys = (self._names.epoch, self._names.publication)
        arguments = (epoch, self._confirmed, self._names.heartbeat, heartbeat)
        newest = await self._ask(self._beat(keys=keys, args=arguments))
        _raise_if_fenced(newest, epoch)
        return bool(newest == 0)

    async def write_closes(self, closes: Sequence[tuple[str, str, int]], *, epoch: int) -> None:
        """Write official closes into the hash of their index.

        Parameters
        ----------
        closes
            Code, date and level in 10^-8 index points.
        epoch
            Of the publisher.

        Raises
        ------
        ServiceError, FencedError
            As `publish`.
        """
        lines = "".join(f"{code} {date} {level_text(level)}\n" for code, date, level in closes)
        arguments = (epoch, self._names.prefix, lines)
        newest = await self._ask(self._closes(keys=(self._names.epoch,), args=arguments))
        _raise_if_fenced(newest, epoch)

    async def mirrored_by(self, partition: int) -> int:
        """Give the epoch of the owner that has mirrored a partition's prices here, 0 where none has.

        Raises
        ------
        ServiceError
            Where Redis is away.
        """
        return int(await self._ask(self._redis.get(self._names.mirrored(partition))) or 0)

    async def mirror_prices(
        self, prices: Mapping[str, bytes], *, partition: int, epoch: int
    ) -> bool:
        """Write last prices of a partition's symbols into their hash.

        Parameters
        ----------
        prices
            Entries by symbol.
        partition, epoch
            Whose, and of which owner of it.

        Returns
        -------
        bool
            Whether they were written: not so where a newer owner has written here.

        Raises
        ------
        ServiceError
            Where Redis is away.
        """
        lines = b"".join(b"%b %b\n" % (s.encode(), entry) for s, entry in prices.items())
        keys = (self._names.prices, self._names.mirrored(partition))
        return not await self._ask(self._mirror(keys=keys, args=(epoch, lines)))

    async def _ask(self, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except (RedisError, OSError, TimeoutError) as error:
            if "READONLY" in str(error):
                # After a failover the old connection leads to what is a replica now; the address may lead elsewhere.
                await self._redis.connection_pool.disconnect()
            raise ServiceError(f"Redis: {error}") from error
        except RuntimeError as error:
            # What uvloop raises for a write to a connection that was closed meanwhile.
            raise ServiceError(f"Redis: {error}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def _raise_if_fenced(newest: int, epoch: int) -> None:
    if newest > epoch:
        raise FencedError(f"a publisher of epoch {newest} has taken over from epoch {epoch}")
