"""What the client asks of Redis, as generators: they yield commands, are sent the replies, and know no socket."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar

from stream.client.events import Key
from stream.client.messages import Message
from stream.wire.names import RedisNames

T = TypeVar("T")

Command = tuple[str | bytes | int, ...]
#: The publications before and after it, whose own keys are not in it.
Gap = tuple[Key, Key]
Talk = Generator[list[Command], Sequence[Any], T]

#: Keys in one command, and what one step of a scan looks at.
KEYS = 500
#: Entries of a stream read at once.
PAGE = 100


def newest_snapshots(names: RedisNames, codes: Sequence[str]) -> Talk[list[bytes]]:
    """Read the newest snapshots, from their keys and from the hash of packed publications.

    Parameters
    ----------
    names
        Keys and channels.
    codes
        Indexes to read; none means all that are there.

    Returns
    -------
    list of bytes
        Snapshots as published; up to two of a code.

    Yields
    ------
    list of Command
        To be sent; their replies are awaited.
    """
    if codes:
        keys: Sequence[str | bytes] = [names.snap(code) for code in codes]
        (packed,) = yield [("HMGET", names.snaps, *codes)]
    else:
        keys = yield from _every_snapshot_key(names)
        (by_code,) = yield [("HGETALL", names.snaps)]
        packed = by_code.values()
    found = list(packed)
    for at in range(0, len(keys), KEYS):
        (values,) = yield [("MGET", *keys[at : at + KEYS])]
        found += values
    return [data for data in found if data is not None]


def _every_snapshot_key(names: RedisNames) -> Talk[list[bytes]]:
    keys: set[bytes] = set()  # a scan may give a key twice
    cursor = 0
    while True:
        ((cursor, some),) = yield [("SCAN", cursor, "MATCH", names.snap("*"), "COUNT", KEYS)]
        keys.update(some)
        if not int(cursor):
            return sorted(keys)


def histories(
    names: RedisNames,
    gaps: Mapping[str, Gap],
    limit: int,
    read: Callable[[bytes], Message | None],
) -> Talk[dict[str, list[Message]]]:
    """Read what the streams hold between some publications.

    Parameters
    ----------
    names
        Keys and channels.
    gaps
        For each code, between which publications.
    limit
        Publications of a code to read, the newest ones.
    read
        Makes a message of an entry, or None where it is malformed.

    Returns
    -------
    dict of str to list of Message
        For each code what stands between, oldest first and strictly increasing.

    Yields
    ------
    list of Command
        To be sent; their replies are awaited.
    """
    pages: dict[str, bytes] = dict.fromkeys(gaps, b"+")
    newest_first: dict[str, list[Message]] = {code: [] for code in gaps}
    while pages:
        replies = yield [
            ("XREVRANGE", names.stream(code), until, "-", "COUNT", PAGE)
            for code, until in pages.items()
        ]
        further: dict[str, bytes] = {}
        for code, entries in zip(pages, replies, strict=True):
            found = newest_first[code]
            known = _take_between(entries, gaps[code], found, read)
            if len(entries) == PAGE and not known and len(found) < limit:
                further[code] = b"(" + entries[-1][0]
        pages = further
    return {code: _increasing(found[:limit]) for code, found in newest_first.items()}


def _take_between(
    entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]],
    gap: Gap,
    found: list[Message],
    read: Callable[[bytes], Message | None],
) -> bool:
    """Add what stands in the gap, and tell whether the page reaches back to its beginning."""
    before, after = gap
    known = False
    # All of the page is looked at: what a replaced publisher wrote late stands among newer entries.
    for _, fields in entries:
        message = read(fields.get(b"data", b""))
        if message is None:
            continue
        if before < message.key < after:
            found.append(message)
        known = known or message.key <= before
    return known


def _increasing(newest_first: Sequence[Message]) -> list[Message]:
    """Turn round, and leave out what a replaced publisher wrote late."""
    kept: list[Message] = []
    for message in reversed(newest_first):
        if not kept or message.key > kept[-1].key:
            kept.append(message)
    return kept
